"""``mlog tracing ls DATABASE ...``: a line for each dataset type of each version."""

import argparse
from datetime import datetime

from ml.cli.numbers import compact
from ml.cli.output import Column, Output, printable
from ml.tracing.overview import Group, Overview, TracedVersion, epochs_text, overview

_MAX_TEXT = 48  # columns of a terminal


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Lists what was traced.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError, FormatError: A database is none for traces, is damaged, or does not answer.
    """
    there = overview(arguments.databases)
    if arguments.json:
        output.json([_as_json(version, there) for version in there.versions])
    elif there.versions:
        _print(there, output)
    return 0


def group_as_json(group: Group) -> dict[str, object]:
    """Returns what is known of the inferences of a run, dataset type and epoch."""
    times = {name: time.isoformat() for name, time in (("first", group.first), ("last", group.last))}
    return {
        name: value for name, value in group._asdict().items() if name not in ("model_name", "version_name")
    } | times


def _as_json(version: TracedVersion, there: Overview) -> dict[str, object]:
    groups = [group_as_json(group) for group in there.of(version)]
    return {**version._asdict(), "created": version.created.isoformat(), "inferences": groups}


def _print(there: Overview, output: Output) -> None:
    rows = [(version, name, groups) for version in there.versions for name, groups in _by_type(version, there).items()]

    def texts(values: list[str]) -> list[str]:
        return [output.shortened(printable(value), _MAX_TEXT) or "-" for value in values]

    columns = [
        Column("model", texts([version.model_name for version, _, _ in rows]), style="bold"),
        Column("version", texts([version.version_name for version, _, _ in rows])),
        Column("task", texts([version.task for version, _, _ in rows])),
        Column("dataset type", texts([name for _, name, _ in rows])),
        Column("runs", [str(len({group.run for group in groups})) for *_, groups in rows], is_number=True),
        Column("epochs", texts([epochs_text([group.epoch for group in groups]) for *_, groups in rows])),
        Column("inferences", [str(_sum(groups, "num_inferences")) for *_, groups in rows], is_number=True),
        Column("labelled", [str(_sum(groups, "num_labelled")) for *_, groups in rows], is_number=True),
        Column("seen an image", [_seen(groups) for *_, groups in rows], is_number=True),
        Column("last (UTC)", [_time([group.last for group in groups]) for *_, groups in rows]),
    ]
    output.table(columns)


def _by_type(version: TracedVersion, there: Overview) -> dict[str, list[Group]]:
    """Returns the groups of each dataset type; of a version that has none yet, none of one without a name."""
    found = dict[str, list[Group]]()
    for group in there.groups:
        if group[:2] == version[:2]:
            found.setdefault(group.dataset_type, []).append(group)
    return found or {"": []}


def _sum(groups: list[Group], name: str) -> int:
    return sum(int(getattr(group, name)) for group in groups)


def _seen(groups: list[Group]) -> str:
    count = _sum(groups, "num_inferences")
    return compact(_sum(groups, "num_visible") / count) if count else "-"


def _time(times: list[datetime]) -> str:
    return f"{max(times):%Y-%m-%d %H:%M:%S}" if times else "-"
