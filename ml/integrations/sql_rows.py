"""Values on their way into a database, before it is known whether the library for it is there."""

from typing import NamedTuple

from ml.core.state import State


class Scalar(NamedTuple):
    """A number of a series, ``<namespace>/<key>``."""

    path: str
    state: State
    value: float


class Text(NamedTuple):
    """A text of a series; ``number`` counts those of a step."""

    path: str
    state: State
    value: str
    number: int
