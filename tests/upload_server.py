"""A small endpoint that speaks ``docs/upload.md``: keeps objects as files, and can be killed at a chosen moment.

::

    python -m tests.upload_server DIRECTORY --port 8080 --key SECRET

It prints ``ready PORT``. With ``--pause MOMENT:N`` it prints ``paused`` and goes no further when the Nth ``PUT`` comes
to a moment: ``body`` (half of it has come), ``stored`` (it is kept, and nothing was answered), ``answer`` (half of the
answer has gone).
"""

import argparse
import base64
import contextlib
import hashlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

OBJECTS = "/v1/objects/"
MAX_BYTES = 128 * 2**20
SEGMENT = re.compile(r"[A-Za-z0-9_.%~-]{1,255}")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_HEAD(self) -> None:
        """Says whether an object is there, and which content it has."""
        if (path := self._path()) is None:
            return
        self._answer(200 if path.exists() else 404, path)

    def do_PUT(self) -> None:
        """Keeps an object whose key is free."""
        if (path := self._path()) is None:
            return
        size = int(self.headers.get("Content-Length", -1))
        if not 0 <= size <= MAX_BYTES:
            self._answer(413)
            return
        number = self.server.count()
        data = self.rfile.read(size // 2)
        self.server.pause("body", number)
        data += self.rfile.read(size - size // 2)
        if self.headers.get("Content-Digest") != digest_of(data):
            self._answer(422)
            return
        is_new = keep(path, data)
        self.server.pause("stored", number)
        if self.server.paused_at == ("answer", number):
            self.wfile.write(b"HTTP/1.1 20")
            self.wfile.flush()
            self.server.pause("answer", number)
        self._answer(201 if is_new else 412, path)

    def _path(self) -> Path | None:
        """Returns the file of the object; ``None``: an answer was given."""
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self._answer(401)
            return None
        segments = [unquote(segment) for segment in self.path.removeprefix(OBJECTS).split("/")]
        is_key = all(SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments)
        if not self.path.startswith(OBJECTS) or not is_key:
            self._answer(400)
            return None
        return self.server.directory.joinpath(*segments)

    def _answer(self, status: int, path: Path | None = None) -> None:
        self.close_connection = True
        self.send_response(status)
        if path is not None and path.exists():
            self.send_header("Content-Digest", digest_of(path.read_bytes()))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """The endpoint."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, directory: Path, port: int, key: str, paused_at: tuple[str, int] | None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.directory, self.key, self.paused_at = directory, key, paused_at
        self._puts, self._lock = 0, threading.Lock()

    def count(self) -> int:
        """Returns the number of this ``PUT``."""
        with self._lock:
            self._puts += 1
            return self._puts

    def pause(self, moment: str, number: int) -> None:
        """Goes no further, if this is where to stop."""
        if self.paused_at == (moment, number):
            print("paused", flush=True)
            threading.Event().wait()


def digest_of(data: bytes) -> str:
    """Returns what ``Content-Digest`` says of a content."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def keep(path: Path, data: bytes) -> bool:
    """Makes a file whole, unless it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
        return True
    except FileExistsError:
        return False
    finally:
        temporary.unlink()


class UploadServer:
    """The endpoint as a process of its own.

    Attributes:
        url: Where it listens.
        directory: Holds what it keeps.
    """

    def __init__(self, directory: Path, *, key: str = "", pause: str = "", port: int = 0) -> None:
        self.directory, self._key = directory, key
        arguments = [sys.executable, __file__, str(directory), "--port", str(port), "--key", key, "--pause", pause]
        self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self.port = int(self._line().removeprefix("ready "))
        self.url = f"http://127.0.0.1:{self.port}"

    def wait_until_paused(self) -> None:
        """Returns when it goes no further."""
        assert self._line() == "paused"

    def kill(self) -> None:
        """Ends it at once."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def restarted(self, *, pause: str = "") -> "UploadServer":
        """Returns another one at the same place, after this one was killed."""
        return UploadServer(self.directory, key=self._key, pause=pause, port=self.port)

    def objects(self) -> list[Path]:
        """Returns what it keeps."""
        return sorted(path for path in self.directory.rglob("*.zip") if not path.name.startswith("."))

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def upload_server(directory: Path, *, key: str = "", pause: str = "") -> Iterator[UploadServer]:
    """Yields an endpoint, which is killed at the end."""
    server = UploadServer(directory, key=key, pause=pause)
    try:
        yield server
    finally:
        server.kill()


def main() -> None:
    """Runs the endpoint."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="")
    parser.add_argument("--pause", default="")
    arguments = parser.parse_args()
    moment, _, number = arguments.pause.partition(":")
    server = Server(arguments.directory, arguments.port, arguments.key, (moment, int(number)) if moment else None)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    print(f"ready {server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
