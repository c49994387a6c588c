"""The samples of an evaluation: of each row of predictions what it is about, what is true, and what was predicted.

A column is found by its name in the table of predictions, or in a table whose rows it refers to: what a row of
predictions does not say itself, the row of the ground truth does.

::

    predictions (sample -> val_data, prediction)      val_data (index, image, label)

    samples = Samples(table)          # by row of val_data; "label" is true, "prediction" was predicted
    samples.values("index")           # of val_data, one for each row of predictions
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.columns import Column, ColumnKind
from ml.evaluation.references import Reference, RowIndex
from ml.evaluation.rows import ReadableTable
from ml.evaluation.stored import StoredTable

KEY_NAMES: Final = ("sample", "sample_id", "index", "idx", "id", "key", "image_id")
TRUTH_NAMES: Final = ("label", "labels", "truth", "ground_truth", "target", "true", "actual", "y", "y_true", "class")
PREDICTED_NAMES: Final = ("prediction", "predicted", "pred", "predictions", "preds", "guess", "output", "y_pred")
"""Names that say what a column is for, the likeliest first; capitals do not count."""

BOXED: Final[frozenset[ColumnKind | None]] = frozenset({"boxes", "image"})
"""Kinds whose values are, or have, boxes."""

_CLASSES: Final[frozenset[ColumnKind | None]] = frozenset({"integer", "number", "string", "boolean", None})
_KEYS: Final[frozenset[ColumnKind | None]] = _CLASSES | {"timestamp", "image", "audio", "masks", "reference"}


@dataclass(frozen=True)
class Roles:
    """Which columns say what; empty: it is found out, as ``Samples`` says.

    Attributes:
        key: Says which sample a row is about.
        truth: Of the ground truth: a class, boxes, or an image that has boxes.
        predicted: Of the predictions: a class, or boxes.
    """

    key: str = ""
    truth: str = ""
    predicted: str = ""


FOUND: Final = Roles()
"""All columns are found."""


class RoleError(ConfigError):
    """It must be said which column is for what.

    Attributes:
        problem: Why, as a sentence.
        role: The attribute of ``Roles`` that says it.
        which: What it can be.
    """

    def __init__(self, problem: str, role: str, which: str) -> None:
        self.problem, self.role, self.which = problem, role, which
        super().__init__(self.told(f"{role}="))

    def told(self, name: str) -> str:
        """Returns the message, where the role goes by another name: that of an argument."""
        return f"{self.problem} Say {name}, {self.which}"

    def __reduce__(self) -> tuple[object, ...]:
        return RoleError, (self.problem, self.role, self.which)


class _Place(NamedTuple):
    """Where a column is.

    Attributes:
        column: It.
        table: That it is a column of.
        via: Position of the column that names the rows of that table; ``None``: it is a column of the predictions.
    """

    column: Column
    table: ReadableTable
    via: int | None


class Samples:
    """The rows of a table of predictions, by the sample that each is about.

    What is not said is found: the key is the first column of references, else the first of ``KEY_NAMES`` that there is;
    what was predicted is the first of ``PREDICTED_NAMES``, else the only column of boxes; what is true is the first of
    ``TRUTH_NAMES`` of a kind that goes with it, else the only other column of boxes, else the first of images.

    Args:
        table: Of the predictions.
        roles: Which columns say what.
        name: Of the version, for messages.

    Attributes:
        table: Of the predictions.
        name: Of the version.
        key, truth, predicted: The names of the columns.

    Raises:
        RoleError: A column is found nowhere, so it must be said.
        ConfigError: A column is not there, or of another kind; truth and prediction are never equal.
    """

    def __init__(self, table: ReadableTable, roles: Roles = FOUND, *, name: str = "") -> None:
        self.table, self.name = table, name or table.name
        self._unread: list[str] = []
        self._places = dict(self._found_places())
        self._values: dict[str, list[object]] = {}
        self.key = roles.key or self._found_key()
        self.predicted = roles.predicted or self._found_predicted()
        self._check(self.predicted, "the prediction", _CLASSES | BOXED)
        self.is_boxed = self.kind(self.predicted) in BOXED
        kinds = BOXED if self.is_boxed else _CLASSES
        self.truth = roles.truth or self._found_truth(kinds)
        self._check(self.key, "the key", _KEYS)
        self._check(self.truth, f"the truth of {self.predicted!r}", kinds)
        texts = {self.kind(name) == "string" for name in (self.truth, self.predicted) if self.kind(name) is not None}
        if not self.is_boxed and len(texts) > 1:
            raise ConfigError(
                f"In {self.name}, {self.predicted!r} is of kind {self.kind(self.predicted)}, {self.truth!r} of "
                f"{self.kind(self.truth)}: no prediction is ever right. Name classes alike in both."
            )

    def __repr__(self) -> str:
        return f"Samples({self.name!r}, key={self.key!r}, truth={self.truth!r}, predicted={self.predicted!r})"

    def __len__(self) -> int:
        return len(self.table)

    @property
    def column_names(self) -> list[str]:
        """Columns whose values can be asked for: those of the predictions, then those of the rows they refer to."""
        return list(self._places)

    def kind(self, name: str) -> ColumnKind | None:
        """Returns of what kind the values of a column are.

        Raises:
            ConfigError: There is no such column.
        """
        return self._place(name).column.kind

    def values(self, name: str) -> list[object]:
        """Returns the values of a column, one for each row of the predictions.

        Raises:
            ConfigError: There is no such column.
            FileNotFoundError, FormatError, WriteError: A table cannot be read, or lacks a row that is referred to.
        """
        if name not in self._values:
            place = self._place(name)
            values = place.table.get_column(place.column.name)
            if place.via is not None:
                rows = self.table.get_column(self.table.columns[place.via].name)
                values = [None if row is None else values[self._row(row, place.table)] for row in rows]
            self._values[name] = values
        return self._values[name]

    def rows(self) -> dict[Hashable, int]:
        """Returns the row of each sample, by its key; a row without a key has one of its own, which no other equals.

        Raises:
            RoleError: Two rows are about one sample.
        """
        rows: dict[Hashable, int] = {}
        for row, value in enumerate(self.values(self.key)):
            key = _key(value)
            if key is None:
                key = Keyless(row)
            if key in rows:
                problem = f"In {self.name}, rows {rows[key]} and {row} are both about {self.key} {key}."
                raise RoleError(problem, "key", f"a column that tells samples apart, one of {self._known()}")
            rows[key] = row
        return rows

    def _row(self, value: object, table: ReadableTable) -> int:
        row = value.row if isinstance(value, Reference) else value
        assert isinstance(row, int)
        if row >= len(table):
            raise FormatError(f"it refers to row {row} of {table!r}, which has {len(table)}", path=self.name)
        return int(row)

    def _found_places(self) -> Iterable[tuple[str, _Place]]:
        taken = {str(column.name) for column in self.table.columns}
        yield from ((str(column.name), _Place(column, self.table, None)) for column in self.table.columns)
        for via, column in enumerate(self.table.columns):
            if column.kind != "reference" or not isinstance(self.table, StoredTable):
                continue
            try:
                referenced = self.table.table_of(column.name)
            except ConfigError as error:  # that version is gone; maybe nobody needs it
                self._unread.append(str(error))
                continue
            for other in referenced.columns:
                name = str(other.name)
                while name in taken:
                    name = f"{referenced.name}.{name}"
                taken.add(name)
                yield name, _Place(other, referenced, via)

    def _found_key(self) -> str:
        for column in self.table.columns:
            if column.kind == "reference":
                return str(column.name)
        return self._named(KEY_NAMES, _KEYS, "says which sample a row is about", "key")

    def _found_predicted(self) -> str:
        own = {name: place for name, place in self._places.items() if place.via is None}
        boxes = [
            name for name, place in own.items() if place.column.kind == "boxes" and name.lower() not in TRUTH_NAMES
        ]
        try:
            return self._named(PREDICTED_NAMES, _CLASSES | BOXED, "is the prediction", "predicted", own)
        except RoleError:
            if len(boxes) != 1:
                raise
            return boxes[0]

    def _found_truth(self, kinds: frozenset[ColumnKind | None]) -> str:
        others = {name: place for name, place in self._places.items() if name != self.predicted}
        try:
            return self._named(TRUTH_NAMES, kinds, f"is the truth of {self.predicted!r}", "truth", others)
        except RoleError:
            boxes, images = (
                [name for name, place in others.items() if place.column.kind == kind] for kind in ("boxes", "image")
            )
            if not self.is_boxed or len(boxes) > 1 or not (boxes or images):
                raise
            return (boxes or images)[0]

    def _named(
        self,
        names: Sequence[str],
        kinds: frozenset[ColumnKind | None],
        what: str,
        role: str,
        places: Mapping[str, _Place] | None = None,
    ) -> str:
        by_lower = dict[str, str]()
        for name, place in (self._places if places is None else places).items():
            if place.column.kind in kinds:
                by_lower.setdefault(name.lower(), name)
        for name in names:
            if name in by_lower:
                return by_lower[name]
        raise RoleError(f"Which column of {self.name} {what}?", role, f"one of {self._known()}")

    def _check(self, name: str, what: str, kinds: frozenset[ColumnKind | None]) -> None:
        if self.kind(name) not in kinds:
            shown = ", ".join(sorted(kind for kind in kinds if kind))
            raise ConfigError(f"Column {name!r} of {self.name} is of kind {self.kind(name)}; {what} is of {shown}.")

    def _place(self, name: str) -> _Place:
        if name not in self._places:
            raise ConfigError(f"{self.name} has no column {name!r}. There is {self._known()}")
        return self._places[name]

    def _known(self) -> str:
        return " ".join([f"{', '.join(map(repr, self._places))}.", *self._unread])


class Keyless:
    """The key of a row that has none: it equals itself alone.

    Args:
        row: Its number.
    """

    def __init__(self, row: int) -> None:
        self.row = row

    def __str__(self) -> str:
        return f"row {self.row}"


def _key(value: object) -> Hashable:
    """Returns what two equal values have in common; ``None`` where there is none, which equals nothing."""
    if value is None or value != value:
        return None
    if isinstance(value, RowIndex):
        return int(value)
    file = getattr(value, "file", None)
    assert isinstance(value, Hashable)
    return value if file is None else str(file.ref.sha256)
