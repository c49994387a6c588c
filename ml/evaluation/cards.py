"""Samples as cards: a small picture of each, what is true of it, and what each version predicts."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import Final

from ml.core.errors import FormatError, WriteError
from ml.evaluation.columns import ColumnKind
from ml.evaluation.judging import Class, Detection, boxes_of
from ml.evaluation.references import Reference
from ml.evaluation.thumbnails import thumbnail_of
from ml.evaluation.timeline import Moment, Timeline
from ml.evaluation.values import Boxes, Image
from ml.report.html import Html, thumbnail
from ml.report.outlines import Outline, outlined
from ml.report.table import Column, Plain, Staged, cards

MAX_OUTLINES: Final = 30
"""Boxes that are drawn of a version on a picture: the surest."""

_MAX_COLUMNS = 4
_MAX_CLASSES = 60  # that a list offers
_MAX_TEXT, _MAX_LABEL = 200, 24  # characters
_NUMBERS: Final[frozenset[ColumnKind | None]] = frozenset({"integer", "number"})
_SHOWN: Final[frozenset[ColumnKind | None]] = _NUMBERS | {"string", "boolean", "timestamp"}


def notable(shown: Timeline, max_samples: int) -> list[Hashable]:
    """Returns the samples to look at first.

    What got worse in the last version comes first, then what got better, what ever changed, what is wrong, what is
    missing or cannot be judged, and the others: each kind in the order of the samples.

    Args:
        shown: The versions.
        max_samples: How many at most.
    """
    return sorted(shown.keys, key=lambda key: _rank([moment.outcomes[key] for moment in shown.moments]))[:max_samples]


def cards_of(shown: Timeline, keys: Sequence[Hashable]) -> Html:
    """Returns samples as cards, which follow the slider of the page.

    Args:
        shown: The versions.
        keys: Of the samples.
    """
    judge, last = shown.judge, shown.moments[-1].evaluation.samples
    truths = [_text(shown, _known_pair(shown, key)[0], is_truth=True) for key in keys]
    pictures = _pictures(shown, keys)
    columns = [
        *([Column("", pictures)] if any(pictures) else []),
        Column(last.key, [_key_text(key) for key in keys]),
        Column("truth", truths, is_choice=not isinstance(judge, Detection) and len(set(truths)) <= _MAX_CLASSES),
        Column(
            "prediction",
            [
                Staged(
                    [
                        _text(shown, pair[1], is_truth=False) if (pair := _pair(moment, key)) else None
                        for moment in shown.moments
                    ]
                )
                for key in keys
            ],
        ),
        Column("change", [Staged([moment.outcomes[key] for moment in shown.moments]) for key in keys], is_choice=True),
        *_further(shown, keys),
    ]
    return cards(columns)


def _rank(outcomes: Sequence[str]) -> int:
    kinds = [
        outcomes[-1] == "right to wrong",
        outcomes[-1] == "wrong to right",
        bool({"right to wrong", "wrong to right"} & set(outcomes)),
        bool({"wrong", "still wrong"} & set(outcomes)),
        bool({"missing", "not judged"} & set(outcomes)),
        True,
    ]
    return kinds.index(True)


def _key_text(key: Hashable) -> str:
    return str(key.row) if isinstance(key, Reference) else _cut(str(key))


def _text(shown: Timeline, value: object, *, is_truth: bool) -> str:
    return _cut(shown.judge.text(value, is_truth=is_truth))


def _cut(text: str, length: int = _MAX_TEXT) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _pair(moment: Moment, key: Hashable) -> tuple[object, object] | None:
    return moment.pairs[moment.rows[key]] if key in moment.rows else None


def _known_pair(shown: Timeline, key: Hashable) -> tuple[object, object]:
    """Returns what the last version that has a sample says of it."""
    return next(pair for moment in reversed(shown.moments) if (pair := _pair(moment, key)) is not None)


def _further(shown: Timeline, keys: Sequence[Hashable]) -> list[Column]:
    """Returns columns of the predictions that tell samples of a version apart."""
    first = shown.moments[-1].evaluation.samples
    used = {first.key, first.truth, first.predicted}
    own = [str(name) for name in first.table.column_names if str(name) not in used]
    columns = list[Column]()
    for name in own:
        has_it = [moment for moment in shown.moments if name in moment.evaluation.samples.column_names]
        kinds = {moment.evaluation.samples.kind(name) for moment in has_it}
        if not kinds <= _SHOWN or all(len(set(moment.evaluation.samples.values(name))) < 2 for moment in has_it):
            continue
        is_number = kinds <= _NUMBERS
        cells = [Staged([_value(moment, name, key, is_number=is_number) for moment in shown.moments]) for key in keys]
        columns.append(Column(name, cells, is_number=is_number))
    return columns[:_MAX_COLUMNS]


def _value(moment: Moment, name: str, key: Hashable, *, is_number: bool) -> Plain:
    samples = moment.evaluation.samples
    if key not in moment.rows or name not in samples.column_names:
        return None
    value = samples.values(name)[moment.rows[key]]
    if value is None:
        return None
    if is_number and isinstance(value, int | float):
        return float(value)
    return value.isoformat(sep=" ", timespec="seconds") if isinstance(value, datetime) else _cut(str(value))


def _pictures(shown: Timeline, keys: Sequence[Hashable]) -> list[Html | str]:
    colours = {name: number for number, name in enumerate(shown.classes)}
    return [_picture(shown, key, colours) for key in keys]


def _picture(shown: Timeline, key: Hashable, colours: Mapping[Class, int]) -> Html | str:
    image = next((found for moment in reversed(shown.moments) if (found := _image(moment, key)) is not None), None)
    if image is None:
        return ""
    truth = _known_pair(shown, key)[0]
    said = f"sample {_key_text(key)}: {_text(shown, truth, is_truth=True)}"
    try:
        file = thumbnail_of(image)
    except (FileNotFoundError, FormatError, WriteError):
        return "The picture cannot be read."
    if not isinstance(shown.judge, Detection):
        return thumbnail(file, said)
    predicted = [
        _outlines(shown.judge.sure(pair[1]) if (pair := _pair(moment, key)) else Boxes([]), colours)
        for moment in shown.moments
    ]
    dashed = _outlines(boxes_of(truth) or Boxes([]), colours, is_truth=True)
    return outlined(file, said, size_px=image.size, always=dashed, in_turn=predicted)


def _image(moment: Moment, key: Hashable) -> Image | None:
    samples = moment.evaluation.samples
    name = next((name for name in samples.column_names if samples.kind(name) == "image"), None)
    if name is None or key not in moment.rows:
        return None
    image = samples.values(name)[moment.rows[key]]
    return image if isinstance(image, Image) else None


def _outlines(boxes: Boxes, colours: Mapping[Class, int], *, is_truth: bool = False) -> list[Outline]:
    order = range(len(boxes)) if boxes.scores is None else (-boxes.scores).argsort(kind="stable").tolist()
    outlines = list[Outline]()
    for index in list(order)[:MAX_OUTLINES]:
        label = 0 if boxes.labels is None else boxes.labels[index]
        texts = ["" if boxes.labels is None else _cut(str(label), _MAX_LABEL)]
        if boxes.scores is not None:
            texts.append(f"{boxes.scores[index]:.2f}")
        text = "" if is_truth else " ".join(filter(None, texts))
        outlines.append(Outline(boxes.xyxy[index].tolist(), text, colours.get(label, 0), is_dashed=is_truth))
    return outlines
