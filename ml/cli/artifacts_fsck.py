"""``mlog artifacts fsck STORE``: are its versions whole?"""

import argparse

from ml.cli.output import Output, printable
from ml.cli.store_choice import opened_store
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.checking import fsck


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Prints what is wrong; returns 1 if anything is.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such directory.
        ConfigError: The URL is none.
        WriteError: An object store does not answer.
    """
    artifacts = Artifacts(opened_store(arguments.store, arguments))
    found = sorted(fsck(artifacts, deep=arguments.deep), key=lambda one: one.severity == "note")
    problems = [one for one in found if one.severity == "problem"]
    if arguments.json:
        output.json({"whole": not problems, "found": [one._asdict() for one in found]})
        return int(bool(problems))
    for one in found:
        style = "bold red" if one.severity == "problem" else "dim"
        output.line(f"{one.severity}: {printable(one.key)}: {printable(one.text)}", style=style)
    if not artifacts.names():
        output.line("There is no artifact.")
    elif not problems:
        blobs = "every blob was read" if arguments.deep else "the sizes of all blobs are right"
        output.line(f"Everything is whole; {blobs}.")
    return int(bool(problems))
