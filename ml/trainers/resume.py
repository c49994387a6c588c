"""Finds the run that ``trainer.resume=auto`` continues."""

import os
import platform
from pathlib import Path

from ml.io.runrecord import Record, attempts_of, read_record


def newest_unfinished(root: Path) -> Path | None:
    """Returns the run in ``root`` that started last among those that did not finish, or ``None``.

    A run whose process still lives on this machine is not one of them, nor is one without a record.
    """
    runs = [path.parent for path in root.glob("*/attempts")]
    records = [(read_record(run, max(attempts_of(run), default=0)), run) for run in runs]
    unfinished = [(str(record["start"]), run) for record, run in records if _is_unfinished(record)]
    return max(unfinished)[1] if unfinished else None


def _is_unfinished(record: Record) -> bool:
    if "start" not in record or record.get("status") == "finished":
        return False
    pid = record.get("pid")
    is_here = record.get("status") == "running" and record.get("host") == platform.node()
    return not (is_here and isinstance(pid, int) and _is_alive(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
