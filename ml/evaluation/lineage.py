"""Which runs made a version, and which used it: a file each, created once."""

from collections.abc import Callable

from ml.core.errors import ConfigError
from ml.evaluation.layout import Role, lineage_key, lineage_prefix
from ml.io.store import Store
from ml.loggers.strict_json import encoder, loads, parsing, text

MAX_LINEAGE_BYTES = 2**16
_encode = encoder((",", ":"))


class Lineage:
    """The runs of a store's versions.

    Args:
        store: Holds them.
        wall_clock: Seconds since 1970.
    """

    def __init__(self, store: Store, *, wall_clock: Callable[[], float]) -> None:
        self._store, self._wall_clock = store, wall_clock

    def add(self, name: str, number: int, role: Role, run_id: str) -> None:
        """Keeps that a run made or used a version; once is enough.

        Raises:
            ConfigError: The run has no id.
            WriteError: It cannot be kept now.
        """
        if not run_id:
            raise ConfigError(f"Who uses {name}:v{number} is not known. Give Artifacts a run_id.")
        # False: it was kept before, at another time.
        self._store.create(
            lineage_key(name, number, role, run_id), _encode({"run": run_id, "time": self._wall_clock()})
        )

    def runs(self, name: str, number: int, role: Role) -> list[str]:
        """Returns the ids of the runs that made or used a version, sorted.

        Raises:
            FormatError: A file is damaged.
            WriteError: The store does not answer.
        """
        keys = [entry.key for entry in self._store.list(lineage_prefix(name, number, role))]
        return sorted(run_of(self._store.get(key, max_bytes=MAX_LINEAGE_BYTES), key) for key in keys)


def run_of(data: bytes, key: str) -> str:
    """Returns the id of the run that a file is about.

    Raises:
        FormatError: It is no such file.
    """
    with parsing("not what is kept of a run", key):
        return text(loads(data)["run"])
