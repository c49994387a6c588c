"""The other ends of a live stream: a raw client that speaks just enough of ZMTP, and a proxy that cuts connections."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ml.io.stream import Publisher
from ml.io.stream_reader import Receiver

LIMIT_S = 30.0
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"


def attend_until(publisher: Publisher, condition: Callable[[], object], *, waiting: tuple[Receiver, ...] = ()) -> None:
    """Attends to subscribers, as the sink's worker does, until ``condition`` holds; fails when it never does.

    Args:
        publisher: Nothing is sent.
        condition: What is waited for.
        waiting: Readers that ask for a message meanwhile, and get none.
    """
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s, "the condition never came to hold"
        publisher.attend()
        assert all(reader.receive(0.0) is None for reader in waiting)
        time.sleep(0.002)
    publisher.attend()


def connected(publisher: Publisher, receive_buffer_bytes: int = 0) -> socket.socket:
    """Returns a plain TCP connection to a publisher."""
    client = socket.socket()
    if receive_buffer_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    client.settimeout(LIMIT_S)
    client.connect((publisher.address, publisher.port))
    return client


def subscribed(publisher: Publisher, topic: bytes, receive_buffer_bytes: int = 0) -> socket.socket:
    """Returns a connection that has shaken hands and subscribed; it is read by whoever wants to."""
    client = connected(publisher, receive_buffer_bytes)
    client.sendall(GREETING + READY)
    client.setblocking(False)
    answer = bytearray()

    def is_admitted() -> bool:
        with suppress(BlockingIOError):
            answer.extend(client.recv(len(GREETING) + len(READY) + 1 - len(answer)))
        return b"READY" in answer

    attend_until(publisher, is_admitted)
    client.settimeout(LIMIT_S)
    before = publisher.subscriptions
    client.sendall(b"\0" + bytes([len(topic) + 1]) + b"\x01" + topic)
    attend_until(publisher, lambda: publisher.subscriptions > before)
    return client


def is_cut(client: socket.socket) -> bool:
    """Whether the other end has closed the connection; what it sent before is read away."""
    client.setblocking(False)
    try:
        while client.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def announced(size_bytes: int) -> bytes:
    """A message that claims to be so long, and its first bytes."""
    return b"\x02" + struct.pack(">Q", size_bytes) + bytes(100)


class CuttingProxy:
    """Passes connections on to a port, and cuts the one there is in the middle of what it transports.

    Attributes:
        seen: Everything that it has transported, in both directions.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.seen = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._left: int | None = None
        self._pair: tuple[socket.socket, socket.socket] | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, size_bytes: int) -> None:
        """Has the present connection cut when the publisher has sent so many bytes more."""
        self._left = size_bytes

    def close(self) -> None:
        self._listener.close()
        for end in self._pair or ():
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._pair = client, server
                threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, may_cut: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if may_cut and self._left is not None:
                    data, self._left = data[: self._left], self._left - len(data)
                self.seen += data
                target.sendall(data)
                if may_cut and self._left is not None and self._left <= 0:
                    self._left = None
                    break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def cutting_proxy(port: int) -> Iterator[CuttingProxy]:
    """Runs a ``CuttingProxy`` for a publisher's port."""
    proxy = CuttingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
