"""Confusion matrices: axis 0 is predicted, axis 1 is actual. scikit-learn has them the other way round."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, cast

from ml.benchmarks.values import numbers, plain
from ml.core.errors import LogValueError
from ml.core.plain import Plain

Axis = Literal["predicted", "actual"]


def confusion_matrix(y_true: object, y_pred: object, labels: object) -> list[list[int]]:
    """Counts how often a class was taken for another one, as ``ConfusionMatrixTracker`` takes it.

    Args:
        y_true: The actual class of each example: labels in a list, an array, a tensor or a series.
        y_pred: The predicted class of each example, in the same order.
        labels: The classes, in the order of the axes.

    Returns:
        Shape (classes, classes): at ``[i][j]`` the examples that are of ``labels[j]`` and were taken for ``labels[i]``.

    Raises:
        LogValueError: There are not as many of the one as of the other, a class has no label, or a label is there
            twice.
    """
    actual, predicted, names = _items(y_true, "y_true"), _items(y_pred, "y_pred"), _items(labels, "labels")
    if len(actual) != len(predicted):
        raise LogValueError(f"y_true has {len(actual)} examples, and y_pred {len(predicted)}")
    index = {name: position for position, name in enumerate(names)}
    if len(index) < len(names):
        raise LogValueError(f"labels name a class twice: {names!r:.200}")
    unknown = [name for name in (*actual, *predicted) if name not in index]
    if unknown:
        raise LogValueError(f"the class {unknown[0]!r:.80} is not among the labels {names!r:.200}")
    counts = Counter(zip(predicted, actual, strict=True))
    return [[counts[(row, column)] for column in names] for row in names]


def labelled_matrix(matrix: object, labels: object, axis_0: Axis) -> Plain:
    """Returns matrix and labels as they are kept: ``ConfusionMatrixTracker.serialize`` says what is taken.

    Raises:
        LogValueError: They are none, or do not fit.
    """
    if axis_0 not in ("predicted", "actual"):
        raise LogValueError(f"axis_0 is 'predicted' or 'actual', got {axis_0!r:.80}")
    rows, names = plain(matrix), [str(label) for label in _items(labels, "labels")]
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise LogValueError(f"a confusion matrix has two axes, got {rows!r:.80}")
    cells = [numbers(row, "the cells of a confusion matrix") for row in rows]
    widths = {len(row) for row in cells}
    if widths != {len(cells)}:
        raise LogValueError(f"a confusion matrix is square, got {len(cells)} rows of {sorted(widths)} columns")
    if len(names) != len(cells):
        raise LogValueError(f"{len(names)} labels do not fit a confusion matrix of {len(cells)} classes")
    whole: list[Plain] = [[int(c) if c.is_integer() else c for c in row] for row in cells]
    if axis_0 == "actual":
        whole = [list(column) for column in zip(*cast("list[list[Plain]]", whole), strict=True)]
    return {"matrix": whole, "labels": list[Plain](names)}


def _items(value: object, what: str) -> list[str | int | float | bool]:
    items = plain(list(value) if isinstance(value, Iterable) and not hasattr(value, "tolist") else value)
    if isinstance(value, str) or not isinstance(items, list):
        raise LogValueError(f"{what} is a list of classes, got {value!r:.80}")
    if not all(isinstance(item, str | int | float | bool) for item in items):
        raise LogValueError(f"{what} is a list of texts or numbers, got {items!r:.80}")
    return cast("list[str | int | float | bool]", items)
