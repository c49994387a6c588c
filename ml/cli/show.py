"""``mlog show RUN``: what a run logged, and how it was started."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from ml.cli.liveness import KILLED, is_gone
from ml.cli.names import require_match
from ml.cli.numbers import compact, short_duration
from ml.cli.output import Column, Output, printable
from ml.cli.series import Series, SeriesKey, extremes
from ml.cli.sparkline import sparkline
from ml.cli.summary import Attempt, Summary, local_time, summarize
from ml.core.errors import FormatError
from ml.loggers.kinds import Kind
from ml.loggers.strict_json import strict
from ml.reading import open_run

_log = logging.getLogger("ml")

SeriesT = TypeVar("SeriesT", Series[float], Series[str])

_MIN_CURVE_WIDTH, _MAX_CURVE_WIDTH = 8, 60
_MAX_SETTINGS = 60
_MAX_KEY_WIDTH = 48


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("run_directory", metavar="RUN", type=Path, help="the run's directory")
    parser.add_argument("--keys", metavar="GLOB", help="only these keys, such as 'task/*'")
    parser.add_argument("--json", action="store_true", help="as JSON, without the curves")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Shows the run.

    Raises:
        FileNotFoundError: There is none.
        FormatError: Its record is damaged.
        ConfigError: ``--keys`` matches none.
    """
    opened = open_run(arguments.run_directory)
    summary = summarize(opened)
    require_match((name.key for name in chain(summary.scalars, *summary.others.values())), arguments.keys)
    if arguments.json:
        output.json(_as_json(opened.path, summary, arguments.keys))
        return 0
    _show_head(opened.path, summary, output)
    _show_scalars(_selected(summary.scalars, arguments.keys), output)
    for kind, found in summary.others.items():
        _show_others(kind, _selected(found, arguments.keys), output)
    if arguments.keys is None:
        _show_attempts(summary.attempts, output)
        try:
            _show_settings(opened.settings, output)
        except FormatError as error:
            _log.warning("The settings cannot be read: %s", error)
    return 0


def _selected(found: Mapping[SeriesKey, SeriesT], pattern: str | None) -> dict[SeriesKey, SeriesT]:
    return {name: series for name, series in found.items() if name.matches(pattern)}


def _show_head(path: Path, summary: Summary, output: Output) -> None:
    start = "" if summary.start is None else f"  since {summary.start:%Y-%m-%d %H:%M:%S}"
    output.line(printable(path), style="bold")
    steps = "-" if summary.steps is None else summary.steps
    output.line(f"{printable(summary.status)}{start}  {short_duration(summary.duration_s)}  {steps} steps", style="dim")
    if summary.steps is None:
        output.line("mlog finds no JSON lines and no journal here. Event files are for TensorBoard.")


def _show_scalars(found: Mapping[SeriesKey, Series[float]], output: Output) -> None:
    if not found:
        return
    ranges = [extremes(series.values) for series in found.values()]
    columns = [
        *_names("scalars", found, output),
        Column("count", [str(len(series.values)) for series in found.values()], is_number=True),
        Column("last", [compact(series.values[-1]) for series in found.values()], is_number=True, style="bold"),
        Column("min", [compact(least) for least, _ in ranges], is_number=True),
        Column("max", [compact(greatest) for _, greatest in ranges], is_number=True),
    ]
    room = output.width - sum(column.width + 2 for column in columns)
    if room >= _MIN_CURVE_WIDTH:
        width = min(room, _MAX_CURVE_WIDTH)
        curves = [
            sparkline(series.steps, series.values, width, has_unicode=output.has_unicode) for series in found.values()
        ]
        columns.append(Column("curve", curves, style="cyan"))
    output.line()
    output.table(columns)


def _show_others(kind: Kind, found: Mapping[SeriesKey, Series[str]], output: Output) -> None:
    if not found:
        return
    columns = [
        *_names(kind.section.replace("_", " "), found, output),
        Column("count", [str(len(series.values)) for series in found.values()], is_number=True),
        Column("last step", [str(series.steps[-1]) for series in found.values()], is_number=True),
    ]
    room = max(20, output.width - sum(column.width + 2 for column in columns))
    last = [output.shortened(printable(series.values[-1]), room) for series in found.values()]
    output.line()
    output.table([*columns, Column("last", last)])


