"""Keeps the global random numbers of Python where they are (law 9), also while other libraries are imported."""

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """What is drawn inside is not drawn: rich, for one, does so when it is imported.

    On the training thread, which draws nothing meanwhile.
    """
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
