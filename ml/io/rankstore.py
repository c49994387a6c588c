"""What the ranks of a job have in common, as far as it is used here: a store of keys and values."""

import sys
from typing import Protocol


class Store(Protocol):
    """What the ranks of a job tell one another through; ``torch.distributed.Store`` is one."""

    def add(self, key: str, amount: int, /) -> int:
        """Adds to a number that starts at 0, and returns the sum."""

    def set(self, key: str, value: str, /) -> None:
        """Sets a value."""

    def get(self, key: str, /) -> bytes:
        """Returns a value as soon as it is set."""


class RankStore(Store, Protocol):
    """What the ranks of a job exchange messages through; a ``torch.distributed.Store`` is one."""

    def check(self, keys: list[str], /) -> bool:
        """Returns at once whether these keys are set."""

    def append(self, key: str, value: str, /) -> None:
        """Appends to a value that starts empty."""

    def delete_key(self, key: str, /) -> object:
        """Forgets a value."""

    def clone(self) -> "RankStore":
        """Returns the same store over a connection of its own: calls of one connection wait for one another."""


def process_group_store() -> RankStore | None:
    """Returns the store through which the ranks of ``torch.distributed`` found one another; ``None``: they did not."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    store: RankStore = distributed.distributed_c10d._get_default_store()
    return store
