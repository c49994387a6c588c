"""Makes the directory of a run, or of its next attempt, and records what was started.

Each attempt has a directory of its own, made exclusively, which is how it gets
its number; only that attempt rewrites what lies in it::

    runs/demo/attempts/1/run.json       who, where, when, which code, how it ended
    runs/demo/attempts/1/config.yaml    the configuration, without secrets
    runs/demo/attempts/1/git.patch      what differs from the commit, without secrets

A ``run.json`` that says ``running`` long after is that of a process that was killed.
"""

import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig, OmegaConf

from ml.core.errors import ConfigError
from ml.core.redact import Redactor
from ml.io.claim import DIRECTORY_VARIABLE, Resume, claim_attempt, default_name, job_ids
from ml.io.liveness import is_alive
from ml.io.rankstore import Store
from ml.io.runrecord import (
    Record,
    attempts_of,
    describe_process,
    from_timestamp,
    read_record,
    record_code,
    to_timestamp,
    write_config,
    write_record,
)
from ml.io.worker import Worker

__all__ = ["Resume", "RunDirectory", "Status", "default_name", "start_run_directory"]

_log = logging.getLogger("ml")

Status = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class RunDirectory:
    """The directory of a run, and one attempt in it.

    Attributes:
        path: The run's directory, absolute.
        attempt: 1 for the first start of the run, one more for each resume.
        started_s: Unix seconds at which the run's first attempt started.
        elapsed_time_s: Seconds of training in earlier attempts, as far as they were recorded.
    """

    path: Path
    attempt: int
    started_s: float
    elapsed_time_s: float = 0.0
    # Of the primary rank alone.
    _recorder: Worker[Record | str] | None = field(default=None, repr=False, compare=False)
    _wall_clock: Callable[[], float] = field(default=time.time, repr=False, compare=False)

    def record_config(self, config: DictConfig) -> None:
        """Records a configuration in the place of that which the attempt began with; does not wait for the disk.

        Args:
            config: Secrets are out of it already.
        """
        if self._recorder is not None:
            self._recorder.submit(OmegaConf.to_yaml(config), size_bytes=0)

    def finish(self, status: Status, *, elapsed_time_s: float | None = None, timeout_s: float = 10.0) -> None:
        """Records how the attempt ended, once: again does nothing. Ranks other than the primary one record nothing.

        A failure is only warned of: what the run logged is safe.

        Args:
            status: How it ended; ``interrupted`` by Ctrl-C or a signal.
            elapsed_time_s: Seconds of training in all attempts, this one included.
            timeout_s: How long the disk is waited for. One that takes longer may still take the record.
        """
        if self._recorder is None:
            return
        end = {"end": to_timestamp(self._wall_clock()), "status": status, "elapsed_time_s": elapsed_time_s}
        self._recorder.submit(end, size_bytes=0)
        if self._recorder.end(timeout_s):
            _log.warning(
                "%s does not record yet that the run is %s: its disk does not answer. The run may go on being shown"
                " as running.",
                self.path,
                status,
            )


def start_run_directory(
    directory: str | Path | None = None,
    *,
    root: str | Path = "runs",
    resume: Resume = False,
    config: object | None = None,
    rank: int = 0,
    world_size: int = 1,
    primary_rank: int = 0,
    store: Store | None = None,
    redactor: Redactor | None = None,
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    wall_clock: Callable[[], float] = time.time,
) -> RunDirectory:
    """Makes a new run, or joins one as its next attempt. Every rank calls it alike; the primary one makes it.

    A directory that holds a run is joined by ``resume``, or when Slurm or ``torchrun``
    has restarted the job; else the new run goes to ``<directory>-2``, ``-3``, ... and a
    warning says so. Any number of processes may start at once. A run that is still
    written by a process of this machine is joined too, with a warning.

    Args:
        directory: The run's directory; need not exist. By default what ``ML_RUN_DIR``
            says, else ``<root>/<date>_<time>``.
        root: Where runs without a ``directory`` are made, and a restarted job finds its own.
        resume: Whether to join the run in ``directory``; ``"auto"``: if there is one.
        config: What to record, less its secrets; see ``Redactor.redact_config``.
        rank: This process among ``world_size``.
        world_size: Processes that log to this run.
        primary_rank: The rank that decides, 0 ... ``world_size`` - 1.
        store: How the other ranks learn what the primary one decided. Without one they need
            ``ML_RUN_DIR``, which then is the directory on every rank.
        redactor: Takes secrets out; by default one that knows those of ``environ``.
        argv: The command line to record; by default ``sys.argv``.
        environ: Environment variables.
        wall_clock: Unix seconds.

    Raises:
        ConfigError: There is no run to resume, ``directory`` or ``resume`` is none, the directory
            cannot be made there, or this rank cannot learn which one it is.
        WriteError: The directory cannot be made now, as on a full disk.
    """
    _check(directory, resume)
    exactly = world_size > 1 and store is None and bool(environ.get(DIRECTORY_VARIABLE))
    if exactly:  # the other ranks look nowhere else
        directory = environ[DIRECTORY_VARIABLE]
    channel = _Channel(store, rank, environ) if world_size > 1 and store is not None else None
    if rank != primary_rank:
        return channel.learn() if channel is not None else _named_directory(rank, environ)

    redactor = redactor or Redactor(environ)
    argv = sys.argv if argv is None else argv
    redactor.learn_argv(argv)
    try:
        redactor.learn_config(config)
        settings = None if config is None else OmegaConf.to_yaml(redactor.redact_config(config))
        directory = directory or environ.get(DIRECTORY_VARIABLE)
        path, root = _absolute(directory) if directory else None, _absolute(root)
        joined, attempt = claim_attempt(path, root, environ, wall_clock, resume=resume, exactly=exactly)
    except Exception as error:
        if channel is not None:  # or the other ranks would wait for it
            channel.tell({"error": str(error)})
        raise
    earlier = _earlier_records(joined, attempt)
    _warn_of_living(joined, earlier)
    now_s = wall_clock()
    run = RunDirectory(joined, attempt, _started_s(earlier, now_s), _elapsed_time_s(earlier), _wall_clock=wall_clock)
    if channel is not None:
        channel.tell(
            {
                "path": str(run.path),
                "attempt": run.attempt,
                "started_s": run.started_s,
                "elapsed_time_s": run.elapsed_time_s,
            }
        )

    record: Record = {
        "id": next((record["id"] for record in earlier if "id" in record), secrets.token_hex(8)),
        "attempt": attempt,
        "status": "running",
        "start": to_timestamp(now_s),
        "end": None,
        "elapsed_time_s": None,
        "rank": rank,
        "world_size": world_size,
        "job": job_ids(environ),
        **describe_process(redactor, argv, environ),
    }
    write_record(joined, attempt, record)  # before git, which may take its time
    if settings is not None:
        write_config(joined, attempt, settings)
    record = {**record, "git": record_code(joined, attempt, redactor, environ)}
    write_record(joined, attempt, record)
    # Now: when the interpreter ends, which may be when the run does, no thread can be started any more.
    recorder = Worker("ml-record", partial(_record, run, record), max_bytes=1, linger_s=0.0)
    return replace(run, _recorder=recorder)


