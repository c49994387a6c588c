"""Which series a backend takes, as it is configured. Pure functions."""

from fnmatch import fnmatchcase
from typing import Literal

from ml.loggers.base import AnyLogger
from ml.loggers.kinds import Kind


def refusal(backend: AnyLogger, kind: Kind, path: str) -> Literal["unsupported", "excluded"] | None:
    """Returns why a backend never gets values of a kind and a key; ``None``: it does.

    Args:
        backend: The backend.
        kind: What the values are.
        path: ``<namespace>/<key>``.
    """
    if kind not in backend.kinds:
        return "unsupported"
    config = backend.config
    included = any(fnmatchcase(path, pattern) for pattern in config.include)
    if not included or any(fnmatchcase(path, pattern) for pattern in config.exclude):
        return "excluded"
    return None
