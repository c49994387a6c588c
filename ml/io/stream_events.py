"""What happens to the connections of a ZeroMQ socket, as ZeroMQ tells it."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import zmq

Happening = Literal["accepted", "ready", "refused", "ended"]
"""A connection came in, has shaken hands, could not do so, is no more; the last one follows every ``refused``."""

_AT_ONCE = 16_384  # more than come in a twentieth of a second: those of 100,000 connections a second


class Events:
    """What becomes of the connections of a socket. Used where the socket is, and closed before it."""

    def __init__(self, of: "zmq.Socket[bytes]") -> None:
        import zmq

        self._of = of
        self._happenings: dict[int, Happening] = {
            zmq.EVENT_ACCEPTED: "accepted",
            zmq.EVENT_HANDSHAKE_SUCCEEDED: "ready",
            zmq.EVENT_HANDSHAKE_FAILED_AUTH: "refused",
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "refused",
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "refused",
            zmq.EVENT_DISCONNECTED: "ended",
        }
        endpoint = f"inproc://events-{id(self)}"
        of.monitor(endpoint, sum(self._happenings))
        self._socket = of.context.socket(zmq.PAIR)
        # Without a bound, as ZeroMQ's thread would wait for room, and with it every connection. An event is some 100
        # bytes, and as many wait as connections come and go between two reads.
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.connect(endpoint)

    def read(self) -> Iterator[tuple[Happening, int]]:
        """Yields what has happened since the last time, and the file descriptor of a connection that came or ended."""
        import zmq

        with suppress(zmq.Again):
            for _ in range(_AT_ONCE):
                kind, value = struct.unpack("=Hi", self._socket.recv_multipart(zmq.NOBLOCK)[0])
                yield self._happenings[kind], value

    def close(self) -> None:
        """Listens no more."""
        self._of.disable_monitor()
        self._socket.close()
