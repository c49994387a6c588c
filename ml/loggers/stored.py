"""Values as files have them, and media that were written by a backend and are given to another one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from ml.core.errors import FormatError, LogValueError
from ml.loggers.kinds import HISTOGRAM, Common, Kind
from ml.loggers.strict_json import Json, number, parsing, real, strict
from ml.loggers.values import Lazy
from ml.media.histogram import Histogram

if TYPE_CHECKING:
    from torch import Tensor

MAX_BINS = 2**16


class File(NamedTuple):
    """The file of a medium, or of a text too long for a record.

    Attributes:
        form: What it is: ``"png"``.
        path: Where it is, relative to the folder of the log or the journal; empty if it is in its record.
        digest: Its SHA-256, as hexadecimal digits; empty if it is in its record.
        data: What it holds, if it is in its record.
        about: What was noted beside it: ``shape``, and ``sample_rate`` or ``fps``.
    """

    form: str
    path: str
    digest: str
    data: bytes | None
    about: Mapping[str, Any]


StoredRow = tuple[Kind, str, str, int | float | str | File | Histogram]
"""``(kind, namespace, key, value)``: a value as a line of the log or a record of the journal has it."""


def histogram_fields(histogram: Histogram) -> dict[str, Json]:
    """Returns a histogram as strict JSON has it."""
    return {
        name: field.tolist() if isinstance(field, np.ndarray) else strict(field)
        for name, field in histogram._asdict().items()
    }


def histogram_of(fields: Mapping[str, Any]) -> Histogram:
    """Returns the histogram that ``histogram_fields`` made ``fields`` of; to be called inside of ``parsing``."""
    size = len(fields["counts"])
    if not 0 < size <= MAX_BINS or len(fields["edges"]) != size + 1:
        raise ValueError(f"a histogram has 1 to {MAX_BINS} bins, and one edge more; got {size}")
    return Histogram(
        counts=np.array(fields["counts"], np.int64),
        edges=np.array(fields["edges"], np.float64),
        count=int(fields["count"]),
        min=real(number(fields["min"])),
        max=real(number(fields["max"])),
        mean=real(number(fields["mean"])),
        std=real(number(fields["std"])),
        nan=int(fields["nan"]),
        pos_inf=int(fields["pos_inf"]),
        neg_inf=int(fields["neg_inf"]),
    )


class StoredMedia(Lazy):
    """A medium as a backend is given it, made of the file that another backend wrote.

    ``encoded`` gives the file as it is; everything else is decoded from it, so a
    video has the colours of its GIF file, and a clip 16 bits.

    Args:
        kind: What it is.
        form: What the file is: ``"png"``.
        data: The file.
        about: What was noted beside it: ``shape``, and ``sample_rate`` or ``fps``.
        path: ``<namespace>/<key>``, for messages.
        origin: Where it was read, for messages.
    """

    __slots__ = ("_about", "_data", "_form")

    def __init__(
        self, kind: Kind, form: str, data: bytes, about: Mapping[str, object], *, path: str, origin: str
    ) -> None:
        super().__init__(kind, None, None, path=path, origin=origin, size_bytes=len(data))
        self._form, self._data, self._about = form, data, about

    def encoded(self, form: str) -> bytes:
        return self._data if form == self._form else super().encoded(form)

    @property
    def written_bytes(self) -> int:
        return len(self._data)

    def _munged(self) -> Common:
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._common is None:
                try:
                    with parsing("no file of its kind"):
                        assert self.kind.decode is not None, "a kind that is kept in files reads them"
                        self._common = self.kind.decode(self._data, self._about)
                except FormatError as error:
                    problem = f"its file cannot be read ({error.message})"
                    self._error = LogValueError(problem).located(self.path, self.origin)
                    raise self._error from error
            return self._common


class StoredHistogram(Lazy):
    """A histogram of which only the bins are there.

    Args:
        histogram: The bins.
        path: ``<namespace>/<key>``, for messages.
        origin: Where it was read, for messages.
    """

    __slots__ = ()

    def __init__(self, histogram: Histogram, *, path: str, origin: str) -> None:
        super().__init__(HISTOGRAM, None, None, path=path, origin=origin, size_bytes=16 * MAX_BINS)
        self._common = Common(np.empty(0), histogram=histogram)

    def __call__(self) -> "Tensor | tuple[Tensor, int]":
        self._refuse()

    def array(self) -> np.ndarray:
        self._refuse()

    def _refuse(self) -> NoReturn:
        problem = "a histogram that was written has its bins alone, not the values that it was made of"
        raise LogValueError(problem, "Use histogram().", path=self.path, origin=self.origin)
