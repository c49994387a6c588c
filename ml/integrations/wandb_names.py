"""What our series are called in W&B, and which of them a name stands for. Pure functions.

Names are those of ``ml.loggers.phase_names``. Where W&B or our rows have a key for themselves (``step``, ``phase``, the
empty one, and what begins with ``_``), ours is ``logged/<key>``, and so is one that would be mistaken for it.
"""

import re

from ml.core.state import Phase
from ml.loggers.phase_names import series_of

STEP, PHASE = "step", "phase"
"""The x axis of runs of our backend, and the phase of what was not logged in training."""

_TAKEN = re.compile(f"(?:logged/)*(?:|{STEP}|{PHASE}|_.*)", re.DOTALL)


def out_of_the_way(name: str) -> str:
    """Returns a name that is not W&B's own."""
    return f"logged/{name}" if _TAKEN.fullmatch(name) else name


def path_of(name: str, phase: Phase) -> str:
    """Returns the ``<namespace>/<key>`` that a name stands for in a row of our backend; one of others stays."""
    if name.startswith("logged/") and _TAKEN.fullmatch(name):
        name = name.removeprefix("logged/")
    found, path = series_of(name)
    return path if found == phase else name
