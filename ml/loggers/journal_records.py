"""What a record of the journal holds: one strict JSON object in UTF-8, and ``"is"`` says which.

::

    {"is": "config", "time_s": 1767323045.6, "config": {...}}
    {"is": "values", "write": 7, "state": [...], "scalars": [["task", "loss", 0.25, "accuracy", 0.5]],
     "strings": [["task", "note", "started"]]}
    {"is": "image", "write": 7, "state": [...], "at": ["task", "digits"], "form": "png", "shape": [3, 64, 64],
     "base64": "..."}
    {"is": "end"}

``state`` has the fields of a ``State`` in their order. ``write`` is the number of the first record of the same
write. A row of scalars or strings is a namespace, and then keys and values, in the order in which they were
logged. Whole numbers beyond 2^53 are texts, as are ``NaN``, ``Infinity`` and ``-Infinity``. A file above 4 KiB is not
in its record: instead of ``base64`` that has its ``sha256`` and ``size_bytes``, by which it is found among the
journal's media. A text too long for a record is such a file too, of the form ``txt``. A histogram has its bins.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ml.core.state import State, normalized
from ml.loggers.kinds import HISTOGRAM, KINDS, SCALAR, STRING, Kind
from ml.loggers.places import media_path
from ml.loggers.stored import File, StoredRow, histogram_of
from ml.loggers.strict_json import Json, encoder, loads, number, parsing, strict, text
from ml.media.histogram import Histogram

END = b'{"is":"end"}'
"""The record that ends an attempt which was closed."""

_MAX_EXACT = 2**53
_KINDS = {kind.name: kind for kind in KINDS if kind is not SCALAR}
_PLAIN = {SCALAR.section: SCALAR, STRING.section: STRING}

_encoded = encoder((",", ":"))


class Config(NamedTuple):
    """The configuration of an attempt, and when it was logged, in Unix seconds."""

    time_s: float
    config: dict[str, Any]


class Values(NamedTuple):
    """Values of one state: numbers and texts, or one medium."""

    write: int
    state: State
    rows: list[StoredRow]


class End(NamedTuple):
    """The attempt was closed."""


Entry = Config | Values | End


class Rows:
    """The numbers and texts of one state, while they are gathered for a record.

    Args:
        state: The state.
        write: The number of the first record of the same write.
    """

    __slots__ = ("_sections", "state", "write")

    def __init__(self, state: State, write: int) -> None:
        self.state, self.write = state, write
        self._sections: dict[str, Any] = {}

    def add(self, section: str, namespace: str, key: str, value: Json) -> None:
        """Takes a value of ``scalars`` or ``strings``."""
        rows = self._sections.get(section)
        if rows is None:
            rows = self._sections[section] = []
        if not rows or rows[-1][0] != namespace:
            rows.append([namespace])
        rows[-1] += (key, value)

    def payloads(self, max_bytes: int) -> Iterator[bytes]:
        """Yields the record; several if it would be longer than ``max_bytes``, which one value may still be."""
        record: dict[str, Json] = {"is": "values", "write": self.write, "state": list(self.state)}
        payload = _encoded(record | self._sections)
        half = sum(len(row) // 2 for rows in self._sections.values() for row in rows) // 2
        if len(payload) <= max_bytes or not half:
            yield payload
            return
        parts = Rows(self.state, self.write), Rows(self.state, self.write)
        for place, value in enumerate(self._values()):
            parts[place >= half].add(*value)
        for part in parts:
            yield from part.payloads(max_bytes)

    def _values(self) -> Iterator[tuple[str, str, str, Json]]:
        for section, rows in self._sections.items():
            for namespace, *pairs in rows:
                for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                    yield section, namespace, key, value


def exact(number: float) -> Json:
    """Returns a number as JSON keeps it exactly: beyond 2^53, and where it is not finite, as text."""
    if isinstance(number, int) and not -_MAX_EXACT <= number <= _MAX_EXACT:
        return str(number)
    return strict(number)


def encode_config(config: DictConfig, time_s: float) -> bytes:
    """Returns the record of a configuration; names that are no texts become texts.

    Args:
        config: The configuration, its secrets taken out.
        time_s: Wall clock, Unix seconds.
    """
    return _encoded({"is": "config", "time_s": time_s, "config": _plain(OmegaConf.to_container(config))})


def encode_medium(
    write: int, state: State, kind: Kind, namespace: str, key: str, about: dict[str, Json], data: bytes | None = None
) -> bytes:
    """Returns the record of a value that is a file, or the bins of a histogram.

    Args:
        write: The number of the first record of the same write.
        state: The state that logged it.
        kind: What it is.
        namespace: Where it was logged.
        key: As what.
        about: What is known of it beside the file.
        data: The file, to be kept in the record.
    """
    record: dict[str, Json] = {"is": kind.name, "write": write, "state": list(state), "at": [namespace, key], **about}
    if data is not None:
        record["base64"] = b64encode(data).decode("ascii")
    return _encoded(record)


def decode(payload: bytes) -> Entry:
    """Returns what a record holds.

    Raises:
        FormatError: It is no record of this format.
    """
    with parsing("no record of a journal"):
        record = loads(payload)
        name = record["is"]
        if name == "end":
            return End()
        if name == "config":
            return Config(float(record["time_s"]), dict(record["config"]))
        state, write = normalized(State(*record["state"])), int(record["write"])
        if name == "values":
            return Values(write, state, [row for section in record for row in _rows(section, record[section])])
        namespace, key = map(text, record["at"])
        return Values(write, state, [(_KINDS[name], namespace, key, _medium(_KINDS[name], record))])


def _medium(kind: Kind, record: dict[str, Any]) -> File | Histogram:
    if kind is HISTOGRAM:
        return histogram_of(record["histogram"])
    form = text(record["form"])
    if "base64" in record:
        return File(form, "", "", b64decode(record.pop("base64"), validate=True), record)
    digest = text(record["sha256"])
    return File(form, media_path(digest, form), digest, None, record)


def _rows(section: str, rows: list[list[object]]) -> Iterator[StoredRow]:
    kind = _PLAIN.get(section)
    if kind is None:
        return
    for namespace, *pairs in rows:
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            yield kind, text(namespace), text(key), number(value) if kind is SCALAR else text(value)


def _plain(node: object) -> Json:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, float):
        return strict(node)
    return node if node is None or isinstance(node, bool | int | str) else str(node)
