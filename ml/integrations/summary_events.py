"""The summaries that ``SummaryWriter`` adds and no kind of value stands for, as TensorBoard's plugins read them.

Pure functions: arrays and numbers in, protocol buffers out. Of one value::

    histogram_raw   Summary.Value(tag, histo)
    curve           Summary.Value(tag, tensor float32 (6, T)), plugin pr_curves
    mesh            Summary.Value(<tag>_VERTEX | _FACE | _COLOR, tensor float32 (B, N, 3)), plugin mesh
    layout          Summary.Value("custom_scalars__config__", tensor), plugin custom_scalars
    session         two values of the plugin hparams, then the metrics as scalars

Importing this module needs the ``tensorboard`` package; nothing of TensorFlow, and no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsFloat

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Value
from tensorboard.compat.proto.event_pb2 import Event, TaggedRunMetadata
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar_metadata
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.mesh import metadata as mesh_metadata
from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData
from tensorboard.plugins.pr_curve import metadata as pr_curve_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.util.tensor_util import make_tensor_proto

from ml.core.errors import LogValueError

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]
HParam = str | float
Charts = Mapping[str, Sequence[object]]
"""Charts by title: ``("Multiline", tags)`` or ``("Margin", [value, lower, upper])``."""

LAYOUT_TAG: str = custom_scalar_metadata.CONFIG_SUMMARY_TAG

MAX_THRESHOLDS = 127
"""As many as torch's writer takes; the plugin's page has no room for more."""

_LEAST_COUNT = 1e-7


def file_version(wall_time_s: float) -> bytes:
    """Returns the event that a file begins with, if it begins no session."""
    serialized: bytes = Event(wall_time=wall_time_s, file_version="brain.Event:2").SerializeToString()
    return serialized


def text(tag: str, content: str) -> list[Summary.Value]:
    """Returns a text, shown as Markdown in a table of one cell, as torch's writer has it."""
    encoded = content.encode("utf-8", "replace")
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=_shape((1,)), string_val=[encoded])
    return [Summary.Value(tag=tag, metadata=text_metadata.create_summary_metadata("", ""), tensor=tensor)]


def tensor(tag: str, array: Array) -> list[Summary.Value]:
    """Returns an array of any shape and real dtype, for ``EventAccumulator.Tensors``: no page shows it."""
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="tensor"))
    return [Summary.Value(tag=tag, metadata=metadata, tensor=make_tensor_proto(array))]


def histogram_raw(
    tag: str,
    limits: Array,
    counts: Array,
    low: SupportsFloat,
    high: SupportsFloat,
    count: SupportsFloat,
    total: SupportsFloat,
    total_of_squares: SupportsFloat,
) -> list[Summary.Value]:
    """Returns a histogram whose bins are given: ``limits`` are their upper edges.

    Raises:
        LogValueError: There are more or fewer limits than counts.
    """
    if limits.shape != counts.shape:
        problem = f"every bin has an upper limit and a count, got shapes {limits.shape} and {counts.shape}"
        raise LogValueError(problem, "Leave out the lowest edge: limits[1:] of np.histogram.")
    histo = HistogramProto(
        min=float(low),
        max=float(high),
        num=float(count),
        sum=float(total),
        sum_squares=float(total_of_squares),
        bucket_limit=limits.reshape(-1).tolist(),
        bucket=counts.reshape(-1).tolist(),
    )
    return [Summary.Value(tag=tag, histo=histo)]


