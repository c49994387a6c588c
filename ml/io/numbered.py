"""Files that are called by a number: the first one that is free."""

from collections.abc import Callable
from typing import TypeVar

from ml.core.errors import WriteError

FileT = TypeVar("FileT")


def first_free(create: Callable[[int], FileT], number: int = 1) -> FileT:
    """Returns what ``create`` makes for the first number from ``number`` on whose file is not there yet.

    Args:
        create: Makes a file exclusively, so that two who look for one at a time get two.
        number: The first that is tried.

    Raises:
        OSError, WriteError: ``create`` failed, and not since the file is there.
    """
    while True:
        try:
            return create(number)
        except FileExistsError:
            pass
        except WriteError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise
        number += 1
