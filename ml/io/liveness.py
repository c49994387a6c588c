"""Whether the process that an attempt of a run belongs to is still there.

An attempt says ``running`` until it ends in good order, so a process that was
killed says so for ever. On its own machine it can be looked for.
"""

import os
import platform
from contextlib import suppress
from pathlib import Path

from ml.io.runrecord import Record, from_timestamp

_CLOCK_TOLERANCE_S = 5.0


def is_alive(record: Record) -> bool | None:
    """Returns whether the process that made a record lives; ``None`` where that cannot be told, as on another machine.

    Args:
        record: The ``run.json`` of an attempt.
    """
    pid = record.get("pid")
    if record.get("host") != platform.node() or not isinstance(pid, int) or not 0 < pid < 2**31:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and somebody else's
        pass
    with suppress(OSError, ValueError, IndexError):  # where /proc tells more: another process may have its number now
        return _started_s(pid) <= from_timestamp(str(record.get("start"))) + _CLOCK_TOLERANCE_S
    return True


def _started_s(pid: int) -> float:
    """Returns when a process started, in Unix seconds, as Linux tells."""
    after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    boot_s = next(line.split()[1] for line in Path("/proc/stat").read_bytes().splitlines() if line.startswith(b"btime"))
    return float(boot_s) + float(after_name[19]) / os.sysconf("SC_CLK_TCK")
