"""What a detection model really saw: its candidates before its own suppression, kept of every inference.

::

    logger = ObjectDetectionLogger(model, "fcos", "v1", score_thresh=0.3)
    detections = logger(images)                      # as model(images), and the same object
    logger.wait_for_save()
    logger.export("traces.zip")
"""

from typing import TYPE_CHECKING

from ml.core.lazy import loaded_on_use

if TYPE_CHECKING:
    from ml.tracing.adapters.base import DetectionAdapter
    from ml.tracing.classification import ClassificationTorchLogger, ClassificationTorchTracer
    from ml.tracing.detection import ObjectDetectionTorchLogger, ObjectDetectionTorchTracer
    from ml.tracing.factories import (
        ClassificationLogger,
        ClassificationTracer,
        ObjectDetectionLogger,
        ObjectDetectionTracer,
    )
    from ml.tracing.monitoring import MonitoringLogger
    from ml.tracing.output import ClassificationOutput, DetectionOutput, NmsConfig
    from ml.tracing.record import Identity, Inference, Truth
    from ml.tracing.statistics import Statistics
    from ml.tracing.tracer import ModelTracer
    from ml.tracing.tracer_stats import TracerStats
    from ml.tracing.training import TrainingTracer

_HOMES = {
    "ml.tracing.adapters.base": ("DetectionAdapter",),
    "ml.tracing.classification": ("ClassificationTorchLogger", "ClassificationTorchTracer"),
    "ml.tracing.detection": ("ObjectDetectionTorchLogger", "ObjectDetectionTorchTracer"),
    "ml.tracing.factories": (
        "ClassificationLogger",
        "ClassificationTracer",
        "ObjectDetectionLogger",
        "ObjectDetectionTracer",
    ),
    "ml.tracing.monitoring": ("MonitoringLogger",),
    "ml.tracing.output": ("ClassificationOutput", "DetectionOutput", "NmsConfig"),
    "ml.tracing.record": ("Identity", "Inference", "Truth"),
    "ml.tracing.statistics": ("Statistics",),
    "ml.tracing.tracer": ("ModelTracer",),
    "ml.tracing.tracer_stats": ("TracerStats",),
    "ml.tracing.training": ("TrainingTracer",),
}

__all__ = [
    "ClassificationLogger",
    "ClassificationOutput",
    "ClassificationTorchLogger",
    "ClassificationTorchTracer",
    "ClassificationTracer",
    "DetectionAdapter",
    "DetectionOutput",
    "Identity",
    "Inference",
    "ModelTracer",
    "MonitoringLogger",
    "NmsConfig",
    "ObjectDetectionLogger",
    "ObjectDetectionTorchLogger",
    "ObjectDetectionTorchTracer",
    "ObjectDetectionTracer",
    "Statistics",
    "TracerStats",
    "TrainingTracer",
    "Truth",
]

__getattr__ = loaded_on_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
