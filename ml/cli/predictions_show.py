"""``mlog predictions show RECORD``: everything that one record holds."""

import argparse
from pathlib import Path

from ml.cli.names import listed
from ml.cli.numbers import compact, size
from ml.cli.output import Column, Output, printable
from ml.cli.predictions_choice import MAX_PIXELS, opened
from ml.cli.predictions_json import as_json
from ml.core.errors import ConfigError
from ml.io.atomic import write_atomically
from ml.predictions.drawing import annotated_png
from ml.predictions.layout import parse_key
from ml.predictions.logged import LoggedPrediction
from ml.predictions.reading import Found, Predictions
from ml.predictions.results import device_text_of, model_text_of, size_of, time_text_of

_PRIVATE = 0o600  # as what it was made from
_MAX_ROWS = 50
_MAX_NAME = 48


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Shows the record, and draws it if that is asked for.

    Raises:
        FileNotFoundError: There is no such file or record.
        ConfigError: Several records have an id that begins so.
        FormatError: It is damaged.
        WriteError: The picture cannot be written, or an object store does not answer.
    """
    key, prediction = _found(arguments)
    if arguments.png is not None:
        write_atomically(arguments.png, annotated_png(prediction, max_area_px=MAX_PIXELS), mode=_PRIVATE)
    if arguments.json:
        output.json({"key": key, **as_json(prediction)})
        return 0
    _show(key, prediction, output)
    if arguments.png is not None:
        output.line(printable(arguments.png))
    return 0


def _found(arguments: argparse.Namespace) -> Found:
    if arguments.source is None:
        return _alone(arguments)
    predictions = opened(arguments.source, arguments)
    if arguments.record.endswith(".bin"):
        return Found(arguments.record, predictions.read(arguments.record))
    return _by_id(predictions, arguments.record)


def _alone(arguments: argparse.Namespace) -> Found:
    """Returns the record of a file, or of the URL of an object."""
    if "://" in arguments.record:
        above, _, key = arguments.record.rpartition("/")
        return Found(key, opened(above, arguments).read(key))
    if not Path(arguments.record).is_file():
        raise ConfigError(
            f"There is no file {arguments.record!r}. Of a key or an id, say where it lies: show RECORD SOURCE."
        )
    return Found(arguments.record, LoggedPrediction.from_path(arguments.record, max_pixels=MAX_PIXELS))


def _by_id(predictions: Predictions, beginning: str) -> Found:
    keys = dict[str, str]()
    for key in predictions.keys():  # noqa: SIM118
        parts = parse_key(key)
        record_id = parts.record_id if parts else ""
        if record_id.startswith(beginning.upper()):
            keys[record_id] = key
    if not keys:
        raise FileNotFoundError(f"No record in {predictions.source} has an id that begins with {beginning!r}.")
    if len(keys) > 1:
        raise ConfigError(f"{len(keys)} records have an id that begins with {beginning!r}: {listed(sorted(keys))}.")
    (key,) = keys.values()
    return Found(key, predictions.read(key))


def _show(key: str, prediction: LoggedPrediction, output: Output) -> None:
    output.line(printable(key), style="bold")
    facts = _facts(prediction)
    width = max(len(name) for name, _ in facts)
    for name, text in facts:
        output.line(f"{name:{width}}  {printable(text)}")
    if prediction.classification:
        rows = sorted(prediction.classification, key=lambda one: -one["probability"])
        _table(
            [
                Column("class", [_name(one["class_name"], output) for one in rows[:_MAX_ROWS]]),
                Column("probability", [f"{one['probability']:.4f}" for one in rows[:_MAX_ROWS]], is_number=True),
            ],
            len(rows),
            output,
        )
    if prediction.detection:
        boxes = list(zip(prediction.detection, prediction.labels, strict=True))[:_MAX_ROWS]
        numbers = {
            name: Column(name, [compact(box[name]) for box, _ in boxes], is_number=True)
            for name in ("x", "y", "width", "height")
        }
        _table(
            [
                Column("class", [_name(label, output) or "-" for _, label in boxes]),
                Column("confidence", [f"{box['confidence']:.4f}" for box, _ in boxes], is_number=True),
                *numbers.values(),
            ],
            len(prediction.detection),
            output,
        )


def _table(columns: list[Column], count: int, output: Output) -> None:
    output.line()
    output.table(columns)
    if count > _MAX_ROWS:
        output.line(f"{count - _MAX_ROWS} more, for --json", style="dim")


def _name(name: str, output: Output) -> str:
    return output.shortened(printable(name), _MAX_NAME)


def _facts(prediction: LoggedPrediction) -> list[tuple[str, str]]:
    stats, logged_at = prediction.inference_stats, prediction.logged_at
    latency = stats["latency_ms"]
    facts = [
        ("id", prediction.record_id),
        ("time", f"{time_text_of(prediction)} UTC"),
        ("logged", "" if logged_at is None else f"{logged_at:%Y-%m-%d %H:%M:%S.%f} UTC"),
        ("run", prediction.run_id),
        ("type", prediction.model["type"].lower()),
        ("model", model_text_of(prediction)),
        ("device", device_text_of(prediction)),
        ("latency", "" if latency is None else f"{compact(latency)} ms on {stats['inference_device']}"),
        ("error", prediction.error_message),
        ("image", _image(prediction)),
    ]
    return [(name, text) for name, text in facts if text]


def _image(prediction: LoggedPrediction) -> str:
    size_px = size_of(prediction)
    if size_px is None:
        return ""
    what = f"left out: {prediction.omitted}" if prediction.omitted else size(len(prediction.image_bytes))
    return f"{size_px[1]} x {size_px[0]}, {prediction.codec}, {what}"
