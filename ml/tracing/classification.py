"""Loggers and tracers of classifiers: models whose output is logits, (B, C), or has them as ``logits``.

A class for a model of one's own overrides ``detect``, ``_get_n_class``, ``_register_model_hooks`` and
``_parse_model_output``, which returns a ``ClassificationOutput`` for each input.
"""

from torch import nn

from ml.tracing.classification_task import ClassificationTask
from ml.tracing.monitoring import MonitoringLogger
from ml.tracing.registry import Handlers
from ml.tracing.task import Task
from ml.tracing.training import TrainingTracer


class ClassificationTorchLogger(MonitoringLogger):
    """Watches a classifier in production; ``MonitoringLogger`` describes the arguments. It has no thresholds."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.detect is not ClassificationTorchLogger.detect:
            CLASSIFICATION_LOGGERS.register(cls)

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return True

    @classmethod
    def _task_of(cls, model: nn.Module) -> Task:
        return ClassificationTask()


class ClassificationTorchTracer(TrainingTracer):
    """Watches a classifier where it is known what is true; ``TrainingTracer`` describes the arguments."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.detect is not ClassificationTorchTracer.detect:
            CLASSIFICATION_TRACERS.register(cls)

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return True

    @classmethod
    def _task_of(cls, model: nn.Module) -> Task:
        return ClassificationTask()


CLASSIFICATION_LOGGERS: Handlers[ClassificationTorchLogger] = Handlers()
CLASSIFICATION_LOGGERS.register(ClassificationTorchLogger)
CLASSIFICATION_TRACERS: Handlers[ClassificationTorchTracer] = Handlers()
CLASSIFICATION_TRACERS.register(ClassificationTorchTracer)
