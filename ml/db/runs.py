"""Which run a process belongs to: the ranks of ``torch.distributed`` share one.

Its uuid is, in this order,

1. what an environment variable of the product says, the same on all of them;
2. what the first of them told the process group's store, if ``init_process_group`` came before;
3. else each process is a run of its own.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Mapping

from ml.core.errors import ConfigError
from ml.io.rankstore import Store

_RUN = re.compile(r"[0-9A-Za-z_.\-]{1,64}")


def run_uuid(
    product: str, rank: int, subject: str, store: Store | None, environ: Mapping[str, str] = os.environ
) -> str:
    """Returns the uuid of the run, the same on all of its ranks. None of them waits for another one.

    Args:
        product: Whose runs they are: of ``"benchmark"`` the variable is ``ML_BENCHMARK_RUN``.
        rank: Of this process.
        subject: What the run is called: ranks that begin several runs tell them apart by it, and by their order.
        store: Of the process group; ``None`` where there is none.
        environ: Environment variables.

    Raises:
        ConfigError: The variable is no name for a run.
    """
    variable = run_variable(product)
    if named := environ.get(variable):
        return checked_run(named, variable)
    own = str(uuid.uuid4())
    if store is None:
        return own
    digest = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    prefix = f"ml/{product}/{environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{digest}"
    key = f"{prefix}/{store.add(f'{prefix}/starts/{rank}', 1)}"
    if store.add(f"{key}/claims", 1) == 1:
        store.set(key, own)
        return own
    return store.get(key).decode()


def run_variable(product: str) -> str:
    """Returns the environment variable that names the run of a product's."""
    return f"ML_{product.upper()}_RUN"


def checked_run(named: str, what: str) -> str:
    """Returns a name of a run.

    Args:
        named: 1 to 64 letters, digits and ``_ . -``.
        what: Says it, for the message.

    Raises:
        ConfigError: It is none.
    """
    if not _RUN.fullmatch(named):
        raise ConfigError(
            f"{what} names a run with 1 to 64 letters, digits and _ . -, such as a uuid; got {named!r:.80}."
        )
    return named
