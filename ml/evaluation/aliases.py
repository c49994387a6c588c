"""Names for versions that move: ``latest`` by itself, ``best`` by a metric, any other when it is set.

An alias is a file that is replaced, and says which version it stands for. ``latest`` has none: it is the highest number
there is. ``best`` says which metric decides and how, and is looked up whenever it is asked for, so it is right
whoever published last, and whoever was killed before telling::

    {"alias": "epoch_4", "version": 3}
    {"alias": "best", "metric": "accuracy", "mode": "max"}
"""

import logging
import math
from typing import Final, Literal, NamedTuple, get_args

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.catalog import Catalog
from ml.evaluation.layout import alias_key, alias_prefix, check_alias
from ml.io.names import readable_segment
from ml.io.store import Store
from ml.loggers.strict_json import Json, encoder, loads, parsing, text

Mode = Literal["max", "min"]

LATEST: Final = "latest"
BEST: Final = "best"
MAX_ALIAS_BYTES: Final = 2**16

_log = logging.getLogger("ml")
_encode = encoder((",", ":"))


class Alias(NamedTuple):
    """What an alias says: a version, or how one is found.

    Attributes:
        name: Of the alias.
        number: Of the version; ``None``: the metric decides.
        metric: Its name; empty: the number is given.
        mode: Whether the greatest or the least value is the best.
    """

    name: str
    number: int | None = None
    metric: str = ""
    mode: Mode = "max"

    def to_bytes(self) -> bytes:
        """Returns it as JSON."""
        value: dict[str, Json] = {"alias": self.name}
        rest: dict[str, Json] = {"metric": self.metric, "mode": self.mode}
        return _encode(value | (rest if self.number is None else {"version": self.number}))

    @staticmethod
    def from_bytes(data: bytes, key: str) -> "Alias":
        """Returns what ``to_bytes`` made.

        Raises:
            FormatError: It did not make that.
        """
        with parsing("no alias", key):
            value = loads(data)
            name = text(value["alias"])
            if "version" not in value:
                if value["mode"] not in get_args(Mode):
                    raise ValueError(f"no mode: {value['mode']!r:.60}")
                return Alias(name, None, text(value["metric"]), value["mode"])
            number = value["version"]
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise ValueError(f"no version: {number!r:.60}")
            return Alias(name, number)


class Aliases:
    """The aliases of a store.

    Args:
        store: Holds them.
        catalog: Of the same store.
    """

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store, self._catalog = store, catalog

    def of(self, name: str) -> dict[str, int]:
        """Returns the aliases of an artifact, sorted, and the versions that they stand for, ``latest`` first.

        Raises:
            WriteError: The store does not answer.
        """
        numbers = self._catalog.numbers(name)
        found: dict[str, int] = {}
        for entry in self._store.list(alias_prefix(name)):
            try:
                alias = self._read(entry.key)
                number = self._number(name, alias) if alias else None
            except FormatError as error:
                _log.warning("An alias of %r is left out: %s", name, error)
                continue
            if alias is not None and number is not None:
                found[alias.name] = number
        return ({LATEST: numbers[-1]} if numbers else {}) | dict(sorted(found.items()))

    def number(self, name: str, alias: str) -> int:
        """Returns the number of the version that an alias stands for.

        Raises:
            ConfigError: There is no such artifact or alias, or nothing is the best. It says what there is.
            FormatError: It is damaged.
            WriteError: The store does not answer.
        """
        if alias == LATEST:
            numbers = self._catalog.numbers(name)
            if numbers:
                return numbers[-1]
        else:
            found = self._read(alias_key(name, alias))
            number = self._number(name, found) if found else None
            if number is not None:
                return number
        raise self.unknown(name, alias)

    def set(self, name: str, alias: str, number: int) -> None:
        """Has an alias stand for a version that is there; ``best`` then stays, until it is told how it is found.

        Raises:
            ConfigError: It cannot be one.
            WriteError: It cannot be replaced now.
        """
        check_alias(alias)
        self._put(name, Alias(alias, number))

    def set_best(self, name: str, metric: str, mode: Mode) -> None:
        """Has ``best`` stand for the version whose metric is the greatest, or the least.

        Raises:
            ConfigError: There is no such mode.
            WriteError: It cannot be replaced now.
        """
        check_mode(mode)
        self._put(name, Alias(BEST, None, metric, mode))

    def unknown(self, name: str, selector: str) -> ConfigError:
        """Returns the error that says what there is in the place of what there is not."""
        numbers = self._catalog.numbers(name)
        if not numbers:
            names = ", ".join(map(repr, self._catalog.names()[:_MAX_LISTED])) or "none"
            return ConfigError(f"{self._store.url} has no artifact {name!r}. Those there: {names}.")
        listed = [*(f"v{number}" for number in numbers[-_MAX_LISTED:]), *list(self.of(name))[:_MAX_LISTED]]
        return ConfigError(f"There is no {name}:{selector} in {self._store.url}. There is {', '.join(listed)}.")

    def _number(self, name: str, alias: Alias) -> int | None:
        if alias.number is not None:
            return alias.number
        return best_number(
            {version.number: version.metrics[alias.metric] for version in self._catalog.facts(name)
             if alias.metric in version.metrics}, alias.mode
        )  # fmt: skip

    def _read(self, key: str) -> Alias | None:
        try:
            return alias_at(key, self._store.get(key, max_bytes=MAX_ALIAS_BYTES))
        except FileNotFoundError:
            return None

    def _put(self, name: str, alias: Alias) -> None:
        self._store.put(alias_key(name, alias.name), alias.to_bytes())


_MAX_LISTED = 20


def alias_at(key: str, data: bytes) -> Alias:
    """Returns the alias that lies under a key.

    Raises:
        FormatError: It is none, or that of another key.
    """
    alias = Alias.from_bytes(data, key)
    if not key.endswith(f"/{readable_segment(alias.name)}.json"):
        raise FormatError(f"it is the alias {alias.name!r:.60}", path=key)
    return alias


def check_mode(mode: str) -> None:
    """Checks which value is the best.

    Raises:
        ConfigError: It is neither ``"max"`` nor ``"min"``.
    """
    if mode not in get_args(Mode):
        raise ConfigError(f"The best value of a metric is its 'max' or its 'min', got {mode!r:.60}.")


def check_best(best: tuple[str, Mode]) -> None:
    """Checks what tells the best version: a metric, and which value of it is the best.

    Raises:
        ConfigError: It is no such pair.
    """
    if len(best) != 2:
        raise ConfigError(f"The best is told by a metric and a mode, as in ('accuracy', 'max'), got {best!r:.60}.")
    check_mode(best[1])


def best_number(metrics: dict[int, float], mode: Mode) -> int | None:
    """Returns the number of the version with the best metric, the first of several; NaN is never the best."""
    sign = 1.0 if mode == "max" else -1.0
    comparable = {number: sign * value for number, value in metrics.items() if not math.isnan(value)}
    return max(comparable, key=lambda number: (comparable[number], -number), default=None)
