"""Numbers as a command shows them."""

import itertools
import math

from ml.loggers.lines import number

_PRECISION = 4
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def compact(value: float) -> str:
    """Returns a number in four significant digits, a whole one in full."""
    if not math.isfinite(value):
        return str(value)
    if value % 1 == 0 and abs(value) < 10**9:
        return str(int(value))
    return number(value, _PRECISION)


def short_duration(seconds: float) -> str:
    """Returns the two largest units of a time: ``2d 3h``, ``12m 30s``, ``0s``."""
    rest = int(max(0.0, seconds))
    for (size, unit), (smaller_size, smaller_unit) in itertools.pairwise(_UNITS):
        if rest >= size:
            return f"{rest // size}{unit} {rest % size // smaller_size:2}{smaller_unit}"
    return f"{rest}s"


def size(size_bytes: int) -> str:
    """Returns a number of bytes in the unit that suits it: ``17 B``, ``3.4 MB``."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    amount, units = size_bytes / 1000, ["kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}"
