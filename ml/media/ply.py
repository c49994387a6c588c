"""Point clouds as PLY files, which every viewer of point clouds opens."""

import numpy as np


def encode_ply(points: np.ndarray, colors: np.ndarray | None = None) -> bytes:
    """Returns a binary PLY file.

    Args:
        points: Shape (B, N, 3), float32; all B clouds become one list of vertices.
        colors: Shape (B, N, 3), uint8 RGB.

    Source of the format: G. Turk, The PLY Polygon File Format (1994).
    """
    fields = [(axis, "<f4") for axis in "xyz"]
    if colors is not None:
        fields += [(color, "u1") for color in ("red", "green", "blue")]
    vertices = np.empty(points.shape[0] * points.shape[1], dtype=fields)
    for axis, name in enumerate("xyz"):
        vertices[name] = points[..., axis].reshape(-1)
    if colors is not None:
        for channel, name in enumerate(("red", "green", "blue")):
            vertices[name] = colors[..., channel].reshape(-1)
    properties = [f"property {'float' if form == '<f4' else 'uchar'} {name}" for name, form in fields]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}", *properties, "end_header"]
    return "\n".join(header).encode() + b"\n" + vertices.tobytes()
