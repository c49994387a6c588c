"""Reads a live stream of records, of ours and of the published ``babylog`` 0.0.3."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator

from ml.core.errors import ConfigError, FormatError
from ml.io.stream_reader import Receiver
from ml.predictions.logged import LoggedPrediction

_LOGGED_DATA_S = 1.0
_AT_ONCE = 1000


class Subscriber:
    """The records of one topic of a publisher, as they come.

    It starts no thread: records are read when they are asked for, and until then wait with ZeroMQ, here and at the
    publisher; what does not fit there is missed, and counted. When the connection was cut, or the publisher is started
    again, it is made again, also when records are asked for::

        with Subscriber("127.0.0.1", 5555, "camera-1") as subscriber:
            for record in subscriber:
                print(record.timestamp, record.detection)

    Iterating ends when ``timeout_s`` pass without a record, and may then begin again, and when the subscriber is
    closed. ``close`` may be called on any thread and in a signal handler; all else belongs to one thread at a time. In
    a forked child it is as if closed.

    Args:
        address: Where the publisher listens: a number of IPv4 or IPv6, or a host's name.
        port: 1 to 65535.
        topic: Exactly this one.
        max_data_history: Records that are kept for ``history``.
        context_io_threads: Of ZeroMQ.
        timeout_s: How long iterating waits for a record; ``None``: until one comes.
        server_public_key: The publisher's, if it has one (CURVE).
        client_secret_key: To show to a publisher that admits known keys alone.
        clock: Monotonic, in seconds.

    Attributes:
        missed: Records of ours that were sent and did not arrive. What came before the first one is not missed, nor
            what a publisher sends before this subscriber is back after its restart.
        damaged: Messages of this topic that were no record.
        passed_over: Records that ``data`` went past and that nobody can iterate over any more.

    Raises:
        ConfigError: No ZeroMQ, or an argument is wrong.
    """

    def __init__(
        self,
        address: str,
        port: int,
        topic: str,
        max_data_history: int = 10,
        context_io_threads: int = 1,
        *,
        timeout_s: float | None = None,
        server_public_key: str | None = None,
        client_secret_key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_data_history < 1:
            raise ConfigError(f"max_data_history is at least 1, got {max_data_history}.")
        self.missed = self.damaged = self.passed_over = 0
        self._topic = topic.encode("utf-8", "surrogateescape")
        self._timeout_s, self._clock = timeout_s, clock
        self._data = b""
        self._history: deque[LoggedPrediction] = deque(maxlen=max_data_history)
        self._waiting: deque[LoggedPrediction] = deque(maxlen=max_data_history)
        self._last: tuple[int, int] | None = None
        self._receiver = Receiver(
            address,
            port,
            topic,
            server_public_key=server_public_key,
            client_secret_key=client_secret_key,
            io_threads=context_io_threads,
            clock=clock,
        )

    def __iter__(self) -> Iterator[LoggedPrediction]:
        while (record := self._next(self._timeout_s)) is not None:
            yield record

    @property
    def logged_data(self) -> LoggedPrediction | None:
        """The next record; ``None``: none came within a second, or it is closed."""
        return self._next(_LOGGED_DATA_S)

    @property
    def data(self) -> bytes:
        """The newest record that has arrived, serialized; ``b""`` before the first. Does not wait.

        The records that it takes in still come when iterating: the last ``max_data_history`` of them.
        """
        for _ in range(_AT_ONCE):
            frames = self._receiver.receive(0.0)
            if frames is None:
                break
            record = self._record(frames)
            if record is not None:
                self.passed_over += len(self._waiting) == self._waiting.maxlen
                self._waiting.append(record)
        return self._data

    @property
    def history(self) -> tuple[LoggedPrediction, ...]:
        """The last ``max_data_history`` records that were read, oldest first."""
        return tuple(self._history)

    @property
    def refused(self) -> int:
        """Attempts to connect that failed: a wrong key, or no publisher at that port; see the log."""
        return self._receiver.refused

    @property
    def is_closed(self) -> bool:
        """Whether no record will come any more."""
        return self._receiver.is_closed

    def close(self) -> None:
        """Ends the stream, and whoever waits for it within 0.1 s. What has not been read is gone."""
        self._receiver.close()

    def shutdown(self) -> None:
        """The same as ``close``."""
        self.close()

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, timeout_s: float | None) -> LoggedPrediction | None:
        if self._waiting and not self.is_closed:
            return self._waiting.popleft()
        end_s = math.inf if timeout_s is None else self._clock() + timeout_s
        left_s = timeout_s
        while (frames := self._receiver.receive(left_s)) is not None:
            if (record := self._record(frames)) is not None:
                return record
            # What is skipped does not begin the wait anew, so a flood of it does not keep anyone here.
            if timeout_s is not None and (left_s := end_s - self._clock()) <= 0:
                break
        return None

    def _record(self, frames: list[bytes]) -> LoggedPrediction | None:
        if frames[0] != self._topic:
            return None  # ZeroMQ delivers "camera-10" to whoever asks for "camera-1"
        try:
            if len(frames) != 2:
                raise FormatError(f"a message has two frames, got {len(frames)}")
            record = LoggedPrediction.from_bytes(frames[1])
        except FormatError:
            self.damaged += 1
            return None
        self._count(record.stream_id, record.stream_sequence)
        self._data = frames[1]
        self._history.append(record)
        return record

    def _count(self, stream_id: int | None, sequence: int | None) -> None:
        if stream_id is None or sequence is None:
            return  # the ancestor's records have no numbers
        if self._last is not None and self._last[0] == stream_id:
            self.missed += max(0, sequence - self._last[1] - 1)
            sequence = max(sequence, self._last[1])
        self._last = (stream_id, sequence)
