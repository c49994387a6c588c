"""What a benchmark database holds, as it is read back: runs, their processes, and measurements."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from ml.benchmarks.measurement import Status
from ml.core.plain import Plain
from ml.loggers.strict_json import loads, number, parsing, real, text

KindT = TypeVar("KindT", list[Any], dict[str, Any])


class Process(NamedTuple):
    """A process of a run.

    Attributes:
        id: In this database, of its rows.
        uuid: Of the run.
        rank: Among the ranks of ``torch.distributed``.
        world_size: How many ranks there are.
        description: Of the run.
        name: Of the program.
        status: ``running``, ``finished``, ``failed`` or ``interrupted``; one that was killed stays ``running``.
        started: UTC.
        ended: UTC; ``None`` where it has not.
        host: The machine.
        pid: The process's number there.
        argv: The command line, without secrets.
        versions: Of Python and the libraries in use.
        git_commit: What was checked out; ``None`` where that is not known.
        git_dirty: Whether tracked files were changed since.
        sampler_cpu_s: CPU seconds that measuring itself took.
        lost: Rows that were given up.
    """

    id: int
    uuid: str
    rank: int
    world_size: int
    description: str
    name: str
    status: str
    started: datetime
    ended: datetime | None
    host: str
    pid: int
    argv: list[str]
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    sampler_cpu_s: float
    lost: int


class BenchmarkRun(NamedTuple):
    """A run: its processes, and what they have in common.

    Attributes:
        uuid: Of the run.
        description: What it is.
        name: Of the program.
        status: ``failed`` or ``interrupted`` if a process is, ``running`` if one has not ended, else ``finished``.
        started: UTC, of the first process.
        ended: UTC, of the last process; ``None`` where one has not.
        processes: In the order in which they began.
    """

    uuid: str
    description: str
    name: str
    status: str
    started: datetime
    ended: datetime | None
    processes: tuple[Process, ...]


class StoredMeasurement(NamedTuple):
    """A measurement as it was kept; see ``ml.benchmarks.Measurement``.

    Attributes:
        uuid: Of the run.
        process: The id of the process.
        number: Counts the measurements of the process, from 1.
    """

    uuid: str
    process: int
    number: int
    description: str
    type: str
    value: float | None
    unit: str
    source: str
    reason: str
    method: str
    call: int
    status: Status
    error: str
    rank: int
    at_s: float
    duration_s: float
    time: datetime
    data: Plain


class Kind(NamedTuple):
    """What a run has measurements of, and how many."""

    uuid: str
    type: str
    description: str
    measurements: int


def run_of(processes: Sequence[Process]) -> BenchmarkRun:
    """Returns the run that these processes are, the first one first."""
    first = processes[0]
    ended = [process.ended for process in processes if process.ended is not None]
    statuses = {process.status for process in processes}
    status = next((s for s in ("failed", "interrupted", "running") if s in statuses), first.status)
    return BenchmarkRun(
        first.uuid,
        first.description,
        first.name,
        status,
        min(process.started for process in processes),
        max(ended) if len(ended) == len(processes) else None,
        tuple(processes),
    )


def process_of(row: dict[str, Any]) -> Process:
    """Returns a row of ``runs``.

    Raises:
        FormatError: It is damaged.
    """
    with parsing("no process of a run"):
        argv, versions = _of(list, _json(row["argv"] or "[]")), _of(dict, _json(row["versions"] or "{}"))
        row["argv"] = [text(word) for word in argv]
        row["versions"] = {name: text(version) for name, version in versions.items()}
        row["sampler_cpu_s"], row["lost"] = real(number(row["sampler_cpu_s"])), int(row["lost"])
        return Process(**{name: row[name] for name in Process._fields})


def measurement_of(uuid: str, row: dict[str, Any]) -> StoredMeasurement:
    """Returns a row of ``measurements`` of a run.

    Raises:
        FormatError: It is damaged.
    """
    with parsing("no measurement"):
        row["value"] = real(number(row["value"])) if row["has_value"] else None
        row["at_s"], row["duration_s"] = real(number(row["at_s"])), real(number(row["duration_s"]))
        row["data"] = None if row["data"] is None else _json(row["data"])
        row["uuid"], row["process"] = uuid, row["run_id"]
        return StoredMeasurement(**{name: row[name] for name in StoredMeasurement._fields})


def _of(kind: type[KindT], value: object) -> KindT:
    if not isinstance(value, kind):
        raise TypeError(f"no {kind.__name__}: {value!r:.60}")
    return value


def _json(value: object) -> Any:
    return loads(text(value).encode("utf-8", "surrogatepass"))
