"""One HTTP request, with one deadline for all of it, that follows nobody anywhere.

The libraries that come with Python wait as long as every single byte comes in time: a server that drips keeps them for
ever. Here the deadline is for the whole: connection, TLS, sending, and the answer to its end.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from ml.core.errors import WriteError
from ml.io.store import Refused

MAX_BODY_BYTES: Final = 16 * 2**10
"""Of an answer, the rest is not read: it is for a message at most."""

_SENT_AT_ONCE: Final = 256 * 2**10
_LEAST_S: Final = 0.001
_Socket: TypeAlias = socket.socket


class Answer(NamedTuple):
    """What a server said.

    Attributes:
        status: 200 to 599.
        reason: What it says beside that, maybe nothing.
        headers: By name in lower case; of several with one name the last.
        body: The first ``MAX_BODY_BYTES``; less if the rest did not come.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Makes one attempt of a request, on a connection of its own.

    Args:
        method: ``"PUT"`` and so on.
        url: Of http or https.
        headers: Beside ``Host``, ``Content-Length`` and ``Connection``.
        body: What is sent; ``None``: nothing.
        timeout_s: For all of it. The system may look for a host's name longer than that.
        tls: How servers are trusted; ``None``: as the system does.
        clock: Monotonic seconds.

    Raises:
        WriteError: No answer came, in time or at all. The request may have been done.
        Refused: The server is not the one that its name says.
    """
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    line = _Line(clock, clock() + timeout_s)
    connection = http.client.HTTPConnection(host, parts.port or (443 if is_tls else 80))
    try:
        line.connect(
            host, parts.port or (443 if is_tls else 80), (tls or ssl.create_default_context()) if is_tls else None
        )
        connection.sock = line
        is_sent = True
        try:
            connection.request(method, f"{parts.path or '/'}", body, {**headers, "Connection": "close"})
        except (BrokenPipeError, ConnectionResetError):
            is_sent = False  # it may have said why before it hung up
        return _answer(connection, is_sent, method)
    except ssl.SSLCertVerificationError as error:
        raise Refused(f"its certificate is not trusted: {error.verify_message}") from error
    except TimeoutError as error:
        raise WriteError(f"it did not answer within {timeout_s:g} s") from error
    except socket.gaierror as error:
        raise WriteError(f"its name cannot be resolved ({error.strerror})") from error
    except UnicodeError as error:
        raise Refused("its name is none that a host can have") from error
    except OSError as error:
        raise WriteError(f"the connection failed ({error.strerror or type(error).__name__})") from error
    except http.client.HTTPException as error:
        # What it quotes may be anything, such as what was sent.
        raise WriteError(f"its answer is none of HTTP ({type(error).__name__})") from None
    finally:
        line.end()


def _answer(connection: http.client.HTTPConnection, is_sent: bool, method: str) -> Answer:
    if not is_sent:
        # The connection still believes that it is sending.
        response = http.client.HTTPResponse(connection.sock, method=method)
        response.begin()
    else:
        response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    body = b""
    if response.status >= 300:
        try:
            body = response.read(MAX_BODY_BYTES)
        except (OSError, http.client.HTTPException):
            body = b""  # the status says enough
    return Answer(response.status, response.reason or "", headers, body)


class _Line:
    """A connection on which everything together has one deadline: as much of a socket as ``http.client`` uses."""

    def __init__(self, clock: Callable[[], float], end_s: float) -> None:
        self._clock, self._end_s = clock, end_s
        self._socket: _Socket | None = None

    def connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Connects to the first address of a host that answers."""
        failure: OSError = OSError("it has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(self._left_s())
                made.connect(address)
                break
            except OSError as error:
                failure = error
                made.close()
        else:
            raise failure
        self._socket = made
        if tls is not None:
            made.settimeout(self._left_s())
            self._socket = tls.wrap_socket(made, server_hostname=host)

    def sendall(self, data: bytes) -> None:
        """Sends everything."""
        view = memoryview(data)
        for start in range(0, len(view), _SENT_AT_ONCE):
            self._ready().sendall(view[start : start + _SENT_AT_ONCE])

    def recv_into(self, buffer: bytearray | memoryview) -> int:
        """Receives some bytes; 0: there are no more."""
        return self._ready().recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Returns what is received, as a file."""
        return io.BufferedReader(_Received(self))

    def close(self) -> None:
        """Does nothing: ``http.client`` closes what it still reads an answer from."""

    def end(self) -> None:
        """Ends the connection."""
        if self._socket is not None:
            self._socket.close()

    def _ready(self) -> _Socket:
        assert self._socket is not None, "it is connected"
        self._socket.settimeout(self._left_s())
        return self._socket

    def _left_s(self) -> float:
        left_s = self._end_s - self._clock()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        return max(left_s, _LEAST_S)


class _Received(io.RawIOBase):
    """What comes over a line."""

    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        return self._line.recv_into(buffer)
