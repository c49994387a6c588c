"""What a tracer is told, checked before anything starts."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ml.core.errors import ConfigError
from ml.db.files import sqlite_file
from ml.tracing.destination import ENDPOINT_VARIABLE
from ml.tracing.features import Reduction
from ml.tracing.output import NmsConfig

if TYPE_CHECKING:
    from ml.loggers.multi import MultiLogger

Epochs = Literal["latest", "all"] | int
Fields = Sequence[Mapping[str, str]]

_INTEGER = 2**63  # what a database has a number for


class Options(NamedTuple):
    """The arguments that every tracer has; ``ml.tracing.monitoring.MonitoringLogger`` describes them."""

    model_name: str
    version_name: str
    n_epoch: Epochs
    target_layers: Mapping[str, str] | None
    additional_fields: Fields | None
    additional_label_fields: Fields | None
    auto_sync: bool
    force_table_recreate: bool
    api_endpoint: str | None
    api_key: str | None
    n_class: int | None
    nms: NmsConfig
    database: str | Path
    feature_reductions: Mapping[str, Reduction] | None
    max_candidates: int
    thumbnail_px: int | None
    logger: "MultiLogger | None"
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    max_queue_bytes: int

    def checked(self) -> "Options":
        """Returns this, with the endpoint that the environment says where none was given.

        Raises:
            ConfigError: One of them makes no sense.
        """
        for argument in ("model_name", "version_name"):
            name = getattr(self, argument)
            if not isinstance(name, str) or not name.strip():
                raise ConfigError(f"{argument} is a name, got {name!r:.80}.")
        check_epochs(self.n_epoch)
        for argument, least in (("n_class", 1), ("thumbnail_px", 1), ("max_candidates", 1), ("max_queue_bytes", 1)):
            number = getattr(self, argument)
            is_whole = isinstance(number, int) and not isinstance(number, bool)
            if number is not None and not (is_whole and least <= number < _INTEGER):
                raise ConfigError(f"{argument} is a whole number from {least} on, got {number!r:.80}.")
        for argument in ("target_layers", "feature_reductions"):
            chosen = getattr(self, argument)
            if chosen is not None and not isinstance(chosen, Mapping):
                raise ConfigError(f"{argument} is a mapping from aliases, got {chosen!r:.80}.")
        unknown = sorted(set(self.feature_reductions or ()) - set(self.target_layers or ()))
        if unknown:
            raise ConfigError(
                f"feature_reductions names {', '.join(map(repr, unknown))}, which target_layers does not."
            )
        for alias, reduction in (self.feature_reductions or {}).items():
            if not isinstance(reduction, Reduction):
                raise ConfigError(
                    f"feature_reductions has a Reduction for each alias, and {reduction!r:.80} for {alias!r}."
                    ' Write Reduction("mean").'
                )
        file = sqlite_file(self.database)
        if file is not None and file.is_dir():
            raise ConfigError(f"database is a file or a URL, and {str(file)!r:.200} is a directory.")
        self.nms.checked()
        return self._replace(api_endpoint=self.api_endpoint or os.environ.get(ENDPOINT_VARIABLE) or None)


def check_epochs(n_epoch: object) -> None:
    """Refuses what is no choice of epochs.

    Raises:
        ConfigError: It is neither ``"latest"`` nor ``"all"`` nor a number from 0 on.
    """
    if n_epoch not in ("latest", "all") and not _is_epoch(n_epoch):
        raise ConfigError(f"n_epoch is 'latest', 'all' or a number from 0 on, got {n_epoch!r:.80}.")


def check_epoch(n_epoch: int) -> int:
    """Returns the number of an epoch.

    Raises:
        ConfigError: It is none.
    """
    if not _is_epoch(n_epoch):
        raise ConfigError(f"n_epoch of a call is a number from 0 on, got {n_epoch!r:.80}.")
    return n_epoch


def _is_epoch(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _INTEGER
