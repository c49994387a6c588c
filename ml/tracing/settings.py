"""A model's setting while it is called: the model has another one inside of the call, and its own afterwards.

A model has one setting at a time. Calls of one tracer share theirs; those of another tracer of the same model, with
another setting, wait until these are over, and who comes later waits behind them. So each is under its own setting, and
the model's own is what is there in the end.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from weakref import WeakKeyDictionary

from torch import nn

from ml.io.thread_local import ThreadLocal
from ml.io.worker import Event, Lock


class Turns:
    """Whose setting one model has: at most one tracer's, or the model's own.

    Attributes:
        own: The context of all tracers that leave the model its own setting.
        door: Is held by who waits for the turn, so that nobody prolongs the one before.
    """

    def __init__(self) -> None:
        self._of_thread = ThreadLocal()
        self.own = SharedContext(nullcontext, lambda error: None, self)
        self.after_fork_in_child()

    @property
    def depth(self) -> int:
        """In how many calls of the model this thread is: what it calls inside of one cannot wait for its end."""
        return getattr(self._of_thread, "depth", 0)

    @depth.setter
    def depth(self, depth: int) -> None:
        self._of_thread.depth = depth

    def after_fork_in_child(self) -> None:
        """Lets go of what threads held that are not in the child."""
        self.door, self._is_free = Lock(), Event()
        self.release()

    def take(self) -> None:
        """Waits for the turn, and takes it; only who holds the door may."""
        self._is_free.wait()
        self._is_free.clear()

    def release(self) -> None:
        """Gives it back, on whichever thread."""
        self._is_free.set()


class SharedContext:
    """A context in which several threads may be at once: the first enters it, and the last leaves it.

    Two threads that each remembered and restored a setting would take the other's for the model's own.

    Args:
        make: Makes the context.
        failed: Is told what leaving it raised.
        turns: Of the model.
    """

    def __init__(
        self, make: Callable[[], AbstractContextManager[None]], failed: Callable[[Exception], None], turns: Turns
    ) -> None:
        self._make, self._failed, self._turns = make, failed, turns
        self._lock, self._inside, self._has_turn = Lock(), 0, False
        self._context: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        if self._turns.depth:
            with self._lock:
                self._join()
        else:
            with self._turns.door:
                self._wait_and_join()
        self._turns.depth += 1

    def __exit__(self, *exception: object) -> None:
        self._turns.depth -= 1
        with self._lock:
            self._inside = max(0, self._inside - 1)
            if not self._inside:
                self._leave()

    def after_fork_in_child(self) -> None:
        """Gives the model its own setting: threads that were inside are not in the child, and never leave."""
        self._turns.after_fork_in_child()
        self._lock, self._inside, self._has_turn = Lock(), 0, False
        self._leave()

    def _wait_and_join(self) -> None:
        with self._lock:
            if self._has_turn:
                self._join()
                return
        self._turns.take()
        with self._lock:
            self._has_turn = True
            try:
                self._join()
            finally:
                if not self._inside:
                    self._leave()

    def _join(self) -> None:
        if not self._inside:
            context = self._make()
            context.__enter__()
            self._context = context
        self._inside += 1

    def _leave(self) -> None:
        context, self._context = self._context, None
        try:
            if context is not None:
                context.__exit__(None, None, None)  # what the model raised is no business of its setting
        except Exception as error:
            self._failed(error)
        finally:
            if self._has_turn:
                self._has_turn = False
                self._turns.release()


def turns_of(model: nn.Module) -> Turns:
    """Returns those of a model, the same ones for all of its tracers."""
    return _TURNS.setdefault(model, Turns())


_TURNS: WeakKeyDictionary[nn.Module, Turns] = WeakKeyDictionary()
"""Of this process."""
