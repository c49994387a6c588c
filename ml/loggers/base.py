"""The interface that a backend implements. Interface only: who calls it, and when, is ``group.py``.

A backend is plain sequential code. ``initialize``, ``default_write_every_n_seconds``
and ``should_write`` run on the training thread and must not block; everything
else runs on the backend's own thread, one call at a time, in order. It may block
or raise: only its own queue suffers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from omegaconf import DictConfig

from ml.core.config import BaseConfig, BaseObject, check_types, conf_field
from ml.core.errors import ConfigError
from ml.core.registry import LOGGERS
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.files import make_directories
from ml.loggers.kinds import KINDS, Kind
from ml.loggers.limits import RateLimit

if TYPE_CHECKING:
    from torch import Tensor

    from ml.media.table import TableData

ON_FULL = ("drop_media", "wait")
_AMOUNTS = (
    "write_every_n_seconds",
    "write_train_every_n_seconds",
    "write_val_every_n_seconds",
    "write_every_n_steps",
    "write_media_every_n_seconds",
    "max_queue_bytes",
    "max_media_bytes",
    "min_free_bytes",
)


@dataclass
class BaseLoggerConfig(BaseConfig):
    """What every backend can be told.

    Attributes:
        write_every_n_seconds: Seconds between two writes; 0 writes every step. With
            nothing set, the backend's default holds.
        write_train_every_n_seconds: The same, for training only.
        write_val_every_n_seconds: Writes also inside a validation or test pass, this often.
            Without it a pass is written once, when it ends.
        write_every_n_steps: Training steps between two writes. With seconds set too, both must pass.
        write_media_every_n_seconds: Seconds between two values of a media key; by default
            ``max(10, elapsed / 200)``, about 200 values in half an hour and 950 in a day.
        include: Globs over ``<namespace>/<key>``; what none matches, this backend is not given.
        exclude: Globs over ``<namespace>/<key>``; what one matches, this backend is not given.
        max_queue_bytes: What may wait for the backend, values pending in open windows included.
        on_full: What happens beyond that: ``drop_media`` drops the oldest media, then the oldest
            others; ``wait`` holds the loop up (for evaluation scripts).
        max_media_bytes: Media of a run, past which media stop. Said once, counted.
        min_free_bytes: Free disk space below which media are dropped, counted.
        all_ranks: Whether every rank has this backend, with files of its own, instead of the primary one alone.
            Values across ranks are the primary rank's.
        id: The name of this backend among the run's; by default ``name``.
    """

    write_every_n_seconds: float | None = None
    write_train_every_n_seconds: float | None = None
    write_val_every_n_seconds: float | None = None
    write_every_n_steps: int | None = None
    write_media_every_n_seconds: float | None = None
    include: list[str] = conf_field(["*"])
    exclude: list[str] = conf_field([])
    max_queue_bytes: int = 64 * 2**20
    on_full: str = "drop_media"
    max_media_bytes: int = 5 * 2**30
    min_free_bytes: int = 2**30
    all_ranks: bool = False
    id: str | None = None


ConfigT = TypeVar("ConfigT", bound=BaseLoggerConfig)


class BaseLogger(BaseObject[ConfigT], Generic[ConfigT], ABC):
    """A backend: it is given values, and writes them somewhere.

    Implement any subset of the ``log_*`` methods; a kind that is left out is
    never computed for this backend. Every ``value`` is a callable that gives the
    value in the common format; it may be kept and called in ``write``.

    Attributes:
        log_directory: Where this backend keeps its files: ``<run>/<id>``, below it ``rank-<k>`` on a rank that
            is not the primary one.
        kinds: The kinds of value that it takes; by default those whose method it overrides.
        gathers: Whether one ``write`` may commit what several steps handed over, when they wait anyway. One
            system call then serves them all. For files of records, where it makes no difference to a reader.
        is_remote: Whether what it writes is kept somewhere else than in ``log_directory``. It must take a value that
            is there already, of the same attempt, phase, step and key, without keeping it twice: a write whose
            answer was lost is repeated, and a replay gives it everything once more.
    """

    gathers: ClassVar[bool] = False
    is_remote: ClassVar[bool] = False

    context: RunContext
    log_directory: Path
    limits: RateLimit

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        check_types(config)
        for setting in _AMOUNTS:
            amount = getattr(config, setting)
            if amount is not None and not amount >= 0:
                raise ConfigError(f"{setting} of '{self.id}' must be 0 or more, got {amount!r}.")
        if config.on_full not in ON_FULL:
            raise ConfigError(f"on_full of '{self.id}' must be one of {', '.join(ON_FULL)}, got {config.on_full!r}.")
        if "/" in self.id or "\0" in self.id or self.id in ("", ".", ".."):
            raise ConfigError(f"The id of a backend is one path segment, got {self.id!r}.")

    @property
    def id(self) -> str:
        """The name of this backend among the run's."""
        if self.config.id is not None:
            return self.config.id
        if self.config.name != "???":
            return self.config.name
        return LOGGERS.name_of(type(self)) or type(self).__name__

    @cached_property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of value that this backend takes."""
        cls = type(self)
        return frozenset(kind for kind in KINDS if getattr(cls, kind.method) is not getattr(BaseLogger, kind.method))

    def initialize(self, context: RunContext) -> None:
        """Prepares the backend for a run: its directory, its clocks. Override, call ``super()``, open files.

        Raises:
            ConfigError: It cannot work as configured; raised to the user.
        """
        self.attach(context)
        make_directories(self.log_directory)

    def attach(self, context: RunContext) -> None:
        """The part of ``initialize`` that makes nothing on disk, for a backend without files of its own."""
        self.context = context
        self.log_directory = context.directory / self.id
        if not context.is_primary:
            self.log_directory /= f"rank-{context.rank}"
        self.limits = RateLimit(self.config, self.default_write_every_n_seconds, context.clock)

    def default_write_every_n_seconds(self, state: State) -> float:
        """Seconds between two writes in training where nothing is configured: every step up to 1,000, then 1 s."""
        return 0.0 if state.num_steps <= 1000 else 1.0

    def should_write(self, state: State) -> bool:
        """Whether the backend wants ``state``. A question: asked twice it answers the same."""
        return self.limits.due(state)

    def log_config(self, config: DictConfig) -> None:
        """Takes the run's configuration, before the first value; all of it once more when settings are added later.

        Secrets are out of it already.
        """

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        """Takes a number."""

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        """Takes a text."""

    def log_image(self, key: str, value: "Callable[[], Tensor]", state: State, namespace: str) -> None:
        """Takes a picture: shape (C, H, W), C in 1, 3, 4; float32 in [0, 1], or ``value.array()``, uint8."""

    def log_audio(self, key: str, value: "Callable[[], tuple[Tensor, int]]", state: State, namespace: str) -> None:
        """Takes a clip: shape (T,) or (C, T), float32 in [-1, 1], and its sample rate in Hz."""

    def log_video(self, key: str, value: "Callable[[], Tensor]", state: State, namespace: str) -> None:
        """Takes a video: shape (T, C, H, W), float32 in [0, 1], or ``value.array()``, uint8; ``value.fps``."""

    def log_histogram(self, key: str, value: "Callable[[], Tensor]", state: State, namespace: str) -> None:
        """Takes numbers of any shape, or ``value.histogram()``: 64 bins and what they leave out."""

    def log_point_cloud(self, key: str, value: "Callable[[], Tensor]", state: State, namespace: str) -> None:
        """Takes points: shape (B, N, 3), float32; ``value.colors`` is uint8 (B, N, 3) or ``None``."""

    def log_table(self, key: str, value: "Callable[[], TableData]", state: State, namespace: str) -> None:
        """Takes a table: columns of numbers, texts, truth values, times, arrays or pictures; see ``TableData``."""

    @abstractmethod
    def write(self, state: State) -> None:
        """Commits what was logged since the last write: all of it, or raises.

        Raises:
            OSError, WriteError: Not now. Nothing was committed; the same values are logged again later.
                So forget what was logged before raising (``rows, self.rows = self.rows, []`` comes first),
                or it is written twice.
        """

    def flush(self) -> None:
        """Returns when everything committed is durable.

        Raises:
            OSError, WriteError: It cannot be made durable.
        """

    def media_bytes_on_disk(self) -> int:
        """Returns what earlier attempts wrote of media, in bytes: on a resume it counts for ``max_media_bytes``.

        By default all files in ``log_directory``: where media share files with other values they cannot be told
        apart, and media that stop early are better than a full disk. Override it if media have files of their own.
        """
        return bytes_below(self.log_directory)

    def close(self) -> None:
        """Ends the backend. Called once, after the last write."""


AnyLogger = BaseLogger[Any]


def bytes_below(directory: Path) -> int:
    """Returns how many bytes the files in a directory have, those of its subdirectories included."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
