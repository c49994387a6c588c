"""What a backend needs whose values are kept somewhere else: where that is, who its run is there, which text is which.

A run has a random identity, kept in a file of the backend's directory, so that a
resumed run and a replay find what is there already, and beside it the settings that
say where that is, but for those that hold a secret::

    identity.json   {"id": "3f0c…"}
    place.json      {"tracking_uri": "http://tracking:5000", "experiment": "digits"}
"""

import json
import os
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ml.core.errors import ConfigError, FormatError
from ml.core.redact import Redactor
from ml.core.state import Phase, State
from ml.io.atomic import create_atomically
from ml.io.attempt_files import read_bounded
from ml.io.files import make_directories
from ml.loggers.strict_json import loads, parsing

IDENTITY_FILE, PLACE_FILE = "identity.json", "place.json"

_PRIVATE = 0o600
_HEXADECIMAL = frozenset("0123456789abcdef")
_STEPS_REMEMBERED = 64
"""Texts of a step that come later than this many other steps of the run begin to count anew."""


def identity_of(directory: Path, *, digits: int = 32) -> str:
    """Returns what a run is called where a backend keeps its values; the first call makes it up.

    Of several processes that do so at once, all get the same.

    Args:
        directory: The backend's, in the run's.
        digits: How many the service takes; an even number.

    Returns:
        As many hexadecimal digits.

    Raises:
        WriteError, OSError: It cannot be kept, or read.
        FormatError: The file is damaged. Without it the run would be begun once more.
    """
    path = directory / IDENTITY_FILE
    if not path.exists():
        make_directories(directory)
        create_atomically(path, (json.dumps({"id": secrets.token_hex(digits // 2)}) + "\n").encode(), mode=_PRIVATE)
    with parsing("no identity", path):
        identity = loads(read_bounded(path))["id"]  # perhaps another process has made it
    if not isinstance(identity, str) or len(identity) != digits or not _HEXADECIMAL.issuperset(identity):
        raise FormatError(f"no identity: {digits} hexadecimal digits are wanted", path=path)
    return identity


def remember_place(directory: Path, settings: Mapping[str, str | None]) -> None:
    """Keeps where a run's values are, for a replay; the first call decides.

    Args:
        directory: The backend's, in the run's.
        settings: Of the backend, by name. What holds a secret is left out.

    Raises:
        WriteError, OSError: It cannot be kept.
    """
    redact = Redactor(os.environ).redact_text
    kept = {name: value for name, value in settings.items() if value is not None and redact(value) == value}
    if not (directory / PLACE_FILE).exists():
        create_atomically(directory / PLACE_FILE, (json.dumps(kept) + "\n").encode(), mode=_PRIVATE)


def remembered_place(directory: Path) -> dict[str, str]:
    """Returns the settings that ``remember_place`` was given; none where it never was.

    Raises:
        FormatError: The file is damaged.
    """
    path = directory / PLACE_FILE
    if not path.is_file():
        return {}
    with parsing("no settings of a backend", path):
        return {str(name): str(value) for name, value in loads(read_bounded(path)).items()}


def check_timeout(backend: str, setting: str, timeout_s: float) -> None:
    """Finds a time to wait that is none.

    Raises:
        ConfigError: It is not above 0.
    """
    if not timeout_s > 0:
        raise ConfigError(f"{setting} of '{backend}' must be above 0, got {timeout_s!r}.")


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
