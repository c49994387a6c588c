"""Every inference of a vision model kept as one record: locally, in an object store, and as a live stream.

::

    with PredictionLogger(PredictionLoggerConfig(device_name="camera-3")) as predictions:
        predictions.log(image, VisionModelType.CLASSIFICATION, "resnet50", "1.0.0", classification={"cat": 0.9})

    for found in open_predictions("babylog"):
        print(found.record.time, found.record.classification)

``Babylog`` is the same under the names and with the configuration file of the library that it is modelled on.
"""

from typing import TYPE_CHECKING

from ml.core.lazy import loaded_on_use

if TYPE_CHECKING:
    from ml.io.store import StoreConfig
    from ml.predictions.babylog import Babylog
    from ml.predictions.config import CloudConfig, LocalConfig, PredictionLoggerConfig
    from ml.predictions.filters import Filters
    from ml.predictions.kinds import InferenceDevice, VisionModelType
    from ml.predictions.logged import LoggedPrediction
    from ml.predictions.logger import PredictionLogger
    from ml.predictions.publishing import StreamConfig
    from ml.predictions.reading import open_predictions
    from ml.predictions.receipt import Logged
    from ml.predictions.subscriber import Subscriber

_HOMES = {
    "ml.io.store": ("StoreConfig",),
    "ml.predictions.babylog": ("Babylog",),
    "ml.predictions.config": ("CloudConfig", "LocalConfig", "PredictionLoggerConfig"),
    "ml.predictions.filters": ("Filters",),
    "ml.predictions.kinds": ("InferenceDevice", "VisionModelType"),
    "ml.predictions.logged": ("LoggedPrediction",),
    "ml.predictions.logger": ("PredictionLogger",),
    "ml.predictions.publishing": ("StreamConfig",),
    "ml.predictions.reading": ("open_predictions",),
    "ml.predictions.receipt": ("Logged",),
    "ml.predictions.subscriber": ("Subscriber",),
}

__all__ = [
    "Babylog",
    "CloudConfig",
    "Filters",
    "InferenceDevice",
    "LocalConfig",
    "Logged",
    "LoggedPrediction",
    "PredictionLogger",
    "PredictionLoggerConfig",
    "StoreConfig",
    "StreamConfig",
    "Subscriber",
    "VisionModelType",
    "open_predictions",
]

__getattr__ = loaded_on_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
