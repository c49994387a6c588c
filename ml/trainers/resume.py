"""Finds the run that ``trainer.resume=auto`` continues."""

from pathlib import Path

from ml.io.liveness import is_alive
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
    return record.get("status") != "running" or not is_alive(record)
