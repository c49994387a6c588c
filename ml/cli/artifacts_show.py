"""``mlog artifacts show STORE REF``: a version, but for its rows."""

import argparse
import json

from ml.cli.artifacts_ls import as_json, metrics_text
from ml.cli.numbers import size
from ml.cli.output import Column, Output, printable
from ml.cli.store_choice import opened_store
from ml.evaluation.artifacts import Artifacts, Version
from ml.evaluation.manifest import TableEntry


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Shows the version.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such directory.
        ConfigError: There is no such version.
        FormatError: It is damaged.
        WriteError: An object store does not answer.
    """
    artifacts = Artifacts(opened_store(arguments.store, arguments))
    version = artifacts.get(arguments.ref)
    runs = {"logged_by": artifacts.logged_by(version), "used_by": artifacts.used_by(version)}
    aliases = version.aliases
    if arguments.json:
        tables = {name: _table_as_json(table) for name, table in version.manifest.tables.items()}
        about = {**as_json(version, aliases), **runs, "used": list(version.used), "metadata": dict(version.metadata)}
        output.json({**about, "tables": tables})
        return 0
    _print(version, {"aliases": aliases, "made of": list(version.used), **runs}, output)
    return 0


def _print(version: Version, lists: dict[str, list[str]], output: Output) -> None:
    output.line(f"{printable(version.ref)}  {printable(version.type)}", style="bold")
    facts = {
        "time (UTC)": f"{version.created:%Y-%m-%d %H:%M:%S}",
        "digest": version.digest,
        **{name.replace("_", " "): ", ".join(map(printable, some)) for name, some in lists.items()},
        "metrics": metrics_text(version.metrics),
        "metadata": printable(json.dumps(version.metadata, allow_nan=False)) if version.metadata else "",
    }
    width = max(map(len, facts))
    for name, text in facts.items():
        if text:
            output.line(f"  {name:<{width}}  {text}")
    for name, table in version.manifest.tables.items():
        output.line()
        output.line(
            f"{printable(name)}  {table.rows} rows in {len(table.parts)} parts, {table.media_count} media files, "
            f"{size(table.size_bytes)}",
            style="bold",
        )
        if table.columns:
            columns = [
                Column("column", [printable(column.name) for column in table.columns]),
                Column("kind", [column.kind or "-" for column in table.columns]),
                Column("refers to", [printable(column.references) or "-" for column in table.columns]),
            ]
            output.table([column for column in columns if set(column.cells) != {"-"}], indent=2)


def _table_as_json(table: TableEntry) -> dict[str, object]:
    return {
        "columns": [column.to_json() for column in table.columns],
        "rows": table.rows,
        "parts": [{"key": part.ref.key, "rows": part.rows, "size_bytes": part.ref.size_bytes} for part in table.parts],
        "media_count": table.media_count,
        "media_bytes": table.media_bytes,
    }