def confusion(labels: Array, predictions: Array, weights: Array | None, num_thresholds: int) -> Floats:
    """Returns what ``curve`` shows of binary labels and the predicted probabilities of 1.

    Args:
        labels: Any shape, 0 or 1.
        predictions: As many, in [0, 1]; others, and NaN, are left out.
        weights: As many, or one number; ``None`` is 1.
        num_thresholds: Evenly spaced in [0, 1].

    Returns:
        Shape (6, num_thresholds): true positives, false positives, true negatives, false negatives, precision, recall.

    Raises:
        LogValueError: The sizes differ.
    """
    if labels.size != predictions.size or (weights is not None and weights.size not in (1, labels.size)):
        sizes = f"{labels.size} labels, {predictions.size} predictions"
        sizes += "" if weights is None else f" and {weights.size} weights"
        raise LogValueError(f"a curve needs a label and a weight for every prediction, got {sizes}")
    positive = labels.reshape(-1).astype(np.float64)
    weight: Floats | float = 1.0 if weights is None else weights.reshape(-1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        place = np.floor(predictions.reshape(-1) * (num_thresholds - 1))
        valid = (place >= 0) & (place <= num_thresholds - 1)
    indices = place[valid].astype(np.intp)

    def at_least(weighted: Floats) -> Floats:
        """Sums, for every threshold, the weights of what is predicted at or above it."""
        counts = np.bincount(indices, weights=weighted[valid], minlength=num_thresholds).astype(np.float64)
        summed: Floats = np.cumsum(counts[::-1])[::-1]
        return summed

    tp, fp = at_least(positive * weight), at_least((1.0 - positive) * weight)
    tn, fn = fp[0] - fp, tp[0] - tp
    precision = tp / np.maximum(_LEAST_COUNT, tp + fp)
    recall = tp / np.maximum(_LEAST_COUNT, tp + fn)
    return np.stack((tp, fp, tn, fn, precision, recall))


def curve(
    tag: str, labels: Array, predictions: Array, weights: Array | SupportsFloat | None, num_thresholds: int
) -> list[Summary.Value]:
    """Returns the precision-recall curve of predictions; see ``confusion``."""
    weighted = None if weights is None else np.asarray(weights)
    return curve_raw(tag, *confusion(labels, predictions, weighted, min(int(num_thresholds), MAX_THRESHOLDS)))


def curve_raw(tag: str, *rows: Array, num_thresholds: int | None = None) -> list[Summary.Value]:
    """Returns a precision-recall curve, from the six rows that ``confusion`` returns.

    Args:
        tag: Its tag.
        rows: Shape (T,) each.
        num_thresholds: What is said of their number; by default T.

    Raises:
        LogValueError: They differ in their length.
    """
    if len({row.shape for row in rows}) != 1 or rows[0].ndim != 1:
        raise LogValueError(f"the six rows of a curve have one length, got shapes {[row.shape for row in rows]}")
    shown = min(num_thresholds or len(rows[0]), MAX_THRESHOLDS)
    metadata = pr_curve_metadata.create_summary_metadata("", "", shown)
    return [Summary.Value(tag=tag, metadata=metadata, tensor=_floats(np.stack(rows)))]


def mesh(tag: str, vertices: Array, faces: Array | None, colors: Array | None, json_config: str) -> list[Summary.Value]:
    """Returns a mesh or a cloud of points.

    Args:
        tag: Its name.
        vertices: Shape (B, N, 3).
        faces: Shape (B, M, 3): three vertices each.
        colors: Shape (B, N, 3), integers in [0, 255] or floats in [0, 1].
        json_config: Names of Three.js classes, and how they are set up.

    Raises:
        LogValueError: A shape is another.
    """
    if colors is not None and colors.dtype.kind == "f" and colors.size and float(np.nanmax(colors)) <= 1.0:
        colors = np.rint(colors.astype(np.float64) * 255.0)  # the page takes bytes
    parts: list[tuple[int, Array]] = [
        (content, array)
        for content, array in (
            (MeshPluginData.VERTEX, vertices),
            (MeshPluginData.FACE, faces),
            (MeshPluginData.COLOR, colors),
        )
        if array is not None
    ]
    for content, array in parts:
        if array.ndim != 3 or array.shape[2] != 3:
            name = MeshPluginData.ContentType.Name(content).lower()
            raise LogValueError(f"a mesh holds arrays of shape (B, N, 3), got {array.shape} for its {name}")
    components = mesh_metadata.get_components_bitmask([content for content, _ in parts])
    return [
        Summary.Value(
            tag=mesh_metadata.get_instance_name(tag, content),
            metadata=mesh_metadata.create_summary_metadata(
                tag, "", content, components, list(array.shape), json_config=json_config
            ),
            tensor=_floats(array),
        )
        for content, array in parts
    ]


def layout(categories: Mapping[str, Charts]) -> list[Summary.Value]:
    """Returns the page of custom scalars: charts that show several tags each.

    Raises:
        LogValueError: A chart has no list of tags, or a margin chart other than three.
    """
    made = layout_pb2.Layout(
        category=[
            layout_pb2.Category(title=title, chart=[_chart(name, *chart) for name, chart in charts.items()])
            for title, charts in categories.items()
        ]
    )
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=_shape(()), string_val=[made.SerializeToString()])
    metadata = custom_scalar_metadata.create_summary_metadata()
    return [Summary.Value(tag=LAYOUT_TAG, metadata=metadata, tensor=tensor)]


