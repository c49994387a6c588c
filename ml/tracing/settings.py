"""A model's setting while it is called: the model has another one inside of the call, and its own afterwards."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from ml.io.worker import Lock


class SharedContext:
    """A context in which several threads may be at once: the first enters it, and the last leaves it.

    Two threads that each remembered and restored a setting would take the other's for the model's own.

    Args:
        make: Makes the context.
        failed: Is told what leaving it raised.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[None]], failed: Callable[[Exception], None]) -> None:
        self._make, self._failed = make, failed
        self._lock, self._inside = Lock(), 0
        self._context: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                context = self._make()
                context.__enter__()
                self._context = context
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside or self._context is None:
                return
            context, self._context = self._context, None
            try:
                context.__exit__(None, None, None)  # what the model raised is no business of its setting
            except Exception as error:
                self._failed(error)
