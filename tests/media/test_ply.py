import numpy as np
import pytest

from ml.media.ply import encode_ply

TYPES = {"float": "<f4", "uchar": "u1", "int": "<i4"}


def read_ply(file):
    """Returns the vertices of a binary PLY file as a structured array."""
    header, body = file.split(b"end_header\n", 1)
    lines = [line.split() for line in header.decode("ascii").splitlines()]
    assert lines[:2] == [["ply"], ["format", "binary_little_endian", "1.0"]]
    assert lines[2][:2] == ["element", "vertex"]
    vertices = np.frombuffer(body, [(name, TYPES[kind]) for _, kind, name in lines[3:]])
    assert len(vertices) == int(lines[2][2])
    return vertices


POINTS = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
COLORS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) + 100


@pytest.mark.parametrize("colors", [None, COLORS])
@pytest.mark.parametrize("count", [1, 2])
def test_points_and_colours_read_back(colors, count):
    vertices = read_ply(encode_ply(POINTS[:count], None if colors is None else colors[:count]))
    np.testing.assert_array_equal(np.stack([vertices[axis] for axis in "xyz"], axis=1), POINTS[:count].reshape(-1, 3))
    assert ("red" in vertices.dtype.names) is (colors is not None)
    if colors is not None:
        shown = np.stack([vertices[color] for color in ("red", "green", "blue")], axis=1)
        np.testing.assert_array_equal(shown, colors[:count].reshape(-1, 3))
