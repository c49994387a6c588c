"""Names of runs and keys, as a command takes and shows them."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from typing import NamedTuple

from ml.core.errors import ConfigError

_MAX_LISTED = 20
_PART = re.compile("[^-_,/ ]*[-_,/ ]|[^-_,/ ]+")  # with its separator


def listed(names: Sequence[str]) -> str:
    """Returns names one after the other; of many the first, and how many more there are."""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def require_match(keys: Iterable[str], pattern: str | None) -> None:
    """Refuses a glob that chooses nothing; ``None`` chooses all, and where there is no key yet every glob will do.

    Raises:
        ConfigError: It matches none of the keys.
    """
    known = list(dict.fromkeys(keys))
    if pattern is not None and known and not any(fnmatchcase(key, pattern) for key in known):
        raise ConfigError(f"No key matches {pattern!r}. There are: {listed(known)}.")


def told_apart(names: Sequence[str], width: int, mark: str) -> list[str]:
    """Returns names, cut where they are longer than ``width``, so that no two different ones become the same.

    Cut is the middle of what all long names have in common, from separator to separator;
    and where that is not enough, the middle of what is left. Where this would make two
    names the same, they stay longer.

    Args:
        names: Those of one table.
        width: Characters, 5 or more.
        mark: Stands where something was left out; up to 3 characters.
    """
    long = {name: _PART.findall(name) for name in names if len(name) > width}
    common = set[str]().union(*long.values()).intersection(*long.values())
    spans = {
        name: [_Span("".join(span), is_common) for is_common, span in groupby(parts, common.__contains__)]
        for name, parts in long.items()
    }
    for room in range(width, max(map(len, long), default=0)):
        share = max(len(mark), min(_share(of_name, room) for of_name in spans.values()))
        cut = {
            name: "".join(_cut(span.text, share, mark) if span.is_common else span.text for span in of_name)
            for name, of_name in spans.items()
        }
        shown = [_cut(cut[name], room, mark) if name in cut else name for name in names]
        if len(set(shown)) == len(set(names)):
            return shown
    return list(names)


class _Span(NamedTuple):
    """Parts of a name that follow each other: all of them are in every long name, or none is."""

    text: str
    is_common: bool


def _share(spans: Sequence[_Span], room: int) -> int:
    """Returns what room each common span has beside those that are shown whole."""
    count = sum(span.is_common for span in spans)
    return (room - sum(len(span.text) for span in spans if not span.is_common)) // max(1, count)


def _cut(text: str, room: int, mark: str) -> str:
    if len(text) <= room:
        return text
    tail = (room - len(mark)) // 2
    return text[: room - len(mark) - tail] + mark + text[len(text) - tail :]
