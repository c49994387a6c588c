"""What a backend needs whose values are kept somewhere else: who its run is there, and which text of a step is which.

A run has a random identity, kept in a file of the backend's directory, so that a
resumed run and a replay find what is there already::

    {"id": "3f0c…"}
"""

import json
import secrets
from collections import Counter
from pathlib import Path

from ml.core.errors import FormatError
from ml.core.state import Phase, State
from ml.io.atomic import write_atomically
from ml.io.attempt_files import read_bounded
from ml.io.files import make_directories
from ml.loggers.strict_json import loads, parsing

IDENTITY_FILE = "identity.json"

_PRIVATE = 0o600
_STEPS_REMEMBERED = 64
"""Texts of a step that come later than this many other steps of the run begin to count anew."""


def identity_of(directory: Path) -> str:
    """Returns what a run is called where a backend keeps its values; the first call makes it up.

    Args:
        directory: The backend's, in the run's.

    Returns:
        32 hexadecimal digits.

    Raises:
        WriteError, OSError: It cannot be kept, or read.
        FormatError: The file is damaged. Without it the run would be begun once more.
    """
    path = directory / IDENTITY_FILE
    if not path.exists():
        make_directories(directory)
        write_atomically(path, (json.dumps({"id": secrets.token_hex(16)}) + "\n").encode(), mode=_PRIVATE)
    with parsing("no identity", path):
        identity = loads(read_bounded(path))["id"]  # read back: a replay may have begun at the same moment
    if not isinstance(identity, str) or len(identity) != 32 or not identity.isalnum():
        raise FormatError("no identity: 32 hexadecimal digits are wanted", path=path)
    return identity


class Ordinals:
    """Numbers the texts of a key and a step from 0, so that one which is sent twice is known by its number.

    A write that fails is offered again: its numbers count once it is committed.
    """

    def __init__(self) -> None:
        self._committed: dict[tuple[Phase, int], Counter[str]] = {}
        self._taken: dict[tuple[Phase, int], Counter[str]] = {}

    def take(self, state: State, path: str) -> int:
        """Returns the number of the next text of a key at a step."""
        step = (state.phase, state.num_steps)
        taken = self._taken.setdefault(step, Counter())
        number = self._committed.get(step, Counter())[path] + taken[path]
        taken[path] += 1
        return number

    def commit(self) -> None:
        """What was taken is written."""
        for step, taken in self._taken.items():
            self._committed.setdefault(step, Counter()).update(taken)
        self._taken = {}
        for step in list(self._committed)[:-_STEPS_REMEMBERED]:
            del self._committed[step]

    def roll_back(self) -> None:
        """What was taken since the last ``commit`` was not written."""
        self._taken = {}
