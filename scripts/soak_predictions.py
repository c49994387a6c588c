"""An object store that goes away while predictions are logged, and a logger that is killed: what is there after.

A process logs a 640x480 image every 50 ms to a bucket of a real S3 server on loopback. The server is killed; half way
through the outage the process is killed as well, and another one goes on; then the server is started again. Each
process notes what was acknowledged, and what each call of ``log`` took. The laws are those of the last lines: every
record that was acknowledged is in the bucket, once and whole, and logging took no longer than ever.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple, Self

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from ml.core.errors import FormatError
from ml.io.store import Store, StoreConfig, open_store
from ml.io.worker import Future
from ml.predictions import PredictionLogger, VisionModelType
from ml.predictions.config import CloudConfig, PredictionLoggerConfig
from ml.predictions.logged import LoggedPrediction
from ml.predictions.receipt import Logged
from tests.s3_server import S3Server, s3_server

BUCKET = "predictions"
STEP_S = 0.05
AROUND_S = 10.0
"""How long is logged before the server goes, and after it is back."""

SPOOL, ACKNOWLEDGED, CALLS = "spool", "acknowledged", "calls"
MAX_OBJECT_BYTES = 2**24


class Call(NamedTuple):
    """A call of ``log``: when, on the monotonic clock, and how long it took."""

    at_s: float
    took_s: float


class Child:
    """A process that logs until it is told to end, or is killed."""

    def __init__(self, directory: Path, server: S3Server) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--log-to", str(directory)],
            stdin=subprocess.PIPE,
            env={**os.environ, **server.environ},
        )

    def kill(self) -> None:
        """Kills it, as it is."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Tells it to end, and waits."""
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def log(directory: Path) -> None:
    """Logs until standard input ends, and notes each call, and each record that was acknowledged."""
    random = np.random.default_rng(os.getpid())
    images = [picture(random) for _ in range(8)]
    os.set_blocking(sys.stdin.fileno(), False)
    acknowledged = os.open(directory / ACKNOWLEDGED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    calls = os.open(directory / CALLS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(future: Future[Logged]) -> None:
        if future.exception() is None:
            os.write(acknowledged, f"{future.result().key}\n".encode())

    with PredictionLogger(config_of(directory)) as logger:
        due_s = time.monotonic()
        while sys.stdin.buffer.read(1) is None:
            began_s = time.monotonic()
            future = logger.log(images[0], VisionModelType.CLASSIFICATION, "soak", "1", classification={"cat": 0.9})
            os.write(calls, f"{began_s} {time.monotonic() - began_s}\n".encode())
            images.append(images.pop(0))
            assert future is not None, "there is no interval"
            future.add_done_callback(note)
            due_s += STEP_S
            time.sleep(max(0.0, due_s - time.monotonic()))


def config_of(directory: Path) -> PredictionLoggerConfig:
    """Returns the settings of a logger that keeps predictions in the bucket alone."""
    return PredictionLoggerConfig(
        device_name="soak",
        local=None,
        cloud=CloudConfig(StoreConfig(f"s3://{BUCKET}", timeout_s=5.0), spool_directory=str(directory / SPOOL)),
    )


def picture(random: np.random.Generator) -> np.ndarray:
    """Returns an image that takes some 90 kB as a JPEG, shape (480, 640, 3), uint8."""
    coarse = random.integers(0, 200, (60, 80, 3)).repeat(8, axis=0).repeat(8, axis=1)
    return (coarse + random.integers(0, 24, (480, 640, 3))).astype(np.uint8)


def send_the_rest(directory: Path, server: S3Server) -> float:
    """Has a last logger send what is still in the spool; returns the seconds that took."""
    os.environ.update(server.environ)
    began_s = time.monotonic()
    with PredictionLogger(config_of(directory)) as logger:
        while not logger.flush() and time.monotonic() < began_s + 300:
            pass
    return time.monotonic() - began_s


def count(store: Store, acknowledged: list[str]) -> dict[str, int]:
    """Returns how many of the records are in the bucket, how many are not, are there twice, or not whole.

    A Swift that is killed between keeping an object and listing it has the object, and never lists it: what is not
    listed is asked for by its key.

    Args:
        store: The bucket.
        acknowledged: The keys of the records.
    """
    listed = {entry.key for entry in store.list()}
    found: Counter[str] = Counter()
    missing = torn = 0
    for key in listed | set(acknowledged):
        try:
            prediction = LoggedPrediction.from_bytes(store.get(key, max_bytes=MAX_OBJECT_BYTES))
            prediction.verify()
            found[prediction.record_id] += 1
        except FileNotFoundError:
            missing += 1
        except FormatError:
            torn += 1
    return {
        "acknowledged": len(acknowledged),
        "in the bucket": len(set(acknowledged)) - missing,
        "there, not acknowledged": len(listed - set(acknowledged)),
        "there, not listed": len(set(acknowledged) - listed) - missing,
        "missing": missing,
        "twice": sum(1 for times in found.values() if times > 1),
        "torn": torn,
    }


def row(name: str, calls: list[Call]) -> str:
    """Returns a line of the table of calls."""
    took_ms = sorted(1000 * call.took_s for call in calls)
    p50, p99 = (took_ms[int(share * (len(took_ms) - 1))] for share in (0.5, 0.99))
    return f"{name:<24}{len(calls):>7}{p50:>11.3f}{p99:>11.3f}{took_ms[-1]:>11.3f}"


def main() -> int:
    """Prints what was measured; returns 1 if a law is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outage_s", nargs="?", type=float, default=30.0)
    parser.add_argument("--log-to", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.log_to is not None:
        log(arguments.log_to)
        return 0
    with tempfile.TemporaryDirectory() as name, s3_server(Path(name) / "server") as server:
        directory = Path(name)
        server.make_bucket(BUCKET)
        with Child(directory, server) as first:
            time.sleep(AROUND_S)
            server.kill()
            gone_s = time.monotonic()
            time.sleep(arguments.outage_s / 2)
            first.kill()
        with Child(directory, server) as second:
            time.sleep(arguments.outage_s / 2)
            server.start()
            back_s = time.monotonic()
            time.sleep(AROUND_S)
            second.end()
        left = len(list((directory / SPOOL).glob("*/*.journal")))
        rest_s = send_the_rest(directory, server)
        acknowledged = (directory / ACKNOWLEDGED).read_text().split()
        store = open_store(StoreConfig(f"s3://{BUCKET}"))
        counts = count(store, acknowledged)
        calls = [Call(*map(float, line.split())) for line in (directory / CALLS).read_text().splitlines()]
    print(f"the server was away for {back_s - gone_s:.1f} s, the logger was killed in the middle\n")
    print(f"{'calls of log()':<24}{'number':>7}{'p50 (ms)':>11}{'p99 (ms)':>11}{'max (ms)':>11}")
    print(row("before", [call for call in calls if call.at_s < gone_s]))
    print(row("while it is away", [call for call in calls if gone_s <= call.at_s < back_s]))
    print(row("after", [call for call in calls if call.at_s >= back_s]))
    print(f"\nwhen it ended {left} segments waited; sending them took {rest_s:.1f} s\n")
    for what, number in counts.items():
        print(f"{what:<24}{number:>7}")
    is_lawful = counts["acknowledged"] > 0 and not (counts["missing"] or counts["twice"] or counts["torn"])
    return 0 if is_lawful else 1


if __name__ == "__main__":
    raise SystemExit(main())
