"""Inferences as cards: a small picture of each with what was seen on it, and what is wrong with that."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from ml.core.errors import LogValueError
from ml.media.image import encode_png
from ml.report.html import Html, thumbnail
from ml.report.outlines import Outline, outlined
from ml.report.table import Column, cards
from ml.tracing.judging import MISSED, VERDICTS
from ml.tracing.output import ClassificationOutput, DetectionOutput
from ml.tracing.page_charts import Naming
from ml.tracing.record import Truth
from ml.tracing.summary import answered
from ml.tracing.survey import Sample

COLOURS: Final[Mapping[str, tuple[int, str]]] = {
    "correct": (2, "green"),
    "classification": (1, "orange"),
    "localisation": (4, "ochre"),
    "both": (3, "violet"),
    "duplicate": (5, "teal"),
    "background": (0, "blue"),
    MISSED: (6, "red"),
}
"""The colour of each verdict's outlines: its number, and what it is called."""

MAX_OUTLINES: Final = 30
"""Boxes that are drawn on a picture: the surest."""

_MAX_PICTURE_BYTES = 2**18
_MAX_FIELDS = 4
_MAX_TEXT, _MAX_LABEL = 200, 24  # characters
_MAX_SIDE_PX = 2**24
_OTHER_TRUTH = 7


def cards_of(samples: Sequence[Sample], name: Naming) -> Html:
    """Returns samples as cards.

    Args:
        samples: In order.
        name: What classes are called.
    """
    inferences = [sample.traced.inference for sample in samples]
    epochs = [float(inference.epoch) for inference in inferences]
    columns = [
        Column("", [_picture(sample, name) for sample in samples]),
        Column("input", [_cut(inference.input_id) for inference in inferences]),
        Column("said", [_said(sample, name) for sample in samples]),
    ]
    if any(sample.judgement is not None for sample in samples):
        columns += [
            Column("truth", [_truth(sample, name) for sample in samples]),
            Column("wrong", [_wrong(sample) for sample in samples]),
            Column("worst error", [_worst(sample) for sample in samples], is_choice=True),
            Column("badness", [sample.badness for sample in samples], is_number=True),
        ]
    if any(sample.error_probability is not None for sample in samples):
        columns.append(Column("errors expected", [_expected(sample) for sample in samples], is_number=True))
    columns += [
        *([Column("epoch", epochs, is_number=True)] if len(set(epochs)) > 1 else []),
        *_fields(samples),
        Column("time (UTC)", [_time(inference.time_s) for inference in inferences]),
    ]
    return cards(columns)


def colours_text() -> str:
    """Returns what the colours mean."""
    said = ", ".join(f"{colour} {verdict}" for verdict, (_, colour) in COLOURS.items() if verdict != MISSED)
    return f"Outlines: {said}; dotted ones are true, {COLOURS[MISSED][1]} those that were missed."


def _picture(sample: Sample, name: Naming) -> Html | str:
    inference = sample.traced.inference
    output, picture = inference.output, inference.picture
    said = f"input {_cut(inference.input_id, 80)}: {_said(sample, name)}"
    if picture is not None and len(picture) > _MAX_PICTURE_BYTES:
        picture = None
    try:
        if isinstance(output, ClassificationOutput):
            return "" if picture is None else thumbnail(picture, said)
        height, width = output.image_size
        if not 0 < max(height, width) <= _MAX_SIDE_PX:
            return ""
        frame = [Outline((0, 0, width, height), colour=_OTHER_TRUTH)] if picture is None else []
        outlines = [*frame, *_outlines(sample, output, name)]
        return outlined(picture or _nothing(), said, size_px=(height, width), always=outlines)
    except LogValueError:
        return "The picture cannot be shown."


def _outlines(sample: Sample, output: DetectionOutput, name: Naming) -> list[Outline]:
    shown, truth, judgement = output.shown(), sample.traced.inference.truth, sample.judgement
    outlines = list[Outline]()
    if isinstance(truth, Truth) and judgement is not None:
        missed = set(judgement.missed.tolist())
        for index, xyxy in enumerate(truth.xyxy.tolist()[: 2 * MAX_OUTLINES]):
            is_missed = index in missed
            text = _cut(name(int(truth.labels[index])), _MAX_LABEL) if is_missed else ""
            colour = COLOURS[MISSED][0] if is_missed else _OTHER_TRUTH
            outlines.append(Outline(xyxy, text, colour, is_dashed=True))
    for index in range(min(len(shown), MAX_OUTLINES)):
        label = int(shown.labels[index])
        colour = label if judgement is None else COLOURS[judgement.verdicts[index]][0]
        text = f"{_cut(name(label), _MAX_LABEL)} {shown.scores[index]:.2f}"
        outlines.append(Outline(shown.boxes[index].tolist(), text, colour))
    return outlines


def _said(sample: Sample, name: Naming) -> str:
    output = sample.traced.inference.output
    if isinstance(output, ClassificationOutput):
        labels, scores = answered(output)
    else:
        shown = output.shown()
        labels, scores = shown.labels, shown.scores
    texts = [f"{name(label)} {score:.2f}" for label, score in zip(labels.tolist(), scores.tolist(), strict=True)]
    return _cut(", ".join(texts) or "nothing")


def _truth(sample: Sample, name: Naming) -> str:
    truth = sample.traced.inference.truth
    if isinstance(truth, Truth):
        counts = Counter(truth.labels.tolist())
        texts = [name(label) if times == 1 else f"{times} x {name(label)}" for label, times in counts.items()]
        return _cut(", ".join(texts) or "nothing")
    return "" if truth is None else name(truth)


def _counts(sample: Sample) -> Counter[str]:
    if sample.judgement is None:
        return Counter()
    counts = Counter[str](verdict for verdict in sample.judgement.verdicts if verdict != "correct")
    counts[MISSED] += len(sample.judgement.missed)
    return +counts


def _wrong(sample: Sample) -> str:
    return ", ".join(f"{times} {verdict}" for verdict, times in _counts(sample).most_common())


def _worst(sample: Sample) -> str:
    """Returns the error that costs most: a truth that was missed, or the surest wrong detection's."""
    counts = _counts(sample)
    if counts[MISSED] or sample.judgement is None:
        return MISSED if counts[MISSED] else ""
    return next((verdict for verdict in sample.judgement.verdicts if verdict in VERDICTS[1:]), "")


def _expected(sample: Sample) -> float | None:
    if sample.error_probability is None:
        return None
    return float(np.nansum(sample.error_probability))


def _fields(samples: Sequence[Sample]) -> list[Column]:
    """Returns the fields of the user's own that tell samples apart."""
    columns = list[Column]()
    every = [sample.traced.inference.fields for sample in samples]
    for name in sorted({name for fields in every for name in fields}):
        values = [fields.get(name) for fields in every]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        texts = [None if value is None else _cut(str(value)) for value in values]
        if len(set(texts)) < 2 and len(texts) > 1:
            continue
        is_number = len(numbers) == sum(value is not None for value in values)
        if is_number:
            columns.append(
                Column(name, [float(v) if isinstance(v, int | float) else None for v in values], is_number=True)
            )
        else:
            columns.append(Column(name, texts, is_choice=len(set(texts)) <= MAX_OUTLINES))
    return columns[:_MAX_FIELDS]


def _time(time_s: float) -> str:
    if not math.isfinite(time_s):
        return ""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S}"


def _cut(text: str, length: int = _MAX_TEXT) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _nothing() -> bytes:
    """Returns a picture that lets the page through."""
    return encode_png(np.zeros((4, 1, 1), np.uint8))
