"""Loggers and tracers of object detectors, and what a class for a model of one's own looks like.

::

    class YoloLogger(ObjectDetectionTorchLogger):
        @staticmethod
        def detect(model):
            return isinstance(model, Yolo)

        def _get_n_class(self, model):
            return model.head.n_class

        def _register_model_hooks(self, model):
            return {"raw": model.head}

        def _parse_model_output(self, model_output, img_sizes):
            raw = self.call.captured["raw"]              # (B, N, 4 + C), without its graph
            return [DetectionOutput(...) for ...]        # visible=None has it decided, by self.call.config

Such a class need not be named again: ``ObjectDetectionLogger(model, ...)`` finds it once its module is imported, or is
named by an entry point of the group ``ml.tracing``. What it does not override is done by the adapter of the model's
family, if there is one.
"""

from torch import nn

from ml.core.errors import ConfigError
from ml.tracing.adapters.base import ADAPTERS, DetectionAdapter
from ml.tracing.detection_task import DetectionTask
from ml.tracing.monitoring import MonitoringLogger
from ml.tracing.registry import Handlers
from ml.tracing.task import Task
from ml.tracing.training import TrainingTracer
from ml.tracing.wrapped import unwrapped

_HOW_TO = """Write an adapter, and import it; ml.tracing.adapters.calling says more:

    from ml.tracing import CallableAdapter, NmsConfig, candidates_of

    class MyAdapter(CallableAdapter):
        name = "my detector"
        classes = 80
        setting = NmsConfig(score_thresh=0.25, iou_thresh=0.45, max_detections_per_image=300)

        @staticmethod
        def detect(model):
            return isinstance(model, {model})

        def candidates(self, model_output, image_sizes):
            boxes, scores = model_output  # (B, N, 4), x1, y1, x2, y2 in pixels; (B, N, 80)
            return [candidates_of(boxes[i], scores[i], size) for i, size in enumerate(image_sizes)]"""


class ObjectDetectionTorchLogger(MonitoringLogger):
    """Watches a detector in production; ``MonitoringLogger`` describes the arguments.

    Derive from it to handle a model of your own: ``detect``, ``_get_n_class``, ``_register_model_hooks``,
    ``_parse_model_output`` and ``_apply_nms_config`` may be overridden, as the top of this module shows.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.detect is not ObjectDetectionTorchLogger.detect:
            DETECTION_LOGGERS.register(cls)

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return ADAPTERS.handling(unwrapped(model)) is not None

    @classmethod
    def _task_of(cls, model: nn.Module) -> Task:
        return _task_for(model, is_base=cls is ObjectDetectionTorchLogger)


class ObjectDetectionTorchTracer(TrainingTracer):
    """Watches a detector where it is known what is true; ``TrainingTracer`` describes the arguments.

    It is derived from as ``ObjectDetectionTorchLogger`` is.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.detect is not ObjectDetectionTorchTracer.detect:
            DETECTION_TRACERS.register(cls)

    @staticmethod
    def detect(model: nn.Module) -> bool:
        return ADAPTERS.handling(unwrapped(model)) is not None

    @classmethod
    def _task_of(cls, model: nn.Module) -> Task:
        return _task_for(model, is_base=cls is ObjectDetectionTorchTracer)


def unknown(model: nn.Module) -> ConfigError:
    """Returns the error that lists the adapters, and shows how to write one."""
    names = "; ".join(sorted(adapter.name for adapter in ADAPTERS.known()))
    kind = type(unwrapped(model)).__qualname__
    return ConfigError(f"No adapter knows a {kind}. There are: {names or 'none'}. {_HOW_TO.format(model=kind)}")


DETECTION_LOGGERS: Handlers[ObjectDetectionTorchLogger] = Handlers()
DETECTION_LOGGERS.register(ObjectDetectionTorchLogger)
DETECTION_TRACERS: Handlers[ObjectDetectionTorchTracer] = Handlers()
DETECTION_TRACERS.register(ObjectDetectionTorchTracer)


def _task_for(model: nn.Module, *, is_base: bool) -> DetectionTask:
    adapter: type[DetectionAdapter] | None = ADAPTERS.handling(unwrapped(model))
    if adapter is None and is_base:
        raise unknown(model)
    return DetectionTask(None if adapter is None else adapter())
