"""What a table keeps of a value: a cell, made of what Parquet has.

=========  ==========================================================================================
kind       cell
=========  ==========================================================================================
array      ``{"dtype": "<f4", "shape": [2, 3], "data": bytes}``
image      ``{"file": ..., "height", "width", "caption", "boxes": ... or None, "masks": ... or None}``
audio      ``{"file": ..., "sample_rate", "shape"}``
boxes      ``{"xyxy": 4 * N numbers, "labels", "label_numbers", "scores", "ids", "id_numbers"}``
masks      ``{"file": ..., "height", "width", "labels": [{"value", "name"}]}``
reference  the number of a row
others     the value itself
=========  ==========================================================================================

A file is ``{"sha256", "ext", "size_bytes"}``. Labels that are numbers stand in ``label_numbers``, others in ``labels``;
so it is with ids.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from ml.core.errors import LogValueError
from ml.evaluation.blobs import MediaFile
from ml.evaluation.columns import ColumnKind
from ml.evaluation.references import Origin, Reference, RowIndex
from ml.evaluation.values import Audio, Boxes, Image, Masks, on_host
from ml.media.arrays import Array, as_array

Cell: TypeAlias = object

MAX_CELL_BYTES: Final = 64 * 2**20
"""Of a text, or of the numbers of an array."""
MAX_ROW_BYTES: Final = 256 * 2**20
"""Of the cells of a row together, as ``size_of`` reckons."""
ARRAY_DTYPES: Final = frozenset(
    ["|b1", "|i1", "|u1", *(f"<{kind}{size}" for kind in "iu" for size in (2, 4, 8)), "<f2", "<f4", "<f8"]
)

_NUMBER_BYTES: Final = 8
_FILE_BYTES: Final = 128


class Packed(NamedTuple):
    """A cell, and what there is to know of it.

    Attributes:
        kind: Of the value; ``None`` of ``None``.
        cell: It.
        files: That it names.
        origin: Of a reference, the table.
    """

    kind: ColumnKind | None
    cell: Cell
    files: tuple[MediaFile, ...] = ()
    origin: Origin | None = None


def pack(value: object) -> Packed:
    """Returns the cell of a value, which says itself of what kind it is.

    Raises:
        LogValueError: No column holds such a value.
    """
    packer = _PACKER_OF.get(type(value))
    if packer is None:
        packer = next((packer for types, packer in _PACKERS if isinstance(value, types)), _packed_other)
    return packer(value)


def size_of(cell: Cell) -> int:
    """Returns what a cell takes in bytes, or somewhat more; the same for equal cells."""
    if type(cell) in _FIXED:
        return _NUMBER_BYTES
    if isinstance(cell, str):
        return _NUMBER_BYTES + len(cell) * (1 if cell.isascii() else 4)
    if isinstance(cell, bytes):
        return len(cell)
    if isinstance(cell, list):  # of things that are alike
        if cell and type(cell[0]) in _FIXED:
            return _NUMBER_BYTES * (1 + len(cell))
        return _NUMBER_BYTES + sum(map(size_of, cell))
    if isinstance(cell, dict):
        return _FILE_BYTES if "sha256" in cell else sum(map(size_of, cell.values()))
    return _NUMBER_BYTES


def _packed_text(value: str) -> Packed:
    text = str.__str__(value)  # an enumeration's name would be another text
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        fix = "Write it as text.encode('utf-8', 'backslashreplace').decode()."
        raise LogValueError(f"half a surrogate pair at character {error.start} is no Unicode text", fix) from None
    _refuse_size(size_bytes, "a text")
    return Packed("string", text)


def _packed_int(value: int) -> Packed:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise LogValueError(f"an integer has 64 bits, got {number!r:.60}", "Pass it as a float, or as text with str().")
    return Packed("integer", number)


def _packed_float(value: float | np.floating) -> Packed:
    return Packed("number", float(value))


def _packed_moment(value: datetime) -> Packed:
    if value != value:  # so it is with pandas.NaT alone
        return _NONE
    if value.tzinfo is None:
        fix = "Add the zone: .replace(tzinfo=datetime.UTC), or .astimezone() for local time."
        raise LogValueError(f"{value!r} could be one of many moments, as it has no time zone", fix)
    if getattr(value, "nanosecond", 0):  # of pandas
        raise LogValueError(f"a timestamp has microseconds, {value!r} has nanoseconds", "Round it: .round('us').")
    try:
        moment = value.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise LogValueError(f"{value!r} is out of the years 1 to 9999 in UTC", "Pass another moment.") from error
    return Packed("timestamp", datetime.combine(moment.date(), moment.time(), UTC).replace(fold=0))


def _packed_numpy_moment(value: np.datetime64) -> Packed:
    if np.isnat(value):
        return _NONE
    moment = value.astype("datetime64[us]").item()
    if not isinstance(moment, datetime):  # numpy gives a number for what Python's calendar does not have
        raise LogValueError(f"{value!r} is out of the years 1 to 9999", "Pass another moment.")
    if np.datetime64(moment, "us") != value:
        raise LogValueError(f"a timestamp has microseconds, {value!r} has more", "Round it: .astype('datetime64[us]').")
    return Packed("timestamp", moment.replace(tzinfo=UTC))


def _packed_array(value: Array) -> Packed:
    if isinstance(value, np.ma.MaskedArray):  # its masked values would be stored as whatever lies under the mask
        raise LogValueError("masked values are not kept", "Pass .filled(...).")
    if value.ndim == 0:
        return pack(value[()])
    little = value
    if value.dtype.str not in ARRAY_DTYPES:
        array = as_array(value)
        little = array.astype(array.dtype.newbyteorder("<"))
        if little.dtype.str not in ARRAY_DTYPES:
            raise LogValueError(f"an array of dtype {array.dtype} is not kept", "Convert it: .astype(np.float64).")
    _refuse_size(little.nbytes, "an array")
    return Packed("array", {"dtype": little.dtype.str, "shape": list(little.shape), "data": little.tobytes()})


def _packed_image(value: Image) -> Packed:
    files = (value.file,) if value.masks is None else (value.file, value.masks.file)
    cell = {
        "file": value.file.ref._asdict(),
        "height": value.height,
        "width": value.width,
        "caption": _packed_text(value.caption).cell,
        "boxes": None if value.boxes is None else _packed_boxes(value.boxes).cell,
        "masks": None if value.masks is None else _packed_masks(value.masks).cell,
    }
    return Packed("image", cell, files)


def _packed_audio(value: Audio) -> Packed:
    cell = {"file": value.file.ref._asdict(), "sample_rate": value.sample_rate, "shape": list(value.shape)}
    return Packed("audio", cell, (value.file,))


def _packed_boxes(value: Boxes) -> Packed:
    labels, label_numbers = _texts_and_numbers(value.labels)
    ids, id_numbers = _texts_and_numbers(value.ids)
    cell = {
        "xyxy": value.xyxy.ravel().tolist(),
        "labels": labels,
        "label_numbers": label_numbers,
        "scores": None if value.scores is None else value.scores.tolist(),
        "ids": ids,
        "id_numbers": id_numbers,
    }
    return Packed("boxes", cell)


def _packed_masks(value: Masks) -> Packed:
    labels = [{"value": number, "name": _packed_text(name).cell} for number, name in value.labels.items()]
    cell = {"file": value.file.ref._asdict(), "height": value.height, "width": value.width, "labels": labels}
    return Packed("masks", cell, (value.file,))


def _packed_reference(value: Reference) -> Packed:
    if not 0 <= value.row < 2**63:
        raise LogValueError(f"{value} is no row: they are numbered from 0 on", "Take it from get_index().")
    return Packed("reference", value.row, origin=Origin(value.table_ref))


def _packed_row(value: RowIndex) -> Packed:
    return Packed("reference", int(value), origin=value.origin)


def _packed_other(value: object) -> Packed:
    host = on_host(value)
    if isinstance(host, np.ndarray):
        return _packed_array(host)
    pil = sys.modules.get("PIL.Image")  # who has an image has loaded it
    if pil is not None and isinstance(value, pil.Image):
        return _packed_image(Image(value))
    if isinstance(value, (list, tuple, range)):
        try:
            return _packed_array(as_array(value))
        except LogValueError as error:
            fix = "Pass numbers of one shape, a column for each item, or ', '.join(texts)."
            raise LogValueError(f"a {type(value).__name__} is kept as an array, and {error.problem}", fix) from error
    if hasattr(value, "__array__"):
        return _packed_array(as_array(value))
    fix = "Pass a number, a text, an array, an Image, or str(value)."
    if isinstance(value, (bytes, bytearray)):
        fix = "Wrap an encoded picture in Image(...), or decode the bytes into text."
    elif isinstance(value, date):
        fix = "Pass a datetime with a time zone, or str(value)."
    elif isinstance(value, Mapping):
        fix = "Give each of its entries a column, or pass json.dumps(value)."
    elif hasattr(value, "__float__"):
        fix = "Pass float(value)."
    raise LogValueError(f"a {type(value).__name__} fits no column: {value!r:.60}", fix)


_FIXED: Final = frozenset({type(None), bool, int, float, datetime})
_NONE: Final = Packed(None, None)
_PACKER_OF: Final[dict[type, Callable[..., Packed]]] = {  # what most values are
    type(None): lambda value: _NONE,
    bool: lambda value: Packed("boolean", value),
    int: _packed_int,
    float: lambda value: Packed("number", value),
    str: _packed_text,
    np.ndarray: _packed_array,
    Image: _packed_image,
    Boxes: _packed_boxes,
    Reference: _packed_reference,
    RowIndex: _packed_row,
    np.int64: _packed_int,
    np.float32: _packed_float,
    np.float64: _packed_float,
}
_PACKERS: Final[tuple[tuple[type | tuple[type, ...], Callable[..., Packed]], ...]] = (
    (str, _packed_text),
    (RowIndex, _packed_row),
    (np.bool_, lambda value: Packed("boolean", bool(value))),
    ((int, np.integer), _packed_int),
    ((float, np.floating), _packed_float),
    (np.ndarray, _packed_array),
    (Audio, _packed_audio),
    (Masks, _packed_masks),
    (datetime, _packed_moment),
    (np.datetime64, _packed_numpy_moment),
)


def _texts_and_numbers(
    names: tuple[str, ...] | tuple[int, ...] | None,
) -> tuple[list[str] | None, list[int] | None]:
    if names is None:
        return None, None
    numbers = [name for name in names if isinstance(name, int)]
    if numbers:
        return None, numbers
    texts = [name for name in names if isinstance(name, str)]
    for text in texts:
        _packed_text(text)
    return texts, None


def _refuse_size(size_bytes: int, what: str) -> None:
    if size_bytes > MAX_CELL_BYTES:
        problem = f"{what} of {size_bytes / 2**20:.0f} MiB is more than the {MAX_CELL_BYTES // 2**20} MiB of a cell"
        raise LogValueError(problem, "Keep a part of it, or keep it as a file of its own.")
