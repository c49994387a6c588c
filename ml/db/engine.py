"""Connections to a database by path or URL."""

import math
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event, exc

from ml.core.errors import ConfigError
from ml.db.errors import redacted, shown
from ml.db.sqlite import connect_as_it_is, prepare_sqlite

__all__ = ["connect", "shown"]

TIMEOUT_S = 5.0


def connect(where: str | Path, *, timeout_s: float = TIMEOUT_S, reads_only: bool = False) -> sa.Engine:
    """Returns what makes connections to a database; none is made yet.

    Args:
        where: The path of an SQLite file, made with its directory when it is first used; or a URL of SQLAlchemy's.
            One of SQLite in memory is not shared by connections, so it is refused.
        timeout_s: How long to wait for a lock, and for a connection.
        reads_only: Nothing is ever changed or made through it, whatever is tried.

    Raises:
        ConfigError: It is no URL, or the library that it needs is not installed.
    """
    try:
        url = sa.make_url(where) if isinstance(where, str) and "://" in where else None
    except exc.ArgumentError:  # whose message may hold all of it
        raise ConfigError("The URL of a database looks like postgresql://user:password@host/name.") from None
    if url is None:
        url = sa.URL.create("sqlite", database=str(where))
    arguments: dict[str, object] = {}
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigError("SQLite in memory has a database for each connection. Name a file: sqlite:///log.db.")
        arguments["timeout"] = timeout_s
    elif url.get_backend_name() == "postgresql" and "connect_timeout" not in url.query:
        arguments["connect_timeout"] = max(2, math.ceil(timeout_s))  # what libpq waits at the least
    try:
        engine = sa.create_engine(
            url,
            poolclass=sa.pool.QueuePool,
            pool_timeout=timeout_s,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=arguments,
        )
    except (ImportError, exc.ArgumentError) as error:
        raise ConfigError(f"The database {shown(url)} cannot be used: {redacted(str(error))}") from None
    if engine.dialect.name == "sqlite":
        if reads_only:
            event.listen(engine, "do_connect", partial(connect_as_it_is, Path(engine.url.database or "").absolute()))
            event.listen(engine, "connect", lambda connection, record: connection.execute("PRAGMA query_only = ON"))
        else:
            prepare_sqlite(engine, timeout_s)
    elif engine.dialect.name == "postgresql":
        first = "SET TRANSACTION READ ONLY; " if reads_only else ""
        first += f"SET LOCAL lock_timeout = {math.ceil(1000 * timeout_s)}"
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(first))
    return engine
