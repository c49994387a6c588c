"""A real MLflow tracking server for tests: a process on loopback, with a database and artifacts in a directory."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

START_S = 90


class MlflowServer:
    """A server that can be stopped, killed and frozen; what it keeps stays in ``directory``.

    Attributes:
        url: Its tracking URI.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={self._port}", "--workers=1"]
        command += [f"--backend-store-uri=sqlite:///{self._directory / 'mlflow.db'}"]
        command += [f"--artifacts-destination={self._directory / 'artifacts'}"]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self._directory / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._directory,
                env=os.environ | quiet,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                raise RuntimeError(f"MLflow does not start: {(self._directory / 'server.log').read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kills it, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def freeze(self) -> None:
        """Has it take connections, and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Has it answer again, also what was asked meanwhile."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it runs"
        os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


class LossyProxy:
    """Stands before a server, and loses what it is told to.

    Attributes:
        url: To be used as the tracking URI.
        lose_answer_of: What the path of a request ends with whose answer is lost, once each.
        delay: What the path of a request ends with that reaches the server only at ``release``, once each.
        lost: The paths of the requests that had no answer.
    """

    def __init__(self, server_url: str) -> None:
        self.lose_answer_of: set[str] = set()
        self.delay: set[str] = set()
        self.lost: list[str] = []
        self._delayed: list[urllib.request.Request] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                request = urllib.request.Request(server_url + self.path, body or None, kept, method=self.command)
                name = self.path.partition("?")[0].rpartition("/")[2]
                if name in proxy.delay:
                    proxy.delay.remove(name)
                    proxy._delayed.append(request)
                    return self._lose()
                status, answer = _sent(request)
                if name in proxy.lose_answer_of:
                    proxy.lose_answer_of.remove(name)
                    return self._lose()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST  # noqa: N815  # the names that the base class asks for

            def _lose(self) -> None:
                proxy.lost.append(self.path)
                self.close_connection = True

            def log_message(self, format: str, *arguments: object) -> None:
                """Says nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Sends the server what was delayed."""
        for request in self._delayed:
            assert _sent(request)[0] == 200

    def close(self) -> None:
        """Ends it."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _sent(request: urllib.request.Request) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
