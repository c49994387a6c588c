"""How a process's inferences get into the database: some at a time, each time one transaction.

An inference that comes again replaces the one before, with everything that belongs to it, so a batch that is offered
again, since nobody knows whether it was committed, is there once.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ml.core.errors import ConfigError, LogValueError
from ml.db import shown, transact, upsert
from ml.db.files import FileWatch
from ml.tracing.fields import FieldSpec
from ml.tracing.record import Identity
from ml.tracing.recreating import set_ranks_aside, set_tables_aside
from ml.tracing.rows import Row, Rows
from ml.tracing.schema import GROUND_TRUTHS, INFERENCES, PARTS, make_tables, prepare

_ROWS_AT_ONCE = 100
_IDS_AT_ONCE = 500


class TraceStore:
    """The rows of one process of a run.

    Args:
        engine: Of ``ml.db.connect``.
        file: That an SQLite database lies in.
        identity: Whose inferences they are.
        run: The columns of ``runs`` as they are at the start, but for its ``token`` and ``version_id``.
        fields: The columns of ``inferences`` that are the user's own.
        label_fields: Those of ``ground_truths``.
        recreate: Whether tables that are there are renamed first, unless the run is in them already.
        breathe: Called now and then.

    Raises:
        ConfigError: A field is called like a column.
    """

    def __init__(
        self,
        engine: sa.Engine,
        file: Path | None,
        identity: Identity,
        run: Mapping[str, object],
        *,
        fields: Sequence[FieldSpec],
        label_fields: Sequence[FieldSpec],
        recreate: bool,
        breathe: Callable[[], None],
    ) -> None:
        self._engine, self._file, self._identity, self._breathe = engine, file, identity, breathe
        self._watch = FileWatch(file)
        self._tables = make_tables(fields, label_fields)
        self._fields = {INFERENCES: tuple(fields), GROUND_TRUTHS: tuple(label_fields)}
        self._recreate, self._has_made_room, self._is_prepared = recreate, False, False
        self._run: Row = {**run, "token": secrets.token_hex(16)}
        self._kept: Row | None = None

    def is_moved(self) -> bool:
        """Returns whether another file, or none, lies where the database was; once: what follows goes to a new one."""
        if not self._watch.is_moved():
            return False
        self._is_prepared = False
        self._engine.dispose()
        return True

    def prepare(self) -> None:
        """Makes the tables, and the row of the process.

        Raises:
            WriteError: Not now.
            ConfigError: The model is known with another architecture, a field with another type, or it is no database
                for traces.
        """
        prepare(self._engine, self._tables, self._look, self._begin)
        if self._has_made_room and self._file is not None and self._run["rank"] == 0:
            set_ranks_aside(self._file, cast(int, self._run["world_size"]))
        self._is_prepared, self._recreate, self._has_made_room = True, False, False

    def write(self, batch: Sequence[Rows], changes: Mapping[str, object]) -> None:
        """Commits inferences, and the row of the process before the first.

        Args:
            batch: In order; of those with one id the last counts.
            changes: Columns of ``runs`` that may have changed.

        Raises:
            WriteError: Not now.
            LogValueError: The database refuses one.
            ConfigError: As ``prepare``.
        """
        unique = {str(rows.inference["id"]): rows for rows in batch}
        # Two ranks that take rows in one order never wait for one another.
        ordered = [unique[known] for known in sorted(unique)]
        run = {**self._run, **changes}

        def work(connection: sa.Connection) -> None:
            self._write_all(connection, self._find_or_begin(connection, run), ordered)

        if not self._is_prepared:
            self.prepare()
        try:
            transact(self._engine, work)
        except LogValueError:
            self.prepare()  # somebody may have emptied the database: once more, from the beginning
            transact(self._engine, work)
        self._run, self._kept = run, run

    # in a transaction

    def _write_all(self, connection: sa.Connection, run_id: int, ordered: Sequence[Rows]) -> None:
        ids = [rows.inference["id"] for rows in ordered]
        # A file has one writer at a time; on a server another one may be making the same inference just now.
        replaced = self._there(connection, ids) if connection.dialect.name == "sqlite" else ids
        self._insert(connection, self._tables.inferences, [{**rows.inference, "run_id": run_id} for rows in ordered])
        # After the inferences are there: who else writes one of them now waits until this is done.
        for name in PARTS:
            table = self._tables.named(name)
            for start in range(0, len(replaced), _IDS_AT_ONCE):
                some = table.c.inference_id.in_(replaced[start : start + _IDS_AT_ONCE])
                connection.execute(table.delete().where(some))
            self._insert(connection, table, [row for rows in ordered for row in rows.parts.get(name, ())])

    def _there(self, connection: sa.Connection, ids: Sequence[object]) -> list[object]:
        """Returns those of inferences that are there already."""
        column, found = self._tables.inferences.c.id, list[object]()
        for start in range(0, len(ids), _IDS_AT_ONCE):
            found += connection.scalars(sa.select(column).where(column.in_(ids[start : start + _IDS_AT_ONCE])))
        return found

    def _insert(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            upsert(connection, table, rows[start : start + _ROWS_AT_ONCE])
            self._breathe()

    def _look(self, connection: sa.Connection) -> None:
        """Makes room, and compares the fields with those that are there, before a column is added."""
        runs, fields = self._tables.runs, self._tables.fields
        if self._recreate:
            known = sa.select(runs.c.id).where(runs.c.uuid == self._run["uuid"]).limit(1)
            # Of the ranks of a run the first makes room for all.
            is_here = sa.inspect(connection).has_table(runs.name) and connection.scalar(known) is not None
            self._has_made_room = not is_here
            if not is_here:
                set_tables_aside(connection, self._tables)
        if not sa.inspect(connection).has_table(fields.name):
            return
        there = {(row.place, row.name.lower()): row for row in connection.execute(sa.select(fields))}
        for place, specs in self._fields.items():
            for spec in specs:
                row = there.get((place, spec.name.lower()))
                if row is not None and (row.name, row.type) != spec:
                    raise ConfigError(
                        f"The field {spec.name!r} has type {spec.type!r}, and {shown(self._engine.url)} keeps"
                        f" {row.name!r} of '{place}' with type {row.type!r}. Call it otherwise, or name another"
                        " database."
                    )

    def _begin(self, connection: sa.Connection) -> None:
        named = [(place, spec) for place, specs in self._fields.items() for spec in specs]
        upsert(connection, self._tables.fields, [{"place": place, **spec._asdict()} for place, spec in named])
        self._find_or_begin(connection, self._run)

    def _find_or_begin(self, connection: sa.Connection, run: Mapping[str, object]) -> int:
        """Returns the id of the process's row. It is looked for every time: other tables may be there now."""
        runs = self._tables.runs
        find = sa.select(runs.c.id).where(runs.c.token == run["token"])
        found = connection.scalar(find)
        if found is None:
            connection.execute(runs.insert(), {**run, "version_id": self._find_version(connection, run["started"])})
            found = connection.scalar(find)
        elif run != self._kept:
            connection.execute(runs.update().where(runs.c.id == found).values(**run))
        assert found is not None, "a row that was inserted is found"
        return int(found)

    def _find_version(self, connection: sa.Connection, created: object) -> int:
        models, versions, identity = self._tables.models, self._tables.versions, self._identity
        model: Row = {
            "name": identity.model_name,
            "architecture": identity.architecture,
            "task": identity.task,
            "n_class": identity.n_class,
            "created": created,
        }
        insert_new(connection, models, model)
        there = connection.execute(sa.select(models).where(models.c.name == identity.model_name)).mappings().one()
        for name in ("architecture", "task"):
            if there[name] != model[name]:
                raise ConfigError(
                    f"The model {identity.model_name!r} of {shown(self._engine.url)} has the {name} {there[name]}, and"
                    f" this one has {model[name]}. Give it another model_name; version_name tells trainings of one"
                    " architecture apart."
                )
        insert_new(
            connection,
            versions,
            {"model_name": identity.model_name, "name": identity.version_name, "created": created},
        )
        found = connection.scalar(find_version(versions, identity.model_name, identity.version_name))
        assert found is not None, "a row that was inserted is found"
        return int(found)


def insert_new(connection: sa.Connection, table: sa.Table, row: Row) -> None:
    """Inserts a row, unless there is one with its key: whoever else is inserting it is waited for."""
    if connection.dialect.name in ("postgresql", "sqlite"):
        insert = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
        connection.execute(insert.on_conflict_do_nothing(), row)
        return
    keys = next((c.columns for c in table.constraints if isinstance(c, sa.UniqueConstraint)), table.primary_key.columns)
    if connection.scalar(sa.select(sa.func.count()).where(*(key == row[key.name] for key in keys))) == 0:
        connection.execute(table.insert(), row)


def find_version(versions: sa.Table, model_name: str, version_name: str) -> "sa.Select[Any]":
    """Returns what selects the id of a version."""
    return sa.select(versions.c.id).where(versions.c.model_name == model_name, versions.c.name == version_name)
