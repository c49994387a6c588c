"""What happens to long-lived objects when the process forks, and when the interpreter ends."""

import atexit
import logging
import os
from typing import Protocol
from weakref import WeakSet

_log = logging.getLogger("ml")


class ForkAware(Protocol):
    """Something that must not go on as before in a forked child."""

    def after_fork_in_child(self) -> None: ...


class Closeable(Protocol):
    """Something that is to be closed before the interpreter ends."""

    def close(self) -> object: ...


# One entry of each hook for the whole process: Python has no way to take a fork hook back.
_fork_aware: WeakSet[ForkAware] = WeakSet()
_to_close: dict[Closeable, None] = {}


def tell_after_fork(target: ForkAware) -> None:
    """Has ``after_fork_in_child`` called in every child that is forked while ``target`` lives."""
    _fork_aware.add(target)


def close_at_exit(target: Closeable) -> None:
    """Has ``close`` called when the interpreter ends, unless ``forget_at_exit`` came first.

    It keeps ``target`` alive: what a function left open is closed too. Threads cannot be
    started then any more, and other libraries' pools are gone: ``close`` may only wait
    for threads that run already.
    """
    _to_close[target] = None


def forget_at_exit(target: Closeable) -> None:
    """Takes back ``close_at_exit``: the target is closed."""
    _to_close.pop(target, None)


def close_before_others() -> None:
    """Has everything closed before the exit hooks run that other libraries have registered until now.

    Hooks run in the reverse order of their registration: a library that is first used by a backend, and then ends
    its connection at exit, would do so while that backend still has values to write.
    """
    atexit.unregister(_close_all)
    atexit.register(_close_all)


def let_pools_be_made_late() -> None:
    """Lets libraries be imported that bring a pool of threads, also when the interpreter ends already.

    The module of such pools registers a hook when it is imported, which is refused then.
    """
    import concurrent.futures.thread  # noqa: F401


def _after_fork_in_child() -> None:
    for target in list(_fork_aware):
        target.after_fork_in_child()


@atexit.register
def _close_all() -> None:
    interruption: BaseException | None = None
    for target in reversed(list(_to_close)):  # a run before the group that it writes to
        try:
            target.close()
        except Exception:
            _log.exception("Closing %r at exit failed.", target)
        except BaseException as error:  # Ctrl-C, which what is being closed has heeded; the others are closed too
            interruption = error
    if interruption is not None:
        raise interruption


os.register_at_fork(after_in_child=_after_fork_in_child)
