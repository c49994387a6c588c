"""The values that an event of TensorBoard holds, whoever wrote it.

Scalars, pictures, sounds and histograms come as fields of their own or as tensors
with the name of a plugin, which only the first value of a tag may have.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.data_compat import migrate_value
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData
from tensorboard.util.tensor_util import make_ndarray

from ml.core.errors import FormatError
from ml.integrations.media_files import stored
from ml.loggers.kinds import HISTOGRAM, POINT_CLOUD, SCALAR, STRING, Kind
from ml.loggers.stored import MAX_BINS, StoredHistogram, StoredMedia
from ml.loggers.strict_json import parsing
from ml.media.adopt import Adopted, adopt_picture, adopt_sound
from ml.media.histogram import Histogram, histogram_from
from ml.media.ply import encode_ply

_TEXT_SUFFIX = "/text_summary"
"""What torch adds to the tag of a text."""

_MAX_EXPANDED = 2**16


class Found(NamedTuple):
    """A value: what it is, its tag, and the value as a backend is given it."""

    kind: Kind
    tag: str
    value: int | float | str | StoredMedia | StoredHistogram


class LeftOut(NamedTuple):
    """A value that is none of ours: the name of its plugin, its tag, and why if there is more to say."""

    plugin: str
    tag: str
    why: str = ""


class EventValues:
    """Takes the values out of the events of one folder, in their order.

    Args:
        origin: Where they were read, for messages.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._metadata: dict[str, SummaryMetadata] = {}

    def of(self, event: Event) -> Iterator[Found | LeftOut]:
        """Yields what an event holds; hyperparameters are not among it."""
        meshes: dict[str, dict[int, np.ndarray]] = {}
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                yield Found(SCALAR, value.tag, value.simple_value)
                continue
            plugin = "unknown"
            try:
                value = migrate_value(value)
                metadata = self._metadata_of(value)
                plugin = metadata.plugin_data.plugin_name or plugin
                if plugin == "mesh":
                    part = MeshPluginData.FromString(metadata.plugin_data.content)
                    meshes.setdefault(part.name, {})[part.content_type] = array_of(value.tensor)
                elif plugin != "hparams":
                    yield from self._values(plugin, value)
            except Exception as error:  # whatever it is that somebody else wrote
                yield LeftOut(plugin, value.tag, str(error))
        for name, parts in meshes.items():
            try:
                yield from self._cloud(name, parts)
            except Exception as error:
                yield LeftOut("mesh", name, str(error))

    def _metadata_of(self, value: Summary.Value) -> SummaryMetadata:
        if value.metadata.plugin_data.plugin_name:
            self._metadata[value.tag] = value.metadata
            return value.metadata
        return self._metadata.get(value.tag, value.metadata)

    def _values(self, plugin: str, value: Summary.Value) -> Iterator[Found | LeftOut]:
        tag = value.tag
        if value.WhichOneof("value") != "tensor":
            yield LeftOut(plugin, tag)
            return
        if plugin == "scalars":
            yield Found(SCALAR, tag, float(array_of(value.tensor).item()))
        elif plugin == "text":
            for text in array_of(value.tensor).ravel().tolist():
                decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
                yield Found(STRING, tag.removesuffix(_TEXT_SUFFIX), decoded)
        elif plugin == "images":
            _width, _height, *files = array_of(value.tensor).ravel().tolist()
            for name, file in _numbered(tag, files):
                yield self._medium(name, adopt_picture(file))
        elif plugin == "audio":
            clips = array_of(value.tensor)
            files = (clips[:, 0] if clips.ndim == 2 else clips.ravel()).tolist()
            for name, file in _numbered(tag, files):
                yield self._medium(name, adopt_sound(file))
        elif plugin == "histograms":
            bins = StoredHistogram(histogram_of(array_of(value.tensor)), path=tag, origin=self._origin)
            yield Found(HISTOGRAM, tag, bins)
        else:
            yield LeftOut(plugin, tag)

    def _medium(self, tag: str, adopted: Adopted) -> Found:
        medium = stored(adopted, path=tag, origin=self._origin)
        return Found(medium.kind, tag, medium)

    def _cloud(self, name: str, parts: dict[int, np.ndarray]) -> Iterator[Found | LeftOut]:
        vertices = parts[MeshPluginData.VERTEX].astype(np.float32)
        vertices = vertices.reshape(-1, *vertices.shape[-2:])
        if vertices.size == 0 or vertices.shape[-1] != 3:
            raise FormatError(f"points have shape (B, N, 3), got {vertices.shape}")
        colors = parts.get(MeshPluginData.COLOR)
        if colors is not None:
            colors = colors.astype(np.uint8).reshape(vertices.shape)
        about = {"shape": list(vertices.shape)}
        data = encode_ply(vertices, colors)
        yield Found(POINT_CLOUD, name, StoredMedia(POINT_CLOUD, "ply", data, about, path=name, origin=self._origin))
        if MeshPluginData.FACE in parts:
            yield LeftOut("mesh", name, "faces of a mesh: its points are there")


