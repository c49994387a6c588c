"""What a word of ``mlog bench`` is about: chosen by its arguments, or asked for, where somebody is there to answer."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ml.benchmarks.reading import Benchmarks, Kind
from ml.cli.names import listed
from ml.cli.output import Output, printable
from ml.core.errors import ConfigError


class Choice(NamedTuple):
    """What was chosen; of an empty one all is meant."""

    uuids: list[str]
    types: list[str]
    descriptions: list[str]


def choose(benchmarks: Benchmarks, arguments: argparse.Namespace, output: Output) -> Choice:
    """Returns what the arguments choose; what they leave open is asked for, if standard input and output are terminals.

    Raises:
        ConfigError: No run, or more than one, has a uuid that begins like that; there is nothing of a type or
            description.
    """
    asks = not arguments.all and output.is_terminal and sys.stdin is not None and sys.stdin.isatty()
    runs = benchmarks.runs(arguments.uuid)
    uuids = list(arguments.uuid)
    if asks and not uuids:
        names = {run.uuid: f"{run.uuid[:8]}  {run.started:%Y-%m-%d %H:%M}  {run.description}" for run in runs}
        uuids = _asked("Runs", list(names), lambda uuid: names[uuid])
    kinds = benchmarks.kinds(uuids)
    types = check("type", arguments.type, kinds, lambda kind: kind.type)
    if asks and not types:
        types = _asked("Types", list(dict.fromkeys(kind.type for kind in kinds)), str)
    kinds = [kind for kind in kinds if not types or kind.type in types]
    descriptions = check("description", arguments.description, kinds, lambda kind: kind.description)
    if asks and not descriptions:
        descriptions = _asked("Descriptions", list(dict.fromkeys(kind.description for kind in kinds)), str)
    return Choice(uuids, types, descriptions)


def check(what: str, given: Sequence[str], kinds: Sequence[Kind], of: Callable[[Kind], str]) -> list[str]:
    """Returns what was given.

    Raises:
        ConfigError: There is nothing of that name.
    """
    known = list(dict.fromkeys(map(of, kinds)))
    for name in given:
        if name not in known:
            there = f"There are: {listed(known)}." if known else "There are no measurements."
            raise ConfigError(f"There is no {what} {name!r}. {there}")
    return list(given)


def _asked(what: str, names: Sequence[str], shown: Callable[[str], str]) -> list[str]:
    """Asks which of ``names``; all of them, where there is no choice, or no answer."""
    if len(names) < 2:
        return []
    print(f"{what}:", file=sys.stderr)
    for number, name in enumerate(names, start=1):
        print(f"  {number:3}  {printable(shown(name))}", file=sys.stderr)
    while True:
        print(f"{what} [all, or numbers like 1 3-5]: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        try:
            return [names[number - 1] for number in _numbers(line, len(names))]
        except ValueError:
            print(f"Numbers from 1 to {len(names)}, please.", file=sys.stderr)


def _numbers(text: str, count: int) -> list[int]:
    """Returns the numbers of ``"1 3-5"``, or of ``"1,3-5"``.

    Raises:
        ValueError: It is something else, or beyond ``count``.
    """
    found = list[int]()
    for part in text.replace(",", " ").split():
        if part == "all":
            return []
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= count:
            raise ValueError(text)
        found += range(low, high + 1)
    return list(dict.fromkeys(found))
