"""What of a table is kept, copied on the training thread: its first rows, column by column, where they lie."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice

import numpy as np

from ml.core.errors import LogValueError
from ml.loggers.tensors import MAX_BYTES, copied, is_tensor, local, nbytes
from ml.media.arrays import Array, as_array
from ml.media.table_boxes import has_boxes

MAX_COLUMNS = 1000

_MAX_NAME_LENGTH = 200
_TEXTS = {str, bytes}
_PLAIN = {int, float, bool, type(None), *_TEXTS}
_FIX = 'Give each column a sequence: {"label": labels, "score": scores}.'


@dataclass(frozen=True, slots=True)
class Plain:
    """The cells of a column that no one can change: they are not copied one by one."""

    cells: list[object]
    nbytes: int


@dataclass(frozen=True, slots=True)
class Picture:
    """The copy of what is a picture whatever its shape: a PIL image, a figure."""

    pixels: Array

    @property
    def nbytes(self) -> int:
        """What it takes, in bytes."""
        return self.pixels.nbytes

    def array(self) -> Array:
        """Returns its pixels."""
        return self.pixels


def select_table(value: object, *, max_rows: int) -> list[object]:
    """Returns a private copy of the first rows of a table: ``[names, columns, number of all rows]``.

    Args:
        value: A mapping of names to sequences of one length, a data frame, or a ``TableLike``. Of one that has no
            length the other batches are read, too, to count the rows.
        max_rows: The most rows to keep.

    Raises:
        LogValueError: It is no table, or what is kept would be more than 64 MiB.
    """
    if max_rows < 1:
        raise LogValueError(f"a table keeps at least 1 row, got max_rows={max_rows!r}")
    names, columns, total_rows = _first_rows(value, max_rows)
    if not 0 < len(names) <= MAX_COLUMNS:
        raise LogValueError(
            f"a table has 1 to {MAX_COLUMNS} columns, got {len(names)}", "Log numbers with log_scalars."
        )
    shown = [_name(name) for name in names]
    if len(set(shown)) < len(shown):
        twice = next(name for name in shown if shown.count(name) > 1)
        raise LogValueError(f"two columns of a table are called {twice!r}", "Rename one of them.")
    kept: list[object] = []
    size_bytes = 0
    for name, column in zip(shown, map(_measured, columns), strict=True):
        size_bytes += sum(map(nbytes, column)) if isinstance(column, list) else nbytes(column)
        if size_bytes > MAX_BYTES:
            problem = f"its first {max_rows} rows hold more than {MAX_BYTES // 2**20} MiB up to column {name!r}"
            raise LogValueError(problem, "Log fewer with max_rows=, or smaller pictures.")
        kept.append(_copied(column))
    return [shown, kept, total_rows]


def _first_rows(value: object, max_rows: int) -> tuple[list[object], list[object], int]:
    """Returns names, columns and the number of all rows; arrays and tensors as views."""
    items = getattr(value, "items", None)
    if callable(items):  # a mapping, or a data frame
        pairs: list[tuple[object, object]] = list(items())
        lengths = {name: _length(name, column) for name, column in pairs}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name}: {length}" for name, length in islice(lengths.items(), 8))
            raise LogValueError(
                f"the columns of a table are of one length, got {shown}", "Log a table for each length."
            )
        total_rows = next(iter(lengths.values()), 0)
        return [name for name, _ in pairs], [_head(column, max_rows) for _, column in pairs], total_rows
    names, batches = getattr(value, "column_names", None), getattr(value, "iter_batches", None)
    if names is None or not callable(batches):
        problem = f"a table is a mapping of columns, or has column_names and iter_batches(), got {type(value).__name__}"
        raise LogValueError(problem, _FIX)
    return list(names), *_first_of_batches(value, list(names), batches, max_rows)


def _first_of_batches(
    value: object, names: list[str], batches: Callable[[], Iterable[Mapping[str, Sequence[object]]]], max_rows: int
) -> tuple[list[object], int]:
    columns: list[list[object]] = [[] for _ in names]
    total_rows = len(value) if hasattr(value, "__len__") else None
    count = 0
    for batch in batches():
        if count < max_rows:
            for name, column in zip(names, columns, strict=True):
                column += _head(batch[name], max_rows - count)  # type: ignore[arg-type]
        count += len(batch[names[0]]) if names else 0
        if total_rows is not None and count >= max_rows:
            break
    return list(columns), count if total_rows is None else total_rows


def _name(name: object) -> str:
    text = str(name)
    text = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= _MAX_NAME_LENGTH else f"{text[: _MAX_NAME_LENGTH - 1]}…"


def _length(name: object, column: object) -> int:
    if not isinstance(column, str | bytes | Mapping):
        try:
            return len(column)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise LogValueError(f"column {name!r} is no sequence of cells, got {type(column).__name__}", _FIX)


def _head(column: object, count: int) -> object:
    """Returns the first cells: of an array or a tensor a view, else a list."""
    column = local(column)
    if isinstance(column, np.ndarray) or is_tensor(column):
        return column[:count]  # type: ignore[index]
    to_numpy = getattr(column, "to_numpy", None)  # a column of a data frame
    if callable(to_numpy) and str(getattr(column, "dtype", "")) in _NUMPY_DTYPES:
        return to_numpy()[:count]
    return list(islice(iter(column), count))  # type: ignore[call-overload]


_NUMPY_DTYPES = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)} | {"bool"}


def _measured(column: object) -> object:
    """Returns the column, as ``Plain`` where no one can change its cells; looks at each cell in C alone."""
    if not isinstance(column, list):
        return column
    kinds = set(map(type, column))
    if not kinds <= _PLAIN:
        return column
    texts = column if kinds <= _TEXTS else [cell for cell in column if type(cell) in _TEXTS] if kinds & _TEXTS else []
    return Plain(column, 8 * len(column) + sum(map(len, texts)))


def _copied(column: object) -> object:
    if isinstance(column, Plain):
        return column
    if isinstance(column, list):
        return [_copied_cell(cell) for cell in column]
    return column.astype(object) if _is_odd(column) else copied(column)  # type: ignore[attr-defined]


def _is_odd(column: object) -> bool:
    """Whether it is an array of texts, times or objects, which are cells one by one."""
    return isinstance(column, np.ndarray) and column.dtype.kind not in "biuf"


def _copied_cell(cell: object) -> object:
    if isinstance(cell, int | float | str | bytes | date | None) or callable(getattr(cell, "array", None)):
        return cell  # none of them changes
    if has_boxes(cell):
        return cell
    if isinstance(cell, list | tuple):
        try:
            return copied(cell)
        except LogValueError:
            return str(cell)
    if hasattr(cell, "__array_interface__") and not isinstance(cell, np.ndarray | np.generic):
        return Picture(np.array(as_array(cell)))  # a PIL image
    if hasattr(cell, "savefig"):
        return Picture(as_array(cell))
    if is_tensor(cell) or hasattr(cell, "__array__"):
        return copied(cell)
    return cell if hasattr(cell, "__float__") else str(cell)
