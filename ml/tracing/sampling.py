"""A sample of a stream, in bounded memory: which items are in it depends on their names alone.

Of each name a hash is computed, and the items with the smallest ones are kept: every item is as likely as another, the
order in which they come does not matter, and no random number is drawn.
"""

import hashlib
import heapq
from typing import Generic, TypeVar

T = TypeVar("T")


class Sample(Generic[T]):
    """Keeps at most so many items of a stream.

    Args:
        limit: How many; >= 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[int, str, int, T]] = []
        self.num_seen = 0

    def add(self, name: str, item: T) -> None:
        """Keeps an item, or does not; names are unique."""
        self.num_seen += 1
        rank = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        entry = (-rank, name, self.num_seen, item)
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[T]:
        """Returns what is kept, sorted by name."""
        return [item for _, _, _, item in sorted(self._heap, key=lambda entry: (entry[1], entry[2]))]
