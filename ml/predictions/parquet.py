"""Records as one Parquet file: a row a record, its classes and boxes as lists of structs.

::

    pandas.read_parquet("predictions.parquet")[["time", "model_name", "class_name", "confidence", "boxes"]]

Rows are written in groups as the records are read, so what is held is one group: at most ``ROWS_PER_GROUP`` rows, or
``MAX_GROUP_BYTES`` of pictures.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ml.core.errors import missing
from ml.predictions.layout import moment_of
from ml.predictions.logged import LoggedPrediction
from ml.predictions.reading import Found
from ml.predictions.results import size_of, surest_of

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_GROUP = 10_000
MAX_GROUP_BYTES = 64 * 2**20

Row = dict[str, object]


def require_pyarrow() -> None:
    """Loads pyarrow.

    Raises:
        ConfigError: It is not installed, or cannot be imported.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise missing("Parquet", "pyarrow", "parquet", error) from error


def write_parquet(
    path: Path, found: Iterable[Found], *, has_images: bool = False, rows_per_group: int = ROWS_PER_GROUP
) -> int:
    """Writes records as a Parquet file, and returns how many.

    Args:
        path: The file; one that is there is overwritten.
        found: The records.
        has_images: Whether the pictures are written too, encoded as they were logged: ``image_bytes``.
        rows_per_group: Rows that are held and written together, at most.

    Raises:
        ConfigError: pyarrow is not installed.
        OSError: The file cannot be written.
    """
    require_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, count = _schema(has_images=has_images), 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _groups(found, rows_per_group, has_images=has_images):
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))
            count += len(rows)
    return count


def _groups(found: Iterable[Found], rows_per_group: int, *, has_images: bool) -> Iterator[list[Row]]:
    rows, size_bytes = list[Row](), 0
    for key, prediction in found:
        row = _row(key, prediction)
        if has_images:
            row["image_bytes"] = prediction.image_bytes or None
            size_bytes += len(prediction.image_bytes)
        rows.append(row)
        if len(rows) >= rows_per_group or size_bytes >= MAX_GROUP_BYTES:
            yield rows
            rows, size_bytes = [], 0
    if rows:
        yield rows


def _schema(*, has_images: bool) -> "pa.Schema":
    import pyarrow as pa

    classes = pa.list_(pa.struct({"class_name": pa.string(), "probability": pa.float32()}))
    box = {name: pa.float32() for name in ("x", "y", "width", "height", "confidence")}
    fields = {
        "key": pa.string(),
        "record_id": pa.string(),
        "run_id": pa.string(),
        "time": pa.timestamp("ms", "UTC"),
        "logged_at": pa.timestamp("us", "UTC"),
        "type": pa.dictionary(pa.int32(), pa.string()),
        "model_name": pa.dictionary(pa.int32(), pa.string()),
        "model_version": pa.dictionary(pa.int32(), pa.string()),
        "group": pa.dictionary(pa.int32(), pa.string()),
        "device": pa.dictionary(pa.int32(), pa.string()),
        "latency_ms": pa.float64(),
        "inference_device": pa.dictionary(pa.int32(), pa.string()),
        "error_message": pa.string(),
        "class_name": pa.string(),
        "confidence": pa.float32(),
        "classification": classes,
        "boxes": pa.list_(pa.struct({**box, "class_name": pa.string(), "classification": classes})),
        "height": pa.int32(),
        "width": pa.int32(),
        "codec": pa.dictionary(pa.int32(), pa.string()),
        "omitted": pa.string(),
        **({"image_bytes": pa.binary()} if has_images else {}),
    }
    return pa.schema(fields)


def _row(key: str, prediction: LoggedPrediction) -> Row:
    stats, device, model = prediction.inference_stats, prediction.device_details, prediction.model
    surest = surest_of(prediction)
    height, width = size_of(prediction) or (None, None)
    return {
        "key": key,
        "record_id": prediction.record_id,
        "run_id": prediction.run_id,
        "time": moment_of(prediction.timestamp),
        "logged_at": prediction.logged_at,
        "type": model["type"],
        "model_name": model["name"],
        "model_version": model["version"],
        "group": device["group_name"],
        "device": device["device_name"],
        "latency_ms": stats["latency_ms"],
        "inference_device": stats["inference_device"],
        "error_message": prediction.error_message,
        "class_name": surest and surest.class_name,
        "confidence": surest and surest.confidence,
        "classification": prediction.classification,
        "boxes": [
            {**box, "class_name": label} for box, label in zip(prediction.detection, prediction.labels, strict=True)
        ],
        "height": height,
        "width": width,
        "codec": prediction.codec,
        "omitted": prediction.omitted,
    }
