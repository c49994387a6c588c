"""``Babylog``: the prediction logger with the names, arguments and configuration file of the library it follows.

::

    with Babylog("camera-3.yaml", save_cloud=True) as babylog:
        babylog.log(image, VisionModelType.CLASSIFICATION, "resnet50", "1.0.0", classification={"cat": 0.9, "dog": 0.1})
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from ml.io.worker import Future
from ml.loggers.multi import MultiLogger
from ml.loggers.stats import LoggerStats
from ml.predictions.device_file import config_of, read_sections
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.logger import Boxes, Classes, PredictionLogger
from ml.predictions.receipt import Logged


class Babylog:
    """Logs predictions of vision models from a device; thread-safe, a context manager, closed at exit.

    Args:
        config_path: The YAML file of the device.
        save_local: Whether records are kept as files.
        save_cloud: Whether they go to the bucket of ``S3_storage``.
        stream: Whether they are published at ``device.ip``, ``device.port``.

    Raises:
        ConfigError: The file cannot be read, has an unknown key or lacks one that is needed; nothing was started.
    """

    def __init__(
        self,
        config_path: str | Path,
        save_local: bool = True,
        save_cloud: bool = False,
        stream: bool = False,
    ) -> None:
        sections = read_sections(Path(config_path))
        self.config = config_of(sections, save_local=save_local, save_cloud=save_cloud, stream=stream)
        self.logger = PredictionLogger(self.config)

    def log(
        self,
        image: object,
        model_type: VisionModelType,
        model_name: str,
        model_version: str,
        home_dir: str = "./babylog/",
        prediction: object = None,
        timestamp: int | None = None,
        latency: float | None = None,
        inference_device: InferenceDevice | None = None,
        classification: Classes | None = None,
        detection: Boxes | None = None,
        error_message: str | None = "",
        *,
        bgr: bool = False,
        logger: MultiLogger | None = None,
    ) -> "Future[Logged] | None":
        """Logs one inference; see ``PredictionLogger.log``. ``home_dir`` is where its file goes."""
        return self.logger.log(
            image,
            model_type,
            model_name,
            model_version,
            prediction=prediction,
            timestamp=timestamp,
            latency=latency,
            inference_device=inference_device,
            classification=classification,
            detection=detection,
            error_message=error_message or "",
            bgr=bgr,
            directory=home_dir,
            logger=logger,
        )

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until everything logged so far is durable in every sink; see ``PredictionLogger.flush``."""
        return self.logger.flush(timeout_s)

    def shutdown(self) -> None:
        """Writes what is left, and ends every thread; again does nothing."""
        self.logger.close()

    def close(self) -> dict[str, LoggerStats]:
        """As ``shutdown``; returns the counts of each sink."""
        return self.logger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
