"""What an attempt of a run records about itself, under ``attempts/<n>``; see ``ml.io.rundir``."""

import json
import logging
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from ml.core.errors import WriteError
from ml.core.redact import Redactor
from ml.io.atomic import write_atomically
from ml.io.git import MAX_PATCH_BYTES, read_git

Record = Mapping[str, object]
"""What a ``run.json`` holds."""

_log = logging.getLogger("ml")

_PRIVATE = 0o600  # all of it may hold configuration
_DISTRIBUTION = "ml-logbook"
_LIBRARIES = ("hydra", "numpy", "omegaconf", "tensorboard", "torch", "torchvision")
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def attempts_of(run: Path) -> list[int]:
    """Returns the numbers of a run's attempts, in order; none where there is no run."""
    try:
        names = os.listdir(run / "attempts")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def read_record(run: Path, attempt: int) -> Record:
    """Returns what an attempt recorded in ``run.json``; nothing where that is missing or damaged."""
    try:
        record = json.loads((run / "attempts" / str(attempt) / "run.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(run: Path, attempt: int, record: Record) -> None:
    """Replaces an attempt's ``run.json``; a failure is only warned of, since the run itself can go on."""
    _write(run, attempt, "run.json", (json.dumps(record, indent=2) + "\n").encode())


def write_config(run: Path, attempt: int, text: str) -> None:
    """Writes an attempt's ``config.yaml``; a failure is only warned of."""
    _write(run, attempt, "config.yaml", text.encode(errors="backslashreplace"))


def describe_process(redactor: Redactor, argv: Sequence[str], environ: Mapping[str, str]) -> Record:
    """Returns who runs what, where, and on which versions."""
    versions = {"python": platform.python_version()}
    with suppress(metadata.PackageNotFoundError):  # run from its sources
        versions[_DISTRIBUTION] = metadata.version(_DISTRIBUTION)
    for name in _LIBRARIES:  # those in use; importing one to ask it would take seconds
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            versions[name] = str(version)
    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "user": environ.get("USER") or environ.get("LOGNAME"),
        "argv": redactor.redact_argv(argv),
        "cwd": _working_directory(redactor),
        "versions": versions,
    }


def _working_directory(redactor: Redactor) -> str | None:
    try:
        return redactor.redact_text(os.getcwd())
    except OSError:  # it has been removed
        return None


def record_code(run: Path, attempt: int, redactor: Redactor, environ: Mapping[str, str]) -> Record | None:
    """Writes an attempt's ``git.patch``; returns commit, branch, remote and whether there were changes.

    ``None`` outside a repository, or where git does not answer in time.
    """
    git = read_git(Path.cwd(), environ)
    if git is None:
        return None
    truncated = git.patch is not None and len(git.patch) >= MAX_PATCH_BYTES
    if git.patch:
        # A line that was cut could show the start of a secret, and not be known for one.
        patch = git.patch[: git.patch.rfind(b"\n") + 1] if truncated else git.patch
        text = redactor.redact_text(patch.decode(errors="surrogateescape"))
        _write(run, attempt, "git.patch", text.encode(errors="surrogateescape"))
    return {
        "commit": git.commit,
        "branch": None if git.branch is None else redactor.redact_text(git.branch),
        "remote": None if git.remote is None else redactor.redact_text(git.remote),
        "dirty": None if git.patch is None else bool(git.patch),
        "patch_truncated": truncated,
    }


def to_timestamp(time_s: float) -> str:
    """Returns Unix seconds as text: ``2026-01-02T03:04:05.678901Z``."""
    return datetime.fromtimestamp(time_s, UTC).strftime(_TIME_FORMAT)


def from_timestamp(text: str) -> float:
    """Returns Unix seconds.

    Raises:
        ValueError: The text is no timestamp.
    """
    return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC).timestamp()


def _write(run: Path, attempt: int, name: str, data: bytes) -> None:
    try:
        write_atomically(run / "attempts" / str(attempt) / name, data, mode=_PRIVATE)
    except WriteError as error:
        _log.warning("The run goes on, but its record is incomplete. %s", error)
