"""Whether the process that a run belongs to is still there.

An attempt says ``running`` until it ends in good order, so a process that was
killed says so for ever. On its own machine it can be looked for.
"""

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ml.io.runrecord import from_timestamp
from ml.reading import Run

KILLED = "killed?"
_CLOCK_TOLERANCE_S = 5.0


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
    except (OSError, ValueError):  # its record is damaged, or is being written
        return False


def is_gone(record: Mapping[str, object]) -> bool:
    """Returns whether the process of an attempt is known to have ended.

    Args:
        record: The attempt's ``run.json``.
    """
    pid = record.get("pid")
    if record.get("host") != platform.node() or not isinstance(pid, int) or not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and somebody else's
        pass
    with suppress(OSError, ValueError, IndexError):  # where /proc tells more: another process may have its number now
        return _started_s(pid) > from_timestamp(str(record.get("start"))) + _CLOCK_TOLERANCE_S
    return False


def _started_s(pid: int) -> float:
    """Returns when a process started, in Unix seconds, as Linux tells."""
    after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    boot_s = next(line.split()[1] for line in Path("/proc/stat").read_bytes().splitlines() if line.startswith(b"btime"))
    return float(boot_s) + float(after_name[19]) / os.sysconf("SC_CLK_TCK")
