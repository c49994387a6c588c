"""Memory for images that are on their way, used again and again.

Fresh memory costs more than what is written to it: the kernel hands it out page by page, which takes an image of
640 x 480 ten times as long as being copied.
"""

import math

import numpy as np
import numpy.typing as npt

from ml.io.lifetime import tell_after_fork
from ml.io.worker import Lock


class Buffers:
    """Lends arrays, and takes them back when nobody looks at them any more. Thread-safe.

    Args:
        max_bytes: What may lie here unused.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._unused: dict[int, list[npt.NDArray[np.uint8]]] = {}  # by their size
        self._unused_bytes = 0
        tell_after_fork(self)

    def lend(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
        """Returns an array with anything in it."""
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        with self._lock:
            same = self._unused.get(size_bytes)
            buffer = same.pop() if same else None
            if buffer is not None:
                self._unused_bytes -= size_bytes
        if buffer is None:
            buffer = np.empty(size_bytes, np.uint8)
        return buffer.view(dtype).reshape(shape)

    def take_back(self, array: np.ndarray) -> None:
        """Takes an array that was lent, and that nobody uses any more."""
        buffer = array.reshape(-1).view(np.uint8)
        with self._lock:
            if self._unused_bytes + buffer.nbytes > self._max_bytes:
                self._unused.clear()  # of sizes that are asked for no more, perhaps
                self._unused_bytes = 0
            if buffer.nbytes <= self._max_bytes:
                self._unused.setdefault(buffer.nbytes, []).append(buffer)
                self._unused_bytes += buffer.nbytes

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock."""
        self._lock = Lock()
