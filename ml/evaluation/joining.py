"""Joins tables: each row of one with the row that it names in another, or with those that have the same value."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias, get_args

from ml.core.errors import ConfigError
from ml.evaluation.columns import Column, ColumnKind, ColumnName
from ml.evaluation.references import Origin
from ml.evaluation.rows import How, ReadableTable
from ml.evaluation.table import Table

On: TypeAlias = ColumnName | tuple[ColumnName, ColumnName]
_Rows: TypeAlias = Iterable[int]

_KEYS: Final[frozenset[ColumnKind]] = frozenset(
    {"integer", "number", "string", "boolean", "timestamp", "image", "audio", "masks", "reference"}
)


def join(left: ReadableTable, right: ReadableTable, on: On, how: How = "inner") -> Table:
    """Returns a new table of the rows of ``left``, in their order, each with what belongs to it in ``right``.

    If ``on`` is a column of ``left`` whose references are rows of ``right``, each row gets the one that it names, and
    all columns of ``right``. Otherwise each gets every row of ``right`` with the same value, and the columns but that
    one; the values of ``right`` are then held in memory. ``None`` and NaN are equal to nothing, and media files to
    those with the same content. A column of ``right`` whose name there is already gets the name of its table before
    it: ``val_data.label``. Media of published tables are not copied.

    Args:
        left: One table.
        right: The other.
        on: A column of both; or one of ``left`` and one of ``right``.
        how: ``"inner"`` leaves out the rows of ``left`` that nothing belongs to; ``"left"`` keeps them, with ``None``.

    Raises:
        ConfigError: There is no such column, or no such ``how``; the columns cannot be compared; the references are
            rows of another table than ``right``.
        IndexError: A reference is no row of ``right``.
        FileNotFoundError, FormatError, WriteError: A table cannot be read.
    """
    if how not in get_args(How):
        raise ConfigError(f"A join is 'inner' or 'left', not {how!r}.")
    left_name, right_name = on if isinstance(on, tuple) else (on, on)
    left_index = left.position_of(left_name)
    rows_of, kept = _matcher(left, right, left_index, None if on == left_name else right_name)
    columns = _columns(left, right, kept)
    table = Table(columns, name=left.name)
    try:
        nothing: list[object] = [None] * len(kept)
        for _, row in left.iterrows():
            found = [[right_row[index] for index in kept] for right_row in map(right.row_at, rows_of(row[left_index]))]
            for values in found or ([nothing] if how == "left" else []):
                table.add_data(*row, *values)
    except BaseException:
        table.close()
        raise
    return table


def _matcher(
    left: ReadableTable, right: ReadableTable, left_index: int, right_name: ColumnName | None
) -> tuple[Callable[[object], _Rows], list[int]]:
    """Returns what finds the rows of ``right`` that belong to a value of ``left``, and the columns that they add."""
    column, everything = left.columns[left_index], list(range(len(right.columns)))
    if column.kind == "reference" and right_name is None:
        if _is_of(left.origin_of(left_index), right):
            count = len(right)
            return lambda value: _referenced(value, count, right.name), everything
        if column.name not in right.column_names:
            known = column.references or "a table that is not published"
            raise ConfigError(f"Column {column.name!r} references rows of {known}, not of {right!r}. Join that one.")
    right_index = right.position_of(column.name if right_name is None else right_name)
    _check_comparable(column, right.columns[right_index])
    rows = _rows_by_value(right, right_index)
    return lambda value: rows.get(_key(value), ()), [index for index in everything if index != right_index]


def _is_of(origin: Origin, table: ReadableTable) -> bool:
    is_published = origin.table_ref is not None and origin.table_ref == table.origin.table_ref
    return origin is table.origin or is_published


def _referenced(value: object, count: int, name: str) -> _Rows:
    if value is None:
        return ()
    row = getattr(value, "row", value)
    assert isinstance(row, int)
    if row >= count:
        raise IndexError(f"Row {row} is referenced, and the table {name!r} has {count}.")
    return (int(row),)


def _check_comparable(left: Column, right: Column) -> None:
    numbers = {"integer", "number", None}
    if not (left.kind == right.kind or {left.kind, right.kind} <= numbers or None in (left.kind, right.kind)):
        raise ConfigError(f"Column {left.name!r} is of kind {left.kind}, {right.name!r} of {right.kind}. Convert one.")
    for column in (left, right):
        if column.kind is not None and column.kind not in _KEYS:
            raise ConfigError(f"Column {column.name!r} is of kind {column.kind}, which cannot be compared.")
    if left.references != right.references:
        raise ConfigError(f"{left.name!r} references {left.references}, and {right.name!r} {right.references}.")


def _rows_by_value(table: ReadableTable, index: int) -> Mapping[object, list[int]]:
    rows: defaultdict[object, list[int]] = defaultdict(list)
    name = table.column_names[index]
    row = 0
    for batch in table.iter_batches():
        for value in batch[name]:
            if value is not None and value == value:  # None and NaN are equal to nothing
                rows[_key(value)].append(row)
            row += 1
    return rows


def _key(value: object) -> object:
    """Returns what two equal values have in common: a media file is held by its hash alone."""
    file = getattr(value, "file", None)
    return value if file is None else file.ref.sha256


def _columns(left: ReadableTable, right: ReadableTable, kept: list[int]) -> list[Column]:
    columns = list(left.columns)
    taken = {str(column.name) for column in columns}
    for column in (right.columns[index] for index in kept):
        name: ColumnName = column.name
        while str(name) in taken:
            name = f"{right.name}.{name}"
        taken.add(str(name))
        columns.append(Column(name, column.kind, column.references))
    return columns
