"""What an error of a database means: once more, not now, or never; and messages without secrets."""

import errno
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import exc

from ml.core.errors import LogValueError, MLError, WriteError
from ml.core.redact import Redactor


def shown(url: sa.URL) -> str:
    """Returns which database a URL is of: neither who uses it nor how, where secrets may be in any form."""
    place = sa.URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return redacted(place.render_as_string())


def redacted(text: str) -> str:
    """Returns a text of a database's or a driver's without secrets."""
    return Redactor({}).redact_text(text)


_SQLITE_LATER = ("BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "READONLY", "NOMEM", "PROTOCOL")
_POSTGRESQL_AGAIN = ("40001", "40P01")  # serialization failure, deadlock
_POSTGRESQL_LATER = ("08", "25006", "28", "3D", "53", "55P03", "57", "58")


def verdict_on(error: exc.SQLAlchemyError) -> Literal["again", "later", "never"]:
    """Returns whether what failed is tried again at once, later, or never."""
    if not isinstance(error, exc.DBAPIError):
        return "later" if isinstance(error, exc.TimeoutError) else "never"
    if name := getattr(error.orig, "sqlite_errorname", None):
        return "later" if name.removeprefix("SQLITE_").startswith(_SQLITE_LATER) else "never"
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or ""
    if error.connection_invalidated or state in _POSTGRESQL_AGAIN:
        return "again"
    if state:
        return "later" if state.startswith(_POSTGRESQL_LATER) else "never"
    return "later" if isinstance(error, exc.OperationalError | exc.InterfaceError) else "never"


def explained(engine: sa.Engine, error: exc.SQLAlchemyError, verdict: str) -> MLError:
    """Returns the error of ours that says it."""
    original = error.orig if isinstance(error, exc.DBAPIError) else error
    reason = redacted(" ".join(str(original).split()))[:500]
    if verdict == "never":
        return LogValueError(f"the database {shown(engine.url)} refuses it: {reason}")
    return WriteError(f"The database {shown(engine.url)} cannot be written to now: {reason}")


def cause(error: exc.SQLAlchemyError) -> BaseException:
    """Returns what it came from: that the disk is full is known by ``errno``."""
    original = error.orig if isinstance(error, exc.DBAPIError) else None
    is_full = getattr(original, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(original, "sqlstate", "") == "53100"
    return OSError(errno.ENOSPC, "The disk of the database is full") if is_full else error
