"""Checks the media beside a log: that those it names are there and unchanged, and that there are no others."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ml.core.errors import FormatError
from ml.io.regular import open_regular
from ml.loggers.places import MEDIA

_BLOCK_BYTES = 1 << 20


class MediaCheck(NamedTuple):
    """What became of the media of a log; paths are relative to its folder, in order.

    Attributes:
        whole: How many are there, as they were written.
        missing: Named, and not there.
        changed: Not what was written, or not to be read.
        unnamed: There, and not named: what a crash left, or what damaged lines named.
    """

    whole: int
    missing: list[str]
    changed: list[str]
    unnamed: list[str]


def check_media(folder: Path, named: Mapping[str, str]) -> MediaCheck:
    """Reads every file that is named.

    Args:
        folder: Of the log: its media lie in ``media``.
        named: Paths relative to ``folder``, each with its SHA-256 in hexadecimal digits.
    """
    missing, changed = [], []
    for path, digest in sorted(named.items()):
        try:
            if _sha256(folder / path) != digest:
                changed.append(path)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
        except (OSError, FormatError):
            changed.append(path)
    there = (
        Path(directory, name).relative_to(folder).as_posix()
        for directory, _, names in os.walk(folder / MEDIA)
        for name in names
    )
    unnamed = sorted(path for path in there if path not in named)
    return MediaCheck(len(named) - len(missing) - len(changed), missing, changed, unnamed)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
