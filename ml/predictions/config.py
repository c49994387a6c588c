"""The settings of a prediction logger, their defaults, and what is checked of them before anything starts."""

import math
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ml.core.errors import ConfigError
from ml.io.store import StoreConfig
from ml.predictions.publishing import StreamConfig

OnFull = Literal["drop_oldest", "drop_newest", "wait"]
OnError = Literal["warn", "raise"]
Retention = Literal["keep", "oldest_first"]

_CHOICES = {
    "codec": ("jpeg", "png", "webp"),
    "on_full": ("drop_oldest", "drop_newest", "wait"),
    "on_error": ("warn", "raise"),
    "retention": ("keep", "oldest_first"),
}
DEFAULT_DIRECTORY = "babylog"
FOREVER_S = 1e9
"""As long as it takes: locks and threads cannot be waited for infinitely long by a number."""

_CLOSE_TIMEOUT_S = 10.0


@dataclass
class LocalConfig:
    """Records as files.

    Attributes:
        directory: Where they lie; made if need be.
        max_local_bytes: What the records there may take. Past it new images are left out, results are kept; ``None``:
            as much as the disk has.
        retention: What happens at ``max_local_bytes``: ``"keep"`` what there is, or delete the records
            ``"oldest_first"``.
    """

    directory: str = DEFAULT_DIRECTORY
    max_local_bytes: int | None = None
    retention: str = "keep"


@dataclass
class CloudConfig:
    """Records in an object store.

    Attributes:
        store: Which, and how to get in.
        spool_directory: Where they wait for it, on a disk of this machine. Processes that share it take over what one
            that died has left. ``""``: the hidden folder ``.spool`` of the local directory.
        max_spool_bytes: What may wait there. Past it images are left out, results are kept.
    """

    store: StoreConfig
    spool_directory: str = ""
    max_spool_bytes: int = 20 * 2**30


@dataclass
class PredictionLoggerConfig:
    """The settings of a ``PredictionLogger``.

    Attributes:
        device_name: Of the device that runs the model; ``""``: the name of this machine.
        device_group: What it belongs to.
        run_id: Tells the records of one run of a program; ``""``: made up.
        codec: What images become: ``"jpeg"``; without loss ``"png"`` (also 16 bits) or ``"webp"``.
        quality: Of JPEG, 1 to 100.
        interval_ms: Least time between two predictions of a model that are kept.
        keep_errors: Whether predictions with an error message are kept beside the interval.
        keep_below_confidence: Whether those are whose best result has a lower confidence; ``None``: no.
        max_workers: Threads that compress images.
        max_queue_bytes: What may wait to be compressed, and for each sink to be written.
        on_full: What happens when more would: ``"drop_oldest"`` or ``"drop_newest"``, counted; or ``"wait"`` in the
            call of ``log``, for programs that shall keep everything.
        on_error: What a call of ``log`` with wrong arguments does: ``"warn"``, once, and have its ``Future`` raise;
            or ``"raise"``.
        min_free_bytes: Below it on the disk new images are left out, results are kept.
        close_timeout_s: How long ``close`` waits for what is not written yet; ``None``: 10 s, and as long as it takes
            with ``on_full="wait"``.
        local: Records as files; ``None``: none.
        cloud: Records in an object store; ``None``: none.
        stream: Records to subscribers; ``None``: none.
    """

    device_name: str = ""
    device_group: str = "default"
    run_id: str = ""
    codec: str = "jpeg"
    quality: int = 95
    interval_ms: float = 0.0
    keep_errors: bool = True
    keep_below_confidence: float | None = None
    max_workers: int = 4
    max_queue_bytes: int = 256 * 2**20
    on_full: str = "drop_oldest"
    on_error: str = "warn"
    min_free_bytes: int = 2**30
    close_timeout_s: float | None = None
    local: LocalConfig | None = field(default_factory=LocalConfig)
    cloud: CloudConfig | None = None
    stream: StreamConfig | None = None


def checked(config: PredictionLoggerConfig) -> None:
    """Finds settings that are none.

    Raises:
        ConfigError: One is wrong.
    """
    if config.local is None and config.cloud is None and config.stream is None:
        raise ConfigError("A prediction logger needs a sink: set local, cloud or stream.")
    _check_choice("codec", config.codec)
    _check_choice("on_full", config.on_full)
    _check_choice("on_error", config.on_error)
    _check_range("quality", config.quality, 1, 100)
    _check_range("interval_ms", config.interval_ms, 0, math.inf)
    _check_range("max_workers", config.max_workers, 1, 256)
    _check_range("max_queue_bytes", config.max_queue_bytes, 2**20, math.inf)
    _check_range("min_free_bytes", config.min_free_bytes, 0, math.inf)
    if config.close_timeout_s is not None:
        _check_range("close_timeout_s", config.close_timeout_s, 0, math.inf)
    if config.local is not None:
        _check_choice("retention", config.local.retention)
        limit = config.local.max_local_bytes
        if limit is not None:
            _check_range("max_local_bytes", limit, 1, math.inf)
        elif config.local.retention == "oldest_first":
            raise ConfigError("retention='oldest_first' deletes past max_local_bytes, which is not set. Set it.")
    if config.cloud is not None:
        _check_range("max_spool_bytes", config.cloud.max_spool_bytes, 2**20, math.inf)


def directory_of(config: PredictionLoggerConfig) -> Path:
    """Returns where files of the logger lie: records, unless there are none, and what it has to tell."""
    return Path(config.local.directory if config.local is not None else DEFAULT_DIRECTORY)


def device_name_of(config: PredictionLoggerConfig) -> str:
    """Returns what the device is called."""
    return config.device_name or platform.node() or "device"


def close_timeout_s_of(config: PredictionLoggerConfig) -> float:
    """Returns how long ``close`` waits, in seconds: for ever where a program would rather wait than lose a record."""
    if config.close_timeout_s is not None:
        return config.close_timeout_s
    return FOREVER_S if config.on_full == "wait" else _CLOSE_TIMEOUT_S


def _check_choice(setting: str, value: str) -> None:
    if value not in _CHOICES[setting]:
        raise ConfigError(f"{setting} must be one of {', '.join(_CHOICES[setting])}, got {value!r}.")


def _check_range(setting: str, value: float, low: float, high: float) -> None:
    if type(value) not in (int, float) or not low <= value <= high:
        most = "" if math.isinf(high) else f" and at most {high}"
        raise ConfigError(f"{setting} must be a number of at least {low}{most}, got {value!r}.")