def graph(graph_def: Message, run_metadata: Message) -> tuple[bytes, bytes]:
    """Returns the two events of a graph, from what torch's tracer makes of a model."""
    run = TaggedRunMetadata(tag="step1", run_metadata=run_metadata.SerializeToString())
    return (
        Event(graph_def=graph_def.SerializeToString()).SerializeToString(),
        Event(tagged_run_metadata=run).SerializeToString(),
    )


def session(
    hparams: Mapping[str, HParam], metrics: Mapping[str, float], domains: Mapping[str, Sequence[HParam]]
) -> list[Summary.Value]:
    """Returns a row of the table of hyperparameters: they, that the row is complete, and its metrics.

    An ``Experiment`` is written only where ``domains`` are given, which nothing else can hold: TensorBoard
    takes a single one for the whole log directory, and shows no metric that is not in it.
    """
    start = SessionStartInfo()
    for name, value in hparams.items():
        start.hparams[name].MergeFrom(_value(value))
    contents = [
        (hparams_metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
        (
            hparams_metadata.SESSION_END_INFO_TAG,
            HParamsPluginData(session_end_info=SessionEndInfo(status=api_pb2.STATUS_SUCCESS)),
        ),
    ]
    if domains:
        contents.insert(0, (hparams_metadata.EXPERIMENT_TAG, _experiment(hparams, metrics, domains)))
    values = [
        Summary.Value(
            tag=tag,
            metadata=hparams_metadata.create_summary_metadata(content),
            tensor=hparams_metadata.NULL_TENSOR,
        )
        for tag, content in contents
    ]
    return [*values, *(Summary.Value(tag=tag, simple_value=metric) for tag, metric in metrics.items())]


def summary(values: Iterable[Summary.Value]) -> bytes:
    """Returns an event that holds ``values``, serialized, without its step and wall time."""
    serialized: bytes = Event(summary=Summary(value=values)).SerializeToString()
    return serialized


def values_of(event: bytes) -> list[Summary.Value]:
    """Returns the values of an event that ``summary`` made."""
    return list(Event.FromString(event).summary.value)


def stamped(event: bytes, wall_time_s: float, step: int) -> bytes:
    """Returns a serialized event with its wall-clock time in Unix seconds, and its step."""
    made = Event.FromString(event)
    made.wall_time, made.step = wall_time_s, step
    serialized: bytes = made.SerializeToString()
    return serialized


def _experiment(
    hparams: Mapping[str, HParam], metrics: Mapping[str, float], domains: Mapping[str, Sequence[HParam]]
) -> HParamsPluginData:
    infos = []
    for name, value in hparams.items():
        kind = api_pb2.DATA_TYPE_STRING if isinstance(value, str) else api_pb2.DATA_TYPE_FLOAT64
        info = api_pb2.HParamInfo(name=name, type=kind)
        if name in domains:
            info.domain_discrete.CopyFrom(ListValue(values=[_value(choice) for choice in domains[name]]))
        infos.append(info)
    metric_infos = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics]
    return HParamsPluginData(experiment=api_pb2.Experiment(hparam_infos=infos, metric_infos=metric_infos))


def _value(value: HParam) -> Value:
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)


def _chart(title: str, kind: object, tags: object) -> layout_pb2.Chart:
    if not isinstance(tags, Sequence) or isinstance(tags, str):
        raise LogValueError(f"a chart has a list of tags, got {tags!r} for {title!r}")
    if kind != "Margin":
        return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
    if len(tags) != 3:
        raise LogValueError(f"a margin chart has 3 tags (value, lower, upper), got {len(tags)} for {title!r}")
    value, lower, upper = tags
    series = layout_pb2.MarginChartContent.Series(value=value, lower=lower, upper=upper)
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[series]))


def _floats(array: Array) -> TensorProto:
    return TensorProto(
        dtype=DT_FLOAT, tensor_shape=_shape(array.shape), tensor_content=array.astype("<f4", order="C").tobytes()
    )


def _shape(shape: Sequence[int]) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
