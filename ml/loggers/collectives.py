"""Stops a collective before it starts: one rank alone would wait in it for the others for ever.

``torch`` comes through ``sys.modules``: without it there is nothing to stop.
"""

import sys
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING

from ml.core.errors import LogValueError

if TYPE_CHECKING:
    from torch.utils._python_dispatch import TorchDispatchMode


class CollectiveError(LogValueError):
    """A callable called a collective, which one rank alone cannot."""


def refusing_collectives() -> AbstractContextManager[object]:
    """Returns a context in which every collective of this thread raises ``CollectiveError``."""
    return _refusing()()


@cache
def _refusing() -> "type[TorchDispatchMode]":
    mode = sys.modules["torch"].utils._python_dispatch.TorchDispatchMode

    class RefuseCollectives(mode):  # type: ignore[misc, valid-type]
        """Stops every collective operator before it starts, wherever it is called from."""

        def __torch_dispatch__(
            self, func: object, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
        ) -> object:
            if func.namespace.startswith(("c10d", "_c10d")):  # type: ignore[attr-defined]
                raise CollectiveError(
                    f"its callable calls the collective {func}, which would wait for the other ranks for ever",
                    "Call it on every rank, and log its result.",
                )
            return func(*args, **(kwargs or {}))  # type: ignore[operator]

    return RefuseCollectives
