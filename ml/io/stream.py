"""A live stream of messages over ZeroMQ: one publisher, any number of subscribers that come and go.

A message is two frames, topic and payload, from an XPUB to a SUB socket. A publisher never waits for a subscriber.
What one that is slow, silent or hostile can cost is bounded:

- *It reads slowly, or not at all.* ``SNDHWM`` bounds what waits for it, and is set to what fits into
  ``max_queued_bytes``. Further messages are not sent to it, which it sees as a gap. The oldest ones are kept; what
  waits for several is kept once.
- *It is stopped, or has vanished without a word.* It is cut after 10 to 12 s: by ``TCP_MAXRT`` while data waits for
  it, by ``HEARTBEAT_IVL`` and ``HEARTBEAT_TIMEOUT`` while none does. Our readers set ``HEARTBEAT_TTL`` besides.
- *It does not finish its handshake.* It is cut after 2 s: ``HANDSHAKE_IVL``.
- *It sends garbage, or announces 4 GiB.* It is cut at once: ``MAXMSGSIZE`` is 512 bytes.
- *It is one of too many.* It is not admitted, by ZeroMQ's authentication (ZAP), cut after 2 s, and may come again.
  Before that it is a connection, whose number ZeroMQ cannot bound: past 1,024, or half of the files that this process
  may open, everyone is cut and may come again.
- *It subscribes without end.* ``RCVHWM`` lets in 4 at a time; past 1,024 subscriptions everyone is cut.
- *It is on another machine.* Everything is encrypted (CURVE), and keys that are not admitted are refused.

Nothing here starts a thread of Python; ZeroMQ receives and sends on one of its own. A ZeroMQ socket belongs to one
thread at a time: it may be made on one and used on another if there is a full fence between, as starting a thread is
one, and never on two at once. In a forked child everything here is inert: the connections are the parent's.
"""

import logging
import os
import resource
from collections.abc import Collection
from contextlib import suppress

from ml.core.errors import ClosedError, ConfigError, WriteError
from ml.io.endpoint import Endpoint, endpoint_to_bind
from ml.io.stream_events import Events
from ml.io.stream_keys import admitted, check_installed, key_bytes, public_key_of
from ml.io.stream_limits import CUT_AFTER_MS, HANDSHAKE_MS, HEARTBEAT_MS, at_least_one, topic_bytes

_log = logging.getLogger("ml")

MAX_SUBSCRIBERS = 64
MAX_QUEUED = 1000
MAX_QUEUED_BYTES = 64 * 2**20
ATTEND_S = 0.05
"""How often a publisher is to attend to its subscribers: whoever comes is admitted within that time."""

_MAX_INCOMING_BYTES = 512  # a subscription, or a step of a handshake: that of CURVE is the longest, below 300
_MAX_INCOMING = 4
_MAX_SUBSCRIPTIONS = 1024
_MAX_CONNECTIONS = 1024
_REQUESTS_AT_ONCE = 256

_ZAP_ENDPOINT = "inproc://zeromq.zap.01"  # where ZeroMQ asks whom to admit


