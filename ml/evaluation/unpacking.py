"""Values, made of the cells of a table again.

What is read may come from anywhere, so nothing that a cell says of a size is believed.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ml.core.errors import FormatError, LogValueError
from ml.evaluation.blobs import BlobRef, BlobSource, MediaFile
from ml.evaluation.columns import ColumnKind
from ml.evaluation.packing import ARRAY_DTYPES, Cell
from ml.evaluation.references import Origin, Reference, RowIndex
from ml.evaluation.values import Audio, Boxes, Image, Masks

MEDIA_KINDS: Final[frozenset[ColumnKind]] = frozenset({"image", "audio", "masks"})
"""Kinds whose values are files."""

_MAX_DIMENSIONS: Final = 32
_Fields: TypeAlias = Mapping[str, object]


def unpack(kind: ColumnKind | None, cells: Sequence[Cell], source: BlobSource, origin: Origin) -> list[object]:
    """Returns the values of cells of one column.

    Args:
        kind: Of the column.
        cells: Any number.
        source: Where their files lie.
        origin: The table that references are about.

    Raises:
        FormatError: There is no such cell.
    """
    unpacker = _UNPACKERS.get(kind) if kind is not None else None
    if unpacker is None:
        return list(cells)
    values = list[object]()
    for cell in cells:
        try:
            values.append(None if cell is None else unpacker(cell, source, origin))
        except FormatError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, LogValueError) as error:
            raise FormatError(f"a cell of kind {kind} holds {cell!r:.200} ({error})") from error
    return values


def refs_of(kind: ColumnKind | None, cell: Cell) -> Iterator[BlobRef]:
    """Yields the files that a cell names.

    Raises:
        FormatError: There is no such cell.
    """
    if kind in MEDIA_KINDS and cell is not None:
        fields = _fields(cell)
        yield _ref(fields["file"])
        if kind == "image" and fields["masks"] is not None:
            yield _ref(_fields(fields["masks"])["file"])


def _unpacked_array(cell: Cell, source: BlobSource, origin: Origin) -> object:
    fields = _fields(cell)
    dtype, data, shape = fields["dtype"], fields["data"], _shape(fields["shape"])
    if dtype not in ARRAY_DTYPES or not isinstance(data, bytes):
        raise FormatError(f"an array of dtype {dtype!r:.30} is not read")
    kept = np.dtype(str(dtype))
    if math.prod(shape) * kept.itemsize != len(data):
        raise FormatError(f"an array of shape {shape} and dtype {dtype} does not have {len(data)} bytes")
    return np.frombuffer(data, kept).reshape(shape)


def _unpacked_image(cell: Cell, source: BlobSource, origin: Origin) -> object:
    fields = _fields(cell)
    boxes, masks = fields["boxes"], fields["masks"]
    return Image.stored(
        MediaFile(_ref(fields["file"]), source),
        _count(fields["height"]),
        _count(fields["width"]),
        None if boxes is None else _boxes(boxes),
        None if masks is None else _masks(masks, source),
        str(fields["caption"] or ""),
    )


def _unpacked_audio(cell: Cell, source: BlobSource, origin: Origin) -> object:
    fields = _fields(cell)
    file = MediaFile(_ref(fields["file"]), source)
    return Audio.stored(file, _count(fields["sample_rate"]), _shape(fields["shape"]))


def _unpacked_reference(cell: Cell, source: BlobSource, origin: Origin) -> object:
    row = _count(cell)
    return RowIndex(row, origin) if origin.table_ref is None else Reference(*origin.table_ref, row)


def _unpacked_moment(cell: Cell, source: BlobSource, origin: Origin) -> object:
    if not isinstance(cell, datetime):
        raise FormatError(f"a moment was expected, got {cell!r:.60}")
    return cell.replace(tzinfo=UTC, fold=0)  # it is in UTC; Arrow gives it another object for that


_UNPACKERS: Final[dict[ColumnKind, Callable[[Cell, BlobSource, Origin], object]]] = {
    "array": _unpacked_array,
    "image": _unpacked_image,
    "audio": _unpacked_audio,
    "boxes": lambda cell, source, origin: _boxes(cell),
    "masks": lambda cell, source, origin: _masks(cell, source),
    "reference": _unpacked_reference,
    "timestamp": _unpacked_moment,
}


def _boxes(cell: Cell) -> Boxes:
    fields = _fields(cell)
    xyxy: npt.NDArray[np.float64] = np.array(fields["xyxy"], np.float64)
    return Boxes(
        xyxy.reshape(-1, 4),
        _names(fields, "labels", "label_numbers"),
        fields["scores"],
        _names(fields, "ids", "id_numbers"),
    )


def _masks(cell: Cell, source: BlobSource) -> Masks:
    fields = _fields(cell)
    labels = fields["labels"]
    if not isinstance(labels, list):
        raise FormatError(f"masks have a list of labels, got {labels!r:.60}")
    named = {_count(entry["value"]): str(entry["name"]) for entry in map(_fields, labels)}
    file = MediaFile(_ref(fields["file"]), source)
    return Masks.stored(file, _count(fields["height"]), _count(fields["width"]), named)


def _names(fields: _Fields, texts: str, numbers: str) -> list[str] | list[int] | None:
    found = fields[texts] if fields[texts] is not None else fields[numbers]
    if found is not None and not isinstance(found, list):
        raise FormatError(f"{texts} are a list, got {found!r:.60}")
    return found


def _ref(value: object) -> BlobRef:
    fields = _fields(value)
    return BlobRef.read(fields["sha256"], fields["ext"], fields["size_bytes"])


def _fields(cell: Cell) -> _Fields:
    if not isinstance(cell, Mapping):
        raise FormatError(f"a cell with parts was expected, got {cell!r:.60}")
    return cell


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FormatError(f"a number from 0 on was expected, got {value!r:.60}")
    return value


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > _MAX_DIMENSIONS:
        raise FormatError(f"the shape of an array was expected, got {value!r:.60}")
    return tuple(map(_count, value))
