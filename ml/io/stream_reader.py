"""The end of a live stream that reads it; ``ml.io.stream`` is the other one."""

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress

from ml.io.endpoint import endpoint_to_connect
from ml.io.stream_events import Events
from ml.io.stream_keys import check_installed, client_keys
from ml.io.stream_limits import CUT_AFTER_MS, HANDSHAKE_MS, HEARTBEAT_MS, MAX_MESSAGE_BYTES, at_least_one, topic_bytes
from ml.io.worker import Lock

_log = logging.getLogger("ml")

_POLL_S = 0.1
_AGAIN_S = 5.0
"""After which a connection that ended is made anew: ZeroMQ does so itself at once, but not where a key was refused, or
what came was no message or too large."""


class Receiver:
    """Receives the messages of one publisher, and connects again when it was cut.

    It asks for a topic, and is given whatever begins with it: ZeroMQ matches prefixes. Between two calls of
    ``receive`` ZeroMQ receives ``max_queued`` messages, and further ones wait at the publisher; but after a cut it is
    ``receive`` that subscribes again. ``close`` may be called on any thread and in a signal handler, all else on one
    thread at a time.

    Args:
        address: Where the publisher listens: a number of IPv4 or IPv6, or a host's name.
        port: 1 to 65535.
        topic: 1 to 255 bytes of UTF-8.
        server_public_key: The publisher's, if it has one (CURVE).
        client_secret_key: To show to a publisher that admits known keys alone; needs ``server_public_key``.
        io_threads: Of ZeroMQ.
        max_queued: Messages received ahead.
        max_message_bytes: A publisher that sends a larger one is cut.
        clock: Monotonic, in seconds.

    Attributes:
        refused: Handshakes that failed: a wrong key, or no publisher of ours at that port. Tried again every 5 s.

    Raises:
        ConfigError: No ZeroMQ, or an argument is wrong.
    """

    def __init__(
        self,
        address: str,
        port: int,
        topic: str,
        *,
        server_public_key: str | None = None,
        client_secret_key: str | None = None,
        io_threads: int = 1,
        max_queued: int = 100,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_installed()
        import zmq

        self.refused = 0
        self._clock = clock
        self._process = os.getpid()
        self._lock = Lock()
        self._is_receiving = self._is_closing = self._is_closed = False
        self._again_s = math.inf
        endpoint = endpoint_to_connect(address, port)
        self.url = str(endpoint)
        options = {
            zmq.RCVHWM: at_least_one("max_queued", max_queued),
            zmq.MAXMSGSIZE: at_least_one("max_message_bytes", max_message_bytes),
            zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
            # Tells the publisher that this end lives, also while it reads nothing; the answers may be behind messages
            # that are not read yet, so their lateness says nothing. A publisher's host that vanished answers nothing.
            zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: 0,
            zmq.HEARTBEAT_TTL: CUT_AFTER_MS,
            zmq.TCP_MAXRT: CUT_AFTER_MS,
            zmq.RECONNECT_IVL: 100,
            zmq.RECONNECT_IVL_MAX: 2_000,
            zmq.IPV6: int(endpoint.is_ipv6),
        }
        keys = client_keys(server_public_key, client_secret_key)
        prefix = topic_bytes(topic)
        self._context = zmq.Context(at_least_one("io_threads", io_threads))
        self._context.linger = 0
        try:
            self._socket = self._context.socket(zmq.SUB)
            for option, value in options.items():
                self._socket.setsockopt(option, value)
            if keys is not None:
                self._socket.curve_serverkey, self._socket.curve_publickey, self._socket.curve_secretkey = keys
            self._events = Events(self._socket)
            self._socket.setsockopt(zmq.SUBSCRIBE, prefix)
            self._socket.connect(self.url)
        except BaseException:
            self._context.destroy(linger=0)
            raise

    @property
    def is_closed(self) -> bool:
        """Whether nothing will be received any more: it was closed, or this is a forked child's copy."""
        return self._is_closing or os.getpid() != self._process

    def receive(self, timeout_s: float | None = None) -> list[bytes] | None:
        """Returns the frames of the next message, or ``None``: none came in time, or it is closed.

        Args:
            timeout_s: How long to wait for one; ``None``: until one comes or it is closed.
        """
        if self.is_closed:
            return None
        with self._lock:
            self._is_receiving = True
            try:
                return self._receive(math.inf if timeout_s is None else self._clock() + timeout_s)
            finally:
                self._is_receiving = False
                if self._is_closing:
                    self._dispose()

    def close(self) -> None:
        """Ends it, and a ``receive`` that waits, within 0.1 s. What was received and not taken is gone."""
        if os.getpid() != self._process:
            return
        self._is_closing = True
        with self._lock:
            # In a signal handler that came during receive, on the same thread, it is receive that disposes.
            if not self._is_receiving:
                self._dispose()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"The subscriber of {self.url} belongs to process {self._process} and cannot be pickled.")

    # the lock is held

    def _receive(self, end_s: float) -> list[bytes] | None:
        import zmq

        while not self._is_closing:
            left_s = end_s - self._clock()
            if self._socket.poll(round(1000 * max(0.0, min(left_s, _POLL_S)))):
                with suppress(zmq.Again):
                    return self._socket.recv_multipart(zmq.NOBLOCK)
            self._read_events()
            if left_s <= 0:
                break
        return None

    def _read_events(self) -> None:
        import zmq

        for happening, _ in self._events.read():
            if happening == "ready":
                self._again_s = math.inf
            else:
                self._again_s = min(self._again_s, self._clock() + _AGAIN_S)
            if happening == "refused":
                self.refused += 1
                if self.refused == 1:
                    _log.warning(
                        "The publisher at %s refuses this subscriber, or is none: check server_public_key and"
                        " client_secret_key. It is asked again every %g s.",
                        self.url,
                        _AGAIN_S,
                    )
        if self._clock() >= self._again_s:
            self._again_s = math.inf
            with suppress(zmq.ZMQError):
                self._socket.disconnect(self.url)
            self._socket.connect(self.url)

    def _dispose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._events.close()
            self._socket.close(linger=0)
            self._context.term()