class Publisher:
    """Sends messages under one topic to whoever subscribes to it. Sending never waits.

    Listens as soon as it is made. Not for two threads at once. Somebody has to call ``attend`` every ``ATTEND_S``:
    subscribers are admitted there.

    Args:
        address: Where to listen; anything but the loopback needs ``secret_key``.
        port: 0 for any that is free.
        topic: The first frame of every message: 1 to 255 bytes of UTF-8.
        secret_key: Encrypts everything (CURVE). Subscribers need the public key that belongs to it.
        client_public_keys: Who may subscribe; empty: everyone who has that public key.
        max_subscribers: Connections at once.
        max_queued: Messages that wait for one subscriber.
        max_queued_bytes: Their size, if they are alike. One message may be larger, and then waits alone.

    Attributes:
        refused: Handshakes that failed, because of a key, of too many subscribers, or as they were none.

    Raises:
        ConfigError: No ZeroMQ, or an argument is wrong, or the port is taken.
    """

    def __init__(
        self,
        address: str,
        port: int,
        topic: str,
        *,
        secret_key: str | None = None,
        client_public_keys: Collection[str] = (),
        max_subscribers: int = MAX_SUBSCRIBERS,
        max_queued: int = MAX_QUEUED,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        check_installed()
        import zmq

        self.refused = 0
        self._topic = topic_bytes(topic)
        self._secret_key = None if secret_key is None else key_bytes("The publisher's secret key", secret_key)
        self._admitted = admitted(client_public_keys, secret_key)
        self._max_subscribers = at_least_one("max_subscribers", max_subscribers)
        self._max_queued = at_least_one("max_queued", max_queued)
        self._max_queued_bytes = at_least_one("max_queued_bytes", max_queued_bytes)
        self._process = os.getpid()
        self._room = self._max_queued
        self._warned: set[str] = set()
        self._connections: set[int] = set()
        self._subscriptions = 0
        self._max_connections = _most_connections()
        self._is_listening = self._is_closed = False
        self._endpoint = endpoint_to_bind(address, port)
        if not self._endpoint.is_loopback and secret_key is None:
            raise ConfigError(
                f"A stream at {address!r} can be read by other machines and needs keys. Stream at 127.0.0.1, or make"
                " a pair with ml.io.stream_keys.new_keys(): the secret key is the publisher's, the public one goes to"
                " every subscriber."
            )
        self._context = zmq.Context()
        self._context.linger = 0  # of every socket: one that is forgotten must not wait for subscribers for ever
        try:
            # It asks here whom to admit, also where there are no keys: that is what bounds their number.
            self._requests = self._context.socket(zmq.REP)
            self._requests.bind(_ZAP_ENDPOINT)
            self._open()
            self._listen()
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise ConfigError(
                f"Cannot stream at {self.url}: {error.strerror}. Choose another port, or 0 for any that is free."
            ) from None
        except BaseException:
            self._context.destroy(linger=0)
            raise

    @property
    def address(self) -> str:
        """Where it listens: a number of IPv4 or IPv6."""
        return self._endpoint.address

    @property
    def port(self) -> int:
        """Where it listens; the one that was found, if any was asked for."""
        return self._endpoint.port

    @property
    def url(self) -> str:
        """Where it listens: ``tcp://127.0.0.1:5555``."""
        return str(self._endpoint)

    @property
    def public_key(self) -> str | None:
        """What subscribers need; ``None`` where nothing is encrypted."""
        return None if self._secret_key is None else public_key_of(self._secret_key.decode("ascii"))

    @property
    def connections(self) -> int:
        """Connections open as of the last ``attend``: subscribers, and who has not shown yet what it is."""
        return len(self._connections)

    @property
    def subscriptions(self) -> int:
        """Subscriptions that are held, as of the last ``attend``."""
        return self._subscriptions

    def send(self, payload: bytes) -> None:
        """Hands a message to ZeroMQ, for every subscriber that has room for it. Never waits.

        Raises:
            ClosedError: It is closed, or belongs to another process.
            WriteError: ZeroMQ did not take it.
        """
        self._check_open()
        import zmq

        try:
            self._make_room(len(payload))
            # A copy, of some 10 us: what ZeroMQ does not copy it gives back on a thread of Python that it starts.
            self._socket.send_multipart((self._topic, payload), flags=zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise WriteError(f"Cannot stream at {self.url}: {error.strerror}.") from error

    def attend(self) -> None:
        """Admits and refuses whoever wants to subscribe, and sees to it that they are not too many.

        It does at most some milliseconds of work, and never raises because of what a peer does.

        Raises:
            ClosedError: It is closed, or belongs to another process.
        """
        self._check_open()
        import zmq

        try:
            self._read_events()
            self._answer_requests()
            self._count_subscriptions()
            if self._subscriptions > _MAX_SUBSCRIPTIONS:
                self._start_anew(f"more than {_MAX_SUBSCRIPTIONS} subscriptions")
            elif len(self._connections) > self._max_connections:
                self._start_anew(f"more than {self._max_connections} connections")
            elif not self._is_listening:
                self._listen()
        except zmq.ZMQError as error:
            # A port that was given up is free again a moment later, and asked for again next time.
            self._warn(f"they cannot be attended to now ({error.strerror})")

    def close(self, linger_s: float = 1.0) -> None:
        """Ends the stream. Waits at most ``linger_s`` until subscribers have what was sent."""
        if self._is_closed or os.getpid() != self._process:
            return
        self._is_closed = True
        self._requests.close()
        self._events.close()
        self._socket.close(linger=round(linger_s * 1000))
        self._context.term()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"The stream at {self.url} belongs to process {self._process} and cannot be pickled.")

    def _check_open(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError(
                f"The stream at {self.url} belongs to process {self._process}; a forked child cannot send."
            )
        if self._is_closed:
            raise ClosedError(f"The stream at {self.url} is closed.")

    def _open(self) -> None:
        import zmq

        options = {
            zmq.SNDHWM: self._room,
            zmq.RCVHWM: _MAX_INCOMING,
            zmq.MAXMSGSIZE: _MAX_INCOMING_BYTES,
            zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
            zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: CUT_AFTER_MS,
            zmq.TCP_MAXRT: CUT_AFTER_MS,
            zmq.XPUB_VERBOSER: 1,  # every subscription is seen, also the second of a kind
            zmq.IPV6: int(self._endpoint.is_ipv6),
        }
        self._socket = self._context.socket(zmq.XPUB)
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        self._socket.setsockopt(zmq.ZAP_DOMAIN, b"stream")
        if self._secret_key is not None:
            self._socket.setsockopt(zmq.CURVE_SERVER, 1)
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret_key)
        self._events = Events(self._socket)
        self._connections, self._subscriptions, self._is_listening = set(), 0, False

    def _start_anew(self, problem: str) -> None:
        """Cuts everyone: ZeroMQ cannot cut a peer, nor forget its subscriptions, while the socket is there."""
        self._warn(f"{problem}; all are cut, and may come again")
        self._events.close()
        self._socket.close(linger=0)
        self._open()

    def _listen(self) -> None:
        import zmq

        self._socket.bind(str(self._endpoint))
        bound = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        port = int(bytes(bound).rstrip(b"\0").rpartition(b":")[2])
        self._endpoint = Endpoint(self._endpoint.address, port, self._endpoint.is_ipv6, self._endpoint.is_loopback)
        self._is_listening = True

    def _make_room(self, size_bytes: int) -> None:
        """Bounds what waits for a subscriber in bytes, though ZeroMQ counts messages: by as many of this size as fit.

        So the i-th message in a queue is at most 1/i of ``max_queued_bytes``. Messages alike take no more than that
        together; a thousand of any sizes, less than 8 times as much.
        """
        import zmq

        fitting = max(1, self._max_queued_bytes // max(1, size_bytes))
        # A power of two, as ZeroMQ tells every connection of a change.
        room = min(self._max_queued, 1 << fitting.bit_length() - 1)
        if room != self._room:
            self._room = room
            self._socket.setsockopt(zmq.SNDHWM, room)

    def _read_events(self) -> None:
        for happening, descriptor in self._events.read():
            if happening == "accepted":
                self._connections.add(descriptor)
            elif happening == "ended":
                self._connections.discard(descriptor)
            elif happening == "refused":
                self.refused += 1
                self._warn("one was refused, because of its key or as there are too many, or was no subscriber at all")

    def _answer_requests(self) -> None:
        import zmq

        with suppress(zmq.Again):
            for _ in range(_REQUESTS_AT_ONCE):
                _, request, _, _, _, mechanism, *credentials = self._requests.recv_multipart(zmq.NOBLOCK)
                status, text = self._judge(mechanism, credentials)
                self._requests.send_multipart((b"1.0", request, status, text, b"", b""))

    def _judge(self, mechanism: bytes, credentials: list[bytes]) -> tuple[bytes, bytes]:
        """Whether to admit who asks: 200 yes, 300 not now, which makes it come again, 400 never."""
        if self._admitted and (mechanism != b"CURVE" or credentials[0] not in self._admitted):
            return b"400", b"Unknown key"
        if len(self._connections) > self._max_subscribers:
            return b"300", b"Too many subscribers"
        return b"200", b"OK"

    def _count_subscriptions(self) -> None:
        import zmq

        with suppress(zmq.Again):
            for _ in range(2 * _MAX_SUBSCRIPTIONS):
                message = self._socket.recv(zmq.NOBLOCK)
                self._subscriptions += {b"\x01": 1, b"\x00": -1}.get(message[:1], 0)

    def _warn(self, problem: str) -> None:
        if problem not in self._warned:
            self._warned.add(problem)
            _log.warning("Subscribers of %s: %s. Said once.", self.url, problem)


def _most_connections() -> int:
    """Half of the files that this process may have open: what it has to do beside the stream needs the other half."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_CONNECTIONS if limit == resource.RLIM_INFINITY else min(_MAX_CONNECTIONS, limit // 2)
