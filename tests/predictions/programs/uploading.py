"""A process that logs to an object store until it is killed: prints the number of each record that was acknowledged."""

import random
import sys
from itertools import count
from pathlib import Path

from ml.core.errors import WriteError
from ml.io.store import open_store
from ml.predictions.cloud import CloudSink
from ml.predictions.record import Record


class Unreliable:
    """A store that fails every now and then, before it has stored the object or after."""

    def __init__(self, store, chance):
        self.url = store.url
        self._store, self._chance = store, chance

    def create(self, key, data):
        if self._chance.random() < 0.02:
            raise WriteError("connection refused")
        is_new = self._store.create(key, data)
        if self._chance.random() < 0.02:
            raise WriteError("connection reset")
        return is_new


def main(spool: Path, bucket: Path, start: int) -> None:
    """Logs records from a number on."""
    chance = random.Random(start)
    sink = CloudSink(
        lambda: Unreliable(open_store(str(bucket), attempts=1), chance), spool, max_spool_bytes=2**30, max_uploads=4
    )
    for number in count(start):
        data = b"%d " % number * chance.randrange(1, 5000)
        sink.write([Record(str(number), f"key/{number:06d}", data + b"end")])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        sink.idle()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
