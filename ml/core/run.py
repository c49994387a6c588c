"""What one attempt of a run is: its directory, its rank, and its clocks.

Time, rank and paths come from here and from nowhere else, so a test that gives
a fake clock sees the same behaviour as a run of three weeks.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ml.core.errors import ConfigError

PRIMARY_RANK_VARIABLE = "ML_PRIMARY_RANK"

_RANK_VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)


class RunContext:
    """One attempt of a run, as every backend of it sees it.

    Attributes:
        directory: The run's directory. It need not exist.
        attempt: 1 for the first start of the run, one more for each resume.
        rank: This process among ``world_size``.
        world_size: How many processes log to this run.
        primary_rank: The one that writes what all share. Given as a negative number, it counts from the end.
        clock: Monotonic seconds, for intervals.
        wall_clock: Unix seconds, for data only.
        status: How the run ended: ``finished``, ``failed`` or ``interrupted``, as its record says it. ``None`` until
            its backends are closed, and where nobody knows.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        attempt: int = 1,
        rank: int = 0,
        world_size: int = 1,
        primary_rank: int = 0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if attempt < 1:
            raise ConfigError(f"An attempt is numbered from 1, got {attempt}.")
        if not 0 <= rank < world_size:
            raise ConfigError(f"A rank lies in 0 ... world_size - 1, got rank {rank} of {world_size}.")
        self.directory = Path(directory)
        self.attempt, self.rank, self.world_size = attempt, rank, world_size
        self.primary_rank = resolve_primary_rank(primary_rank, world_size, {})
        self.clock, self.wall_clock = clock, wall_clock
        self.status: str | None = None

    @property
    def is_primary(self) -> bool:
        """Whether this process writes the backends that all ranks share."""
        return self.rank == self.primary_rank

    def __repr__(self) -> str:
        return f"RunContext({str(self.directory)!r}, attempt={self.attempt}, rank={self.rank}/{self.world_size})"


def detect_rank(environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Returns ``(rank, world_size)`` of this process.

    An initialised ``torch.distributed`` decides; then ``RANK`` (torchrun),
    ``SLURM_PROCID`` and ``OMPI_COMM_WORLD_RANK`` with their sizes; then ``LOCAL_RANK``, where ``NODE_RANK`` is 0
    and ``WORLD_SIZE`` set, as for the processes that Lightning starts; else (0, 1).

    Raises:
        ConfigError: A variable is set, but is not a number or out of range.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    for rank_name, size_name in _RANK_VARIABLES:
        if rank_name in environ:
            rank = _number(environ, rank_name)
            size = _number(environ, size_name) if size_name in environ else rank + 1
            if not 0 <= rank < size:
                raise ConfigError(f"{rank_name}={rank} does not fit {size_name}={size}: ranks are numbered from 0.")
            return rank, size
    if environ.get("NODE_RANK") == "0" and "LOCAL_RANK" in environ and "WORLD_SIZE" in environ:
        rank, size = _number(environ, "LOCAL_RANK"), _number(environ, "WORLD_SIZE")
        return (rank, size) if 0 <= rank < size else (0, 1)
    return 0, 1


def resolve_primary_rank(configured: int | None, world_size: int, environ: Mapping[str, str] = os.environ) -> int:
    """Returns the rank that decides the run's directory and writes what all ranks share.

    Args:
        configured: As configured, a negative number counting from the end: -1 is the last. ``None`` is what
            ``ML_PRIMARY_RANK`` says, else 0.
        world_size: How many ranks there are.
        environ: Environment variables.

    Raises:
        ConfigError: There is no such rank, or the variable is no number.
    """
    rank, source = configured, "primary_rank"
    if rank is None:
        source = PRIMARY_RANK_VARIABLE
        rank = _number(environ, source) if environ.get(source) else 0
    if not -world_size <= rank < world_size:
        raise ConfigError(
            f"{source} must lie in {-world_size} ... {world_size - 1} where there are {world_size} ranks, got {rank!r}."
        )
    return rank % world_size


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except ValueError:
        raise ConfigError(f"The environment variable {name} must be a whole number, got {environ[name]!r}.") from None
