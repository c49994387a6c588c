"""Whether a value fits a column, and what kind a column has that began without one."""

from collections.abc import Callable
from typing import Final

from ml.core.errors import LogValueError
from ml.evaluation.columns import KINDS, Column, ColumnKind
from ml.evaluation.packing import Packed, pack
from ml.evaluation.references import Origin, TableRef
from ml.evaluation.values import Boxes, Image, Masks

_FROM_ARRAYS: Final[dict[ColumnKind, Callable[[object], object]]] = {"image": Image, "boxes": Boxes, "masks": Masks}
_NEVER_CHANGES: Final = frozenset(KINDS) - {"integer", "reference"}
_CURES: Final[dict[ColumnKind, str]] = {
    "integer": "Pass int(value).",
    "number": "Pass float(value).",
    "string": "Pass str(value).",
    "boolean": "Pass bool(value).",
    "timestamp": "Pass a datetime with a time zone.",
    "array": "Pass a list or an array of numbers.",
    "image": "Pass an Image, or a picture as an array.",
    "audio": "Pass Audio(samples, sample_rate).",
    "boxes": "Pass Boxes(...), or their corners of shape (N, 4).",
    "masks": "Pass Masks(...), or labels of shape (H, W).",
    "reference": "Pass one of the other table's get_index().",
}


class Fit:
    """A column that grows: it knows what fits it, and becomes wider where nothing is lost by it.

    A column of integers becomes one of numbers when a float comes, unless it holds an integer that no float equals.

    Args:
        column: As it begins.
    """

    def __init__(self, column: Column) -> None:
        self._column = column
        self._origin = Origin(TableRef.parse(column.references)) if column.references else None
        self._inexact: int | None = None  # the first integer that no float is equal to

    @property
    def column(self) -> Column:
        """The column as it is now."""
        table_ref = self._origin and self._origin.table_ref
        return self._column if table_ref is None else self._column.of_kind("reference", str(table_ref))

    @property
    def origin(self) -> Origin:
        """The table whose rows it names, if it is one of references."""
        return self._origin or Origin()

    def fitted(self, value: object) -> Packed:
        """Returns the cell that ``take`` takes; nothing changes yet.

        Raises:
            LogValueError: The value does not fit.
        """
        packed, kind = pack(value), self._column.kind
        if kind is None or packed.kind is None or packed.kind == kind:
            if packed.origin is not None:
                self._check_same_table(packed.origin)
            return packed
        if packed.kind == "reference" and kind in ("integer", "number"):
            packed = Packed("integer", packed.cell)
            if kind == "integer":
                return packed
        if (kind, packed.kind) == ("reference", "integer"):
            return self._as_row(packed)
        if (kind, packed.kind) == ("number", "integer"):
            return self._as_number(packed)
        if (kind, packed.kind) == ("integer", "number"):
            if self._inexact is not None:
                problem = f"a column of integers got a number ({value!r:.60}), and no float equals its {self._inexact}"
                raise LogValueError(problem, "Pass int(value), or the integers of the column as floats.")
            return packed
        if packed.kind == "array" and kind in _FROM_ARRAYS:
            return pack(_FROM_ARRAYS[kind](value))
        fix = f"{_CURES[kind]} Or declare it as Column({self._column.name!r}, {packed.kind!r})."
        raise LogValueError(f"a column of kind {kind} got a value of kind {packed.kind}: {value!r:.60}", fix)

    def take(self, packed: Packed) -> bool:
        """Takes a cell that ``fitted`` returned.

        Returns:
            Whether the column was one of integers until now, and is one of numbers from now on.
        """
        was = self._column.kind
        if packed.kind is None or (packed.kind == was and was in _NEVER_CHANGES):
            return False
        if packed.origin is not None and self._origin is None:
            self._origin = packed.origin
        if packed.kind == "integer" and self._inexact is None and isinstance(packed.cell, int):
            self._inexact = None if _is_exact(packed.cell) else packed.cell
        if was is None or (was, packed.kind) == ("integer", "number"):
            self._column = self._column.of_kind(packed.kind)
        return (was, packed.kind) == ("integer", "number")

    def _as_number(self, packed: Packed) -> Packed:
        assert isinstance(packed.cell, int)
        if not _is_exact(packed.cell):
            fix = "Pass float(value) if the nearest float will do, or str(value)."
            raise LogValueError(f"a column of numbers got the integer {packed.cell}, which no float equals", fix)
        return Packed("number", float(packed.cell))

    def _as_row(self, packed: Packed) -> Packed:
        if self._origin is None or not isinstance(packed.cell, int) or packed.cell < 0:
            problem = f"a column of references got {packed.cell!r}, which names no row of a table"
            raise LogValueError(problem, _CURES["reference"])
        return Packed("reference", packed.cell, origin=self._origin)

    def _check_same_table(self, origin: Origin) -> None:
        mine = self._origin
        if mine is None or mine is origin or (mine.table_ref is not None and mine.table_ref == origin.table_ref):
            return
        known, other = mine.table_ref or "a table that is not published", origin.table_ref or "another one"
        problem = f"a column references rows of one table, which is {known}, and got a row of {other}"
        raise LogValueError(problem, "Give each table a column of its own.")


def _is_exact(number: int) -> bool:
    return int(float(number)) == number
