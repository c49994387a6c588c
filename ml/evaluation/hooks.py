"""What a callback needs to be one for Keras, whatever its version and backend, without Keras."""

import inspect
from collections.abc import Callable


def nothing(*args: object, **kwargs: object) -> None:
    """A hook that does nothing, and is marked as Keras marks its own that do nothing: it waits for none of them."""


nothing._is_default = True  # type: ignore[attr-defined]


def call(method: Callable[..., None], *args: object, logs: object) -> None:
    """Calls what a user has written, with ``logs`` if it takes them, as the last argument or by name.

    Raises:
        TypeError: It takes other arguments.
    """
    signature = inspect.signature(method)
    if _takes(signature, *args, logs):
        method(*args, logs)
    elif _takes(signature, *args, logs=logs):
        method(*args, logs=logs)
    else:
        method(*args)


def _takes(signature: inspect.Signature, *args: object, **kwargs: object) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True
