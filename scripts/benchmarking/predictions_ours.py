"""This package's logger of predictions, as ``benchmarking.predictions_work`` uses it."""

from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from benchmarking.predictions_work import SILENCE_S, Received, Spec
from ml.io.store import StoreConfig
from ml.predictions.config import CloudConfig, LocalConfig, PredictionLoggerConfig
from ml.predictions.kinds import VisionModelType
from ml.predictions.logger import PredictionLogger
from ml.predictions.publishing import StreamConfig
from ml.predictions.subscriber import Subscriber


class Ours:
    """Our logger, which writes to one place."""

    def __init__(self, spec: Spec) -> None:
        url, endpoint, key, secret = spec.store
        config = PredictionLoggerConfig(
            device_name="camera",
            device_group="bench",
            max_workers=spec.workers,
            on_full=spec.on_full,
            on_error="raise",
            local=LocalConfig(spec.directory) if spec.place == "disk" else None,
            cloud=CloudConfig(
                StoreConfig(url, endpoint, "us-east-1", key, secret), spool_directory=f"{spec.directory}/spool"
            )
            if spec.place == "s3"
            else None,
            stream=StreamConfig(port=spec.port) if spec.place == "stream" else None,
        )
        self.port = spec.port
        self._logger = PredictionLogger(config)

    def log(self, image: np.ndarray, detection: list[dict[str, object]], version: str) -> "Future[object] | None":
        return self._logger.log(image, VisionModelType.DETECTION, "detector", version, detection=detection)

    def settle(self) -> None:
        if not self._logger.flush(120):
            raise RuntimeError("not everything was written")

    def close(self) -> None:
        self._logger.close()


def open_side(spec: Spec) -> Ours:
    return Ours(spec)


def receiver(spec: Spec) -> Callable[[], "Received | None"]:
    """Returns what returns the next record; ``None`` after a silence."""
    subscriber = Subscriber("127.0.0.1", spec.port, "camera", timeout_s=SILENCE_S)
    return lambda: next(iter(subscriber), None)
