"""Tables as data frames of pandas."""

from typing import TYPE_CHECKING

from ml.core.errors import missing
from ml.evaluation.references import Reference
from ml.evaluation.rows import ReadableTable
from ml.loggers.table_frame import dtype_of

if TYPE_CHECKING:
    import pandas as pd


def frame_of(table: ReadableTable) -> "pd.DataFrame":
    """Returns all rows of a table as a data frame, in memory; see ``ReadableTable.to_pandas``.

    A reference is the number of the row, as it is in Arrow: where the frame of the table that is referred to has it, in
    its index. Which table that is, ``table.columns`` says. So predictions get the ground truth beside them::

        predictions.to_pandas().join(truth.to_pandas(), on="sample")

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise missing("A data frame", "pandas", "evaluation", error) from error
    series = {}
    for column in table.columns:
        kind, values = column.kind, table.get_column(column.name)
        if kind == "reference":
            kind, values = "integer", [_row_of(value) for value in values]
        series[column.name] = pd.Series(values, dtype=dtype_of(kind, values))
    return pd.DataFrame(series, columns=list(table.column_names))


def _row_of(value: object) -> int | None:
    if isinstance(value, Reference):
        return value.row
    return int(value) if isinstance(value, int) else None
