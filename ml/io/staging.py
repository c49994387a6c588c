"""Makes a directory out of sight, and puts it in its place when it is complete."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml.io.fileops import OPS
from ml.io.files import make_directories


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """Gives a directory to write to, which is ``directory`` when the block ends; if that raises, nothing is left of it.

    It has the same name, and lies in a hidden one beside ``directory``.

    Args:
        directory: What is there already is replaced. Between two renames there is nothing.

    Raises:
        OSError, WriteError: It cannot be made, or put in its place.
    """
    hidden = directory.parent / f".{directory.name}.{secrets.token_hex(4)}"
    staging = hidden / directory.name
    try:
        make_directories(staging)
        yield staging
        _put_in_place(staging, directory, hidden.with_name(f"{hidden.name}.old"))
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _put_in_place(staging: Path, directory: Path, old: Path) -> None:
    if not directory.exists():
        OPS.rename(staging, directory)
    else:
        OPS.rename(directory, old)
        try:
            OPS.rename(staging, directory)
        except BaseException:
            OPS.rename(old, directory)
            raise
        shutil.rmtree(old)
    OPS.sync_directory(directory.parent)
