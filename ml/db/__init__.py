"""Databases by path or URL: SQLite (WAL), PostgreSQL, and what else SQLAlchemy knows.

::

    engine = connect("runs/demo/log.db")                       # or "postgresql://user:password@host/name"
    migrate(engine, METADATA, name="scalars", version=1)
    transact(engine, lambda connection: upsert(connection, TABLE, rows))

A transaction is committed as a whole or not at all. One that lost a race, or met a
connection that the server had closed, is run once more; a database that is away or
locked is a ``WriteError``, which means *not now*; what a database refuses for good is a
``LogValueError``. No message holds a password, or what was to be written.

How values are kept, that every database has them alike:

- ``Real``: PostgreSQL has NaN and infinities. SQLite has infinities, and NULL stands for NaN: aggregates leave it
  out, and pandas shows NaN. So what may be *absent* needs a column of its own that says so.
- ``AnyText``: NUL and half a surrogate pair, which PostgreSQL refuses, are ``␛0000`` and ``␛d800``; ``␛`` itself is
  ``␛241b``. Every other text is kept as it is.
- ``UtcTime``: a moment, with its time zone on PostgreSQL, as ``2026-01-02 03:04:05.678901`` (UTC) on SQLite.
"""

from ml.core.errors import missing

try:
    import sqlalchemy  # noqa: F401  # what all of this stands on
except ImportError as error:
    raise missing("A database", "SQLAlchemy", "sql", error) from error

from ml.db.engine import connect, shown
from ml.db.migrating import migrate
from ml.db.transactions import transact, upsert
from ml.db.types import AnyText, Real, UtcTime

__all__ = ["AnyText", "Real", "UtcTime", "connect", "migrate", "shown", "transact", "upsert"]
