"""What can go wrong while a database is read."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import exc

from ml.core.errors import ConfigError, FormatError, MLError
from ml.db.errors import redacted, shown


@contextmanager
def reading(engine: sa.Engine) -> Iterator[None]:
    """Makes errors of ours of a database's.

    Raises:
        FormatError: It is damaged, no SQLite database, or a column holds what it cannot.
        ConfigError: It cannot be read.
    """
    try:
        yield
    except MLError:
        raise
    except (TypeError, ValueError) as error:  # of a column's type: SQLite keeps anything in any column
        raise FormatError(f"no value of its column: {error}", path=engine.url.database or "") from error
    except exc.SQLAlchemyError as error:
        original = error.orig if isinstance(error, exc.DBAPIError) else error
        reason = redacted(" ".join(str(original).split()))[:500]
        if getattr(original, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            raise FormatError(f"no database of SQLite: {reason}", path=engine.url.database or "") from error
        raise ConfigError(f"{shown(engine.url)} cannot be read: {reason}") from error
