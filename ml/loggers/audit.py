"""Finds logged callables that make the training thread wait for an accelerator.

``.item()`` on a device tensor costs nothing in the code that is read, and in
training all that the device had still to do. An audit watches every operator of
every callable, which takes microseconds each: it is for a run of a few steps. ``torch`` comes
through ``sys.modules``: without it nothing is watched.
"""

import os
import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch.utils._python_dispatch import TorchDispatchMode

# Their result says how large something is, or what to do next, so the host has to know it.
_READ = {"_local_scalar_dense", "equal", "is_nonzero", "item"}
_SIZED = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
_COPIES = {"_to_copy", "copy_"}
_FIX = "Return the tensor itself: it is copied without waiting for it."


class Wait(NamedTuple):
    """An operator that waits for a device, and the line that called it."""

    operator: str
    line: str


class SyncAudit:
    """Tells once for each key which line of its callable makes the training thread wait for an accelerator.

    Args:
        tell: Takes the key, and what there is to say.
    """

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._found: list[Wait] = []
        self._told: set[str] = set()

    def watched(self, function: Callable[[], object]) -> Callable[[], object]:
        """Returns the callable; what waits in it is kept until ``conclude``."""
        watching = _watching()(self._found)

        def call() -> object:
            with watching:
                return function()

        return call

    def conclude(self, path: str, origin: str) -> None:
        """Says what the callables of a key waited for, if they did and it was not said before.

        Args:
            path: ``<namespace>/<key>``.
            origin: ``file.py:line`` of the callable.
        """
        found, self._found[:] = list(self._found), []
        if found and path not in self._told:
            self._told.add(path)
            wait = found[0]
            what = f"{wait.operator} at {wait.line}"
            self._tell(path, f"The callable of '{path}' ({origin}) waits for the accelerator: {what}. {_FIX}")


def waits(operator: str, arguments: tuple[object, ...], options: dict[str, object]) -> bool:
    """Whether an operator makes the host wait for an accelerator.

    Args:
        operator: Its name without namespace and overload, ``_local_scalar_dense`` say.
        arguments: What it is called with: tensors show their device.
        options: Its arguments by keyword.
    """
    tensors = [argument for argument in arguments if hasattr(argument, "device")]
    if operator in _COPIES:
        places = {_type_of(tensor) for tensor in tensors} | {_kind_of(options.get("device"))} - {""}
        is_asynchronous = options.get("non_blocking") or (operator == "copy_" and True in arguments[2:])
        return len(places) > 1 and "cpu" in places and "meta" not in places and not is_asynchronous
    if all(_type_of(tensor) in ("cpu", "meta") for tensor in tensors):
        return False
    if operator == "index":
        masks = {"torch.bool", "torch.uint8"}
        indices = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], (list, tuple)) else ()
        return any(str(getattr(index, "dtype", "")) in masks for index in indices)
    return operator in _READ or operator in _SIZED


def _type_of(tensor: object) -> str:
    return str(tensor.device.type)  # type: ignore[attr-defined]


def _kind_of(device: object) -> str:
    return str(device or "").partition(":")[0]


def _line_of(frame: FrameType | None) -> str:
    """Returns ``file.py:line`` of the nearest caller that is neither torch nor this module."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module != __name__ and module.partition(".")[0] != "torch":
            return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"


@cache
def _watching() -> "type[TorchDispatchMode]":
    mode = sys.modules["torch"].utils._python_dispatch.TorchDispatchMode

    class Watching(mode):  # type: ignore[misc, valid-type]
        """Keeps the operators that wait."""

        def __init__(self, found: list[Wait]) -> None:
            super().__init__()
            self._found = found

        def __torch_dispatch__(
            self, func: object, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
        ) -> object:
            operator = func.name().partition("::")[2].partition(".")[0]  # type: ignore[attr-defined]
            if waits(operator, args, kwargs or {}):
                self._found.append(Wait(operator, _line_of(sys._getframe(1))))
            return func(*args, **(kwargs or {}))  # type: ignore[operator]

    return Watching
