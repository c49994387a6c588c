"""A real S3 server for tests: OpenStack Swift with its S3 API, one node on loopback, its data in a directory.

::

    with s3_server(tmp_path) as server:
        server.make_bucket("results")
        server.kill()       # as a crash would
        server.start()      # the same port, the same data

    python tests/s3_server.py DIR PORT -- COMMAND...    # runs COMMAND with the server's address in its environment

The four servers of Swift are children of a guard, a process that kills them when its standard input ends:
none outlives whoever started them, however that ends. Each writes ``<name>.log`` in the directory.

Swift looks whether a key is free and then writes, so that two conditional creates can both win. ``serial_creates``, a
filter in front of it, has those of one key wait for each other, so that one wins, as S3 has it.
"""

import base64
import contextlib
import getpass
import hashlib
import hmac
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ml.io.store import StoreConfig

START_S = 60
ACCESS_KEY_ID = "test:tester"
SECRET_ACCESS_KEY = "a-secret-of-the-test-server"
BACKENDS = ("account", "container", "object")
FILTERS = {
    "serial": "paste.filter_factory = s3_server:serial_creates",
    "catch_errors": "use = egg:swift#catch_errors",
    "cache": "paste.filter_factory = s3_server:cache_in_memory",
    "listing_formats": "use = egg:swift#listing_formats",
    "s3api": "use = egg:swift#s3api\nlocation = us-east-1",
    "tempauth": f"use = egg:swift#tempauth\nuser_test_tester = {SECRET_ACCESS_KEY} .admin",
    "copy": "use = egg:swift#copy",
    "slo": "use = egg:swift#slo",
    "dlo": "use = egg:swift#dlo",
}
PROXY = "use = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true"


