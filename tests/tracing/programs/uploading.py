"""Sends inferences to an endpoint, more with each time, until it is killed: prints a line after each."""

import sys
from itertools import count
from pathlib import Path

from ml.tracing.selection import Selection
from ml.tracing.upload import upload
from tests.tracing.traced_tables import TablesInMemory

STEP = 7


def main(url: str, spool: Path, start: int) -> None:
    """Sends inferences, of which the first ``start`` were there before."""
    traces = TablesInMemory(start)
    for number in count(start):
        traces.add(number)
        if number % STEP == STEP - 1:
            upload(traces, Selection("fcos", "v1"), endpoint=url, spool=spool, timeout_s=60, inferences_per_batch=5)
            print(number + 1, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
