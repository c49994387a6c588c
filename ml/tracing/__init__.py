"""What a detection model really saw: its candidates before its own suppression, kept of every inference.

::

    logger = ObjectDetectionLogger(model, "fcos", "v1", score_thresh=0.3)
    detections = logger(images)                      # as model(images), and the same object
    logger.wait_for_save()
    logger.export("traces.zip")

    with open_traces("traces.db") as traces:
        traces.detections(Selection("fcos", "v1"))   # a frame, a row a detection
"""

from typing import TYPE_CHECKING

from ml.core.lazy import loaded_on_use

if TYPE_CHECKING:
    from ml.tracing.adapters.base import DetectionAdapter
    from ml.tracing.adapters.calling import CallableAdapter, CalledModule, candidates_of
    from ml.tracing.baseline import Baseline
    from ml.tracing.classification import ClassificationTorchLogger, ClassificationTorchTracer
    from ml.tracing.detection import ObjectDetectionTorchLogger, ObjectDetectionTorchTracer
    from ml.tracing.drift import Drift, DriftMonitor
    from ml.tracing.estimator import ErrorEstimator, load_estimator
    from ml.tracing.evaluator import Evaluator
    from ml.tracing.factories import (
        ClassificationLogger,
        ClassificationTracer,
        ObjectDetectionLogger,
        ObjectDetectionTracer,
    )
    from ml.tracing.features import Reduction
    from ml.tracing.importing import ImportedTraces, import_traces
    from ml.tracing.judging import Judgement, Thresholds, judge
    from ml.tracing.monitoring import MonitoringLogger
    from ml.tracing.output import ClassificationOutput, DetectionOutput, NmsConfig
    from ml.tracing.reading import Traced, Traces, open_traces
    from ml.tracing.record import Identity, Inference, Truth
    from ml.tracing.results import Result
    from ml.tracing.selection import Selection
    from ml.tracing.sending import UploadReport
    from ml.tracing.statistics import Statistics
    from ml.tracing.tracer import ModelTracer
    from ml.tracing.tracer_stats import TracerStats
    from ml.tracing.training import TrainingTracer

_HOMES = {
    "ml.tracing.adapters.base": ("DetectionAdapter",),
    "ml.tracing.adapters.calling": ("CallableAdapter", "CalledModule", "candidates_of"),
    "ml.tracing.baseline": ("Baseline",),
    "ml.tracing.classification": ("ClassificationTorchLogger", "ClassificationTorchTracer"),
    "ml.tracing.detection": ("ObjectDetectionTorchLogger", "ObjectDetectionTorchTracer"),
    "ml.tracing.drift": ("Drift", "DriftMonitor"),
    "ml.tracing.estimator": ("ErrorEstimator", "load_estimator"),
    "ml.tracing.evaluator": ("Evaluator",),
    "ml.tracing.factories": (
        "ClassificationLogger",
        "ClassificationTracer",
        "ObjectDetectionLogger",
        "ObjectDetectionTracer",
    ),
    "ml.tracing.features": ("Reduction",),
    "ml.tracing.importing": ("ImportedTraces", "import_traces"),
    "ml.tracing.judging": ("Judgement", "Thresholds", "judge"),
    "ml.tracing.monitoring": ("MonitoringLogger",),
    "ml.tracing.output": ("ClassificationOutput", "DetectionOutput", "NmsConfig"),
    "ml.tracing.reading": ("Traced", "Traces", "open_traces"),
    "ml.tracing.record": ("Identity", "Inference", "Truth"),
    "ml.tracing.results": ("Result",),
    "ml.tracing.selection": ("Selection",),
    "ml.tracing.sending": ("UploadReport",),
    "ml.tracing.statistics": ("Statistics",),
    "ml.tracing.tracer": ("ModelTracer",),
    "ml.tracing.tracer_stats": ("TracerStats",),
    "ml.tracing.training": ("TrainingTracer",),
}

__all__ = [
    "Baseline",
    "CallableAdapter",
    "CalledModule",
    "ClassificationLogger",
    "ClassificationOutput",
    "ClassificationTorchLogger",
    "ClassificationTorchTracer",
    "ClassificationTracer",
    "DetectionAdapter",
    "DetectionOutput",
    "Drift",
    "DriftMonitor",
    "ErrorEstimator",
    "Evaluator",
    "Identity",
    "ImportedTraces",
    "Inference",
    "Judgement",
    "ModelTracer",
    "MonitoringLogger",
    "NmsConfig",
    "ObjectDetectionLogger",
    "ObjectDetectionTorchLogger",
    "ObjectDetectionTorchTracer",
    "ObjectDetectionTracer",
    "Reduction",
    "Result",
    "Selection",
    "Statistics",
    "Thresholds",
    "Traced",
    "TracerStats",
    "Traces",
    "TrainingTracer",
    "Truth",
    "UploadReport",
    "candidates_of",
    "import_traces",
    "judge",
    "load_estimator",
    "open_traces",
]

__getattr__ = loaded_on_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
