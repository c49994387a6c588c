"""How values are kept, so that every database has them alike; the rules are at the top of ``ml.db``."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ml.loggers.strict_json import real

_ESCAPE = "␛"
_UNSTORABLE = re.compile(f"[\0\ud800-\udfff{_ESCAPE}]")
_ESCAPED = re.compile(f"{_ESCAPE}([0-9a-f]{{4}})")


class AnyText(sa.types.TypeDecorator[str]):
    """Any Python text: see the top of the module."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        """At most ``length`` characters, each escape counting as 5; a key needs one on some databases."""
        super().__init__()
        self.length = length

    @staticmethod
    def escaped(text: str) -> str:
        """Returns a text as it is kept."""
        return _UNSTORABLE.sub(lambda match: f"{_ESCAPE}{ord(match[0]):04x}", text)

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.Text() if self.length is None else sa.String(self.length))

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else self.escaped(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value)


class Real(sa.types.TypeDecorator[float]):
    """Any number, as 64 bits of floating point; a whole one beyond them is infinite. See the top of the module."""

    impl = sa.Double
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[float | None], float | None]:
        """Returns what makes a number the one that is kept; most are so already, and there are many."""
        keeps_nan, slow = dialect.name == "postgresql", self.process_bind_param

        def process(value: float | None) -> float | None:
            if type(value) is float and (value == value or keeps_nan):
                return value
            return slow(value, dialect)

        return process

    def process_bind_param(self, value: float | None, dialect: sa.Dialect) -> float | None:
        number = None if value is None else real(value)
        return None if number is None or (math.isnan(number) and dialect.name != "postgresql") else number

    def process_result_value(self, value: float | None, dialect: sa.Dialect) -> float | None:
        return math.nan if value is None and dialect.name != "postgresql" else value


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A moment: a ``datetime`` with a time zone, read back in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
