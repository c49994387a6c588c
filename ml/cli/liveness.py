"""Whether the process that a run belongs to is still there.

An attempt says ``running`` until it ends in good order, so a process that was
killed says so for ever. On its own machine it can be looked for.
"""

from collections.abc import Mapping

from ml.io.liveness import is_alive
from ml.reading import Run

KILLED = "killed?"


def status_of(run: Run) -> str:
    """Returns what ``Run.status`` says, or ``killed?`` where its process is gone from this machine.

    Raises:
        FormatError: The record of an attempt is damaged.
    """
    status = run.status
    return KILLED if status == "running" and is_gone(run.attempts[-1]) else status


def is_live(run: Run) -> bool:
    """Returns whether files of the run may be growing. When in doubt they are."""
    try:
        return status_of(run) == "running"
    except (OSError, ValueError):  # its record cannot be read
        return True


def is_gone(record: Mapping[str, object]) -> bool:
    """Returns whether the process of an attempt is known to have ended.

    Args:
        record: The attempt's ``run.json``.
    """
    return is_alive(record) is False
