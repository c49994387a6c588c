"""A table of a million rows, written, published, read in order and at random: what memory it takes, and how long.

The law is that of the last line: resident memory never grows by more than 300 MiB.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from ml.evaluation.blobs import Blobs
from ml.evaluation.columns import Column
from ml.evaluation.references import Reference, TableRef
from ml.evaluation.stored import StoredPart, StoredTable
from ml.evaluation.table import Table
from ml.evaluation.values import Boxes, Image
from ml.io.local_store import LocalStore

ROWS = 1_000_000
GOAL_MIB = 300
RANDOM_READS = 500
NUM_IMAGES = 1000
"""Different ones; each is shown in many rows."""


def resident_mib(field: str = "VmRSS") -> float:
    """What the kernel says of this process, in MiB; ``VmHWM`` is the most it ever was."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell {field}")


def fill(table: Table, rows: int) -> None:
    """Adds rows of every size: numbers, texts, arrays, boxes, references and pictures."""
    generator = np.random.default_rng(0)
    images = [Image(generator.integers(0, 256, (28, 28), np.uint8)) for _ in range(NUM_IMAGES)]
    logits = generator.random((NUM_IMAGES, 10)).astype(np.float32)
    corners = generator.random((NUM_IMAGES, 2, 4))
    for row in range(rows):
        index = row % NUM_IMAGES
        table.add_data(
            row,
            images[index],
            f"class {index % 10}",
            row / rows,
            row % 7 == 0,
            logits[index],
            Boxes(corners[index], [1, 2]) if row % 10 == 0 else None,
            Reference("val", 0, "data", row),
        )


def publish(table: Table, directory: Path) -> StoredTable:
    """Returns the table as it is read again."""
    blobs = Blobs(LocalStore(directory))
    finished = table.finish()
    for file in finished.media:
        blobs.keep(file)
    parts = [StoredPart(blobs.put_file(part.path, "parquet"), part.rows) for part in finished.parts]
    size_mib = sum(part.ref.size_bytes for part in parts) / 2**20
    print(f"  {len(parts)} parts, {size_mib:.0f} MiB")
    return StoredTable(finished.columns, parts, blobs, table_ref=TableRef("run", 0, "eval"))


def read(stored: StoredTable, rows: int) -> None:
    """Reads every row in order."""
    total = 0
    for index, row in stored.iterrows():
        assert index == row[0]
        total += 1
    assert total == rows


def read_at_random(stored: StoredTable, rows: int) -> None:
    """Reads some rows, each in another group."""
    picked = random.Random(0).sample(range(rows), min(RANDOM_READS, rows))
    for row in picked:
        assert stored.data[row]["row"] == row
        assert stored.data[row]["reference"] == Reference("val", 0, "data", row)


def main() -> int:
    """Runs it; 1 if memory grew beyond the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=ROWS)
    rows = parser.parse_args().rows
    columns = ["row", "image", "label", "score", "right", "logits", "boxes", Column("reference")]
    with tempfile.TemporaryDirectory() as directory:
        with Table(columns[:3]) as warm:  # what the libraries take is no growth
            warm.add_data(0, Image(np.zeros((8, 8), np.uint8)), "x")
            list(publish(warm, Path(directory) / "warm").data)
        before = resident_mib()

        def timed(what: str, work: Callable[[], None]) -> None:
            start = time.perf_counter()
            work()
            took_s = time.perf_counter() - start
            print(f"{what}: {took_s:.1f} s, {took_s / rows * 1e6:.1f} us a row; {resident_mib() - before:+.0f} MiB")

        with Table(columns, name="eval") as table:
            timed("write", lambda: fill(table, rows))
            stored = publish(table, Path(directory) / "store")
        timed("read in order", lambda: read(stored, rows))
        timed("read at random", lambda: read_at_random(stored, rows))
        grown = resident_mib("VmHWM") - before
    print(f"{rows:,} rows: resident memory grew by {grown:.0f} MiB at most (goal: under {GOAL_MIB})")
    return int(grown >= GOAL_MIB)


if __name__ == "__main__":
    sys.exit(main())
