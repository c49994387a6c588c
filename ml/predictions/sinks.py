"""Makes the sinks that a configuration names."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ml.io.store import open_store
from ml.predictions.config import PredictionLoggerConfig, directory_of
from ml.predictions.local import LocalSink
from ml.predictions.publishing import StreamSink
from ml.predictions.sink import Sink

if TYPE_CHECKING:
    from ml.predictions.cloud import CloudSink


class Sinks(NamedTuple):
    """Where records go; ``None`` is a place where they do not."""

    local: LocalSink | None
    stream: StreamSink | None
    cloud: "CloudSink | None"

    def all(self) -> list[Sink]:
        """Returns those that there are."""
        return [sink for sink in self if sink is not None]


def open_sinks(config: PredictionLoggerConfig, device_name: str, *, clock: Callable[[], float]) -> Sinks:
    """Returns the sinks of a configuration, ready to be written to.

    Args:
        config: Checked.
        device_name: The topic of the stream, if no other one is set.
        clock: Monotonic seconds.

    Raises:
        ConfigError: A library is missing, a store or a port cannot be used.
        WriteError: The directory of the spool cannot be made.
    """
    local = stream = None
    if config.local is not None:
        local = LocalSink(config.local, min_free_bytes=config.min_free_bytes, clock=clock)
    if config.stream is not None:
        stream = StreamSink(config.stream, device_name)
    try:
        return Sinks(local, stream, _open_cloud(config, clock))
    except BaseException:
        if stream is not None:
            stream.close()
        raise


def _open_cloud(config: PredictionLoggerConfig, clock: Callable[[], float]) -> "CloudSink | None":
    cloud = config.cloud
    if cloud is None:
        return None
    from ml.predictions.cloud import CloudSink

    return CloudSink(
        lambda: open_store(cloud.store, attempts=1),
        Path(cloud.spool_directory) if cloud.spool_directory else directory_of(config) / ".spool",
        max_spool_bytes=cloud.max_spool_bytes,
        min_free_bytes=config.min_free_bytes,
        clock=clock,
    )
