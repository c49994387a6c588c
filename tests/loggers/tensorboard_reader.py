"""Reads a log directory as a user does: through TensorBoard's own server, with either of its loaders."""

import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

_EVERYTHING = {"tensors": 0, "scalars": 0, "images": 0, "audio": 0, "histograms": 0}


def accumulated(directory: Path) -> EventAccumulator:
    """Returns the TensorBoard run in ``directory``, all of its points loaded."""
    return EventAccumulator(str(directory), size_guidance=_EVERYTHING).Reload()


def events(directory: Path) -> list[Event]:
    """Returns the events of all files in ``directory``, in the order in which TensorBoard reads them."""
    files = sorted(directory.glob("events.out.tfevents.*"))
    return [Event.FromString(raw) for path in files for raw in RawEventFileLoader(str(path)).Load()]


class Reply(NamedTuple):
    content_type: str
    body: bytes


class TensorBoardServer:
    """A running server. Paths are relative to ``/data/``."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **query: object) -> Reply:
        url = f"{self.address}data/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=20) as response:
            return Reply(response.headers["Content-Type"], response.read())

    def json(self, path: str, **query: object) -> Any:
        return json.loads(self.get(path, **query).body)

    def post(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"{self.address}data/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read())

    def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Returns when the server has loaded what ``condition`` asks for; another process has no gate to wait at."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, "TensorBoard did not load the run"
            time.sleep(0.05)


@contextmanager
def served(log_directory: Path, *, load_fast: bool) -> Iterator[TensorBoardServer]:
    """Serves ``log_directory`` on a free loopback port, with the default loader or with the one in Python."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tensorboard.main", "--logdir", str(log_directory)),
            *("--host", "127.0.0.1", "--port", "0", f"--load_fast={str(load_fast).lower()}"),
            *("--samples_per_plugin", "images=100,scalars=10000", "--reload_interval", "1"),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            raise AssertionError("TensorBoard did not start:\n" + "".join(said))
        yield TensorBoardServer(address.group())
    finally:
        process.terminate()
        process.communicate(timeout=20)
