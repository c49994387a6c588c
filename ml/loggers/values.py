"""Values on their way: scalars and strings as plain tuples, media as ``Lazy``, steps as ``Batch``.

No object is made per scalar before a backend's own thread hands it over: a row
is the tuple ``(kind, namespace, key, value)``. Media are few and large; each is one
``Lazy``, shared by every backend that gets it.
"""

from collections import deque
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from ml.core.errors import LogValueError
from ml.core.state import State
from ml.io.worker import Lock
from ml.loggers import tensors

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ml.loggers.kinds import Common, Kind
    from ml.media.histogram import Histogram
    from ml.media.table import TableData


def series_path(namespace: str, key: str) -> str:
    """Returns what a series is called: ``<namespace>/<key>``, or the key where the namespace is empty."""
    return f"{namespace}/{key}" if namespace else key


def split_path(path: str) -> tuple[str, str]:
    """Returns the namespace and the key of a series: undoes ``series_path``, as a namespace holds no ``/``."""
    namespace, slash, key = path.partition("/")
    return (namespace, key) if slash and namespace else ("", path)


class Plain:
    """A number or a text, as a backend is given it: a callable without arguments."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __call__(self) -> object:
        return self._value


class Lazy:
    """A media value, as a backend is given it: munged at most once, encoded at most once a format.

    The backend that comes first does the work, on its own thread; the others get
    the same result, which they must not change.

    Args:
        kind: What it is.
        raw: A private copy of what was logged, already cut to what will be shown.
        options: What was logged beside the value.
        path: ``<namespace>/<key>``, for messages.
        origin: ``file.py:line``, for messages.
    """

    __slots__ = (
        "_common",
        "_encoded",
        "_error",
        "_is_told",
        "_lock",
        "_options",
        "_raw",
        "kind",
        "origin",
        "path",
        "size_bytes",
    )

    def __init__(self, kind: "Kind", raw: object, options: object, *, path: str, origin: str, size_bytes: int) -> None:
        self.kind, self.path, self.origin, self.size_bytes = kind, path, origin, size_bytes
        self._raw, self._options = raw, options
        self._common: Common | None = None
        self._error: LogValueError | None = None
        self._encoded: dict[str, bytes] = {}
        self._is_told = False
        self._lock = Lock()

    def __call__(self) -> "Tensor | tuple[Tensor, int] | TableData":
        """Returns the value in the common format, as CPU tensors without a graph; a table as it is.

        Raises:
            LogValueError: It has none.
        """
        common = self._munged()
        if common.table is not None:
            return common.table
        tensor = tensors.tensor(common.array, scale=common.scale)
        return (tensor, common.sample_rate) if common.sample_rate is not None else tensor

    def array(self) -> "np.ndarray":
        """Returns the value as numpy: uint8 for pictures and video, float32 for audio and points.

        Raises:
            LogValueError: It is a table, or has no common format.
        """
        common = self._munged()
        if common.table is not None:
            raise LogValueError("a table is no array", "Use table().", path=self.path, origin=self.origin)
        return common.array

    def encoded(self, form: str) -> bytes:
        """Returns the bytes of a file, in a form that the kind has: ``"png"`` of an image, ``"json"`` of a table.

        Raises:
            LogValueError: The kind has no such form, or the value no common format.
        """
        encoder = self.kind.encoders.get(form)
        if encoder is None:
            known = ", ".join(self.kind.encoders) or "none"
            raise LogValueError(f"a value of kind {self.kind.name} cannot be encoded as {form!r}; it has: {known}")
        common = self._munged()
        with self._lock:
            if form not in self._encoded:
                self._encoded[form] = encoder(common)
            return self._encoded[form]

    def histogram(self) -> "Histogram":
        """Returns the 64 bins of a histogram, and what lies outside of them."""
        histogram = self._munged().histogram
        if histogram is None:
            raise LogValueError(f"a value of kind {self.kind.name} has no histogram")
        return histogram

    def table(self) -> "TableData":
        """Returns the columns of a table.

        Raises:
            LogValueError: It is none, or has no common format.
        """
        table = self._munged().table
        if table is None:
            raise LogValueError(f"a value of kind {self.kind.name} is no table")
        return table

    def begin_telling(self) -> bool:
        """Returns whether its failure is to be reported: True once, as every backend that it is given to fails."""
        with self._lock:
            is_told, self._is_told = self._is_told, True
            return not is_told

    @property
    def warning(self) -> str:
        """What a user should know about how the value was munged; empty while it was not."""
        return self._common.warning if self._common is not None else ""

    @property
    def written_bytes(self) -> int:
        """About what a backend writes of it: the largest encoded form, else the bins of a histogram, or the array."""
        if self._encoded:
            return max(map(len, self._encoded.values()))
        if self._common is None or self._common.table is not None:
            return self.size_bytes
        histogram = self._common.histogram
        return self._common.array.nbytes if histogram is None else histogram.counts.nbytes + histogram.edges.nbytes

    @property
    def fps(self) -> float:
        """Frames per second of a video."""
        return self._munged().fps

    @property
    def sample_rate(self) -> int | None:
        """Samples per second of a clip; ``None`` for other kinds."""
        return self._munged().sample_rate

    def about(self) -> dict[str, "list[int] | int | float"]:
        """Returns what is noted beside a file of it: ``shape``, and ``sample_rate`` or ``fps`` if it has that.

        The shape of a table is its rows and columns.
        """
        common = self._munged()
        shape = common.array.shape if common.table is None else (len(common.table), len(common.table.columns))
        noted: dict[str, list[int] | int | float] = {"shape": list(shape)}
        if common.sample_rate is not None:
            noted["sample_rate"] = common.sample_rate
        if common.fps:
            noted["fps"] = common.fps
        return noted

    @property
    def colors(self) -> "np.ndarray | None":
        """Colours of a point cloud, uint8 (B, N, 3), or ``None``."""
        return self._munged().colors

    def _munged(self) -> "Common":
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._common is None:
                assert self.kind.munge is not None, "a media kind has a common format"
                try:
                    self._common = self.kind.munge(tensors.arrived(self._raw), self._options)
                except Exception as error:
                    known = (
                        error if isinstance(error, LogValueError) else LogValueError(f"it cannot be shown: {error!r}")
                    )
                    self._error = known.located(self.path, self.origin)
                    raise self._error from (error.__cause__ if error is known else error)
                finally:
                    self._raw = None
            return self._common


Row = tuple["Kind", str, str, object]
"""``(kind, namespace, key, value)``: what a backend is given of one value."""

PLAIN_BYTES = 120
"""About what a scalar takes while it waits."""


class Batch(NamedTuple):
    """Rows of one state, and what they count for while they wait, in bytes."""

    state: State
    rows: list[Row]
    size_bytes: int

    @property
    def is_media(self) -> bool:
        """Whether it is the first to go when room is short."""
        return bool(self.rows) and self.rows[0][0].droppable


class Pending:
    """What waits for the next write of one backend, oldest first: media apart, as they go first."""

    def __init__(self) -> None:
        self._media: deque[tuple[int, Batch]] = deque()
        self._others: deque[tuple[int, Batch]] = deque()
        self._count = 0  # a batch's number says what is older
        self.size_bytes = 0

    @property
    def has_media(self) -> bool:
        """Whether media wait."""
        return bool(self._media)

    def add(self, state: State, plain: list[Row], media: list[Row], *, text_bytes: int = 0) -> None:
        """Takes rows of a state; ``text_bytes`` is what the texts among them take."""
        for row in media:
            assert isinstance(row[3], Lazy)
            self._append(self._media, Batch(state, [row], row[3].size_bytes))
        if plain:
            self._append(self._others, Batch(state, plain, PLAIN_BYTES * len(plain) + text_bytes))

    def take(self) -> list[Batch]:
        """Returns everything, and forgets it."""
        numbered = sorted((*self._media, *self._others), key=itemgetter(0)) if self._media else self._others
        batches = [batch for _, batch in numbered]
        self._media.clear()
        self._others.clear()
        self.size_bytes = 0
        return batches

    def shrink(self, max_bytes: int, *, only_media: bool) -> list[Batch]:
        """Drops the oldest media, then the oldest others unless ``only_media``; returns them.

        It stops when at most ``max_bytes`` are left.
        """
        dropped = []
        for queue in (self._media,) if only_media else (self._media, self._others):
            while self.size_bytes > max_bytes and queue:
                _, batch = queue.popleft()
                self.size_bytes -= batch.size_bytes
                dropped.append(batch)
        return dropped

    def _append(self, queue: deque[tuple[int, Batch]], batch: Batch) -> None:
        self._count += 1
        queue.append((self._count, batch))
        self.size_bytes += batch.size_bytes
