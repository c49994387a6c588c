"""The tables that the backend ``sql`` writes, and how a run gets into them; see ``ml.integrations.sql``."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from ml.core.errors import LogValueError
from ml.core.plain import Plain
from ml.core.state import State
from ml.db import AnyText, Real, UtcTime, connect, migrate, transact, upsert
from ml.integrations.sql_rows import Scalar, Text
from ml.loggers.strict_json import Json, strict

SCHEMA, SCHEMA_VERSION = "scalars", 1
MAX_KEY_LENGTH = 255

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HASH_DIGITS = 32

METADATA = sa.MetaData()
RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uid", sa.String(32), nullable=False, unique=True),
    sa.Column("name", AnyText, nullable=False),
    sa.Column("path", AnyText, nullable=False),
    sa.Column("created", UtcTime, nullable=False),
    sa.Column("config", AnyText),
)


def _values(name: str, *columns: sa.Column[object]) -> sa.Table:
    return sa.Table(
        name,
        METADATA,
        sa.Column("run_id", sa.ForeignKey(RUNS.c.id), primary_key=True),
        sa.Column("key", AnyText(MAX_KEY_LENGTH), primary_key=True),
        sa.Column("phase", sa.String(5), primary_key=True),
        sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        *columns,
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("time", UtcTime, nullable=False),
        sqlite_with_rowid=False,
    )


SCALARS = _values("scalars", sa.Column("value", Real))
STRINGS = _values(
    "strings",
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", AnyText, nullable=False),
)
LONG_KEYS = sa.Table(
    "long_keys",
    METADATA,
    sa.Column("key", AnyText(MAX_KEY_LENGTH), primary_key=True),
    sa.Column("whole", AnyText, nullable=False),
)


class SqlStore:
    """A run in a database.

    Args:
        where: As ``ml.db.connect`` takes it; nothing is opened yet.
        directory: The run's.
        attempt: Which values are to belong to.
        timeout_s: How long to wait for a lock or a connection.

    Raises:
        ConfigError: There is no such database.
    """

    def __init__(self, where: str | Path, directory: Path, attempt: int, timeout_s: float) -> None:
        self._engine = connect(where, timeout_s=timeout_s)
        self._directory, self._attempt = directory, attempt
        self._run_id: int | None = None

    @property
    def is_begun(self) -> bool:
        """Whether the run is in the database."""
        return self._run_id is not None

    def write(
        self,
        uid: str,
        state: State,
        *,
        scalars: Sequence[Scalar] = (),
        texts: Sequence[Text] = (),
        settings: Mapping[str | int | float | bool, Plain] | None = None,
    ) -> None:
        """Commits values in one transaction, and the run before its first; what is there already is replaced.

        Args:
            uid: The run's identity.
            state: Says when the run began.
            scalars: Of equal series, phase and step the last one counts.
            texts: All are kept.
            settings: The run's, as plain Python; ``None`` leaves what is there.

        Raises:
            WriteError: Not now.
            LogValueError: The database refuses this.
            ConfigError: The database was made by newer software.
        """
        rows = [self._row(scalar) | {"value": scalar.value} for scalar in scalars]
        text_rows = [self._row(text) | {"value": text.value, "number": text.number} for text in texts]
        paths = {scalar.path for scalar in scalars} | {text.path for text in texts}
        long_keys = [{"key": key_of(path), "whole": path} for path in sorted(paths) if key_of(path) != path]
        config = None if settings is None else json.dumps(_strict(dict(settings)), allow_nan=False)

        def work(connection: sa.Connection) -> int:
            run_id = self._find_or_begin(connection, uid, state)
            if config is not None:
                connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(config=config))
            upsert(connection, LONG_KEYS, long_keys)
            upsert(connection, SCALARS, [{"run_id": run_id} | row for row in rows])
            upsert(connection, STRINGS, [{"run_id": run_id} | row for row in text_rows])
            return run_id

        if self._run_id is not None:
            try:
                transact(self._engine, work)
                return
            except LogValueError:
                self._run_id = None  # somebody may have emptied the database: once more, from the beginning
        migrate(self._engine, METADATA, name=SCHEMA, version=SCHEMA_VERSION)
        self._run_id = transact(self._engine, work)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def _find_or_begin(self, connection: sa.Connection, uid: str, state: State) -> int:
        if self._run_id is not None:
            return self._run_id
        find = sa.select(RUNS.c.id).where(RUNS.c.uid == uid)
        if (found := connection.scalar(find)) is None:
            created = _EPOCH + timedelta(seconds=state.start_time_s or state.time_s)
            row = {"uid": uid, "name": self._directory.name, "path": str(self._directory), "created": created}
            connection.execute(RUNS.insert(), row)
            found = connection.scalar(find)
        assert found is not None, "a row that was inserted is found"
        return int(found)

    def _row(self, value: Scalar | Text) -> dict[str, object]:
        state = value.state
        return {
            "key": key_of(value.path),
            "phase": state.phase,
            "step": state.num_steps,
            "attempt": self._attempt,
            "epoch": state.num_epochs,
            "time": _EPOCH + timedelta(seconds=state.time_s),
        }


def key_of(path: str) -> str:
    """Returns what stands in the column ``key`` for a series: its path, or its beginning and a hash of the whole.

    Args:
        path: ``<namespace>/<key>``.

    Returns:
        At most 255 characters, also when odd ones are escaped (see ``ml.db``).
    """
    if len(path) <= MAX_KEY_LENGTH and len(AnyText.escaped(path)) <= MAX_KEY_LENGTH:
        return path
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    beginning = path[: MAX_KEY_LENGTH - _HASH_DIGITS - 1]
    while len(AnyText.escaped(beginning)) > MAX_KEY_LENGTH - _HASH_DIGITS - 1:
        beginning = beginning[:-1]
    return f"{beginning}~{digest}"


def _strict(node: Plain) -> Json:
    if isinstance(node, dict):
        return {str(key): _strict(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_strict(value) for value in node]
    return strict(node) if isinstance(node, float) and not math.isfinite(node) else node
