"""What a kind of value is: one row each. Nothing else knows kinds by name.

A row says which method of a backend takes the kind, under which name a line of
``log.jsonl`` lists it, how a value is cut to what its picture can hold before it
is copied (law 10), and how the copy becomes the common format. Values that
belong to a key beside the value itself (labels, a sample rate) are its options.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ml.core.errors import LogValueError
from ml.loggers import device
from ml.loggers.snapshot import Snapshots
from ml.loggers.table_selection import Plain, select_table
from ml.loggers.tensors import MAX_BYTES, is_tensor, take
from ml.media.arrays import as_array, evenly_spaced
from ml.media.points import point_axis, point_indices
from ml.media.video import DEFAULT_FPS, frame_indices

if TYPE_CHECKING:
    from ml.media.histogram import Histogram
    from ml.media.table import TableData


class ImageOptions(NamedTuple):
    """One picture. ``boxes`` are xyxy in pixels of the picture as it was given, shape (N, 4)."""

    keep_resolution: bool = False
    boxes: object = None
    labels: Sequence[str] | None = None
    scores: object = None
    labeled: bool = False
    max_line_length: int | None = None
    centered: bool = True


class GridOptions(NamedTuple):
    """A batch of pictures, shown as one. ``sep`` is the gap between them in pixels."""

    keep_resolution: bool = False
    max_images: int = 64
    sep: int = 0
    labeled: bool = False
    max_line_length: int | None = None
    centered: bool = True


class AudioOptions(NamedTuple):
    """A clip. The rate is in Hz."""

    sample_rate: int = 44100


class VideoOptions(NamedTuple):
    """A video. ``length`` is a number of frames; ``fps`` is in frames per second."""

    fps: float | None = None
    length: int | None = None
    max_frames: int = 256


class PointOptions(NamedTuple):
    """A point cloud. ``colors`` is (N, 3) or (B, N, 3), uint8 or floats in [0, 1]."""

    max_points: int = 1000
    colors: object = None


class TableOptions(NamedTuple):
    """A table. Of more rows the first ``max_rows`` are kept."""

    max_rows: int = 10_000


class Common(NamedTuple):
    """A media value in its common format, as numpy.

    Attributes:
        array: Pictures uint8 (C, H, W), video uint8 (T, C, H, W), clips float32 (T,) or (C, T),
            points float32 (B, N, 3), the sample a histogram was made of; empty for a table.
        scale: What the array is multiplied by to be the normalized tensor.
    """

    array: "np.ndarray"
    scale: float = 1.0
    sample_rate: int | None = None
    fps: float = 0.0
    colors: "np.ndarray | None" = None
    histogram: "Histogram | None" = None
    table: "TableData | None" = None
    warning: str = ""


@dataclass(frozen=True, eq=False)
class Kind:
    """What a kind of value is.

    Attributes:
        name: Its name in messages.
        method: The method of a component that logs it, and of a backend that takes it.
        section: The name under which a line of ``log.jsonl`` lists its values.
        select: Cuts a value to what will be shown, where it lies. For a kind that is
            not droppable it returns the number or text itself.
        example: Makes a small value, as a component may log it; for tests of every kind.
        munge: Turns a copy of that into the common format.
        droppable: Whether it is media: rate limited apart, and the first to go when room is short.
        limited: Whether a window keeps one value a key; else every value is kept.
        reducible: Whether a window may hold a mean, sum, min or max of the values.
        encoders: Makes the bytes of a file of each form; the first one is the form that is kept. A media kind
            without a form is kept as the bins of its histogram.
        decode: Undoes the first encoder, given what was noted beside the file: ``shape``, and what else the
            value had of ``Lazy.about``. Whatever is wrong with a file, it raises a ``ValueError`` or a ``LookupError``.
    """

    name: str
    method: str
    section: str
    select: "Callable[[Snapshots, object, Any], object]"
    example: "Callable[[], object]"
    munge: "Callable[[Any, Any], Common] | None" = None
    droppable: bool = True
    limited: bool = True
    reducible: bool = False
    encoders: "Mapping[str, Callable[[Common], bytes]]" = field(default_factory=dict)
    decode: "Callable[[bytes, Mapping[str, Any]], Common] | None" = None

    def __repr__(self) -> str:
        return self.name


def _select_text(snapshots: Snapshots, value: object, options: object) -> str:
    encoded = value if isinstance(value, (str, bytes)) else str(value)
    if len(encoded) > MAX_BYTES:
        problem = f"a text of {len(encoded)} characters is too long"
        raise LogValueError(problem, "Log a part of it, or keep it as a file.")
    text = encoded.decode("utf-8", "replace") if isinstance(encoded, bytes) else str(encoded)
    # A lone surrogate has no UTF-8, so no file and no protocol buffer could hold it.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _select_image(snapshots: Snapshots, value: object, options: ImageOptions | GridOptions) -> object:
    """Returns ``[picture or pictures, text or texts or None, boxes, scores]``."""
    pictures, texts = value, None
    if options.labeled:
        pictures, texts = _pair(value)
    if isinstance(options, GridOptions):
        count = _length(pictures)
        if not count:
            raise LogValueError("a batch of pictures is empty or no batch", "Log at least one, or use log_image.")
        if texts is not None and len(texts) != count:
            raise LogValueError(f"there are {len(texts)} texts for {count} pictures", "Give one text a picture.")
        if count > options.max_images:
            indices = evenly_spaced(count, options.max_images)
            pictures = take(pictures, indices)
            texts = None if texts is None else [texts[index] for index in indices]
        texts = None if texts is None else [str(text) for text in texts]
        return snapshots.copy([snapshots.pixels(pictures), texts, None, None])
    boxes, scores = _called(snapshots, options.boxes), _called(snapshots, options.scores)
    return snapshots.copy([pictures, None if texts is None else str(texts), boxes, scores])


def _called(snapshots: Snapshots, option: object) -> object:
    """Returns an option that was logged beside a value: it may be a callable, as the value may."""
    return snapshots.compute(option) if callable(option) else option


def _length(value: object) -> int:
    """Returns how many items a batch has; 0 where it is none, as an array without axes."""
    try:
        return len(value)  # type: ignore[arg-type]
    except TypeError:
        return 0


def _pair(value: object) -> tuple[Any, Any]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return value[0], value[1]
    raise LogValueError(f"a labelled value is a pair, got {type(value).__name__}", "Log (picture, text).")


def _munge_image(copied: list[Any], options: ImageOptions | GridOptions) -> Common:
    from ml.media import boxes, grid, image, text

    pictures, texts, box_array, scores = copied
    if isinstance(options, GridOptions):
        made = grid.image_grid(
            pictures,
            texts=texts,
            keep_resolution=options.keep_resolution,
            sep=options.sep,
            max_line_length=options.max_line_length,
            centered=options.centered,
        )
        return Common(made, scale=1 / 255)
    source = as_array(pictures)
    made = image.standardize_image(source, keep_resolution=options.keep_resolution)
    if box_array is not None:
        made = boxes.draw_boxes(
            made,
            as_array(box_array),
            source_size_px=image.size_px(source),
            labels=options.labels,
            scores=None if scores is None else as_array(scores),
        )
    if texts is not None:
        made = text.add_label(made, texts, max_line_length=options.max_line_length, centered=options.centered)
    return Common(made, scale=1 / 255)


def _select_audio(snapshots: Snapshots, value: object, options: AudioOptions) -> object:
    # More than two channels are no picture that a player has: the first one is shown.
    if isinstance(value, np.ndarray) or is_tensor(value):
        samples: Any = value
        if samples.ndim == 2 and min(samples.shape) > 2:
            value = samples[0] if samples.shape[0] <= samples.shape[1] else samples[:, 0]
    return snapshots.copy(value)


def _munge_audio(copied: object, options: AudioOptions) -> Common:
    from ml.media import audio

    if not options.sample_rate > 0:
        raise LogValueError(f"a sample rate is above 0 Hz, got {options.sample_rate!r}")
    samples = as_array(copied)
    loud = (
        "samples lie beyond -1 ... 1; each such clip is scaled to its peak."
        if audio.exceeds_full_scale(samples)
        else ""
    )
    return Common(audio.standardize_audio(samples), sample_rate=int(options.sample_rate), warning=loud)


def _select_video(snapshots: Snapshots, value: object, options: VideoOptions) -> object:
    count = _length(value)
    if not count:
        raise LogValueError("a video has no frames", "Log at least one frame, shape (T, C, H, W).")
    indices = frame_indices(count, fps=options.fps, length=options.length, max_frames=options.max_frames)
    frames = value if indices == list(range(count)) else take(value, indices)
    return [snapshots.copy(snapshots.pixels(frames)), count]


def _munge_video(copied: list[Any], options: VideoOptions) -> Common:
    from ml.media import video

    frames, count = copied
    made = video.standardize_video(as_array(frames))
    # Fewer frames last as long as all of them did.
    fps = (options.fps or DEFAULT_FPS) * len(made) / count
    return Common(made, scale=1 / 255, fps=fps)


def _select_histogram(snapshots: Snapshots, value: object, options: object) -> object:
    values, count, binned = snapshots.histogram(value)
    return [values if binned else snapshots.copy(values), count, binned]


def _munge_histogram(copied: list[Any], options: object) -> Common:
    from ml.media import histogram

    values, count, binned = copied
    made = device.binned(values) if binned else histogram.histogram(values, total=count)
    return Common(values, histogram=made)


def _select_points(snapshots: Snapshots, value: object, options: PointOptions) -> object:
    cloud: Any = value if is_tensor(value) else as_array(value)
    colors: Any = _called(snapshots, options.colors)
    if colors is not None and not is_tensor(colors):
        colors = as_array(colors)
    axis = point_axis(tuple(cloud.shape))
    count = cloud.shape[axis] if cloud.ndim else 0
    if count > options.max_points:
        indices = point_indices(count, options.max_points).tolist()
        cloud = take(cloud, indices, axis)
        if colors is not None:
            colors = take(colors, indices, point_axis(tuple(colors.shape)))
    return snapshots.copy([cloud, colors])


def _munge_points(copied: list[Any], options: PointOptions) -> Common:
    from ml.media import points

    cloud, colors = copied
    made, made_colors = points.standardize_points(
        as_array(cloud), max_points=options.max_points, colors=None if colors is None else as_array(colors)
    )
    return Common(made, colors=made_colors)


def _select_table(snapshots: Snapshots, value: object, options: TableOptions | None) -> object:
    return select_table(value, max_rows=(options or TableOptions()).max_rows)


def _munge_table(copied: list[Any], options: object) -> Common:
    from ml.io.breath import Breath
    from ml.media import table

    names, columns, total_rows = copied
    cells = [column.cells if isinstance(column, Plain) else column for column in columns]
    made = table.standardize_table(dict(zip(names, cells, strict=True)), total_rows=total_rows, rest=Breath())
    cut = f"the first {len(made):,} of {total_rows:,} rows are kept." if len(made) < total_rows else ""
    return Common(np.empty(0), table=made, warning=cut)


def _png(common: Common) -> bytes:
    from ml.media.image import encode_png

    return encode_png(common.array)


def _from_png(data: bytes, about: Mapping[str, Any]) -> Common:
    from ml.media.decode import decode_png

    return Common(decode_png(data, _shape(about)), scale=1 / 255)


def _wav(common: Common) -> bytes:
    from ml.media.audio import encode_wav

    assert common.sample_rate is not None
    return encode_wav(common.array, common.sample_rate)


def _from_wav(data: bytes, about: Mapping[str, Any]) -> Common:
    from ml.media.decode import decode_wav

    return Common(decode_wav(data, _shape(about)), sample_rate=int(about["sample_rate"]))


def _gif(common: Common) -> bytes:
    from ml.media.video import encode_gif

    return encode_gif(common.array, common.fps)


def _from_gif(data: bytes, about: Mapping[str, Any]) -> Common:
    from ml.media.decode import decode_gif

    return Common(decode_gif(data, _shape(about)), scale=1 / 255, fps=float(about["fps"]))


def _ply(common: Common) -> bytes:
    from ml.media.ply import encode_ply

    return encode_ply(common.array, common.colors)


def _from_ply(data: bytes, about: Mapping[str, Any]) -> Common:
    from ml.media.decode import decode_ply

    points, colors = decode_ply(data, _shape(about))
    return Common(points, colors=colors)


def _json(common: Common) -> bytes:
    from ml.loggers.table_file import encode_table

    assert common.table is not None
    return encode_table(common.table)


def _from_json(data: bytes, about: Mapping[str, Any]) -> Common:
    from ml.loggers.table_file import decode_table

    return Common(np.empty(0), table=decode_table(data))


def _shape(about: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, about["shape"]))


SCALAR = Kind("scalar", "log_scalar", "scalars", Snapshots.scalar, lambda: 0.5, droppable=False, reducible=True)
STRING = Kind("string", "log_string", "strings", _select_text, lambda: "text", droppable=False, limited=False)
IMAGE = Kind(
    "image",
    "log_image",
    "images",
    _select_image,
    lambda: np.eye(8),
    _munge_image,
    encoders={"png": _png},
    decode=_from_png,
)
AUDIO = Kind(
    "audio",
    "log_audio",
    "audios",
    _select_audio,
    lambda: np.linspace(-1, 1, 100),
    _munge_audio,
    encoders={"wav": _wav},
    decode=_from_wav,
)
VIDEO = Kind(
    "video",
    "log_video",
    "videos",
    _select_video,
    lambda: np.ones((2, 8, 8)),
    _munge_video,
    encoders={"gif": _gif},
    decode=_from_gif,
)
HISTOGRAM = Kind(
    "histogram", "log_histogram", "histograms", _select_histogram, lambda: np.arange(9.0), _munge_histogram
)
POINT_CLOUD = Kind(
    "point_cloud",
    "log_point_cloud",
    "point_clouds",
    _select_points,
    lambda: np.eye(3),
    _munge_points,
    encoders={"ply": _ply},
    decode=_from_ply,
)
TABLE = Kind(
    "table",
    "log_table",
    "tables",
    _select_table,
    lambda: {"label": [3, 5], "score": [0.5, math.nan], "note": ["text", None]},
    _munge_table,
    encoders={"json": _json},
    decode=_from_json,
)

KINDS = (SCALAR, STRING, IMAGE, AUDIO, VIDEO, HISTOGRAM, POINT_CLOUD, TABLE)
