"""The tables of a benchmark database, on SQLite and on servers, to be read by hand or with pandas.

::

    runs          id, uuid, token, rank, world_size, description, name, status, started, ended, host, pid, argv, ...
    measurements  run_id, number, description, type, has_value, value, unit, source, method, call, status, ...
    samples       run_id, number, sample, at_s, value

    SELECT description, type, value, unit FROM measurements JOIN runs ON runs.id = run_id WHERE uuid = '...'

``runs`` has a row for each process of a run: those of ``torch.distributed`` share its uuid. ``argv``, ``versions`` and
``data`` are strict JSON; a number that JSON lacks is the text ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``. A
measurement without a number has ``has_value`` false: NULL may also stand for NaN, as ``ml.db`` says.
"""

import sqlalchemy as sa

from ml.core.errors import ConfigError, LogValueError
from ml.db import AnyText, Real, UtcTime, migrate, shown

SCHEMA, SCHEMA_VERSION = "benchmarks", 1

METADATA = sa.MetaData()
RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", sa.String(64), nullable=False, index=True),
    sa.Column("token", sa.String(32), nullable=False, unique=True),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("world_size", sa.Integer, nullable=False),
    sa.Column("description", AnyText, nullable=False),
    sa.Column("name", AnyText, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("started", UtcTime, nullable=False),
    sa.Column("ended", UtcTime),
    sa.Column("host", AnyText, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("argv", AnyText, nullable=False),
    sa.Column("versions", AnyText, nullable=False),
    sa.Column("git_commit", sa.String(64)),
    sa.Column("git_dirty", sa.Boolean),
    sa.Column("sampler_cpu_s", Real, nullable=False),
    sa.Column("lost", sa.BigInteger, nullable=False),
)
MEASUREMENTS = sa.Table(
    "measurements",
    METADATA,
    sa.Column("run_id", sa.ForeignKey(RUNS.c.id), primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("description", AnyText, nullable=False),
    sa.Column("type", AnyText, nullable=False),
    sa.Column("has_value", sa.Boolean, nullable=False),
    sa.Column("value", Real),
    sa.Column("unit", AnyText, nullable=False),
    sa.Column("source", AnyText, nullable=False),
    sa.Column("reason", AnyText, nullable=False),
    sa.Column("method", AnyText, nullable=False),
    sa.Column("call", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("error", AnyText, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("at_s", Real),
    sa.Column("duration_s", Real),
    sa.Column("time", UtcTime, nullable=False),
    sa.Column("data", AnyText),
)
# A row a sample, for SQL; so it is narrow: a long run has millions.
SAMPLES = sa.Table(
    "samples",
    METADATA,
    sa.Column("run_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sample", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_s", Real),
    sa.Column("value", Real),
    sqlite_with_rowid=False,
)


def prepare(engine: sa.Engine) -> None:
    """Makes the tables, or brings those of an older version up to date.

    Raises:
        ConfigError: A newer version made them, tables of somebody else have their names, or it is no database.
        WriteError: Not now.
    """
    try:
        migrate(engine, METADATA, name=SCHEMA, version=SCHEMA_VERSION)
    except ConfigError as error:
        if "cannot be added" not in str(error):
            raise
        raise ConfigError(
            f"{shown(engine.url)} has a table 'runs', 'measurements' or 'samples' that is not of a benchmark. Name"
            f" another database: {error}"
        ) from error
    except LogValueError as error:
        raise ConfigError(f"{shown(engine.url)} is no database for benchmarks: {error.problem}.") from error
