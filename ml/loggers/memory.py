"""Keeps values in memory: for tests and notebooks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from omegaconf import DictConfig

from ml.core.errors import ConfigError
from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import Phase, State
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.values import Lazy

if TYPE_CHECKING:
    from pandas import DataFrame


class MemoryEntry(NamedTuple):
    """A value as it was written: a number, a text, a ``TableData``, or the array of another media value."""

    phase: Phase
    step: int
    namespace: str
    key: str
    value: object


@register_logger("memory", BaseLoggerConfig)
class MemoryLogger(BaseLogger[BaseLoggerConfig]):
    """Keeps every value that it is given, of every kind, in order.

    Attributes:
        entries: What was written. Complete after the group's ``flush`` or ``close``.
        states: The state of each write.
        config_logged: The run's configuration, or ``None``.
    """

    def __init__(self, config: BaseLoggerConfig) -> None:
        super().__init__(config)
        self.entries: list[MemoryEntry] = []
        self.states: list[State] = []
        self.config_logged: DictConfig | None = None
        self._rows: list[MemoryEntry] = []

    def initialize(self, context: RunContext) -> None:
        self.attach(context)

    def default_write_every_n_seconds(self, state: State) -> float:
        return 0.0

    def log_config(self, config: DictConfig) -> None:
        self.config_logged = config

    def log_scalar(self, key: str, value: Callable[[], object], state: State, namespace: str) -> None:
        made = value.array() if isinstance(value, Lazy) else value()
        self._rows.append(MemoryEntry(state.phase, state.num_steps, namespace, key, made))

    log_string = log_image = log_audio = log_video = log_histogram = log_point_cloud = log_scalar

    def log_table(self, key: str, value: Callable[[], object], state: State, namespace: str) -> None:
        self._rows.append(MemoryEntry(state.phase, state.num_steps, namespace, key, value()))

    def write(self, state: State) -> None:
        rows, self._rows = self._rows, []
        self.entries += rows
        self.states.append(state)

    def to_pandas(self) -> "DataFrame":
        """Returns the entries as a frame: phase, step, namespace, key, value.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ConfigError(
                "to_pandas needs pandas, of the extra 'train': pip install 'ml-logbook[train]'."
            ) from error
        return DataFrame(self.entries, columns=list(MemoryEntry._fields))
