"""``mlog artifacts diff STORE A B``: in what two versions differ, without a look at their rows."""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ml.cli.numbers import compact
from ml.cli.output import Column, Output, printable
from ml.cli.store_choice import opened_store
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.manifest import Manifest, TableEntry
from ml.loggers.strict_json import Json, strict

_MAX_TEXT = 60  # columns of a terminal


class Difference(NamedTuple):
    """One thing in which two versions differ.

    Attributes:
        what: ``"type"``, ``"rows of eval_data"``, ``"metrics loss"``.
        before: In the first; ``None``: not there.
        after: In the second; ``None``: not there.
    """

    what: str
    before: Json
    after: Json


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Prints the differences.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such directory.
        ConfigError: There is no such version.
        FormatError: One is damaged.
        WriteError: An object store does not answer.
    """
    artifacts = Artifacts(opened_store(arguments.store, arguments))
    before, after = artifacts.get(arguments.before), artifacts.get(arguments.after)
    found = list(differences(before.manifest, after.manifest))
    is_same = before.digest == after.digest
    if arguments.json:
        listed = [one._asdict() for one in found]
        output.json({"before": before.ref, "after": after.ref, "same_content": is_same, "differences": listed})
        return 0
    if found:
        output.table(
            [
                Column("", [printable(one.what) for one in found]),
                *(
                    Column(printable(ref), [output.shortened(_text(value), _MAX_TEXT) for value in values])
                    for ref, values in (
                        (before.ref, [one.before for one in found]),
                        (after.ref, [one.after for one in found]),
                    )
                ),
            ]
        )
    output.line("Their content is the same." if is_same else "Their content differs.")
    return 0


def differences(before: Manifest, after: Manifest) -> Iterator[Difference]:
    """Yields in what two versions differ: type, tables, what they were made of, metadata, metrics."""
    if before.type != after.type:
        yield Difference("type", before.type, after.type)
    for name in dict.fromkeys((*before.tables, *after.tables)):
        yield from _of_tables(name, before.tables.get(name), after.tables.get(name))
    yield from _of_mappings("made of", dict.fromkeys(before.used, True), dict.fromkeys(after.used, True))
    yield from _of_mappings("metadata", before.metadata, after.metadata)
    yield from _of_mappings("metrics", _strict(before.metrics), _strict(after.metrics))


def _of_tables(name: str, before: TableEntry | None, after: TableEntry | None) -> Iterator[Difference]:
    if before is None or after is None:
        rows = [None if table is None else f"{table.rows} rows" for table in (before, after)]
        yield Difference(f"table {name}", *rows)
        return
    kinds = [{str(column.name): column.kind or "unknown" for column in table.columns} for table in (before, after)]
    yield from _of_mappings(f"column of {name}", *kinds)
    references = [{str(column.name): column.references for column in table.columns} for table in (before, after)]
    for column in references[0].keys() & references[1].keys():
        if references[0][column] != references[1][column]:
            yield Difference(f"references of {name} {column}", references[0][column], references[1][column])
    for what, values in {
        "rows": (before.rows, after.rows),
        "media files": (before.media_count, after.media_count),
        "bytes": (before.size_bytes, after.size_bytes),
    }.items():
        if values[0] != values[1]:
            yield Difference(f"{what} of {name}", *values)
    if [part.ref for part in before.parts] != [part.ref for part in after.parts] and before.rows == after.rows:
        yield Difference(f"values of {name}", "these", "others")


def _of_mappings(what: str, before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[Difference]:
    for key in dict.fromkeys((*before, *after)):
        if before.get(key) != after.get(key) or (key in before) != (key in after):
            yield Difference(f"{what} {key}", before.get(key), after.get(key))


def _strict(metrics: Mapping[str, float]) -> dict[str, Json]:
    return {name: strict(value) for name, value in metrics.items()}


def _text(value: Json) -> str:
    if value is None:
        return "-"
    if value is True:
        return "yes"
    if isinstance(value, int | float):
        return compact(value)
    return printable(value if isinstance(value, str) else json.dumps(value, allow_nan=False)) or "-"
