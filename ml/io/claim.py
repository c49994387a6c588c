"""Chooses the directory of a run, and makes its next attempt; see ``ml.io.rundir``.

Making a directory is the lock: of any number of processes that start at once,
also on several machines, exactly one makes ``attempts``, or an attempt's number.
"""

import errno
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Literal

from ml.core.errors import ConfigError, WriteError
from ml.io.fileops import OPS
from ml.io.files import make_directories
from ml.io.runrecord import attempts_of, read_record

Resume = bool | Literal["auto"]
"""Whether to join a run that is there; ``"auto"``: if it is, else to start it."""

DIRECTORY_VARIABLE = "ML_RUN_DIR"

_log = logging.getLogger("ml")

_JOBS = (  # how often a job was restarted, and which job that is
    ("TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID"),
    ("SLURM_RESTART_COUNT", "SLURM_JOB_ID"),
)
_WRONG_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


def claim_attempt(
    path: Path | None,
    root: Path,
    environ: Mapping[str, str],
    wall_clock: Callable[[], float],
    *,
    resume: Resume,
    exactly: bool,
) -> tuple[Path, int]:
    """Makes the next attempt of a run that is to be joined, else the first one of a new run.

    Args:
        path: Where the run is asked for, absolute; ``None`` for a default name under ``root``.
        root: Where runs with a default name lie, absolute.
        environ: Says whether, and which, job was restarted.
        wall_clock: Unix seconds, for a default name.
        resume: Whether to join the run at ``path``; ``"auto"``: if there is one.
        exactly: Whether a directory beside ``path`` will not do.

    Returns:
        The run's directory and the attempt's number, which nobody else gets.

    Raises:
        ConfigError: There is no run to resume, or the directory cannot be made there.
        WriteError: The directory cannot be made now.
    """
    with _explained(path or root):
        run = _make_or_join(path, root, environ, wall_clock, resume=resume, exactly=exactly)
        return run, _make_attempt(run)


def job_ids(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns which jobs this process belongs to, by the variable that says so."""
    # torchrun says none where nobody named the job.
    return {name: environ[name] for _, name in _JOBS if environ.get(name) not in (None, "", "none")}


def default_name(wall_clock: Callable[[], float] = time.time) -> str:
    """Returns a name for a run that starts now, in local time: ``2026-01-02_03-04-05``."""
    return datetime.fromtimestamp(wall_clock()).astimezone().strftime("%Y-%m-%d_%H-%M-%S")


def _make_or_join(
    path: Path | None,
    root: Path,
    environ: Mapping[str, str],
    wall_clock: Callable[[], float],
    *,
    resume: Resume,
    exactly: bool,
) -> Path:
    if resume and path is not None and _holds_run(path):
        _refuse_if_anybodys(path)
        return path
    if resume is True:
        where = "" if path is None else f" in {path}"
        raise ConfigError(f"There is no run to resume{where}. Name a directory that has attempts/ in it.")
    if resume and path is None:
        raise ConfigError("resume='auto' needs the directory of the run, to join it where it is there. Name one.")
    joined = _run_of_restarted_job(_candidates(path, root, exactly=exactly), environ, is_named=path is not None)
    if joined is not None:
        return joined
    if path is None:
        path = root / default_name(wall_clock)
    if exactly and _holds_run(path):
        raise ConfigError(
            f"{DIRECTORY_VARIABLE} names {path}, which holds a run. Resume it, or name another directory."
        )
    return _make_run(path)


def _candidates(path: Path | None, root: Path, *, exactly: bool) -> list[Path]:
    """Returns the runs that may be this job's: at ``path``, beside it where that was taken, or all in ``root``."""
    parent = root if path is None else path.parent
    pattern = ".*" if path is None else re.escape(path.name) + ("" if exactly else "(-[0-9]+)?")
    if not parent.is_dir():
        return []
    return [run for run in parent.iterdir() if re.fullmatch(pattern, run.name) and _holds_run(run)]


def _run_of_restarted_job(runs: list[Path], environ: Mapping[str, str], *, is_named: bool) -> Path | None:
    """Returns the newest of the runs that this job began before it was restarted; ``None`` if it was not."""
    for counter, name in _JOBS:
        if not environ.get(counter, "").isdigit() or int(environ[counter]) == 0:
            continue
        job = job_ids(environ).get(name)
        newest_first = sorted(
            ((*_start_and_job(run, name), run) for run in runs), key=lambda found: found[0], reverse=True
        )
        ours = [run for _, other, run in newest_first if other is not None and other == job]
        # What recorded no job is taken for ours only where its directory was asked for.
        perhaps = [run for _, other, run in newest_first if is_named and (other is None or job is None)]
        if ours or perhaps:
            return (ours or perhaps)[0]
    return None


def _start_and_job(run: Path, name: str) -> tuple[str, str | None]:
    record = read_record(run, max(attempts_of(run), default=0))
    jobs = record.get("job")
    return str(record.get("start", "")), jobs.get(name) if isinstance(jobs, dict) else None


def _holds_run(path: Path) -> bool:
    return (path / "attempts").is_dir()


def _make_run(path: Path) -> Path:
    """Makes the first of ``path``, ``path-2``, ... that holds no run; making ``attempts`` is what decides."""
    for number in count(1):
        made = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            if number == 1:
                make_directories(made)
                _refuse_if_anybodys(made)
            else:
                _make_new(made)  # one that is there, but was not asked for, is somebody's
            _make_new(made / "attempts")
        except FileExistsError:
            if number == 1 and not _holds_run(made):
                raise  # a file is in the way
            continue
        if number > 1:
            _log.warning("%s holds a run, so this one goes to %s. Resume the former to continue it.", path, made)
        return made
    raise AssertionError("numbers do not end")


def _make_attempt(run: Path) -> int:
    for number in count(max(attempts_of(run), default=0) + 1):
        with suppress(FileExistsError):
            _make_new(run / "attempts" / str(number))
            return number
    raise AssertionError("numbers do not end")


def _make_new(path: Path) -> None:
    """Makes a directory that nobody else can have made, its name on the disk."""
    OPS.make_directory(path)
    OPS.sync_directory(path.parent)


def _refuse_if_anybodys(run: Path) -> None:
    """Raises where somebody else's directory is open to all: what a run trusts to be its own could be swapped there."""
    status = run.stat()
    if status.st_uid != os.geteuid() and status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise ConfigError(
            f"{run} belongs to user {status.st_uid} and everybody may replace files in it. Name a directory inside "
            "it, or take the permission to write away from others."
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, WriteError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        message = f"Cannot make the run directory {path}: {cause.strerror or cause}."
        if cause.errno in _WRONG_PLACE:
            raise ConfigError(f"{message} Name another directory.") from cause
        raise WriteError(message) from cause
