"""What went wrong while a model was watched: counted by kind, and told once, so that the model goes on."""

import logging
from collections import Counter
from typing import Literal

from ml.io.worker import Lock

Kind = Literal[
    "hook", "input", "field", "truth", "parse", "compare", "feature", "picture", "estimate", "setting", "listener"
]

_log = logging.getLogger("ml")


class Failures:
    """Counts failures. It may be told of them by several threads.

    Args:
        whose: What is watched, at the beginning of a sentence: ``"The tracer of fcos"``.
    """

    def __init__(self, whose: str) -> None:
        self._whose, self._lock = whose, Lock()
        self._counts: Counter[str] = Counter()

    def add(self, kind: Kind, problem: Exception | str, count: int = 1, *, hint: str = "") -> None:
        """Counts a failure; the first one of its kind is told in full.

        Args:
            kind: What could not be done.
            problem: What came of it; ends with a full stop, if it is a text.
            count: How many inputs, or values, it costs.
            hint: What to do about it: a sentence.
        """
        with self._lock:
            is_first = not self._counts[kind]
            self._counts[kind] += count
        if is_first:
            error = problem if isinstance(problem, Exception) else None
            text = _said(error) if error is not None else str(problem)
            self.tell(f"a failure ({kind}): {text} {hint}".rstrip() + " More of this kind is only counted.", error)

    def tell(self, what: str, error: Exception | None = None) -> None:
        """Warns of something.

        Args:
            what: What it is.
            error: Where it came from.
        """
        _log.warning("%s goes on, in spite of %s", self._whose, what, exc_info=error)

    def counts(self) -> dict[str, int]:
        """Returns how many there were of each kind."""
        with self._lock:
            return dict(self._counts)


def _said(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {str(error).rstrip('.')}."
    except Exception:  # an error of the user's own, whose text is made of what is not there
        return f"{type(error).__name__}."
