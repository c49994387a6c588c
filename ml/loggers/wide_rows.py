"""Values of one state as one row, for services that keep rows: ``{"task/loss": 0.25, "task/rate": 0.1}``.

A row has one value of a name. A further one, as of a step that is written twice, begins another row of the same state.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ml.core.state import State
from ml.loggers.phase_names import flat_name
from ml.loggers.strict_json import real
from ml.loggers.values import series_path

_INT64 = 2**63

ValueT = TypeVar("ValueT")


@dataclass
class WideRow(Generic[ValueT]):
    """What was logged of one state, by name.

    Attributes:
        state: The state.
        values: As the service takes them.
    """

    state: State
    values: dict[str, ValueT] = field(default_factory=dict)


class WideRows(Generic[ValueT]):
    """Gathers values until they are written.

    Args:
        out_of_the_way: Given the name of a series, returns another one where the service has that for itself.
    """

    def __init__(self, out_of_the_way: Callable[[str], str]) -> None:
        self._out_of_the_way = out_of_the_way
        self._open: dict[State, WideRow[ValueT]] = {}
        self._full: list[WideRow[ValueT]] = []

    def put(self, namespace: str, key: str, value: ValueT, state: State) -> None:
        """Keeps a value. Half a surrogate pair in its name becomes ``?``."""
        name = self._name(namespace, key, state)
        row = self._open.setdefault(state, WideRow(state))
        if name in row.values:
            self._full.append(row)
            row = self._open[state] = WideRow(state)
        row.values[name] = value

    def last(self, namespace: str, key: str, state: State) -> ValueT | None:
        """Returns the value of a key that the open row of a state has."""
        row = self._open.get(state)
        return None if row is None else row.values.get(self._name(namespace, key, state))

    def take(self) -> list[WideRow[ValueT]]:
        """Returns every row, and forgets it."""
        rows = [*self._full, *self._open.values()]
        self._full, self._open = [], {}
        return rows

    def _name(self, namespace: str, key: str, state: State) -> str:
        path = series_path(namespace, key).encode(errors="replace").decode()
        return self._out_of_the_way(flat_name(state.phase, path))


def in_64_bits(number: int | float) -> int | float:
    """Returns a number as services have them: a whole one beyond 64 bits as a float."""
    return real(number) if isinstance(number, int) and not -_INT64 <= number < _INT64 else number
