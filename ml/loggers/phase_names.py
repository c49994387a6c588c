"""The phase and the path of a series as one name, for services that have no phases. Pure functions.

A series of training is called by its path, ``task/loss``, those of the other phases ``valid/task/loss`` and
``test/task/loss``; what would be mistaken for them in training gets ``train/`` before it. No two series have one name.
"""

import re

from ml.core.state import Phase

_MISTAKEN = re.compile("(?:train/)*(?:valid|test)/")


def flat_name(phase: Phase, path: str) -> str:
    """Returns what a series is called.

    Args:
        phase: Of the values.
        path: ``<namespace>/<key>``.
    """
    return path if phase == "train" and not _MISTAKEN.match(path) else f"{phase}/{path}"


def series_of(name: str) -> tuple[Phase, str]:
    """Returns the phase and the path of the series that is called so: undoes ``flat_name``."""
    phases: tuple[Phase, ...] = ("valid", "test")
    for phase in phases:
        if name.startswith(f"{phase}/"):
            return phase, name.removeprefix(f"{phase}/")
    return "train", name.removeprefix("train/") if _MISTAKEN.match(name) else name
