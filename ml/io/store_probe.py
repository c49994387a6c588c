"""Finds out whether a store knows conditional creates: some servers take the condition, and overwrite all the same."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from ml.io.store import Refused, Store

_CREATORS = 8
_WAIT_S = 30.0


def probe_conditional_create(store: Store) -> None:
    """Has eight threads create one key at once, with different content, and removes it again.

    Where it returns, one of them won. A server that looks first and writes then may pass by luck; one that ignores the
    condition never does.

    Args:
        store: Where others than this caller may write, too: the key is made up.

    Raises:
        Refused: Two of them won, or what is kept is not the winner's.
        WriteError: The store cannot be asked now.
    """
    key = f"probe-{secrets.token_hex(16)}"
    contents = [f"creator {number}".encode() for number in range(_CREATORS)]
    at_once = Barrier(_CREATORS)

    def create(data: bytes) -> bool:
        at_once.wait(_WAIT_S)
        return store.create(key, data)

    try:
        with ThreadPoolExecutor(_CREATORS, "ml-probe") as pool:
            won = list(pool.map(create, contents))
        winners = [data for data, has_won in zip(contents, won, strict=True) if has_won]
        kept = store.get(key, max_bytes=max(map(len, contents)))
    finally:
        store.delete(key)
    if winners != [kept]:
        raise Refused(
            f"{store.url} does not keep what was created first: of {_CREATORS} who created one key at once, "
            f"{len(winners)} were told that it is theirs. Writers would overwrite each other's objects; use a server "
            "that honours If-None-Match."
        )
