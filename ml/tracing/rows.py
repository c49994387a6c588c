"""An inference as rows of the tables."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from ml.core.errors import LogValueError
from ml.core.redact import MASK, Redactor, is_secret
from ml.loggers.strict_json import Json, encoder, strict
from ml.tracing.fields import FieldSpec, value_of
from ml.tracing.output import ClassificationOutput, DetectionOutput
from ml.tracing.packing import pack_array, pack_candidates
from ml.tracing.record import FieldValue, Inference, Truth
from ml.tracing.schema import NAME_LENGTH

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = 2**63
_INFERENCE_BYTES, _DETECTION_BYTES = 2000, 200

_encode = encoder((", ", ": "))

Row = dict[str, object]


class Rows(NamedTuple):
    """The rows of an inference: its own, and those of each table whose rows belong to it."""

    inference: Row
    parts: Mapping[str, list[Row]]


def inference_id(run: str, dataset_type: str, epoch: int, input_id: str) -> str:
    """Returns the id of an inference, 32 hexadecimal digits: what has the same id is the same inference."""
    key = _encode([run, dataset_type, epoch, input_id])
    return hashlib.sha256(key).hexdigest()[:32]


def size_of(inference: Inference) -> int:
    """Returns about how many bytes an inference takes in memory."""
    output = inference.output
    arrays: list[np.ndarray | None] = [*inference.features.values()]
    if isinstance(output, DetectionOutput):
        arrays += [output.boxes, output.scores, output.labels, output.candidates, output.logits, output.visible]
    else:
        arrays.append(output.logits)
    size = sum(array.nbytes for array in arrays if array is not None) + len(inference.picture or b"")
    if isinstance(inference.truth, Truth):
        size += _DETECTION_BYTES * len(inference.truth.labels) * (2 if inference.truth.fields else 1)
    return size + _INFERENCE_BYTES + sum(_size_of_field(value) for value in inference.fields.values())


class RowMaker:
    """Makes the rows of one process's inferences.

    Args:
        run: The uuid of its run.
        rank: Of the process.
        fields: The columns of ``inferences`` that are the user's own.
        label_fields: Those of ``ground_truths``.
        redactor: Takes secrets out of texts.
    """

    def __init__(
        self,
        run: str,
        rank: int,
        fields: Sequence[FieldSpec],
        label_fields: Sequence[FieldSpec],
        redactor: Redactor,
    ) -> None:
        self._run, self._rank, self._redactor = run, rank, redactor
        self._fields, self._label_fields = tuple(fields), tuple(label_fields)

    def rows_of(self, inference: Inference) -> Rows:
        """Returns the rows of an inference; ``run_id`` is still missing.

        Raises:
            LogValueError: It cannot be kept.
        """
        for name, text in (("input_id", inference.input_id), ("dataset_type", inference.dataset_type)):
            if not isinstance(text, str):
                raise LogValueError(f"{name} is a text, got {text!r:.80}")
        if len(inference.dataset_type) > NAME_LENGTH:
            raise LogValueError(
                f"a dataset type has {NAME_LENGTH} characters at most, got {inference.dataset_type!r:.80}"
            )
        known = inference_id(self._run, inference.dataset_type, inference.epoch, inference.input_id)
        output, truth = inference.output, inference.truth
        row: Row = {
            "id": known,
            "input_id": self._redactor.redact_text(inference.input_id),
            "dataset_type": inference.dataset_type,
            "epoch": _whole("epoch", inference.epoch),
            "rank": self._rank,
            "step": _whole("step", inference.step),
            "time": _moment(inference.time_s),
            "latency_s": inference.latency_s,
            "height": None if output.image_size is None else int(output.image_size[0]),
            "width": None if output.image_size is None else int(output.image_size[1]),
            "has_truth": truth is not None,
            "truth_label": None if truth is None or isinstance(truth, Truth) else _whole("truth", truth),
            **inference.setting._asdict(),
            **self._columns(self._fields, inference.fields),
        }
        parts: dict[str, list[Row]] = {
            "features": [_feature(known, alias, array) for alias, array in inference.features.items()],
            "pictures": [] if inference.picture is None else [{"inference_id": known, "png": inference.picture}],
        }
        if isinstance(output, DetectionOutput):
            kept, parts["detections"], parts["candidates"] = _detected(known, inference, output)
        else:
            kept, parts["classifications"] = _classified(known, inference, output)
        if isinstance(truth, Truth):
            parts["ground_truths"] = self._truths(known, truth)
        return Rows({**row, **kept, "num_candidates": _whole("num_candidates", inference.num_candidates)}, parts)

    def _truths(self, known: str, truth: Truth) -> list[Row]:
        if truth.fields and len(truth.fields) != len(truth.labels):
            raise LogValueError(f"{len(truth.labels)} labels have as many fields, got {len(truth.fields)}")
        fields = truth.fields or ({},) * len(truth.labels)
        together = enumerate(zip(truth.xyxy.tolist(), truth.labels.tolist(), fields, strict=True))
        return [
            _boxed(known, number, box) | {"label": label, **self._columns(self._label_fields, values)}
            for number, (box, label, values) in together
        ]

    def _columns(self, specs: Sequence[FieldSpec], values: Mapping[str, FieldValue]) -> Row:
        if unknown := values.keys() - {spec.name for spec in specs}:
            raise LogValueError(f"there is no field {sorted(unknown)[0]!r:.80}")
        return {spec.name: self._kept(spec, values.get(spec.name)) for spec in specs}

    def _kept(self, spec: FieldSpec, value: FieldValue | None) -> object:
        if value is None:
            return None
        if spec.type == "json":
            try:
                return _encode(self._clean(value)).decode()
            except (TypeError, ValueError, RecursionError) as error:
                raise LogValueError(f"the field {spec.name!r} cannot be kept as JSON ({error!s:.200})") from error
        kept = value_of(spec, value)
        if isinstance(kept, str):
            return self._redactor.redact_text(kept)
        return None if isinstance(kept, float) and math.isnan(kept) else kept

    def _clean(self, node: Json) -> Json:
        """Returns JSON without secrets, and without the numbers that it lacks."""
        if isinstance(node, dict):
            return {
                self._redactor.redact_text(name): MASK if is_secret(name, value) else self._clean(value)
                for name, value in node.items()
            }
        if isinstance(node, list | tuple):
            return [self._clean(item) for item in node]
        if isinstance(node, str):
            return self._redactor.redact_text(node)
        return strict(node) if isinstance(node, float) else node


def _detected(known: str, inference: Inference, output: DetectionOutput) -> tuple[Row, list[Row], list[Row]]:
    if output.visible is None:
        raise LogValueError("nobody has decided which candidates are visible")
    shown = replace(output, logits=None).shown()
    errors = _errors(inference, len(shown))
    columns = (shown.candidates.tolist(), shown.boxes.tolist(), shown.scores.tolist(), shown.labels.tolist())
    detections = [
        _boxed(known, number, box)
        | {"candidate": candidate, "score": score, "label": label, "error_probability": errors[number]}
        for number, (candidate, box, score, label) in enumerate(zip(*columns, strict=True))
    ]
    with np.errstate(invalid="ignore"):  # of infinities
        mean = float(shown.scores.mean(dtype=np.float64)) if len(shown) else None
    row: Row = {
        "num_kept": len(output),
        "num_visible": len(shown),
        "mean_score": mean,
        "max_score": float(shown.scores.max()) if len(shown) else None,
    }
    return row, detections, [{"inference_id": known, "count": len(output), "data": pack_candidates(output)}]


def _classified(known: str, inference: Inference, output: ClassificationOutput) -> tuple[Row, list[Row]]:
    if output.logits.ndim != 1 or not len(output.logits):
        raise LogValueError(f"the logits of a classifier have shape (C,), got {output.logits.shape}")
    label = int(output.logits.argmax())
    probability = float(output.probabilities()[label])
    row: Row = {"num_kept": 1, "num_visible": 1, "mean_score": probability, "max_score": probability}
    classified: Row = {
        "inference_id": known,
        "label": label,
        "probability": probability,
        "error_probability": _errors(inference, 1)[0],
        "logits": np.ascontiguousarray(output.logits, "<f4").tobytes(),
    }
    return row, [classified]


def _errors(inference: Inference, count: int) -> list[float | None]:
    if inference.error_probability is None:
        return [None] * count
    if inference.error_probability.shape != (count,):
        raise LogValueError(f"error_probability has shape ({count},), got {inference.error_probability.shape}")
    numbers: list[float | None] = inference.error_probability.tolist()
    return numbers


def _boxed(known: str, number: int, box: Sequence[float]) -> Row:
    return {"inference_id": known, "number": number, "x1": box[0], "y1": box[1], "x2": box[2], "y2": box[3]}


def _feature(known: str, alias: str, array: np.ndarray) -> Row:
    dtype, shape, data = pack_array(array)
    return {"inference_id": known, "alias": alias, "dtype": dtype, "shape": shape, "data": data}


def _whole(name: str, number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or not -_INTEGER <= number < _INTEGER:
        raise LogValueError(f"{name} is a whole number of 64 bits, got {number!r:.60}")
    return int(number)


def _moment(time_s: float) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=time_s)
    except (OverflowError, ValueError):
        raise LogValueError(f"no calendar has a moment {time_s!r} s after 1970") from None


def _size_of_field(value: object) -> int:
    if isinstance(value, dict | list | tuple):
        items = value.values() if isinstance(value, dict) else value
        return 100 + sum(map(_size_of_field, items))
    return 100 + len(value) if isinstance(value, str) else 100
