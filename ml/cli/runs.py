"""``mlog runs DIR``: the runs below a directory, one line each."""

import argparse
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from ml.cli.liveness import KILLED
from ml.cli.names import listed, require_match, told_apart
from ml.cli.numbers import compact, short_duration
from ml.cli.output import Column, Output, printable
from ml.cli.series import SeriesKey
from ml.cli.summary import Summary, summarize
from ml.core.errors import ConfigError
from ml.loggers.strict_json import strict
from ml.reading import Runs, Setting, open_runs

_log = logging.getLogger("ml")

_MAX_SETTING_LENGTH = 20
_DEFAULT_NAME = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}(-\d+)?$")  # it says when the run started
_STATUS_STYLES = {"finished": "green", "running": "bold cyan", "failed": "bold red", KILLED: "bold red"}


class _Row(NamedTuple):
    """A run, as it was read."""

    name: str
    path: Path
    summary: Summary
    settings: Mapping[str, Setting]


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="runs are looked for below it, at any depth")
    parser.add_argument(
        "--sort",
        metavar="KEY",
        help="run, status, start, duration, steps, a key (task/loss, or valid:task/loss) or a setting (model.width);"
        " by default start",
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--keys", metavar="GLOB", help="only last values of these keys, such as 'task/*'")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Lists the runs. One that cannot be read is left out, with a warning.

    Raises:
        FileNotFoundError: There is none.
        ConfigError: ``--sort`` or ``--keys`` names nothing that there is.
    """
    rows = _sorted(list(_rows(open_runs(arguments.directory))), arguments.sort, is_reversed=arguments.reverse)
    require_match((name.key for row in rows for name in row.summary.scalars), arguments.keys)
    if arguments.json:
        output.json([_as_json(row, arguments.keys) for row in rows])
    elif rows:
        _print(rows, arguments.keys, output)
    return 0


def _rows(runs: Runs) -> Iterator[_Row]:
    settings = runs.settings()
    for name, one in runs.items():
        try:
            summary = summarize(one)
        except (OSError, ValueError) as error:
            _log.warning("The run %s is left out: %s", name, error)
            continue
        yield _Row(name, one.path, summary, settings.get(name, {}))


# the order


def _sorted(rows: list[_Row], key: str | None, *, is_reversed: bool) -> list[_Row]:
    """Returns the rows by ``key``; those that have no such value come last."""
    value_of = _sort_value(rows, key or "start")
    valued = [row for row in rows if _is_comparable(value_of(row))]
    other = [row for row in rows if not _is_comparable(value_of(row))]
    try:
        valued.sort(key=value_of, reverse=is_reversed)  # type: ignore[arg-type]
    except TypeError:  # a setting that is a number here and a text there
        valued.sort(key=lambda row: str(value_of(row)), reverse=is_reversed)
    return valued + other


def _is_comparable(value: object) -> bool:
    is_nan = value != value
    return value is not None and not is_nan


def _sort_value(rows: list[_Row], key: str) -> Callable[[_Row], object]:
    simple: dict[str, Callable[[_Row], object]] = {
        "run": lambda row: row.name,
        "status": lambda row: row.summary.status,
        "start": lambda row: row.summary.start,
        "duration": lambda row: row.summary.duration_s,
        "steps": lambda row: row.summary.steps,
    }
    if key in simple:
        return simple[key]
    phase, _, of_phase = key.partition(":")
    curves = {name for row in rows for name in row.summary.scalars}
    # A validation says more of a run than its last training step.
    for name in (SeriesKey(phase, of_phase), *(SeriesKey(phase, key) for phase in ("valid", "test", "train"))):  # type: ignore[arg-type]
        if name in curves:
            return lambda row: row.summary.scalars[name].values[-1] if name in row.summary.scalars else None
    if any(key in row.settings for row in rows):
        return lambda row: row.settings.get(key)
    settings = (setting for row in rows for setting in row.settings)
    known = list(dict.fromkeys([*simple, *(name.key for name in sorted(curves)), *settings]))
    raise ConfigError(f"No run has {key!r} to sort by. There are: {listed(known)}.")


# the table


def _print(rows: list[_Row], keys: str | None, output: Output) -> None:
    heads, values, settings = _heads(rows, output), _values(rows, keys), _settings(rows, output)
    start = heads.pop("start")
    by_importance = [heads["run"], heads["status"], heads["steps"], *values[:1], heads["duration"]]
    says_start = all(_DEFAULT_NAME.search(row.name) for row in rows)
    pairs = [column for pair in zip_longest(settings, values[1:]) for column in pair if column is not None]
    by_importance += [*pairs, start] if says_start else [start, *pairs]
    shown, room = set[int](), output.width
    for column in by_importance:
        if column.width <= room or column is heads["run"]:
            shown.add(id(column))
            room -= column.width + 2
    in_order = [heads["run"], heads["status"], start, heads["duration"], heads["steps"], *values, *settings]
    columns = [column for column in in_order if id(column) in shown]
    status_styles = [_STATUS_STYLES.get(row.summary.status, "yellow") for row in rows]
    output.table(columns, styles=[status_styles if column is heads["status"] else [] for column in columns])
    hidden = [column.header.replace("\n", " ").strip() for column in in_order if id(column) not in shown]
    if hidden:
        text = f"{len(hidden)} columns more, for --keys and --json: {', '.join(hidden)}"
        output.line(output.shortened(text, output.width), style="dim")


def _heads(rows: list[_Row], output: Output) -> dict[str, Column]:
    starts = [row.summary.start for row in rows]
    steps = [row.summary.steps for row in rows]
    names = [printable(row.name) for row in rows]
    if output.is_terminal:  # what reads a pipe takes the name for one
        names = told_apart(names, output.width * 2 // 5, output.ellipsis)
    return {
        "run": Column("run", names),
        "status": Column("status", [printable(row.summary.status) for row in rows]),
        "start": Column("start", ["-" if start is None else f"{start:%Y-%m-%d %H:%M}" for start in starts]),
        "duration": Column("duration", [short_duration(row.summary.duration_s) for row in rows], is_number=True),
        "steps": Column("steps", ["-" if count is None else str(count) for count in steps], is_number=True),
    }


def _values(rows: list[_Row], keys: str | None) -> list[Column]:
    """Returns a column of last values for each curve: what most runs have comes first, and phases take turns."""
    counts: dict[SeriesKey, int] = {}
    for row in rows:
        for name in (name for name in row.summary.scalars if name.matches(keys)):
            counts[name] = counts.get(name, 0) + 1
    places: dict[SeriesKey, int] = {}
    for name in counts:
        places[name] = sum(other.phase == name.phase for other in places)
    names = sorted(counts, key=lambda name: (-counts[name], places[name], ("valid", "test", "train").index(name.phase)))
    return [
        Column(
            f"{name.phase}\n{printable(name.key)}",
            [compact(row.summary.scalars[name].values[-1]) if name in row.summary.scalars else "-" for row in rows],
            is_number=True,
            style="bold",
        )
        for name in names
    ]


def _settings(rows: list[_Row], output: Output) -> list[Column]:
    """Returns a column for each setting that differs, called by as much of its name as tells it from the others."""
    names = list(dict.fromkeys(name for row in rows for name in row.settings))
    columns = []
    for name in names:
        texts = [printable(row.settings[name]) if name in row.settings else "-" for row in rows]
        cells = [output.shortened(text, _MAX_SETTING_LENGTH) for text in texts]
        is_number = all(isinstance(row.settings.get(name, 0), int | float) for row in rows)
        columns.append(Column(f"setting\n{printable(_short_name(name, names))}", cells, is_number, style="cyan"))
    return columns


def _short_name(name: str, names: Sequence[str]) -> str:
    parts = name.split(".")
    for count in range(1, len(parts)):
        end = parts[-count:]
        if sum(other.split(".")[-count:] == end for other in names) == 1:
            return ".".join(end)
    return name


# JSON


def _as_json(row: _Row, keys: str | None) -> dict[str, object]:
    summary = row.summary
    last: dict[str, dict[str, object]] = {}
    for name, series in summary.scalars.items():
        if name.matches(keys):
            last.setdefault(name.phase, {})[name.key] = strict(series.values[-1])
    return {
        "run": row.name,
        "path": str(row.path),
        "status": summary.status,
        "start": None if summary.start is None else summary.start.isoformat(),
        "duration_s": summary.duration_s,
        "steps": summary.steps,
        "attempts": len(summary.attempts),
        "last": last,
        "settings": {
            name: strict(value) if isinstance(value, float) else value for name, value in row.settings.items()
        },
    }