def hyperparameters_of(event: Event) -> dict[str, object]:
    """Returns what the hparams plugin has of a session that starts; nothing of any other event.

    Raises:
        FormatError: It cannot be read.
    """
    for value in event.summary.value:
        plugin = value.metadata.plugin_data
        if plugin.plugin_name == "hparams":
            try:
                data = HParamsPluginData.FromString(plugin.content)
            except DecodeError as error:
                raise FormatError(f"no hyperparameters: {error}") from error
            if data.HasField("session_start_info"):
                return {name: _plain(setting) for name, setting in data.session_start_info.hparams.items()}
    return {}


def array_of(tensor: TensorProto) -> np.ndarray:
    """Returns the array that a tensor is.

    TensorFlow writes a constant as one value and a shape, so a few bytes may ask for any memory.

    Raises:
        FormatError: It says that it has more elements than it has bytes, and than 65,536.
    """
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if min(shape, default=0) < 0 or math.prod(shape) > max(tensor.ByteSize(), _MAX_EXPANDED):
        raise FormatError(f"{tensor.ByteSize()} bytes are no tensor of the shape {shape!r:.60}")
    array: np.ndarray = make_ndarray(tensor)
    return array


def histogram_of(rows: np.ndarray) -> Histogram:
    """Returns the histogram that TensorBoard has as rows of left edge, right edge and count.

    Raises:
        FormatError: It has no bins, more than 65,536, or edges in no order.
    """
    if rows.ndim != 2 or rows.shape[1:] != (3,) or not 0 < len(rows) <= MAX_BINS:
        raise FormatError(f"a histogram has 1 to {MAX_BINS} rows of 3 numbers, got shape {rows.shape}")
    lefts, rights, numbers = rows.astype(np.float64).T
    with parsing("no histogram"):
        return histogram_from(np.nan_to_num(numbers), np.append(lefts, rights[-1:]), max_bins=MAX_BINS)


def _numbered(tag: str, files: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yields the files of one value, the first under its tag, others as ``<tag>/1``, ``<tag>/2``."""
    for number, file in enumerate(files):
        yield f"{tag}/{number}" if number else tag, file


def _plain(setting: object) -> object:
    """Returns a ``google.protobuf.Value`` as a plain value: a whole number is an integer."""
    kind = setting.WhichOneof("kind")  # type: ignore[attr-defined]
    if kind == "list_value":
        return [_plain(item) for item in setting.list_value.values]  # type: ignore[attr-defined]
    if kind == "struct_value":
        return {name: _plain(item) for name, item in setting.struct_value.fields.items()}  # type: ignore[attr-defined]
    value = getattr(setting, kind) if kind and kind != "null_value" else None
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
