"""Opens files that somebody else may have put there, for reading: what would block, or never end, is refused."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ml.core.errors import FormatError

_BUFFER_BYTES = 1 << 18


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading.

    Raises:
        OSError: It cannot be opened.
        FormatError: It is a directory, a pipe or a device.
    """
    # A pipe without a writer would have it wait, were it not for this flag.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FormatError("no regular file", path=path)
    return os.fdopen(descriptor, "rb", _BUFFER_BYTES)
