"""What is done with a logger of predictions, this package's or the published one, in a process of its own.

``python -m benchmarking.predictions_work SPEC`` is run by an interpreter that has the one or the other; nothing here
needs more than numpy. It prints one line of JSON at a time: where it listens, once it does, and in the end its figures.
A line on standard input lets it go on where it waits.
"""

import json
import queue
import resource
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from importlib import import_module
from typing import NamedTuple, Protocol

import numpy as np

WARM_UP, MEASURED = "warm-up", "measured"
"""Versions of the model, which tell what is counted from what is not."""

WARM_UP_RECORDS = 8
SILENCE_S = 3.0
"""A subscriber that has received nothing for so long has received everything."""


class Spec(NamedTuple):
    """One measurement.

    Attributes:
        side: ``"ours"`` or ``"babylog"``: the module ``benchmarking.predictions_<side>``.
        work: ``"cost"``, ``"sustained"``, ``"flood"`` or ``"subscribe"``.
        place: ``"disk"``, ``"s3"`` or ``"stream"``.
        directory: For files.
        images: A file of numpy's, shape (N, H, W, 3), uint8.
        count: Records.
        threads: That log.
        workers: That encode.
        pace_s: Between two records.
        is_copied: Whether the caller copies each image before it logs it.
        on_full: What our logger does when records come faster than it can write.
        port: Of the stream; for a subscriber.
        store: URL of the bucket, endpoint, key and secret.
    """

    side: str
    work: str
    place: str = "disk"
    directory: str = ""
    images: str = ""
    count: int = 0
    threads: int = 1
    workers: int = 4
    pace_s: float = 0.0
    is_copied: bool = False
    on_full: str = "wait"
    port: int = 0
    store: tuple[str, str, str, str] = ("", "", "", "")


class Side(Protocol):
    """A logger that is open."""

    port: int
    """Where it streams."""

    def log(self, image: np.ndarray, detection: list[dict[str, object]], version: str) -> "Future[object] | None":
        """Logs a detection."""
        ...

    def settle(self) -> None:
        """Waits until what was logged is where it belongs."""
        ...

    def close(self) -> None: ...


class Received(Protocol):
    """A record that a subscriber has received; its image is decoded when it is asked for."""

    @property
    def model(self) -> dict[str, str]: ...

    @property
    def image(self) -> np.ndarray | None: ...


def detection() -> list[dict[str, object]]:
    """Returns 5 boxes, made anew: the published logger changes those that it is given."""
    return [
        {
            "x": 40 + 90 * number,
            "y": 60 + 30 * number,
            "width": 80,
            "height": 120,
            "confidence": 0.9 - 0.1 * number,
            "classification": {"person": 0.8, "dog": 0.2},
        }
        for number in range(5)
    ]


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def cost(spec: Spec, side: Side, images: np.ndarray) -> dict[str, object]:
    """Returns the seconds that each call took."""
    spent_s = []
    for number in range(spec.count):
        image, boxes = images[number % len(images)], detection()
        start_s = time.perf_counter()
        side.log(image.copy() if spec.is_copied else image, boxes, MEASURED)
        spent_s.append(time.perf_counter() - start_s)
        if spec.pace_s:
            time.sleep(spec.pace_s)
    side.settle()
    return {"spent_s": spent_s}


def sustained(spec: Spec, side: Side, images: np.ndarray) -> dict[str, object]:
    """Logs on several threads; returns when it began, when every future had its result, and when all was settled."""
    tell(port=side.port)
    if spec.place == "stream":
        _warm_up_until_told(side, images)
    start = threading.Barrier(spec.threads + 1)
    futures: queue.SimpleQueue[Future[object] | None] = queue.SimpleQueue()

    def produce(first: int) -> None:
        start.wait()
        for number in range(first, spec.count, spec.threads):
            image = images[number % len(images)]
            futures.put(side.log(image.copy() if spec.is_copied else image, detection(), MEASURED))

    producers = [threading.Thread(target=produce, args=(first,)) for first in range(spec.threads)]
    for producer in producers:
        producer.start()
    start_s, cpu_s = time.monotonic(), time.process_time()
    start.wait()
    for producer in producers:
        producer.join()
    wait([future for _ in range(futures.qsize()) if (future := futures.get()) is not None])
    done_s = time.monotonic()
    side.settle()
    settled_s, cpu_s = time.monotonic(), time.process_time() - cpu_s
    return {"start_s": start_s, "done_s": done_s, "settled_s": settled_s, "cpu_s": cpu_s / spec.count}


def _warm_up_until_told(side: Side, images: np.ndarray) -> None:
    """Logs until a line comes on standard input: a publisher sees who subscribes only when it publishes."""
    told = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    while not told.wait(0.05):
        side.log(images[0], detection(), WARM_UP)


def subscribe(spec: Spec, receive: Callable[[], "Received | None"]) -> dict[str, object]:
    """Receives until nothing comes any more; returns when the last record came, and how many can be read."""
    records: list[Received] = []
    last_s = 0.0
    while (record := receive()) is not None or not records:
        if record is None:
            continue
        if record.model["version"] == MEASURED:
            last_s = time.monotonic()
            records.append(record)
            if len(records) == spec.count:
                break
        elif not last_s:
            last_s = time.monotonic()
            tell(is_subscribed=True)
    shape = np.load(spec.images, mmap_mode="r").shape[1:]
    readable = sum(record.image is not None and record.image.shape == shape for record in records)
    return {"last_s": last_s, "readable": readable}


def peak_mib() -> float:
    """Returns the most memory that this process has had, in MiB."""
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib / 1024 if sys.platform != "darwin" else kib / 2**20


def main() -> None:
    spec = Spec(**json.loads(sys.argv[1]))
    module = import_module(f"benchmarking.predictions_{spec.side}")
    if spec.work == "subscribe":
        tell(**subscribe(spec, module.receiver(spec)))
        return
    images = np.load(spec.images)
    side: Side = module.open_side(spec)
    wait([side.log(images[0], detection(), WARM_UP) or Future() for _ in range(WARM_UP_RECORDS)], timeout=60)
    side.settle()
    before_mib = peak_mib()
    figures = (cost if spec.work == "cost" else sustained)(spec, side, images)
    side.close()
    tell(**figures, before_mib=before_mib, peak_mib=peak_mib())


if __name__ == "__main__":
    main()
