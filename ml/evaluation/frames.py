"""Tables as data frames of pandas."""

from typing import TYPE_CHECKING, Final

from ml.core.errors import missing
from ml.evaluation.columns import ColumnKind
from ml.evaluation.rows import ReadableTable

if TYPE_CHECKING:
    import pandas as pd

_DTYPES: Final[dict[ColumnKind, tuple[str, str]]] = {  # without and with missing values
    "integer": ("int64", "Int64"),
    "number": ("float64", "float64"),
    "string": ("str", "str"),
    "boolean": ("bool", "boolean"),
    "timestamp": ("datetime64[us, UTC]", "datetime64[us, UTC]"),
}


def frame_of(table: ReadableTable) -> "pd.DataFrame":
    """Returns all rows of a table as a data frame, in memory; see ``ReadableTable.to_pandas``.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise missing("A data frame", "pandas", "evaluation", error) from error
    series = {}
    for column in table.columns:
        values = table.get_column(column.name)
        dtypes = _DTYPES.get(column.kind) if column.kind is not None else None
        dtype = "object" if dtypes is None else dtypes[any(value is None for value in values)]
        series[column.name] = pd.Series(values, dtype=dtype)
    return pd.DataFrame(series, columns=list(table.column_names))