def _record(run: RunDirectory, record: Record, changes: list[Record | str]) -> None:
    for change in changes:
        if isinstance(change, str):
            write_config(run.path, run.attempt, change)
        else:
            write_record(run.path, run.attempt, {**record, **change})


def _check(directory: object, resume: object) -> None:
    if not isinstance(resume, bool) and not (isinstance(resume, str) and resume == "auto"):
        raise ConfigError(f"resume is True, False or 'auto', got {resume!r}.")
    if directory is None:
        return
    if not isinstance(directory, str | Path) or not str(directory) or "\0" in str(directory):
        raise ConfigError(f"The directory of a run is a path, got {directory!r}. Leave it out for a default name.")


def _warn_of_living(run: Path, earlier: list[Record]) -> None:
    for record in earlier:
        if record.get("status") == "running" and is_alive(record):
            _log.warning(
                "%s is still written by process %s, started %s: its steps are no longer shown from where those of this"
                " attempt begin. Close that run, end its process, or start this one in a directory of its own.",
                run,
                record.get("pid"),
                record.get("start"),
            )


class _Channel:
    """Carries what the primary rank decided to the other ranks: once for each start that all of them make.

    The starts are counted in the store, so it tells several runs of one process,
    and a job's restarts, apart.
    """

    def __init__(self, store: Store, rank: int, environ: Mapping[str, str]) -> None:
        self._store = store
        prefix = f"ml/run/{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        self._key = f"{prefix}/directory/{store.add(f'{prefix}/starts/{rank}', 1)}"

    def tell(self, message: Mapping[str, object]) -> None:
        self._store.set(self._key, json.dumps(message))

    def learn(self) -> RunDirectory:
        message = json.loads(self._store.get(self._key))
        if "error" in message:
            raise ConfigError(message["error"])
        return RunDirectory(Path(message["path"]), message["attempt"], message["started_s"], message["elapsed_time_s"])


def _named_directory(rank: int, environ: Mapping[str, str]) -> RunDirectory:
    """Returns what ``ML_RUN_DIR`` names, with the newest attempt that is there yet."""
    if not environ.get(DIRECTORY_VARIABLE):
        raise ConfigError(
            f"Rank {rank} cannot learn the run's directory. Call torch.distributed.init_process_group first,"
            f" or set {DIRECTORY_VARIABLE} on every rank."
        )
    path = _absolute(environ[DIRECTORY_VARIABLE])
    attempt = max(attempts_of(path), default=1)
    earlier = _earlier_records(path, attempt)
    return RunDirectory(
        path, attempt, _started_s(_earlier_records(path, attempt + 1), time.time()), _elapsed_time_s(earlier)
    )


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))


def _earlier_records(run: Path, attempt: int) -> list[Record]:
    return [read_record(run, number) for number in attempts_of(run) if number < attempt]


def _started_s(earlier: list[Record], now_s: float) -> float:
    for record in earlier:
        with suppress(ValueError):
            return from_timestamp(str(record.get("start")))
    return now_s


def _elapsed_time_s(earlier: list[Record]) -> float:
    recorded = (record.get("elapsed_time_s") for record in earlier)
    return max((float(seconds) for seconds in recorded if isinstance(seconds, int | float)), default=0.0)
