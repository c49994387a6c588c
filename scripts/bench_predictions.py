"""What logging a prediction costs, and how many are kept in a second, beside the published ``babylog`` 0.0.3.

A prediction is a photograph of 640 x 480 and five boxes; both make JPEG files of quality 95, on as many threads. Every
measurement is a process of its own; the two take turns, and a figure is the median of the turns. A record counts if it
can be read afterwards: by this package, from the disk and from a real S3 server; by each one's own subscriber, in
another process, from the stream. The clock runs from the first call until the last record is there.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarking.measuring import quantile, turns
from benchmarking.predictions_work import MEASURED, Spec
from PIL import Image
from skimage import data

from ml.core.errors import FormatError
from ml.io.store import StoreConfig, open_store
from ml.predictions.logged import MAX_RECORD_BYTES, LoggedPrediction

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from s3_server import S3Server, s3_server  # noqa: E402

SHAPE = (480, 640, 3)
IMAGES = 8
WORKERS = 4
SIDES = ("ours", "babylog")
COUNTS = {"disk": 300, "s3": 60, "stream": 300}
"""Records of a turn: a second or two."""
CALLS, PACE_S = 100, 0.02
FLOOD = 600
FLOOD_THREADS = 4

ABOUT_THE_PEER = """\
babylog 0.0.3 runs in an environment of its own. Two lines let it work at all, and nothing else is changed:
  S3:      it knows no server but Amazon's; boto3.resource is given the endpoint of the test server
  stream:  it binds tcp://address:address, which is none; its Publisher is given the port"""


class Turn(NamedTuple):
    """One measurement of what is kept in a second.

    Attributes:
        rate: Records a second that can be read back.
        synced_rate: The same until they are on the disk as well, for who sees to that.
        cpu_s: Of the process that logs, for each record.
        readable: Of those logged, the share that can be read back.
        peak_mib: The most memory of the process.
        growth_mib: By so much more than before the first record.
    """

    rate: float
    synced_rate: float
    cpu_s: float
    readable: float
    peak_mib: float
    growth_mib: float


class Bench:
    """Makes the measurements, in a directory that is there.

    Args:
        directory: For images, and for what each process writes.
        peer: The interpreter that has ``babylog``.
        server: Where objects go.
    """

    def __init__(self, directory: Path, peer: str, server: S3Server) -> None:
        self._directory, self._server = directory, server
        self._python = {"ours": sys.executable, "babylog": peer}
        self._images = directory / "images.npy"
        self._number = 0
        np.save(self._images, photographs())

    def cost(self, side: str, *, pace_s: float, is_copied: bool) -> list[float]:
        """Returns the seconds of each call of ``log``, whose records go to the disk."""
        spec = self._spec(side, "cost", "disk", CALLS)._replace(pace_s=pace_s, is_copied=is_copied)
        with Process(self._python[side], spec) as process:
            return process.answer()["spent_s"]

    def sustained(self, side: str, place: str, threads: int) -> Turn:
        spec = self._spec(side, "sustained", place, COUNTS[place])._replace(threads=threads)
        if place == "stream":
            return self._streamed(spec)
        with Process(self._python[side], spec) as process:
            process.answer()
            figures = process.answer()
        readable = in_store(spec) if place == "s3" else in_directory(spec)
        return turn(spec, figures, readable, figures["settled_s" if place == "s3" else "done_s"])

    def flood(self, side: str, on_full: str) -> Turn:
        """Logs frames as a camera has them, each in memory of its own, as fast as they can be made."""
        spec = self._spec(side, "flood", "disk", FLOOD)
        spec = spec._replace(threads=FLOOD_THREADS, is_copied=True, on_full=on_full)
        with Process(self._python[side], spec) as process:
            process.answer()
            figures = process.answer()
        return turn(spec, figures, in_directory(spec), figures["done_s"])

    def _streamed(self, spec: Spec) -> Turn:
        python = self._python[spec.side]
        spec = spec._replace(port=free_port())
        with Process(python, spec) as publisher:
            publisher.answer()
            with Process(python, spec._replace(work="subscribe")) as subscriber:
                subscriber.answer()
                publisher.go_on()
                figures = publisher.answer()
                received = subscriber.answer()
        return turn(spec, figures, int(received["readable"]), received["last_s"])

    def _spec(self, side: str, work: str, place: str, count: int) -> Spec:
        self._number += 1
        directory = self._directory / f"{self._number}-{side}"
        directory.mkdir()
        spec = Spec(side, work, place, str(directory), str(self._images), count, workers=WORKERS)
        if place != "s3":
            return spec
        bucket = f"bucket-{self._number}"
        self._server.make_bucket(bucket)
        server = self._server
        return spec._replace(
            store=(f"s3://{bucket}", server.endpoint_url, server.access_key_id, server.secret_access_key)
        )


