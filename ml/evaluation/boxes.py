"""Boxes on a picture, as a value of a table."""

from collections.abc import Sequence
from typing import Final, final

import numpy as np
import numpy.typing as npt

from ml.core.errors import LogValueError
from ml.detection.boxes import Corners, corners_of, scores_of
from ml.evaluation.hosting import on_host

MAX_BOXES: Final = 100_000


@final
class Boxes:
    """Boxes on a picture, in its pixels.

    Args:
        xyxy: Shape (N, 4): left, top, right, bottom of each. N may be 0. They are kept as they are, also with NaN or
            swapped corners, as an untrained detector makes them.
        labels: N texts, or N whole numbers.
        scores: Shape (N,).
        ids: N texts, or N whole numbers, such as those of tracks.

    Attributes:
        xyxy: Shape (N, 4), float64, read-only.
        labels: N of them, or ``None``.
        scores: Shape (N,), float64, read-only, or ``None``.
        ids: N of them, or ``None``.

    Raises:
        LogValueError: A shape is another one, or N is more than ``MAX_BOXES``.
    """

    __slots__ = ("ids", "labels", "scores", "xyxy")

    def __init__(
        self,
        xyxy: object,
        labels: Sequence[str] | Sequence[int] | npt.NDArray[np.generic] | None = None,
        scores: object = None,
        ids: Sequence[str] | Sequence[int] | npt.NDArray[np.generic] | None = None,
    ) -> None:
        corners = corners_of(on_host(xyxy))
        count = len(corners)
        if count > MAX_BOXES:
            raise LogValueError(f"a picture has at most {MAX_BOXES} boxes, got {count}", "Keep the surest of them.")
        self.xyxy = _frozen(corners)
        self.scores = None if scores is None else _frozen(scores_of(on_host(scores), count))
        self.labels = _names(labels, "labels", count)
        self.ids = _names(ids, "ids", count)

    def __len__(self) -> int:
        return len(self.xyxy)

    def __eq__(self, other: object) -> bool:
        """Whether they are the same; NaN equals NaN."""
        return isinstance(other, Boxes) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"Boxes({self.xyxy.tolist()!r:.200}, labels={self.labels!r:.100})"

    def _identity(self) -> tuple[object, ...]:
        return self.xyxy.tobytes(), self.labels, None if self.scores is None else self.scores.tobytes(), self.ids


def _frozen(array: Corners) -> npt.NDArray[np.float64]:
    copy = array.astype(np.float64, order="C")  # a copy in any case
    copy.flags.writeable = False
    return copy


def _names(
    names: Sequence[str] | Sequence[int] | npt.NDArray[np.generic] | None, what: str, count: int
) -> tuple[str, ...] | tuple[int, ...] | None:
    if names is None:
        return None
    host = on_host(names)
    items: list[object] = host.tolist() if isinstance(host, np.ndarray) else list(names)
    if len(items) != count:
        raise LogValueError(f"there are {len(items)} {what} for {count} boxes", "Pass one a box.")
    if all(isinstance(item, str) for item in items):
        return tuple(str(item) for item in items)
    try:
        return tuple(_whole(item) for item in items)
    except (TypeError, ValueError) as error:
        problem = f"{what} are texts or whole numbers, all of them alike, got {items!r:.100}"
        raise LogValueError(problem, "Convert them with str().") from error


def _whole(item: object) -> int:
    number = on_host(item)
    if isinstance(number, (bool, str, float)) or not hasattr(number, "__int__"):
        raise TypeError(f"{item!r} is no whole number")
    whole = int(number)
    if whole != number or not -(2**63) <= whole < 2**63:
        raise ValueError(f"{item!r} is no whole number of 64 bits")
    return whole
