"""What sends a spool's content, and what has to do with it, say to each other; and where lies what nobody takes."""

import logging
from pathlib import Path
from typing import NamedTuple, Protocol

from ml.core.errors import WriteError
from ml.io.breaker import BreakerState
from ml.io.local_store import LocalStore

_log = logging.getLogger("ml")


class NotNow(WriteError):  # noqa: N818  # it is what the server has said
    """The server does not want to be asked again before ``retry_after_s`` seconds have passed."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Target(Protocol):
    """Whoever keeps it: a ``Store``, an ``HttpTarget``. Used from several threads at once."""

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Keeps an object under a key that is free, in one attempt; see ``ml.io.store.Store.create``."""
        ...


class SenderStats(NamedTuple):
    """What became of it so far.

    Attributes:
        arrived: Sent, and kept.
        already_there: Sent, and something else was kept under their keys: it was left as it is.
        failures: Requests that failed, and were made again.
        set_aside: Never taken, though others are: they lie in ``refused`` in the spool.
        lost: The same, and there was no room for them.
        breaker: Whether requests are made.
    """

    arrived: int
    already_there: int
    failures: int
    set_aside: int
    lost: int
    breaker: BreakerState


class Listener(Protocol):
    """Is told, on the sender's thread, what becomes of what the spool holds."""

    def is_wanted(self, key: str) -> bool:
        """Whether something is still to be sent; else it is forgotten."""
        ...

    def arrived(self, key: str, size_bytes: int) -> None:
        """It was kept. If the process dies now, this is said again."""
        ...

    def refused(self, key: str) -> None:
        """It never will be kept: it was set aside, or there was no room for that. May be said again as well."""
        ...

    def is_aside_full(self, aside_bytes: int) -> bool:
        """Whether there is no room to set something aside that makes what lies there so large."""
        ...


class Aside:
    """A directory with what a target will never take.

    Args:
        directory: Made when it is needed.
        url: Of the target, for messages.
        what: It is, for messages: ``"records"``.
        listener: Says whether there is room.

    Attributes:
        kept: How many lie there of this process.
        lost: For how many there was no room.
    """

    def __init__(self, directory: Path, url: str, what: str, listener: Listener) -> None:
        self.kept = self.lost = 0
        self._directory, self._url, self._what, self._listener = directory, url, what, listener
        self._size_bytes = 0

    def put(self, key: str, data: bytes, why: str) -> None:
        """Keeps something, or counts it as lost.

        Raises:
            MLError: It cannot be kept now.
        """
        if self._listener.is_aside_full(self._size_bytes + len(data)):
            if not self.lost:
                what = self._what.capitalize()
                _log.warning("%s for %s are dropped (refused): there is no room to set them aside.", what, self._url)
            self.lost += 1
            return
        LocalStore(self._directory).create(key, data)
        if not self.kept:
            _log.warning(
                "%s does not take one of the %s: %s. It is kept in %s, as others will be; this is said once.",
                self._url,
                self._what,
                why.rstrip("."),
                self._directory,
            )
        self.kept += 1
        self._size_bytes += len(data)
