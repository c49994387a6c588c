"""What was found out about a version of a model, under a name: an evaluation, an estimator, a baseline."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa

from ml.core.errors import ConfigError, LogValueError
from ml.db import connect, shown, transact
from ml.loggers.strict_json import Json, encoder, loads, parsing, strict
from ml.tracing.opening import TraceDatabase
from ml.tracing.schema import NAME_LENGTH, make_tables
from ml.tracing.storing import find_version

_encode = encoder((", ", ": "))


class OfVersion(Protocol):
    """What belongs to a version: an ``Identity``, a ``Selection``."""

    @property
    def model_name(self) -> str: ...

    @property
    def version_name(self) -> str: ...


@dataclass(frozen=True)
class Result:
    """What was found out.

    Attributes:
        name: 1 to 255 characters; a version has one result of a name.
        method: How: ``"default"``, ``"drift"``.
        epoch: Of which inferences; ``None``: of all.
        created: When it was asked for.
        completed: When it was there; ``None``: it is not yet.
        options: With which it was asked for.
        data: What was found. A number that JSON lacks comes back as ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``.
    """

    name: str
    method: str
    epoch: int | None
    created: datetime
    completed: datetime | None
    options: Json
    data: Json


def save_result(database: TraceDatabase, of: OfVersion, result: Result) -> None:
    """Keeps a result.

    Raises:
        ConfigError: The database has no such version, or has a result of this name, or the name is none.
        LogValueError: Options or data are no JSON.
        WriteError: Not now.
    """
    if not 0 < len(result.name) <= NAME_LENGTH:
        raise ConfigError(f"A result's name has 1 to {NAME_LENGTH} characters, got {result.name!r:.80}.")
    tables, engine = make_tables(), connect(database.where)
    columns = {
        "method": result.method,
        "epoch": result.epoch,
        "created": result.created,
        "completed": result.completed,
        "options": _to_json("options", result.options),
        "data": _to_json("data", result.data),
    }

    def work(connection: sa.Connection) -> None:
        version = connection.scalar(find_version(tables.versions, of.model_name, of.version_name))
        if version is None:
            raise ConfigError(f"{shown(engine.url)} knows no version {of.version_name!r} of {of.model_name!r}.")
        results = tables.results
        key = {"version_id": version, "name": result.name}
        here = sa.and_(*(results.c[name] == value for name, value in key.items()))
        if connection.scalar(sa.select(results.c.id).where(here)) is not None:
            raise ConfigError(f"There is a result {result.name!r} of {of.model_name} {of.version_name}.")
        connection.execute(results.insert(), {**key, **columns})

    try:
        transact(engine, work)
    finally:
        engine.dispose()


def load_result(database: TraceDatabase, of: OfVersion, name: str) -> Result | None:
    """Returns a result; ``None``: there is none of this name.

    Raises:
        FormatError, ConfigError: The database is damaged, or cannot be read.
    """
    results, versions = database.table("results"), database.table("versions")
    version = find_version(versions, of.model_name, of.version_name).scalar_subquery()
    rows = database.rows(sa.select(results).where(results.c.version_id == version, results.c.name == name))
    return _result_of(rows[0]._mapping) if rows else None


def _result_of(row: Any) -> Result:
    with parsing("no result"):
        options, data = loads(row["options"].encode()), loads(row["data"].encode())
    return Result(row["name"], row["method"], row["epoch"], row["created"], row["completed"], options, data)


def _to_json(what: str, value: Json) -> str:
    try:
        return _encode(_finite(value)).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise LogValueError(f"the {what} of a result are no JSON ({error!s:.200})") from error


def _finite(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return strict(value) if isinstance(value, float) else value
