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

    Args:
        directory: What is there already is replaced. Between two renames there is nothing.

    Raises:
        OSError, WriteError: It cannot be made, or put in its place.
    """
    staging = directory.parent / f".{directory.name}.{secrets.token_hex(4)}"
    make_directories(staging)
    try:
        yield staging
        _put_in_place(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(staging: Path, directory: Path) -> None:
    if not directory.exists():
        OPS.rename(staging, directory)
    else:
        old = staging.with_name(f"{staging.name}.old")
        OPS.rename(directory, old)
        OPS.rename(staging, directory)
        shutil.rmtree(old)
    OPS.sync_directory(directory.parent)
