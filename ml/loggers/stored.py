"""Media that were written by a backend, and are given to another one."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ml.core.errors import FormatError, LogValueError
from ml.loggers.journal_records import number
from ml.loggers.kinds import AUDIO, HISTOGRAM, IMAGE, POINT_CLOUD, VIDEO, Common, Kind
from ml.loggers.values import Lazy

if TYPE_CHECKING:
    from torch import Tensor

MAX_BINS = 2**16


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
                    self._common = _DECODERS[self.kind](self._data, self._about)
                except (FormatError, ValueError, KeyError, TypeError) as error:
                    self._error = LogValueError(f"its file cannot be read ({error})").located(self.path, self.origin)
                    raise self._error from error
            return self._common


class StoredHistogram(Lazy):
    """A histogram of which only the bins are there.

    Args:
        fields: The fields of a ``Histogram``, as JSON has them.
        path: ``<namespace>/<key>``, for messages.
        origin: Where it was read, for messages.

    Raises:
        ValueError, KeyError, TypeError: They are none.
    """

    __slots__ = ()

    def __init__(self, fields: Mapping[str, Any], *, path: str, origin: str) -> None:
        super().__init__(HISTOGRAM, None, None, path=path, origin=origin, size_bytes=16 * MAX_BINS)
        self._common = _histogram(fields)

    def __call__(self) -> "Tensor | tuple[Tensor, int]":
        self._refuse()

    def array(self) -> np.ndarray:
        self._refuse()

    def _refuse(self) -> NoReturn:
        problem = "a histogram that was written has its bins alone, not the values that it was made of"
        raise LogValueError(problem, "Use histogram().", path=self.path, origin=self.origin)


def _image(data: bytes, about: Mapping[str, Any]) -> Common:
    from ml.media.decode import decode_png

    return Common(decode_png(data, _shape(about)), scale=1 / 255)


def _audio(data: bytes, about: Mapping[str, Any]) -> Common:
    from ml.media.decode import decode_wav

    return Common(decode_wav(data, _shape(about)), sample_rate=int(about["sample_rate"]))


def _video(data: bytes, about: Mapping[str, Any]) -> Common:
    from ml.media.decode import decode_gif

    return Common(decode_gif(data, _shape(about)), scale=1 / 255, fps=float(about["fps"]))


def _points(data: bytes, about: Mapping[str, Any]) -> Common:
    from ml.media.decode import decode_ply

    points, colors = decode_ply(data, _shape(about))
    return Common(points, colors=colors)


def _histogram(fields: Mapping[str, Any]) -> Common:
    from ml.media.histogram import Histogram

    size = len(fields["counts"])
    if not 0 < size <= MAX_BINS or len(fields["edges"]) != size + 1:
        raise ValueError(f"a histogram has 1 to {MAX_BINS} bins, and one edge more; got {size}")
    made = Histogram(
        counts=np.array(fields["counts"], np.int64),
        edges=np.array(fields["edges"], np.float64),
        count=int(fields["count"]),
        min=float(number(fields["min"])),
        max=float(number(fields["max"])),
        mean=float(number(fields["mean"])),
        std=float(number(fields["std"])),
        nan=int(fields["nan"]),
        pos_inf=int(fields["pos_inf"]),
        neg_inf=int(fields["neg_inf"]),
    )
    return Common(np.empty(0), histogram=made)


def _shape(about: Mapping[str, Any]) -> Sequence[int]:
    return tuple(map(int, about["shape"]))


_DECODERS: dict[Kind, Callable[[bytes, Mapping[str, Any]], Common]] = {
    IMAGE: _image,
    AUDIO: _audio,
    VIDEO: _video,
    POINT_CLOUD: _points,
}