class S3Server:
    """A server that can be killed and started again, with what it has stored.

    Args:
        directory: For its data, settings and logs; made where it is missing.
        port: Where it listens on 127.0.0.1; 0 for a free one.

    Attributes:
        endpoint_url: Where it listens, the same at every start.
        access_key_id: Its one user.
        secret_access_key: Of that user.
    """

    access_key_id = ACCESS_KEY_ID
    secret_access_key = SECRET_ACCESS_KEY
    region = "us-east-1"

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory.resolve()
        self._port = port or _free_port()
        self.endpoint_url = f"http://127.0.0.1:{self._port}"
        self._guard: subprocess.Popen[bytes] | None = None
        self._alive = -1

    @property
    def environ(self) -> dict[str, str]:
        """What programs that follow the usual chain of credentials find it by."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
        }

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        assert self._guard is None, "it runs"
        (self.directory / "drives" / "d1").mkdir(parents=True, exist_ok=True)
        # Every process of the server holds the pipe's end: it is at its end when the last of them is gone.
        self._alive, held = os.pipe()
        command = [sys.executable, __file__, "--guard", str(self.directory), str(self._port), str(held)]
        with open(self.directory / "guard.log", "ab") as log:
            self._guard = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, pass_fds=[held]
            )
        os.close(held)
        deadline_s = monotonic() + START_S
        while not self._answers():
            if self._guard.poll() is not None or monotonic() > deadline_s:
                self.kill()
                raise RuntimeError(f"Swift does not start: {self._logs()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kills it, as a crash would, and returns when it is gone; does nothing where it does not run."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate()  # the end of its input
            while os.read(self._alive, 1):
                pass
            os.close(self._alive)

    def freeze(self) -> None:
        """Has it take connections, and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Has it answer again, also what was asked meanwhile."""
        self._signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        """Whether it was started, and is not gone."""
        return self._guard is not None and self._guard.poll() is None

    def make_bucket(self, name: str) -> None:
        """Makes an empty bucket. Its name has 3 to 63 characters of ``a-z 0-9 -``.

        Raises:
            FileExistsError: There is one of that name.
            urllib.error.HTTPError: The server refuses it.
        """
        try:
            self._request("PUT", f"/{name}")
        except urllib.error.HTTPError as error:
            if error.code == 409:
                raise FileExistsError(name) from error
            raise

    def _signal(self, number: signal.Signals) -> None:
        assert self._guard is not None, "it runs"
        for process in (self.directory / "pids").read_text().split():
            os.kill(int(process), number)

    def _answers(self) -> bool:
        try:
            with contextlib.suppress(FileExistsError):
                self.make_bucket("ready")
            self._request("PUT", "/ready/key", b"x")
            return True
        except OSError:
            return False

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Sends a request with a signature of version 2, of which a few lines are enough."""
        date, form = formatdate(usegmt=True), "application/octet-stream"
        signed = f"{method}\n\n{form}\n{date}\n{path}".encode()
        signature = base64.b64encode(hmac.digest(self.secret_access_key.encode(), signed, hashlib.sha1)).decode()
        headers = {"Date": date, "Content-Type": form, "Authorization": f"AWS {self.access_key_id}:{signature}"}
        request = urllib.request.Request(self.endpoint_url + path, body, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return bytes(answer.read())

    def _logs(self) -> str:
        return "\n".join(f"{log.name}:\n{log.read_text()[-1500:]}" for log in sorted(self.directory.glob("*.log")))


class S3Bucket(NamedTuple):
    """A bucket of a server."""

    server: S3Server
    name: str

    def config(self, prefix: str = "", **settings: float) -> "StoreConfig":
        """Returns the configuration of a store in it, with the server's address and keys."""
        from ml.io.store import StoreConfig  # not above: Swift imports this module too

        server = self.server
        return StoreConfig(
            f"s3://{self.name}/{prefix}".rstrip("/"),
            endpoint_url=server.endpoint_url,
            region=server.region,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
            **settings,
        )


@contextlib.contextmanager
def s3_server(directory: Path, port: int = 0) -> Iterator[S3Server]:
    """Yields a server that runs, and kills it at the end; its directory stays."""
    server = S3Server(directory, port)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def serial_creates(config: dict[str, str], **settings: str):  # what PasteDeploy calls
    """Returns a filter for the one process of Swift's proxy: the conditional creates of a key, one after another."""
    from eventlet.semaphore import Semaphore

    locks = [Semaphore() for _ in range(256)]

    def make(application):
        def call(environ, start_response):
            if environ["REQUEST_METHOD"] == "PUT" and environ.get("HTTP_IF_NONE_MATCH") == "*":
                with locks[hash(environ["PATH_INFO"]) % len(locks)]:
                    return list(application(environ, start_response))
            return application(environ, start_response)

        return call

    return make


class _Cache:
    """What Swift would ask memcached for, in the memory of the one proxy: it is asked several times a request."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, object]] = {}

    def get(self, key: str, **settings: object) -> object:
        until_s, value = self._kept.get(key, (0.0, None))
        return value if monotonic() < until_s else None

    def set(self, key: str, value: object, time: float = 0, **settings: object) -> None:  # the name that Swift gives
        self._kept[key] = (monotonic() + (time or 86_400), value)

    def delete(self, key: str, **settings: object) -> None:
        self._kept.pop(key, None)


def cache_in_memory(config: dict[str, str], **settings: str):
    """Returns a filter that gives Swift its cache."""
    cache = _Cache()

    def make(application):
        def call(environ, start_response):
            environ["swift.cache"] = cache
            return application(environ, start_response)

        return call

    return make


def _guard(directory: Path, port: int, held: int) -> None:
    """Starts Swift's servers, and kills them when its standard input is at its end.

    Args:
        directory: See ``S3Server``.
        port: Of the proxy.
        held: A descriptor that every server inherits.
    """
    _configure(directory, port)
    binaries = Path(sys.executable).parent
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent)}
    servers: list[subprocess.Popen[bytes]] = []  # not a group: each makes itself the leader of a session
    try:
        for name in (*BACKENDS, "proxy"):
            command = [str(binaries / f"swift-{name}-server"), str(directory / f"{name}-server.conf"), "-v"]
            with open(directory / f"{name}.log", "ab") as log:
                servers.append(
                    subprocess.Popen(
                        command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[held]
                    )
                )
        (directory / "pids").write_text(" ".join(str(server.pid) for server in servers))
        while os.read(0, 1):
            pass
    finally:
        for server in servers:
            server.kill()
            server.wait()


def _configure(directory: Path, port: int) -> None:
    """Writes what Swift reads: one replica, of everything, on one drive."""
    from swift.common.ring import RingBuilder

    (directory / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n"
        "[storage-policy:0]\nname = default\ndefault = yes\n"
    )
    for name in BACKENDS:
        backend_port = _free_port()
        builder = RingBuilder(4, 1, 1)
        builder.add_dev(
            {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": backend_port, "device": "d1", "weight": 1.0}
        )
        builder.rebalance()
        builder.get_ring().save(str(directory / f"{name}.ring.gz"))
        _write_settings(directory, name, backend_port, f"use = egg:swift#{name}")
    filters = "".join(f"[filter:{name}]\n{text}\n" for name, text in FILTERS.items())
    _write_settings(directory, "proxy", port, PROXY, " ".join(FILTERS), filters)


def _write_settings(directory: Path, name: str, port: int, app: str, pipeline: str = "", filters: str = "") -> None:
    settings = {
        "bind_ip": "127.0.0.1",
        "bind_port": port,
        "workers": 0,
        "user": getpass.getuser(),
        "swift_dir": directory,
        "devices": directory / "drives",
        "mount_check": "false",
        "disable_fallocate": "true",
        "log_level": "WARNING",
    }
    lines = "\n".join(f"{key} = {value}" for key, value in settings.items())
    text = f"[DEFAULT]\n{lines}\n[pipeline:main]\npipeline = {pipeline} {name}-server\n[app:{name}-server]\n{app}\n"
    (directory / f"{name}-server.conf").write_text(text + filters)


def _free_port() -> int:
    """Returns one below those that the system gives to whoever connects, who might have it while the server is down."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


def main() -> int:
    """Runs a command beside a server."""
    if sys.argv[1] == "--guard":
        _guard(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return 0
    split = sys.argv.index("--")
    directory, port = sys.argv[1:split]
    with s3_server(Path(directory), int(port)) as server:
        return subprocess.run(sys.argv[split + 1 :], env=os.environ | server.environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
