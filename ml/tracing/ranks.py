"""Which run the ranks of a job share, also where no process group tells them."""

import hashlib
import os
import platform
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ml.db.runs import run_uuid
from ml.io.rankstore import process_group_store

RUN_VARIABLE = "ML_TRACING_RUN"


class Runs:
    """Names the runs of a process; ranks that begin theirs in the same order have the same ones.

    Args:
        environ: Environment variables.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ, self._begun = environ, Counter[str]()

    def begin(self, rank: int, world_size: int, subject: str) -> str:
        """Returns the name of a new run, the same on all of its ranks. None of them waits for another one.

        It is what ``ML_TRACING_RUN`` says; or what the ranks told one another through the process group's store, if
        ``init_process_group`` came before; or made of what their launcher told all of them: Slurm, or torchrun on one
        machine. Else each process is a run of its own.

        Args:
            rank: Of this process.
            world_size: Of how many.
            subject: What the run is about: ranks that begin several runs tell them apart by it, and by their order.

        Raises:
            ConfigError: The variable is no name for a run.
        """
        self._begun[subject] += 1
        store = process_group_store() if world_size > 1 else None
        launched = _launcher(self._environ) if world_size > 1 and store is None else ""
        if not launched or self._environ.get(RUN_VARIABLE):
            return run_uuid("tracing", rank, subject, store, self._environ)
        restarts = self._environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        name = "\n".join((launched, restarts, subject, str(self._begun[subject])))
        return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _launcher(environ: Mapping[str, str]) -> str:
    """Returns what names this start of a job on all of its ranks, and no other one; empty where nothing does."""
    if "SLURM_JOB_ID" in environ and "SLURM_STEP_ID" in environ:
        keys = ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        return "\t".join(environ.get(key, "") for key in keys)
    if "TORCHELASTIC_RUN_ID" in environ and environ.get("LOCAL_WORLD_SIZE") == environ.get("WORLD_SIZE"):
        # On one machine the ranks have one parent; with the time of its start no later one is taken for it.
        with suppress(OSError, IndexError):
            parent = os.getppid()
            started = Path(f"/proc/{parent}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{platform.node()}\t{boot}\t{parent}\t{started}"
    return ""


RUNS = Runs()
"""Of this process."""
