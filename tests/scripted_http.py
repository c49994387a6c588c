"""An HTTP server on loopback that answers what a test says, also wrongly: cut, late, by drops, to somebody else."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Request(NamedTuple):
    """What was asked; the names of ``headers`` are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What is sent back.

    Attributes:
        status: Of the answer; 0: the connection is closed without one, when the server is if it ``hangs``.
        body: Its content.
        headers: Beside ``Content-Length``, which is that of ``body`` unless it is given.
        cut_at: The connection is reset after so many bytes of the body.
        hangs: After the headers and ``cut_at`` bytes nothing comes, until the server is closed.
        drips: Every byte of the body is sent by itself, one each 50 ms.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    hangs: bool = False
    drips: bool = False


DROP = Answer(0)


class ScriptedServer:
    """Answers what ``answer`` says, each request on a thread of its own.

    Attributes:
        requests: What was asked so far.
        url: Where it listens.
        port: Of ``url``.
    """

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                server.requests.append(request)
                with contextlib.suppress(ConnectionError):  # the client has given up
                    self._send(answer(request))

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815  # the names that the base class asks for

            def _send(self, said: Answer) -> None:
                if said.status == 0:
                    if said.hangs:
                        server._closing.wait()
                    self.close_connection = True
                    return
                self.send_response(said.status)
                for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                body = b"" if self.command == "HEAD" else said.body[: said.cut_at]
                if said.drips:
                    for byte in body:
                        self.wfile.write(bytes([byte]))
                        if server._closing.wait(0.05):
                            break
                else:
                    self.wfile.write(body)
                if said.hangs:
                    server._closing.wait()
                if said.cut_at is not None:
                    self._reset()

            def _reset(self) -> None:
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

            def finish(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def log_message(self, format: str, *arguments: object) -> None:
                """Says nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self._http = Server(("127.0.0.1", 0), Handler)
        self.port = self._http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it, and what hangs."""
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextlib.contextmanager
def scripted(answer: Callable[[Request], Answer]) -> Iterator[ScriptedServer]:
    """Yields a server that answers what the function says."""
    server = ScriptedServer(answer)
    try:
        yield server
    finally:
        server.close()


def in_turn(*answers: Answer) -> Callable[[Request], Answer]:
    """Returns what gives each request the next answer; the last one to all that follow."""
    rest = list(answers)
    return lambda request: rest.pop(0) if len(rest) > 1 else rest[0]
