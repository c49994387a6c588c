"""Confusion matrices of versions, and in what each differs from the one before."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from ml.evaluation.judging import Class, Confusion, ordered
from ml.report.charts import HeatMap

MAX_CLASSES: Final = 20
"""Classes in a matrix: those that are confused most; the others are one."""

_OTHERS, _NOTHING = "all others", "nothing"

_Cells: TypeAlias = Mapping[tuple[str, str], int]


def heat_maps(confusions: Sequence[Confusion]) -> list[list[HeatMap]]:
    """Returns the matrix of each version, and from the second on in what it differs from the one before.

    Args:
        confusions: Of the versions, in order. All have the same rows and columns.
    """
    kept = _kept(confusions)
    rows, columns = (_names(confusions, kept, side) for side in (0, 1))
    maps, before = list[list[HeatMap]](), None
    for confusion in confusions:
        cells = _lumped(confusion, kept)
        shown = [_heat_map("confusion", rows, columns, cells)]
        if before is not None:
            change = {cell: cells[cell] - before[cell] for cell in {*cells, *before}}
            shown.append(_heat_map("change since the version before", rows, columns, change))
        maps.append(shown)
        before = cells
    return maps


def _heat_map(title: str, rows: Sequence[str], columns: Sequence[str], cells: _Cells) -> HeatMap:
    values = [[cells.get((row, column), 0) for column in columns] for row in rows]
    return HeatMap(title, "truth", "predicted", rows, columns, values)


def _kept(confusions: Sequence[Confusion]) -> set[Class]:
    confused = Counter[Class]()
    for confusion in confusions:
        for (truth, predicted), count in confusion.items():
            confused.update({name: count * (truth != predicted) for name in (truth, predicted) if name is not None})
    return set(sorted(ordered(confused), key=lambda name: -confused[name])[:MAX_CLASSES])


def _names(confusions: Sequence[Confusion], kept: set[Class], side: int) -> list[str]:
    used = {cell[side] for confusion in confusions for cell in confusion}
    names = [str(name) for name in ordered(kept)]
    names += [_OTHERS] if any(name is not None and name not in kept for name in used) else []
    return names + ([_NOTHING] if None in used else [])


def _lumped(confusion: Confusion, kept: set[Class]) -> Counter[tuple[str, str]]:
    counts = Counter[tuple[str, str]]()
    for (truth, predicted), count in confusion.items():
        counts[_lump(truth, kept), _lump(predicted, kept)] += count
    return counts


def _lump(name: Class | None, kept: set[Class]) -> str:
    return _NOTHING if name is None else str(name) if name in kept else _OTHERS
