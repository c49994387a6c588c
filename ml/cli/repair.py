"""Writes what is whole of damaged files to new files beside them. The old ones stay as they are."""

from collections.abc import Sequence
from pathlib import Path

from ml.io.files import AppendFile
from ml.io.numbered import first_free
from ml.loggers.check import FileCheck

_PRIVATE = 0o600


def write_repaired(parts: Sequence[FileCheck]) -> Path:
    """Writes every whole record of ``parts``, once, to a new file.

    Args:
        parts: The files of one log, in order; one or more.

    Returns:
        The file: ``<name>.repaired-<n>`` with the first free n. An event file is called
        ``events.out.repaired-<n>...``, since TensorBoard reads whatever has ``tfevents`` in its name.

    Raises:
        OSError, WriteError: It cannot be written; what there is of it is removed.
    """
    file = _new_file(parts[0])
    try:
        with file:
            for part in parts:
                for piece in part.whole_pieces():
                    file.append(piece)
    except BaseException:
        file.path.unlink(missing_ok=True)
        raise
    return file.path


def _new_file(check: FileCheck) -> AppendFile:
    return first_free(
        lambda number: AppendFile(check.path.with_name(_name(check, number)), exclusive=True, mode=_PRIVATE)
    )


def _name(check: FileCheck, number: int) -> str:
    if check.format == "events":
        return check.path.name.replace("tfevents", f"repaired-{number}")
    return f"{check.path.name}.repaired-{number}"
