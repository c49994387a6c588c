"""Traced inferences, read back: as they were, as frames, as batches of Arrow's.

::

    with open_traces("traces.db") as traces:
        for traced in traces.read(Selection("fcos", "v1", "val")):
            print(traced.inference.input_id, traced.inference.output.shown().scores)
        traces.detections(Selection("fcos", "v1")).groupby("label")["score"].median()

Nothing is changed, and nothing waits: a database can be read while others write to it. What is iterated over comes a
page at a time, so it needs no memory; a frame is all in memory.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ml.core.errors import FormatError, missing
from ml.loggers.strict_json import loads, parsing
from ml.tracing import results
from ml.tracing.fields import FieldSpec
from ml.tracing.opening import TraceDatabase, open_all
from ml.tracing.output import ClassificationOutput, DetectionOutput, NmsConfig
from ml.tracing.overview import Overview, overview_of, version_of
from ml.tracing.packing import unpack_array, unpack_candidates, unpack_logits
from ml.tracing.record import FieldValue, Inference, Truth
from ml.tracing.results import OfVersion, Result
from ml.tracing.schema import PARTS
from ml.tracing.selection import Selection
from ml.tracing.streaming import Mapped, located, parts_of
from ml.tracing.tables import register_batches, table_batches, table_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame

__all__ = ["Result", "Traced", "Traces", "open_traces"]

_AT_ONCE = 32


class Traced(NamedTuple):
    """An inference in a database.

    Attributes:
        id: Of the inference.
        run: The uuid of its run.
        rank: Of the process that traced it.
        inference: As it was kept: logits have the precision of 16 bits, times that of a microsecond.
    """

    id: str
    run: str
    rank: int
    inference: Inference


class Traces:
    """The inferences in some databases. ``open_traces`` makes it."""

    def __init__(self, databases: Sequence[TraceDatabase]) -> None:
        self._databases = tuple(databases)

    def __repr__(self) -> str:
        return f"Traces({', '.join(map(repr, self._databases))})"

    # as they were

    def read(self, selection: Selection) -> Iterator[Traced]:
        """Yields inferences, sorted by dataset type, epoch, step and input id.

        Raises:
            ConfigError: The selection is wrong, there is no such version, or a database cannot be read.
            FormatError: One is damaged.
        """
        stream, is_empty = located(self._databases, selection), True
        while some := list(islice(stream, _AT_ONCE)):
            is_empty = False
            parts = {name: parts_of(self._databases, some, name) for name in PARTS}
            for inference in some:
                own = {name: rows[inference.row["id"]] for name, rows in parts.items()}
                yield _traced(inference.row, own, self._databases[inference.database])
        if is_empty:
            self._require(selection)

    def overview(self) -> Overview:
        """Returns what there is: versions, and of each run how much of what.

        Raises:
            ConfigError, FormatError: A database cannot be read, or is damaged.
        """
        return overview_of(self._databases)

    # as frames

    def models(self) -> "DataFrame":
        """Returns the models, a row each."""
        return self._register("models")

    def versions(self) -> "DataFrame":
        """Returns the versions of all models, a row each."""
        return self._register("versions")

    def runs(self) -> "DataFrame":
        """Returns the processes of all runs, a row each, in the order in which they began."""
        return self._register("runs")

    def results(self, of: OfVersion | None = None) -> "DataFrame":
        """Returns the results of a version, or of all, a row each."""
        frame = self._register("results")
        if of is None:
            return frame
        here = (frame["model_name"] == of.model_name) & (frame["version_name"] == of.version_name)
        return frame[here].reset_index(drop=True)

    def inferences(self, selection: Selection) -> "DataFrame":
        """Returns inferences, a row each, with the columns of the user's own.

        Raises:
            ConfigError, FormatError: As ``read``; or pandas or pyarrow is not installed.
        """
        return self._frame("inferences", selection)

    def detections(self, selection: Selection) -> "DataFrame":
        """Returns what the user saw, a row a detection, those of an inference by descending score."""
        return self._frame("detections", selection)

    def classifications(self, selection: Selection) -> "DataFrame":
        """Returns what a classifier said, a row an inference; ``logits`` is an array, shape (C,)."""
        frame = self._frame("classifications", selection)
        arrays = np.empty(len(frame), object)
        for number, logits in enumerate(frame["logits"]):
            arrays[number] = unpack_logits(logits)
        frame["logits"] = arrays
        return frame

    def truths(self, selection: Selection) -> "DataFrame":
        """Returns the true boxes, a row each."""
        return self._frame("ground_truths", selection)

    def features(self, selection: Selection) -> "DataFrame":
        """Returns the features, a row for each inference and alias; ``data`` is an array."""
        frame = self._frame("features", selection)
        columns = zip(frame["dtype"], frame["shape"], frame["data"], strict=True)
        arrays = np.empty(len(frame), object)
        for number, (dtype, shape, data) in enumerate(columns):
            arrays[number] = unpack_array(dtype, shape, data)
        frame["data"] = arrays
        return frame

    # as batches

    def table_batches(
        self, name: str, selection: Selection, *, ids: Sequence[str] | None = None
    ) -> "Iterator[pa.RecordBatch]":
        """Yields the rows of a table that belong to inferences, as ``ml.tracing.tables`` says.

        Args:
            name: Of the table.
            selection: Which inferences.
            ids: Only these of them.

        Raises:
            ConfigError, FormatError: As ``read``; or there is no such table, or pyarrow is not installed.
        """
        return table_batches(self._databases, name, selection, ids)

    # results

    def save_result(self, of: OfVersion, result: Result) -> None:
        """Keeps a result in the first database.

        Raises:
            ConfigError: It has no such version, or has a result of this name, or the name is none.
            LogValueError: Options or data are no JSON.
            WriteError: Not now.
        """
        results.save_result(self._databases[0], of, result)

    def load_result(self, of: OfVersion, name: str) -> Result | None:
        """Returns a result, of the first database that has one of this name; ``None``: none has.

        Raises:
            ConfigError, FormatError: A database cannot be read, or is damaged.
        """
        for database in self._databases:
            if (found := results.load_result(database, of, name)) is not None:
                return found
        return None

    def close(self) -> None:
        """Closes the connections; what is read afterwards opens new ones."""
        for database in self._databases:
            database.close()

    def __enter__(self) -> "Traces":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _register(self, name: str) -> "DataFrame":
        return _to_pandas(register_batches(self._databases, name), table_schema(self._databases, name))

    def _frame(self, name: str, selection: Selection) -> "DataFrame":
        batches = table_batches(self._databases, name, selection)
        frame = _to_pandas(batches, table_schema(self._databases, name))
        if frame.empty:
            self._require(selection)
        return frame

    def _require(self, selection: Selection) -> None:
        """Raises a ``ConfigError`` that lists names, unless the version is there: then it has no such inferences."""
        version_of(self.overview(), selection.model_name, selection.version_name)


def open_traces(*databases: str | Path) -> Traces:
    """Opens databases of traces for reading; others may write to them meanwhile.

    Args:
        databases: Paths of SQLite files, or URLs of SQLAlchemy's. Beside a file those of its other ranks are read
            too. An inference that several have is there once.

    Raises:
        FileNotFoundError: There is no such file.
        FormatError: A file is no SQLite database.
        ConfigError: One is no database for traces, newer software made it, or it does not answer.
    """
    return Traces(open_all(databases))


def _traced(row: Mapped, parts: dict[str, list[Mapped]], database: TraceDatabase) -> Traced:
    with parsing("no inference"):
        size = None if row["height"] is None or row["width"] is None else (int(row["height"]), int(row["width"]))
        output, judged = _output(row, parts, size)
        errors = [detection["error_probability"] for detection in judged]
        known = np.array([np.nan if error is None else error for error in errors], np.float32)
        inference = Inference(
            input_id=row["input_id"],
            dataset_type=row["dataset_type"],
            epoch=row["epoch"],
            step=row["step"],
            time_s=row["time"].timestamp(),
            latency_s=row["latency_s"],
            output=output,
            num_candidates=row["num_candidates"],
            setting=NmsConfig(row["score_thresh"], row["iou_thresh"], row["max_detections_per_image"]),
            truth=_truth(row, parts["ground_truths"], database.label_fields),
            features={f["alias"]: unpack_array(f["dtype"], f["shape"], f["data"]) for f in parts["features"]},
            fields=_fields(row, database.fields),
            picture=next((picture["png"] for picture in parts["pictures"]), None),
            error_probability=None if all(error is None for error in errors) else known,
        )
    return Traced(row["id"], row["run"], row["rank"], inference)


def _output(
    row: Mapped, parts: dict[str, list[Mapped]], size: tuple[int, int] | None
) -> tuple[DetectionOutput | ClassificationOutput, list[Mapped]]:
    for candidates in parts["candidates"]:
        output = unpack_candidates(candidates["data"], size or (0, 0))
        if output.visible is None:
            raise FormatError(f"the inference {row['id']} does not say what was visible")
        return output, parts["detections"]
    for classified in parts["classifications"]:
        return ClassificationOutput(unpack_logits(classified["logits"]), size), parts["classifications"]
    raise FormatError(f"the inference {row['id']} has no output")


def _truth(row: Mapped, boxes: list[Mapped], specs: Sequence[FieldSpec]) -> Truth | int | None:
    if not row["has_truth"]:
        return None
    if row["truth_label"] is not None:
        return int(row["truth_label"])
    xyxy = np.array([[box[corner] for corner in ("x1", "y1", "x2", "y2")] for box in boxes], np.float32)
    fields = tuple(_fields(box, specs) for box in boxes)
    labels = np.array([box["label"] for box in boxes], np.int64)
    return Truth(xyxy.reshape(-1, 4), labels, fields if any(fields) else ())


def _fields(row: Mapped, specs: Sequence[FieldSpec]) -> dict[str, FieldValue]:
    there = [spec for spec in specs if row[spec.name] is not None]
    return {spec.name: loads(row[spec.name].encode()) if spec.type == "json" else row[spec.name] for spec in there}


def _to_pandas(batches: "Iterator[pa.RecordBatch]", schema: "pa.Schema") -> "DataFrame":
    try:
        import pandas  # noqa: F401  # pyarrow makes the frame, and says less when it is missing
        import pyarrow
    except ImportError as error:
        raise missing("A frame of traces", "pandas and pyarrow", "tracing", error) from error
    frame: Any = pyarrow.Table.from_batches(batches, schema).to_pandas()
    return cast("DataFrame", frame)
