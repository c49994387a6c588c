"""``mlog artifacts ls STORE [NAME]``: one line a version."""

import argparse
from collections.abc import Iterator, Mapping

from ml.cli.numbers import compact, size
from ml.cli.output import Column, Output, printable
from ml.cli.store_choice import opened_store
from ml.core.errors import ConfigError
from ml.evaluation.artifacts import Artifacts, Version
from ml.loggers.strict_json import strict

_MAX_TEXT = 48  # columns of a terminal


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Lists the versions of one artifact, or of all. One whose manifest is damaged is left out, with a warning.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such directory.
        ConfigError: There is no such artifact.
        WriteError: An object store does not answer.
    """
    artifacts = Artifacts(opened_store(arguments.store, arguments))
    names = artifacts.names()
    if arguments.name is not None:
        if arguments.name not in names:
            there = ", ".join(map(repr, names[:20])) or "none"
            raise ConfigError(f"{artifacts.store.url} has no artifact {arguments.name!r}. Those there: {there}.")
        names = [arguments.name]
    listed = [pair for name in names for pair in _versions(artifacts, name)]
    if arguments.json:
        output.json([as_json(version, aliases) for version, aliases in listed])
    elif listed:
        _print(listed, output)
    return 0


def as_json(version: Version, aliases: list[str]) -> dict[str, object]:
    """Returns what a line says of a version."""
    manifest = version.manifest
    return {
        "ref": version.ref,
        "name": version.name,
        "version": version.number,
        "type": version.type,
        "digest": version.digest,
        "aliases": aliases,
        "rows": {name: table.rows for name, table in manifest.tables.items()},
        "size_bytes": sum(table.size_bytes for table in manifest.tables.values()),
        "metrics": {name: strict(value) for name, value in version.metrics.items()},
        "run": manifest.run_id,
        "created": version.created.isoformat(),
    }


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Returns metrics on one line."""
    return " ".join(f"{printable(name)}={compact(value)}" for name, value in metrics.items())


def _versions(artifacts: Artifacts, name: str) -> Iterator[tuple[Version, list[str]]]:
    aliases = artifacts.aliases(name)
    for version in artifacts.versions(name):
        yield version, [alias for alias, number in aliases.items() if number == version.number]


def _print(listed: list[tuple[Version, list[str]]], output: Output) -> None:
    def texts(values: Iterator[str]) -> list[str]:
        return [output.shortened(printable(value), _MAX_TEXT) or "-" for value in values]

    versions = [version for version, _ in listed]
    tables = [list(version.manifest.tables.values()) for version in versions]
    columns = [
        Column("version", texts(version.ref for version in versions), style="bold"),
        Column("type", texts(version.type for version in versions)),
        Column("aliases", texts(" ".join(aliases) for _, aliases in listed)),
        Column("rows", [str(sum(table.rows for table in some)) for some in tables], is_number=True),
        Column("size", [size(sum(table.size_bytes for table in some)) for some in tables], is_number=True),
        Column("metrics", texts(metrics_text(version.metrics) for version in versions)),
        Column("run", texts(version.manifest.run_id for version in versions)),
        Column("time (UTC)", [f"{version.created:%Y-%m-%d %H:%M:%S}" for version in versions]),
    ]
    output.table([column for column in columns if any(cell != "-" for cell in column.cells)])
