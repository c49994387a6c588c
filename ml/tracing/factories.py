"""The loggers and tracers by the names that users know: each finds the class for a model, and makes one of it.

::

    ObjectDetectionLogger(model, "fcos", "v1")       # an ObjectDetectionTorchLogger, or one derived from it

They take what their class takes: ``MonitoringLogger`` and ``TrainingTracer`` describe the arguments.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from torch import nn

from ml.core.errors import ConfigError
from ml.tracing.classification import (
    CLASSIFICATION_LOGGERS,
    CLASSIFICATION_TRACERS,
    ClassificationTorchLogger,
    ClassificationTorchTracer,
)
from ml.tracing.detection import (
    DETECTION_LOGGERS,
    DETECTION_TRACERS,
    ObjectDetectionTorchLogger,
    ObjectDetectionTorchTracer,
    unknown,
)
from ml.tracing.registry import Handlers
from ml.tracing.tracer import ModelTracer
from ml.tracing.wrapped import unwrapped

P = ParamSpec("P")
TracerT = TypeVar("TracerT", bound=ModelTracer)


def _found_by_model(base: Callable[P, TracerT], handlers: Handlers[TracerT]) -> Callable[P, TracerT]:
    """Returns what makes an object of the class that handles a model, with the arguments of the base class."""

    @wraps(base, updated=())
    def make(*args: P.args, **kwargs: P.kwargs) -> TracerT:
        model = args[0] if args else kwargs.get("model")
        if not isinstance(model, nn.Module):
            raise ConfigError(
                f"model is a torch.nn.Module, got {model!r:.80}. Wrap a function: CalledModule(function)."
            )
        handler = handlers.handling(unwrapped(model))
        if handler is None:
            raise unknown(model)
        made: Callable[P, TracerT] = handler
        return made(*args, **kwargs)

    return make


ObjectDetectionLogger = _found_by_model(ObjectDetectionTorchLogger, DETECTION_LOGGERS)
ObjectDetectionTracer = _found_by_model(ObjectDetectionTorchTracer, DETECTION_TRACERS)
ClassificationLogger = _found_by_model(ClassificationTorchLogger, CLASSIFICATION_LOGGERS)
ClassificationTracer = _found_by_model(ClassificationTorchTracer, CLASSIFICATION_TRACERS)
