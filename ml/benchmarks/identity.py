"""Which run a process measures for, and what is known of the process.

A run may have several processes: the ranks of ``torch.distributed``. They share its uuid, which is, in this order,

1. what ``ML_BENCHMARK_RUN`` says, the same on all of them;
2. what the first of them told the process group's store, if ``init_process_group`` came before the benchmark;
3. else each process is a run of its own.
"""

import hashlib
import json
import os
import re
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from ml.core.errors import ConfigError
from ml.core.redact import Redactor
from ml.io.rankstore import Store
from ml.io.runrecord import describe_process

RUN_VARIABLE = "ML_BENCHMARK_RUN"

_RUN = re.compile(r"[0-9A-Za-z_.\-]{1,64}")


def run_uuid(rank: int, subject: str, store: Store | None, environ: Mapping[str, str] = os.environ) -> str:
    """Returns the uuid of the run, the same on all of its ranks. None of them waits for another one.

    Args:
        rank: Of this process.
        subject: What the run is called: ranks that begin several runs tell them apart by it, and by their order.
        store: Of the process group; ``None`` where there is none.
        environ: Environment variables.

    Raises:
        ConfigError: The variable is no name for a run.
    """
    if named := environ.get(RUN_VARIABLE):
        if not _RUN.fullmatch(named):
            raise ConfigError(
                f"{RUN_VARIABLE} names a run with 1 to 64 letters, digits and _ . -, such as a uuid; got {named!r:.80}."
            )
        return named
    own = str(uuid.uuid4())
    if store is None:
        return own
    digest = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    prefix = f"ml/benchmark/{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{digest}"
    key = f"{prefix}/{store.add(f'{prefix}/starts/{rank}', 1)}"
    if store.add(f"{key}/claims", 1) == 1:
        store.set(key, own)
        return own
    return store.get(key).decode()


def script_name() -> str:
    """Returns the file name of the outermost script; ``""`` in an interactive session."""
    main = getattr(sys.modules.get("__main__"), "__file__", None) or (sys.argv or [""])[0]
    return "" if main in ("", "-c", "-m") else Path(main).name


def described(redactor: Redactor) -> dict[str, object]:
    """Returns the columns of ``runs`` that say who measures, where, and on which versions; secrets are out of them."""
    about = describe_process(redactor, sys.argv, os.environ)
    return {
        "host": str(about["host"]),
        "pid": about["pid"],
        "argv": json.dumps(about["argv"]),
        "versions": json.dumps(about["versions"]),
    }
