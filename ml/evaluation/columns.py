"""The columns of an evaluation table: their names, and of what kind their values are.

==========  ===================================================================================
kind        values
==========  ===================================================================================
integer     whole numbers of 64 bits
number      floats of 64 bits; NaN and infinities are values of their own, other than ``None``
string      Unicode text
boolean     ``True`` and ``False``
timestamp   moments, to the microsecond; they come back in UTC
array       numbers of one dtype, shape (N,) or more
image       ``ml.evaluation.values.Image``
audio       ``ml.evaluation.values.Audio``
boxes       ``ml.evaluation.values.Boxes``
masks       ``ml.evaluation.values.Masks``
reference   a row of another table, the same one for the whole column
==========  ===================================================================================

``None`` fits every column.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, get_args

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.references import TableRef

ColumnKind: TypeAlias = Literal[
    "integer",
    "number",
    "string",
    "boolean",
    "timestamp",
    "array",
    "image",
    "audio",
    "boxes",
    "masks",
    "reference",
]
ColumnName: TypeAlias = str | int

KINDS: Final[tuple[ColumnKind, ...]] = get_args(ColumnKind)
MAX_COLUMNS: Final = 10_000
MAX_NAME_CHARACTERS: Final = 1_000

_JSON_KEYS = {"name", "kind", "references"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Text, or a number.
        kind: Of its values; ``None``: as the first value that is not ``None`` says. It is ``None`` for good where there
            is no such value.
        references: The table whose rows a column of kind ``"reference"`` names, ``"<artifact>:v<N>/<table>"``. Empty
            with other kinds, and as long as that table is not published.

    Raises:
        ConfigError: The name is neither, or too long; there is no such kind; ``references`` is none, or stands with
            another kind.
    """

    name: ColumnName
    kind: ColumnKind | None = None
    references: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.name, bool) or not isinstance(self.name, (str, int)):
            raise ConfigError(f"The name of a column is text or a number, got {self.name!r}.")
        if len(str(self.name)) > MAX_NAME_CHARACTERS:
            raise ConfigError(f"The name of a column has {MAX_NAME_CHARACTERS} characters or fewer: {self.name!r:.60}.")
        if isinstance(self.name, str) and not _is_unicode(self.name):
            raise ConfigError(f"The name of a column is Unicode text, got {self.name!a:.60}.")
        if self.kind is not None and self.kind not in KINDS:
            raise ConfigError(
                f"Column {self.name!r}: there is no kind {self.kind!r}. Choose one of {', '.join(KINDS)}."
            )
        if self.references:
            if self.kind != "reference":
                raise ConfigError(f"Column {self.name!r} is no reference (but {self.kind}), so it references nothing.")
            TableRef.parse(self.references)

    def of_kind(self, kind: ColumnKind | None, references: str = "") -> "Column":
        """Returns the column with another kind."""
        return replace(self, kind=kind, references=references)

    def to_json(self) -> dict[str, str | int | None]:
        """Returns it as a manifest has it: ``{"name": "label", "kind": "string"}``."""
        entry: dict[str, str | int | None] = {"name": self.name, "kind": self.kind}
        return {**entry, "references": self.references} if self.references else entry

    @staticmethod
    def from_json(value: object) -> "Column":
        """Returns what ``to_json`` made.

        Raises:
            FormatError: It did not make that.
        """
        if not isinstance(value, Mapping) or not {"name", "kind"} <= set(value) <= _JSON_KEYS:
            raise FormatError(f"a column has a name and a kind, got {value!r:.200}")
        name, kind, references = value["name"], value["kind"], value.get("references", "")
        if not isinstance(references, str):
            raise FormatError(f"a column references a table by its name, got {references!r:.200}")
        try:
            return Column(name, kind, references)
        except (ConfigError, TypeError) as error:
            raise FormatError(f"this is no column: {error}") from error


def checked(columns: Iterable[ColumnName | Column]) -> tuple[Column, ...]:
    """Returns the columns of a table.

    Args:
        columns: A name is a column whose kind the first value decides.

    Raises:
        ConfigError: Two have one name (``1`` and ``"1"`` are one), there are more than ``MAX_COLUMNS``, or one is none.
    """
    if isinstance(columns, str):
        raise ConfigError(f"A table has a list of columns, got the text {columns!r}. Write [{columns!r}].")
    made = tuple(column if isinstance(column, Column) else Column(column) for column in columns)
    if len(made) > MAX_COLUMNS:
        raise ConfigError(f"A table has {MAX_COLUMNS} columns or fewer, got {len(made)}.")
    names = [str(column.name) for column in made]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"Two columns have the name {twice!r}. Give every column a name of its own.")
    return made


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
