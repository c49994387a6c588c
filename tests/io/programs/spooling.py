"""A process that uses a spool: ``append`` for ever, ``drain`` and end, or ``fork`` and wait to be killed."""

import os
import signal
import sys
from itertools import count
from pathlib import Path

from ml.core.errors import ClosedError
from ml.io.spool import Spool


def append(spool: Spool, start: int) -> None:
    """Prints the number of each record that was taken; of every third the oldest is handed out, and not done."""
    for number in count(start):
        spool.append([(f"key/{number}", b"%d " % number * 3000)])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        if number % 3 == 0:
            spool.next()


def drain(spool: Spool) -> None:
    """Prints the numbers of the records that it gets."""
    while (spooled := spool.next()) is not None:
        print(spooled.key.removeprefix("key/"))
        spool.done(spooled)
    spool.close()


def fork(spool: Spool) -> None:
    """Prints what a forked child finds, and its process."""
    spool.append([("key/1", b"1 ")])
    child = os.fork()
    if child == 0:
        try:
            spool.append([("key/2", b"2 ")])
        except ClosedError:
            taken = spool.next()
            spool.close()
            os.write(1, b"inert\n" if taken is None else b"taken\n")  # whole lines: two processes write them
        signal.pause()
    os.write(1, b"%d\n" % child)
    signal.pause()


if __name__ == "__main__":
    word, directory, *rest = sys.argv[1:]
    made = Spool(Path(directory))
    if word == "append":
        append(made, int(rest[0]))
    elif word == "drain":
        drain(made)
    else:
        fork(made)
