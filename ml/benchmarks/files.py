"""The file of a benchmark database, renamed to make room for another one."""

import os
from pathlib import Path

from ml.core.errors import ConfigError
from ml.io.numbered import first_free

_BESIDE = ("-shm", "-wal")


def set_aside(file: Path) -> Path | None:
    """Renames an SQLite database to ``<file>.old-<n>``, with what SQLite keeps beside it: nothing is deleted.

    A benchmark that is being written goes on in the new file, as SQLite refuses one that was renamed.

    Returns:
        Its new path; ``None`` where there was none.

    Raises:
        ConfigError: It cannot be renamed, or is no file.
    """
    if not os.path.lexists(file):
        return None
    if not file.is_file():
        raise ConfigError(f"The benchmark database {file} is no file. Name another one.")

    def claim(number: int) -> Path:
        path = file.with_name(f"{file.name}.old-{number}")
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return path

    try:
        aside = first_free(claim)
        # The database comes last: an SQLite that found its log without it would delete that.
        for suffix in (*_BESIDE, ""):
            if os.path.lexists(f"{file}{suffix}"):
                os.replace(f"{file}{suffix}", f"{aside}{suffix}")
    except OSError as error:
        raise ConfigError(f"The benchmark database {file} cannot be renamed ({error}). Use mode 'a'.") from error
    return aside
