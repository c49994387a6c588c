"""Makes a value out of what was logged: calls it, selects, copies, and says whose fault it was when it cannot."""

from contextlib import suppress
from typing import TYPE_CHECKING

from ml.core.errors import LogValueError
from ml.loggers.collectives import CollectiveError
from ml.loggers.device import CaptureError
from ml.loggers.entry import Entry, origin_of
from ml.loggers.reduce import REDUCES, Reduce, ReduceOptions
from ml.loggers.snapshot import Snapshots
from ml.loggers.stats import Failed
from ml.loggers.tensors import copy_bytes, local, version
from ml.loggers.values import Lazy, series_path

if TYPE_CHECKING:
    from ml.loggers.reduce import Number


class ComputeError(Exception):
    """A value could not be had; ``reason`` is the name that it is counted under."""

    def __init__(self, reason: Failed, error: Exception) -> None:
        super().__init__(reason)
        self.reason, self.error = reason, error


def compute_value(entry: Entry, path: str, snapshots: Snapshots) -> object:
    """Returns the number, text or ``Lazy`` of what was logged.

    Raises:
        ComputeError: There is none.
    """
    (kind, _, _), _, options, _ = entry
    value = _called(entry, snapshots)
    try:
        if kind.droppable:
            value = local(value)
        selected = kind.select(snapshots, value, options)
        if kind.droppable:
            size_bytes = copy_bytes(selected)
            return Lazy(kind, selected, options, path=path, origin=origin_of(entry), size_bytes=size_bytes)
        if options is not None:
            _weight_of(entry, snapshots)  # which counts for nothing here, and would elsewhere
        return selected
    except Exception as error:
        raise ComputeError("value", error) from error
    finally:
        _conclude_audit(entry, snapshots)


def compute_contribution(entry: Entry, reduce: Reduce, snapshots: Snapshots) -> "tuple[Number, Number]":
    """Returns the number that was logged, to be accumulated, and its weight.

    Raises:
        ComputeError: There is none.
    """
    try:
        if reduce not in REDUCES:
            raise LogValueError(f"reduce is one of {', '.join(REDUCES)}, got {reduce!r}")
        weight = _weight_of(entry, snapshots)
        return snapshots.number(_called(entry, snapshots)), weight
    except ComputeError:
        raise
    except Exception as error:
        raise ComputeError("value", error) from error
    finally:
        _conclude_audit(entry, snapshots)


def _weight_of(entry: Entry, snapshots: Snapshots) -> "Number":
    options = entry[2]
    if not isinstance(options, ReduceOptions):
        return 1.0
    with suppress(LogValueError):
        weight = snapshots.number(options.weight)
        if not isinstance(weight, (int, float)) or weight >= 0:
            return weight
    raise LogValueError(f"weight is a number of 0 or more, got {options.weight!r}")


def _conclude_audit(entry: Entry, snapshots: Snapshots) -> None:
    if snapshots.audit is not None:
        _, namespace, key = entry[0]
        snapshots.audit.conclude(series_path(namespace, str(key)), origin_of(entry))


def _called(entry: Entry, snapshots: Snapshots) -> object:
    _, value, _, held = entry
    if held is not None and held.version is not None and held.version != version(value):
        fix = "Log a callable, or a copy: .clone()."
        raise ComputeError("mutated", LogValueError("it was changed in place before the step ended", fix))
    if not callable(value):
        return value
    try:
        return snapshots.compute(value)
    except CollectiveError as error:
        raise ComputeError("collective", error) from error
    except CaptureError as error:
        raise ComputeError("value", error) from error
    except Exception as error:
        raise ComputeError("callable", error) from error