class Process:
    """A process of ``benchmarking.predictions_work``; ended when it is left."""

    def __init__(self, python: str, spec: Spec) -> None:
        self._spec = spec
        self._log = tempfile.TemporaryFile("w+", dir=spec.directory)  # noqa: SIM115  # closed by ``__exit__``
        self._process = subprocess.Popen(
            [python, "-m", "benchmarking.predictions_work", json.dumps(spec._asdict())],
            cwd=spec.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def answer(self) -> dict:
        """Returns the next line that it prints.

        Raises:
            RuntimeError: It has ended, or prints something else.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{self._spec.side}, {self._spec.place} failed: {self._log.read()[-2000:]}")
        return json.loads(line)

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it has said everything; a thread of babylog's subscriber would never end
        self._process.communicate()
        self._log.close()


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def photographs() -> np.ndarray:
    """Returns a photograph of a person several times, moved to the side; shape (8, 480, 640, 3)."""
    image = np.asarray(Image.fromarray(data.astronaut()).resize((SHAPE[1], SHAPE[0])))
    return np.stack([np.roll(image, 80 * number, axis=1) for number in range(IMAGES)])


def turn(spec: Spec, figures: dict, readable: int, end_s: float) -> Turn:
    return Turn(
        rate=readable / max(end_s - figures["start_s"], 1e-9),
        synced_rate=readable / (figures["settled_s"] - figures["start_s"]),
        cpu_s=figures["cpu_s"],
        readable=readable / spec.count,
        peak_mib=figures["peak_mib"],
        growth_mib=figures["peak_mib"] - figures["before_mib"],
    )


def in_directory(spec: Spec) -> int:
    """Returns how many of the measured records can be read from the disk."""
    return sum(is_whole(path.read_bytes()) for path in Path(spec.directory).rglob(f"{MEASURED}/**/*.bin"))


def in_store(spec: Spec) -> int:
    """Returns how many of the measured records can be read from the bucket."""
    url, endpoint, key, secret = spec.store
    store = open_store(StoreConfig(url, endpoint, "us-east-1", key, secret))
    keys = [entry.key for entry in store.list() if f"/{MEASURED}/" in entry.key]
    return sum(is_whole(store.get(key, max_bytes=MAX_RECORD_BYTES)) for key in keys)


def is_whole(record: bytes) -> bool:
    """Whether these bytes are a record whose picture and boxes are there."""
    try:
        prediction = LoggedPrediction.from_bytes(record)
        return prediction.image is not None and prediction.image.shape == SHAPE and len(prediction.detection) == 5
    except FormatError:
        return False


def print_costs(bench: Bench, repeats: int) -> None:
    """Prints what a call of ``log`` takes, of all the calls of all turns."""
    callers = (("ours", False), ("babylog", False), ("babylog", True))
    print(f"{'log(), microseconds':<44}{'p50':>10}{'p99':>10}{'longest':>10}")
    for title, pace_s in ((f"every {round(1000 * PACE_S)} ms", PACE_S), ("back to back", 0.0)):
        spent_s: list[list[float]] = [[] for _ in callers]
        for which in turns(len(callers), repeats):
            side, is_copied = callers[which]
            spent_s[which] += bench.cost(side, pace_s=pace_s, is_copied=is_copied)
        for (side, is_copied), calls_s in zip(callers, spent_s, strict=True):
            name = f"{title}, {side}" + (", the caller copies" if is_copied else "")
            figures = (quantile(calls_s, 0.5), quantile(calls_s, 0.99), max(calls_s))
            print(f"{name:<44}" + "".join(f"{1e6 * figure:>10,.0f}" for figure in figures), flush=True)
    print("babylog keeps no copy: what the caller writes into its frame before it is compressed is what is logged.\n")


def print_rates(bench: Bench, repeats: int) -> None:
    print(f"{'records a second that can be read back':<44}{'ours':>10}{'babylog':>10}{'ratio':>10}{'read back':>22}")
    for place in COUNTS:
        for threads in (1, 4):
            found: dict[str, list[Turn]] = {side: [] for side in SIDES}
            for which in turns(len(SIDES), repeats):
                found[SIDES[which]].append(bench.sustained(SIDES[which], place, threads))
            name = f"to {place}, from {threads} thread{'s' if threads > 1 else ''}"
            print_row(name, found, lambda turn: turn.rate)
            print_row(f"{name}: CPU, us a record", found, lambda turn: 1e6 * turn.cpu_s)
            if place == "disk":
                print_row(f"{name}, and ours synced", found, lambda turn: turn.synced_rate)
    print("babylog never syncs, and names files by the millisecond: of two in one the first is gone.\n")


def print_row(name: str, found: dict[str, list[Turn]], figure: Callable[[Turn], float]) -> None:
    ours, babylog = (statistics.median(map(figure, found[side])) for side in SIDES)
    shares = "  ".join(f"{percent(found[side])}" for side in SIDES)
    ratio = f"{ours / babylog:.2f} x" if babylog else "-"
    print(f"{name:<44}{ours:>10,.0f}{babylog:>10,.0f}{ratio:>10}{shares:>22}", flush=True)


def percent(found: Iterable[Turn]) -> str:
    return f"{100 * statistics.median(turn.readable for turn in found):.1f} %"


def print_memory(bench: Bench) -> None:
    frame_mib = np.prod(SHAPE) / 2**20
    title = f"{FLOOD} frames at once ({FLOOD * frame_mib:.0f} MiB)"
    print(f"{title:<44}{'peak MiB':>10}{'growth':>10}{'rate':>10}{'read back':>22}")
    for side, on_full in (("ours", "wait"), ("ours", "drop_oldest"), ("babylog", "")):
        found = bench.flood(side, on_full)
        name = f"{side}, on_full={on_full!r}" if on_full else side
        figures = f"{found.peak_mib:>10,.0f}{found.growth_mib:>10,.0f}{found.rate:>10,.0f}"
        print(f"{name:<44}{figures}{percent([found]):>22}", flush=True)
    print("ours holds at most max_queue_bytes (256 MiB) before it compresses; babylog's queue has no end.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="turns of each")
    parser.add_argument("--peer", default=str(ROOT / ".venv-babylog/bin/python"), help="an interpreter with babylog")
    parser.add_argument("--only", choices=("cost", "rates", "memory"), help="a part")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(s3_server(directory / "s3"))
        bench = Bench(directory, arguments.peer, server)
        print(
            f"{ABOUT_THE_PEER}\n{WORKERS} threads compress; ours sends up to 8 objects at a time, babylog {WORKERS}.\n"
        )
        if arguments.only in (None, "cost"):
            print_costs(bench, arguments.repeats)
        if arguments.only in (None, "rates"):
            print_rates(bench, arguments.repeats)
        if arguments.only in (None, "memory"):
            print_memory(bench)


if __name__ == "__main__":
    main()
