"""Names of published tables and their rows, and row numbers that know their table."""

import re
from typing import NamedTuple

from ml.core.errors import ConfigError

_TABLE = re.compile(r"(?P<artifact>.+?):v(?P<version>0|[1-9][0-9]{0,9})/(?P<table>.+)", re.DOTALL)


class TableRef(NamedTuple):
    """A table of a published version, ``"val:v3/val_data"`` as text."""

    artifact: str
    version: int
    table: str

    def __str__(self) -> str:
        return f"{self.artifact}:v{self.version}/{self.table}"

    @staticmethod
    def parse(text: str) -> "TableRef":
        """Returns what ``str`` made into text.

        Raises:
            ConfigError: It is no such text.
        """
        match = _TABLE.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"A published table is named '<artifact>:v<N>/<table>', e.g. 'val:v3/data'; got {text!r}."
            )
        return TableRef(match["artifact"], int(match["version"]), match["table"])


class Reference(NamedTuple):
    """A row of a published table, ``"val:v3/val_data#17"`` as text.

    Attributes:
        artifact: Its name.
        version: 0 or more.
        table: Its name within the artifact.
        row: 0 or more.
    """

    artifact: str
    version: int
    table: str
    row: int

    def __str__(self) -> str:
        return f"{self.table_ref}#{self.row}"

    @property
    def table_ref(self) -> TableRef:
        """The table that the row lies in."""
        return TableRef(self.artifact, self.version, self.table)


class Origin:
    """A table, as the numbers of its rows know it: which one it is becomes known when it is published."""

    def __init__(self, table_ref: TableRef | None = None) -> None:
        self.table_ref = table_ref


class RowIndex(int):
    """The number of a row, which knows the table that it is of; everywhere else it is an ``int``.

    Put in another table it makes a column of references.

    Args:
        row: From 0 on.
        origin: Of the table.
    """

    origin: Origin

    def __new__(cls, row: int, origin: Origin) -> "RowIndex":
        made = super().__new__(cls, row)
        made.origin = origin
        return made

    @property
    def table_ref(self) -> TableRef | None:
        """The published table; ``None`` as long as it is not."""
        return self.origin.table_ref

    @property
    def reference(self) -> Reference | None:
        """The row, as others can find it; ``None`` as long as its table is not published."""
        return None if self.table_ref is None else Reference(*self.table_ref, int(self))
