"""The events of TensorBoard that are built with its protocol buffer messages: everything but scalars.

Pure functions: values in, serialized events out. Importing this module needs the
``tensorboard`` package; nothing of TensorFlow, and no ``SummaryWriter``.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig, OmegaConf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT, DT_STRING, DT_UINT8, DataType
from tensorboard.plugins.audio import metadata as audio_metadata
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo
from tensorboard.plugins.mesh import metadata as mesh_metadata
from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData
from tensorboard.plugins.text import metadata as text_metadata

from ml.core.plain import unescaped

if TYPE_CHECKING:
    from ml.media.histogram import Histogram

_COLORSPACES = {1: 1, 3: 3, 4: 4}
"""Channels of a picture to ``Summary.Image.colorspace``: gray, RGB, RGBA."""

# In pixels. The default is 0.005 units of the cloud, however large that is: mostly invisible.
_POINT_SIZE = '{"material": {"cls": "PointsMaterial", "size": 5, "sizeAttenuation": false}}'


def opening(wall_time_s: float, step: int) -> list[bytes]:
    """Returns the two events that every file begins with.

    The second says that a session starts at ``step``: a reader drops what an
    earlier attempt wrote at that step and after it.
    """
    return [
        Event(wall_time=wall_time_s, file_version="brain.Event:2").SerializeToString(),
        Event(wall_time=wall_time_s, step=step, session_log=SessionLog(status=SessionLog.START)).SerializeToString(),
    ]


def event(wall_time_s: float, step: int, values: Iterable[Summary.Value]) -> bytes:
    """Returns the event that holds ``values``, at a wall-clock time in Unix seconds."""
    serialized: bytes = Event(wall_time=wall_time_s, step=step, summary=Summary(value=values)).SerializeToString()
    return serialized


def text(tag: str, texts: list[str]) -> list[Summary.Value]:
    """Returns a text, or a table of one column with several. They are shown as Markdown."""
    encoded = [part.encode("utf-8", "replace") for part in texts]
    tensor = _strings(encoded, shape=(len(encoded),) if len(encoded) > 1 else ())
    return [Summary.Value(tag=tag, metadata=text_metadata.create_summary_metadata("", ""), tensor=tensor)]


def picture(tag: str, encoded: bytes, shape: tuple[int, ...]) -> list[Summary.Value]:
    """Returns a picture, or a video as an animated one.

    Args:
        tag: Its tag.
        encoded: The bytes of a PNG or GIF file.
        shape: Ends in (C, H, W), C in 1, 3, 4.
    """
    channels, height, width = shape[-3:]
    image = Summary.Image(height=height, width=width, colorspace=_COLORSPACES[channels], encoded_image_string=encoded)
    return [Summary.Value(tag=tag, image=image)]


def audio(tag: str, wav: bytes) -> list[Summary.Value]:
    """Returns a clip, from the bytes of a WAV file.

    As a tensor, since the default loader serves a ``Summary.Audio`` without its content type.
    """
    metadata = audio_metadata.create_summary_metadata("", "", audio_metadata.Encoding.Value("WAV"))
    return [Summary.Value(tag=tag, metadata=metadata, tensor=_strings([wav, b""], shape=(1, 2)))]


def histogram(tag: str, bins: "Histogram") -> list[Summary.Value]:
    """Returns a histogram: a row of left edge, right edge and count for each bin."""
    rows = np.stack([bins.edges[:-1], bins.edges[1:], bins.counts.astype(np.float64)], axis=1)
    metadata = histogram_metadata.create_summary_metadata("", "")
    return [Summary.Value(tag=tag, metadata=metadata, tensor=_numbers(rows, DT_DOUBLE, "<f8"))]


def points(tag: str, vertices: np.ndarray, colors: np.ndarray | None) -> list[Summary.Value]:
    """Returns a point cloud, as the mesh plugin keeps it: a value for its vertices, and one for its colours.

    Args:
        tag: Its name; the tags are ``<tag>_VERTEX`` and ``<tag>_COLOR``.
        vertices: float32, shape (B, N, 3).
        colors: uint8, shape (B, N, 3), or ``None``.
    """
    parts: list[tuple[int, np.ndarray, DataType.ValueType, str]] = [(MeshPluginData.VERTEX, vertices, DT_FLOAT, "<f4")]
    if colors is not None:
        parts.append((MeshPluginData.COLOR, colors, DT_UINT8, "u1"))
    components = mesh_metadata.get_components_bitmask([content for content, *_ in parts])
    return [
        Summary.Value(
            tag=mesh_metadata.get_instance_name(tag, content),
            metadata=mesh_metadata.create_summary_metadata(
                tag, "", content, components, list(array.shape), json_config=_POINT_SIZE
            ),
            tensor=_numbers(array, dtype, layout),
        )
        for content, array, dtype, layout in parts
    ]


def configuration(config: DictConfig, start_time_s: float, hparams_exclude: Sequence[str] = ()) -> list[Summary.Value]:
    """Returns ``config`` as a text, and as the start of a session of the hparams plugin.

    A setting whose dotted name one of the globs ``hparams_exclude`` matches is in the text alone.

    Every run below the directory of its file belongs to the session, so the
    metrics of all phases are in its row. No end is ever written: the first end
    that a reader finds is final, and a run that ended may be resumed.
    """
    info = SessionStartInfo(start_time_secs=start_time_s)
    for name, setting in flatten(config).items():
        if any(fnmatchcase(name, pattern) for pattern in hparams_exclude):
            continue
        if isinstance(setting, bool):
            info.hparams[name].bool_value = setting
        elif isinstance(setting, str):
            info.hparams[name].string_value = setting
        else:
            info.hparams[name].number_value = setting
    session = Summary.Value(
        tag=hparams_metadata.SESSION_START_INFO_TAG,
        metadata=hparams_metadata.create_summary_metadata(HParamsPluginData(session_start_info=info)),
        tensor=hparams_metadata.NULL_TENSOR,
    )
    return [session, *text("config", [_fenced(OmegaConf.to_yaml(config))])]


def flatten(config: DictConfig) -> dict[str, bool | float | str]:
    """Returns the settings of ``config`` as hyperparameters: ``{"model.lr": 0.1}``.

    Lists are texts. What has no value (``None`` or missing) is left out, so it
    does not turn a column of numbers into one of texts.
    """
    flat: dict[str, bool | float | str] = {}

    def visit(path: str, node: object) -> None:
        if isinstance(node, Mapping):
            for key, child in node.items():
                visit(f"{path}.{key}" if path else str(key), child)
        elif isinstance(node, (bool, float)) or (isinstance(node, int) and abs(node) < 2**53):
            flat[path] = node
        elif node is not None and node != "???":
            flat[path] = unescaped(str(node)).encode("utf-8", "replace").decode("utf-8")

    visit("", OmegaConf.to_container(config))
    return flat


def _fenced(code: str) -> str:
    """Returns Markdown that shows ``code`` as it is, whatever fences it holds itself."""
    fence = "```"
    while fence in code:
        fence += "`"
    return f"{fence}yaml\n{code}{fence}\n"


def _strings(strings: list[bytes], shape: tuple[int, ...]) -> TensorProto:
    return TensorProto(dtype=DT_STRING, tensor_shape=_shape(shape), string_val=strings)


def _numbers(array: np.ndarray, dtype: DataType.ValueType, layout: str) -> TensorProto:
    return TensorProto(dtype=dtype, tensor_shape=_shape(array.shape), tensor_content=array.astype(layout).tobytes())


def _shape(shape: tuple[int, ...]) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
