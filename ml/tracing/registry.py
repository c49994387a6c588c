"""Which class handles which model: each says so itself, and of those that do the most derived one is taken.

Classes register when they are made, that is when their module is imported. Our own modules are imported at the first
question, those of other packages by their entry points ``ml.tracing``, each of which names a module, or a class in it.
"""

import logging
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from torch import nn

GROUP = "ml.tracing"
"""The entry points of packages that bring adapters, or loggers and tracers of their own."""

_log = logging.getLogger("ml")


class Detecting(Protocol):
    """A class that knows some models."""

    @staticmethod
    def detect(model: nn.Module) -> bool:
        """Returns whether it handles a model."""


DetectingT = TypeVar("DetectingT", bound=Detecting)


class Handlers(Generic[DetectingT]):
    """The classes of one kind.

    Args:
        builtin: Modules of this package that make some.
    """

    def __init__(self, builtin: Sequence[str] = ()) -> None:
        self._builtin, self._is_loaded = tuple(builtin), False
        self._classes: dict[str, type[DetectingT]] = {}

    def register(self, cls: type[DetectingT]) -> None:
        """Adds a class. One that is made again, as a notebook does, replaces the one before."""
        self._classes[f"{cls.__module__}.{cls.__qualname__}"] = cls

    def handling(self, model: nn.Module) -> type[DetectingT] | None:
        """Returns the class for a model, or ``None``: of several that handle it the most derived, then the newest."""
        found = [cls for cls in reversed(self.known()) if _detects(cls, model)]
        derived = [cls for cls in found if not any(cls in other.__mro__[1:] for other in found)]
        return derived[0] if derived else None

    def known(self) -> list[type[DetectingT]]:
        """Returns every class that can be made an object of, in the order in which they were made."""
        if not self._is_loaded:
            self._is_loaded = True
            for module in self._builtin:
                _load(module)
            _load_entry_points()
        return [cls for cls in self._classes.values() if not getattr(cls, "__abstractmethods__", None)]


def _detects(cls: type[Detecting], model: nn.Module) -> bool:
    try:
        return cls.detect(model)
    except Exception as error:  # somebody else's: its mistake must not hide the one that handles the model
        _log.warning("%s.detect failed on %s: %s", cls.__qualname__, type(model).__name__, error)
        return False


def _load(module: str) -> None:
    try:
        import_module(module)
    except ImportError as error:  # mostly of a library of a family that this program does not use
        is_ours = (error.name or "").partition(".")[0] == __name__.partition(".")[0]
        _log.log(logging.WARNING if is_ours else logging.DEBUG, "%s is left out: %s", module, error)


def _load_entry_points() -> None:
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # a broken package costs itself alone
            _log.warning("The entry point %s of %s could not be loaded: %s", entry.name, GROUP, error)