def _names(heading: str, found: Mapping[SeriesKey, object], output: Output) -> list[Column]:
    """Returns the columns of phase and key; a phase is named where it begins."""
    names = list(found)
    before = [None, *(name.phase for name in names)]
    phases = ["" if name.phase == previous else name.phase for name, previous in zip(names, before, strict=False)]
    keys = [output.shortened(printable(name.key), _MAX_KEY_WIDTH) for name in names]
    return [Column("", phases, style="dim"), Column(heading, keys)]


def _show_attempts(attempts: Sequence[Attempt], output: Output) -> None:
    if not attempts:
        return
    starts = [local_time(attempt.get("start")) for attempt in attempts]
    columns = [
        Column("attempt", [printable(attempt.get("attempt", "-")) for attempt in attempts], is_number=True),
        Column("status", [_status(attempt) for attempt in attempts]),
        Column("start", ["-" if start is None else f"{start:%Y-%m-%d %H:%M:%S}" for start in starts]),
        Column("host", [output.shortened(printable(attempt.get("host", "-")), 20) for attempt in attempts]),
        Column("pid", [printable(attempt.get("pid", "-")) for attempt in attempts], is_number=True),
        Column("commit", [_commit(attempt) for attempt in attempts]),
    ]
    output.line()
    output.table(columns)


def _status(attempt: Attempt) -> str:
    status = str(attempt.get("status", "unknown"))
    return KILLED if status == "running" and is_gone(attempt) else printable(status)


def _commit(attempt: Attempt) -> str:
    git = attempt.get("git")
    if not isinstance(git, dict) or not git.get("commit"):
        return "-"
    return printable(str(git["commit"])[:10]) + (" + changes" if git.get("dirty") else "")


def _show_settings(settings: Mapping[str, object], output: Output) -> None:
    if not settings:
        return
    names = list(settings)[:_MAX_SETTINGS]
    keys = [output.shortened(printable(name), _MAX_KEY_WIDTH) for name in names]
    name_column = Column("setting", keys)
    room = max(20, output.width - name_column.width - 2)
    values = [output.shortened(printable(settings[name]), room) for name in names]
    output.line()
    output.table([name_column, Column("value", values, style="cyan")])
    if len(settings) > _MAX_SETTINGS:
        output.line(f"and {len(settings) - _MAX_SETTINGS} settings more: see its config.yaml", style="dim")


def _as_json(path: Path, summary: Summary, pattern: str | None) -> dict[str, object]:
    keys: list[dict[str, object]] = []
    for name, series in _selected(summary.scalars, pattern).items():
        least, greatest = extremes(series.values)
        numbers = {"last": strict(series.values[-1]), "min": strict(least), "max": strict(greatest)}
        keys.append({"kind": "scalar", **_place(name, series), **numbers})
    for kind, found in summary.others.items():
        for name, shown in _selected(found, pattern).items():
            keys.append({"kind": kind.name, **_place(name, shown), "last": shown.values[-1]})
    return {
        "path": str(path),
        "status": summary.status,
        "start": None if summary.start is None else summary.start.isoformat(),
        "duration_s": summary.duration_s,
        "steps": summary.steps,
        "keys": keys,
        "attempts": [_attempt_as_json(attempt) for attempt in summary.attempts],
    }


def _attempt_as_json(attempt: Attempt) -> dict[str, object]:
    """Returns what an attempt says of itself in single values, and its commit: a file may hold anything else."""
    single = {name: value for name, value in attempt.items() if value is None or isinstance(value, str | int | float)}
    finite = {name: strict(value) if isinstance(value, float) else value for name, value in single.items()}
    return {**finite, "status": _status(attempt), "commit": _commit(attempt)}


def _place(name: SeriesKey, series: "Series[float] | Series[str]") -> dict[str, object]:
    return {"phase": name.phase, "key": name.key, "count": len(series.values), "last_step": series.steps[-1]}
