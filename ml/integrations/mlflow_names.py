"""What series, settings and files are called in MLflow, which takes fewer names than a run does. Pure functions.

A metric has the name that ``ml.loggers.phase_names`` gives its series. Characters that MLflow refuses, and ``:``,
become ``:XX`` for each byte of their UTF-8; so do a slash that has nothing before or behind it, the first dot of ``.``,
``..`` and a name that begins with two, and a blank at either end. A name past 250 characters is cut, and ends in ``:-``
and a hash. No two series have one name.
"""

import hashlib
import re

from ml.core.state import Phase
from ml.io.names import safe_segment
from ml.loggers import phase_names

MAX_NAME_LENGTH = 250

_HASH_DIGITS = 32
_REFUSED = re.compile(r"[^\w./ -]|(?:^|(?<=/))/|/\Z|\A | \Z|(?:(?<=/)|\A)\.(?=\.?(?:/|\Z))|\A\.(?=\.)")
_ESCAPED = re.compile("(?::[0-9A-F]{2})+")


def metric_name(phase: Phase, path: str) -> str:
    """Returns what a series is called.

    Args:
        phase: Of the values.
        path: ``<namespace>/<key>``.
    """
    return bounded(phase_names.flat_name(phase, escaped(path)))


def series_of(name: str) -> tuple[Phase, str]:
    """Returns the phase and the path of a series that has a name of at most 250 characters: undoes ``metric_name``."""
    phase, path = phase_names.series_of(name)
    return phase, _ESCAPED.sub(_unescaped, path)


def escaped(name: str) -> str:
    """Returns a name with what MLflow refuses as ``:XX``."""
    return _REFUSED.sub(lambda match: "".join(f":{b:02X}" for b in match[0].encode("utf-8", "surrogatepass")), name)


def bounded(name: str) -> str:
    """Returns a name of at most 250 characters, different for different ones."""
    if len(name) <= MAX_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{name[: MAX_NAME_LENGTH - _HASH_DIGITS - 2]}:-{digest}"


def file_segment(name: str) -> str:
    """Returns a part of a path for a namespace or a key, as ``ml.io.names`` has it, with ``=`` for ``%``.

    MLflow's server decodes what is percent-encoded, more than once.
    """
    return safe_segment(name).replace("%", "=")


def _unescaped(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace(":", "")).decode("utf-8", "surrogatepass")
