"""Whether predictions are right, and how many: of classes, and of boxes.

A *pair* is what is true of a sample and what was predicted. ``None`` is a sample whose truth is not known, which nobody
can judge, or one of which nothing was predicted, which is wrong.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from ml.core.errors import ConfigError
from ml.detection.average_precision import mean_average_precision
from ml.detection.boxes import Detections, common_labels
from ml.detection.matching import match
from ml.evaluation.values import Boxes, Image

Class: TypeAlias = str | int | float | bool
Pair: TypeAlias = tuple[object, object]
Confusion: TypeAlias = Mapping[tuple[Class | None, Class | None], int]
"""How often a class (first) was taken for another (second). ``None`` first: something was found where nothing is.
``None`` second: nothing was predicted, or what is there was not found."""

IOU_THRESHOLD: Final = 0.5
MIN_SCORE: Final = 0.3


class Figure(NamedTuple):
    """How well one class is predicted.

    Attributes:
        value: In [0, 1]; NaN where there is none of it.
        support: How many there are of it.
    """

    value: float
    support: int


class Figures(NamedTuple):
    """How well samples are predicted.

    Attributes:
        value: Of all together, in [0, 1]; NaN where there are none.
        by_class: In the order of the classes.
    """

    value: float
    by_class: Mapping[Class, Figure]


class Judge(Protocol):
    """Says how good predictions are.

    Attributes:
        metric: What its figure is called.
        class_metric: What its figure of one class is called.
    """

    @property
    def metric(self) -> str: ...

    @property
    def class_metric(self) -> str: ...

    def is_known(self, truth: object) -> bool:
        """Whether the truth of a sample is known."""
        ...

    def is_same(self, truth: object, other: object) -> bool:
        """Whether a sample has the same truth in both of two versions that know it."""
        ...

    def is_right(self, truth: object, predicted: object) -> bool:
        """Whether the prediction for a sample whose truth is known is right."""
        ...

    def figures(self, pairs: Sequence[Pair]) -> Figures:
        """Returns how well samples whose truth is known are predicted."""
        ...

    def confusion(self, pairs: Sequence[Pair]) -> Confusion:
        """Returns what was taken for what, in order of the classes."""
        ...

    def text(self, value: object, *, is_truth: bool) -> str:
        """Returns what is true or was predicted, as text."""
        ...


class Classification:
    """One class for each sample: right where it is the true one. The figure of a class is the part of it found."""

    metric: Final = "accuracy"
    class_metric: Final = "accuracy"

    def is_known(self, truth: object) -> bool:
        """See ``Judge``."""
        return class_of(truth) is not None

    def is_same(self, truth: object, other: object) -> bool:
        """See ``Judge``."""
        return class_of(truth) == class_of(other)

    def is_right(self, truth: object, predicted: object) -> bool:
        """See ``Judge``."""
        return class_of(truth) == class_of(predicted)

    def figures(self, pairs: Sequence[Pair]) -> Figures:
        """See ``Judge``."""
        count, right = Counter[Class](), Counter[Class]()
        for truth, predicted in pairs:
            name = class_of(truth)
            assert name is not None
            count[name] += 1
            right[name] += self.is_right(truth, predicted)
        by_class = {name: Figure(right[name] / count[name], count[name]) for name in ordered(count)}
        return Figures(right.total() / count.total() if count else float("nan"), by_class)

    def confusion(self, pairs: Sequence[Pair]) -> Confusion:
        """See ``Judge``."""
        return _sorted(Counter((class_of(truth), class_of(predicted)) for truth, predicted in pairs))

    def text(self, value: object, *, is_truth: bool) -> str:
        """See ``Judge``."""
        name = class_of(value)
        return "" if name is None else str(name)


class Detection:
    """Boxes on each sample: right where every true box is found, and nothing else is.

    A sure prediction finds a true box of its class as ``ml.detection.matching`` says. The figures are average
    precision, for which every prediction counts; in a confusion, boxes of other classes are matched, too.

    Args:
        iou_threshold: Of a match, in (0, 1].
        min_score: From which score on a prediction is a sure one; one without scores is.

    Raises:
        ConfigError: A threshold is out of its range.
    """

    metric: Final = "mAP"
    class_metric: Final = "AP"

    def __init__(self, *, iou_threshold: float = IOU_THRESHOLD, min_score: float = MIN_SCORE) -> None:
        if not 0 < iou_threshold <= 1:
            raise ConfigError(f"iou_threshold is above 0 and at most 1, got {iou_threshold!r}.")
        if not min_score == min_score:
            raise ConfigError(f"min_score is a number, got {min_score!r}.")
        self.iou_threshold, self.min_score = iou_threshold, min_score

    def is_known(self, truth: object) -> bool:
        """See ``Judge``."""
        return boxes_of(truth) is not None

    def is_same(self, truth: object, other: object) -> bool:
        """See ``Judge``."""
        return boxes_of(truth) == boxes_of(other)

    def is_right(self, truth: object, predicted: object) -> bool:
        """See ``Judge``."""
        matches = match(self.sure(predicted), _there(truth), iou_threshold=self.iou_threshold)
        return not len(matches.unmatched_predicted) and not len(matches.unmatched_truth)

    def figures(self, pairs: Sequence[Pair]) -> Figures:
        """See ``Judge``.

        Raises:
            LogValueError: Predictions have no scores, or labels cannot be compared.
        """
        predictions, truths = [_all(predicted) for _, predicted in pairs], [_there(truth) for truth, _ in pairs]
        found = mean_average_precision(predictions, truths)
        return Figures(found.map, {name: Figure(one.ap, one.num_truths) for name, one in found.by_class.items()})

    def confusion(self, pairs: Sequence[Pair]) -> Confusion:
        """See ``Judge``."""
        counts = Counter[tuple[Class | None, Class | None]]()
        for truth, predicted in pairs:
            there, sure = _there(truth), self.sure(predicted)
            matches = match(sure, there, iou_threshold=self.iou_threshold, by_class=False)
            labels, true_labels = (found.tolist() for found in common_labels(sure, there))
            counts.update((true_labels[true], labels[found]) for found, true in matches.pairs.tolist())
            counts.update((true_labels[true], None) for true in matches.unmatched_truth.tolist())
            counts.update((None, labels[found]) for found in matches.unmatched_predicted.tolist())
        return _sorted(counts)

    def text(self, value: object, *, is_truth: bool) -> str:
        """See ``Judge``."""
        boxes = _there(value) if is_truth else self.sure(value)
        counts = Counter[Class](["box"] * len(boxes) if boxes.labels is None else boxes.labels)
        return ", ".join(f"{name}" if counts[name] == 1 else f"{counts[name]} x {name}" for name in ordered(counts))

    def sure(self, predicted: object) -> Boxes:
        """Returns the sure predictions; none where there are none."""
        boxes = boxes_of(predicted) or Boxes([])
        if boxes.scores is None:
            return boxes
        chosen = (boxes.scores >= self.min_score).nonzero()[0].tolist()
        labels = None if boxes.labels is None else [boxes.labels[index] for index in chosen]
        return Boxes(boxes.xyxy[chosen], labels, boxes.scores[chosen])  # type: ignore[arg-type]


def class_of(value: object) -> Class | None:
    """Returns a value of a column as a class: 3.0 is 3, NaN is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float) and value == value else None


def boxes_of(value: object) -> Boxes | None:
    """Returns the boxes that a value is or has; ``None``: there are none, not even an empty list of them."""
    return value.boxes if isinstance(value, Image) else value if isinstance(value, Boxes) else None


def ordered(classes: Iterable[Class]) -> list[Class]:
    """Returns classes in order: numbers by value, then texts."""
    return sorted(classes, key=_order)


def _order(name: Class | None) -> tuple[int, float, str]:
    if name is None:
        return 2, 0.0, ""
    return (1, 0.0, name) if isinstance(name, str) else (0, name, "")


def _sorted(counts: Counter[tuple[Class | None, Class | None]]) -> Confusion:
    return dict(sorted(counts.items(), key=lambda item: (_order(item[0][0]), _order(item[0][1]))))


def _there(truth: object) -> Boxes:
    return boxes_of(truth) or Boxes([])


def _all(predicted: object) -> Boxes | Detections:
    boxes = boxes_of(predicted)
    return Detections([], [], []) if boxes is None or not len(boxes) else boxes
