"""Marks in a store that keep publications and collections apart.

A publication counts on blobs that lie in the store and that no manifest names yet; a collection removes such blobs. So
each leaves its mark first, and then looks for the other's: of two that begin at once, one at least sees the other.
A publication waits then, a collection withdraws.

A mark whose owner died stays, until its age says so. A collection removes the marks of publications that it takes for
dead before it looks at any manifest, and a publication sees by ``is_there`` that it was taken for dead.
"""

import secrets
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from ml.core.errors import FormatError
from ml.io.store import Store
from ml.loggers.strict_json import encoder, loads, number, parsing, text

Kind = Literal["pending", "collecting"]

PENDING_GRACE_S = 86_400.0
"""A publication that began longer ago is taken for dead, unless a collection is told otherwise."""

COLLECTING_GRACE_S = 3_600.0
"""A collection that has not said for so long that it goes on is dead: it removes nothing any more."""

_MAX_MARKER_BYTES = 2**16
_SUFFIX = ".json"
_encode = encoder((",", ":"))


class Mark(NamedTuple):
    """A mark that is in a store.

    Attributes:
        key: Where it lies.
        what: What is under way, for messages: ``"val, of run 2f6a"``.
        time_s: When it began, or last said that it goes on, in seconds since 1970 by the clock of whoever made it.
    """

    key: str
    what: str
    time_s: float

    def is_alive(self, now_s: float, grace_s: float) -> bool:
        """Whether it is young. One from the future is as old as it is early: clocks differ, but not by days."""
        return abs(now_s - self.time_s) <= grace_s


class Marker:
    """A mark of our own, in the store from ``set`` until ``remove``.

    Args:
        store: Where it lies.
        kind: Whether a publication or a collection is under way.
        what: For messages: ``"val, of run 2f6a"``.
        wall_clock: Seconds since 1970.
    """

    def __init__(self, store: Store, kind: Kind, what: str, *, wall_clock: Callable[[], float]) -> None:
        self._store, self._what, self._wall_clock = store, what, wall_clock
        self.key = f"{kind}/{secrets.token_hex(16)}{_SUFFIX}"
        self.time_s = 0.0

    def set(self) -> None:
        """Puts it there; from then on it is as old as now.

        Raises:
            WriteError: It cannot be put there.
        """
        time_s = self._wall_clock()
        self._store.put(self.key, _encode({"format": 1, "what": self._what, "time": time_s}))
        self.time_s = time_s

    @property
    def age_s(self) -> float:
        """How long ago it was set last, in seconds."""
        return abs(self._wall_clock() - self.time_s)

    def is_there(self) -> bool:
        """Whether nobody has removed it.

        Raises:
            WriteError: The store does not answer.
        """
        try:
            self._store.get(self.key, max_bytes=_MAX_MARKER_BYTES)
        except FileNotFoundError:
            return False
        return True

    def remove(self) -> None:
        """Takes it away.

        Raises:
            WriteError: It is still there.
        """
        self._store.delete(self.key)


def marks(store: Store, kind: Kind) -> Iterator[Mark]:
    """Yields the marks of a kind that are in a store; one that vanishes meanwhile is left out.

    Raises:
        FormatError: One is none.
        WriteError: The store does not answer.
    """
    for entry in store.list(f"{kind}/"):
        if not entry.key.endswith(_SUFFIX):
            continue  # such as .DS_Store, or .nfs0042 that a mark became which was removed while somebody read it
        try:
            data = store.get(entry.key, max_bytes=_MAX_MARKER_BYTES)
        except FileNotFoundError:
            continue
        with parsing(f"no mark of a {_NAMES[kind]}: remove it if none is under way", entry.key):
            value = loads(data)
            if value["format"] != 1:
                raise FormatError(f"a {_NAMES[kind]} of a newer release is, or was, under way", path=entry.key)
            mark = Mark(entry.key, text(value["what"]), float(number(value["time"])))
        yield mark


def living(store: Store, kind: Kind, *, now_s: float, grace_s: float) -> Mark | None:
    """Returns a mark whose owner is not dead, if there is one.

    Raises:
        FormatError: A mark is none.
        WriteError: The store does not answer.
    """
    return next((mark for mark in marks(store, kind) if mark.is_alive(now_s, grace_s)), None)


_NAMES = {"pending": "publication", "collecting": "collection"}
