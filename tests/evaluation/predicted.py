"""Tables of predictions for tests, and the slowest way to compare two of them."""

import math
from collections.abc import Iterable, Mapping, Sequence

from ml.evaluation.columns import Column
from ml.evaluation.samples import Samples
from ml.evaluation.table import Table

Row = tuple[int, object, object]
"""The key, what is true, and what was predicted."""


def samples_of(
    rows: Iterable[Row], *, name: str = "table", extra: Mapping[str, Sequence[object]] | None = None
) -> Samples:
    """Returns samples of classes."""
    table = Table([Column("id", "integer"), Column("label", "string"), Column("pred", "string")], name=name)
    for row in rows:
        table.add_data(*row)
    for column, values in (extra or {}).items():
        table.add_column(column, values)
    return Samples(table)


def oracle(before: Sequence[Row], after: Sequence[Row]) -> dict[str, object]:
    """Returns what became of samples: with a look at every pair of rows, and counting by hand."""
    both = [(old, new) for old in before for new in after if old[0] == new[0]]
    known = [(old, new) for old, new in both if old[1] is not None and new[1] is not None]
    changes = {
        old[0]: {
            (True, True): "still right",
            (True, False): "right to wrong",
            (False, True): "wrong to right",
            (False, False): "still wrong",
        }[old[1] == old[2], new[1] == new[2]]
        for old, new in known
    }
    return {
        "changes": changes,
        "only before": {row[0] for row in before} - {row[0] for row in after},
        "only after": {row[0] for row in after} - {row[0] for row in before},
        "not judged": {old[0] for old, new in both if old[1] is None or new[1] is None},
        "relabelled": {old[0] for old, new in known if old[1] != new[1]},
        "classes": {
            name: (accuracy([old for old, _ in known], name), accuracy([new for _, new in known], name))
            for name in {row[1] for pair in known for row in pair}
        },
        "all": (accuracy([old for old, _ in known]), accuracy([new for _, new in known])),
        "confusion": {
            (truth, predicted): tuple(
                sum(1 for pair in known if (pair[side][1], pair[side][2]) == (truth, predicted)) for side in (0, 1)
            )
            for truth, predicted in {(row[1], row[2]) for pair in known for row in pair}
        },
    }


def accuracy(rows: Sequence[Row], name: object = None) -> tuple[float, int]:
    """Returns the part of rows that is right, and how many there are: of one class, or of all."""
    of_class = [row for row in rows if name is None or row[1] == name]
    right = sum(1 for row in of_class if row[1] == row[2])
    return (right / len(of_class) if of_class else math.nan, len(of_class))
