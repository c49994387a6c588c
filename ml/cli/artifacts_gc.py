"""``mlog artifacts gc STORE``: removes blobs that no version names."""

import argparse
import re

from ml.cli.numbers import size
from ml.cli.output import Output
from ml.cli.store_choice import opened_store
from ml.core.errors import ConfigError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.collection import gc

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME = re.compile(r"(\d{1,9})([smhd])")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Removes them, and says how many there were.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such directory.
        ConfigError: --grace is no time, or a publication is under way.
        FormatError: A manifest is damaged: what it needs is not known.
        WriteError: An object store does not answer.
    """
    grace_s = seconds_of(arguments.grace)
    artifacts = Artifacts(opened_store(arguments.store, arguments))
    collected = gc(artifacts, grace_s=grace_s, dry_run=arguments.dry_run)
    if arguments.json:
        output.json({"dry_run": arguments.dry_run, **collected._asdict()})
        return 0
    removed = "Would remove" if arguments.dry_run else "Removed"
    output.line(
        f"{removed} {collected.blobs} blobs ({size(collected.size_bytes)}) and {collected.marks} marks of what was "
        f"killed; {collected.kept} blobs are left."
    )
    return 0


def seconds_of(text: str) -> int:
    """Returns the seconds of ``90s``, ``30m``, ``12h`` or ``1d``.

    Raises:
        ConfigError: It is no such time.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ConfigError(f"--grace is a time such as 90s, 30m, 12h or 1d, got {text!r}.")
    return int(found[1]) * _UNITS_S[found[2]]
