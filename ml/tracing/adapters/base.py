"""What a family of detectors has to tell, so that its candidates can be traced.

An adapter knows a family, never a model of it: it keeps nothing between calls. It registers itself when its class is
made::

    class Yolo(DetectionAdapter):
        name = "my YOLO"

        @staticmethod
        def detect(model):
            return isinstance(model, MyYolo)
        ...
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from torch import nn

from ml.tracing.output import DetectionOutput, NmsConfig
from ml.tracing.registry import Handlers

Captured = Mapping[str, object]
"""What each captured module returned in the call, by alias; detached."""


class DetectionAdapter(ABC):
    """How a family of detectors is called, and what it says.

    Attributes:
        name: Of the family, for messages.
    """

    name: str

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        ADAPTERS.register(cls)

    @staticmethod
    @abstractmethod
    def detect(model: nn.Module) -> bool:
        """Returns whether this adapter knows the model; the model is the user's own, without a wrapper around it."""

    @abstractmethod
    def n_class(self, model: nn.Module) -> int:
        """Returns how many classes its labels tell apart, the background included only where the model numbers it."""

    @abstractmethod
    def nms_config(self, model: nn.Module) -> NmsConfig:
        """Returns the model's own setting."""

    @abstractmethod
    def applied(self, model: nn.Module, config: NmsConfig) -> AbstractContextManager[None]:
        """Returns a context inside which the model has another setting, and after which, whatever happens, its own.

        Args:
            model: Of the family.
            config: ``None`` leaves as it is.

        Raises:
            ConfigError: The model has no such limit.
        """

    @abstractmethod
    def modules(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Returns the modules whose outputs ``parse`` needs, by alias; empty where the model's own output says all."""

    @abstractmethod
    def image_sizes(self, model_input: object) -> list[tuple[int, int]]:
        """Returns height and width of each image in an input, in pixels.

        Raises:
            LogValueError: The family takes no such input.
        """

    @abstractmethod
    def parse(
        self,
        model: nn.Module,
        model_output: object,
        captured: Captured,
        image_sizes: Sequence[tuple[int, int]],
        config: NmsConfig,
    ) -> list[DetectionOutput]:
        """Returns what the model said of each image: its candidates, and which of them are visible under a setting.

        Called without gradients, after the model. It changes nothing that it is given, calls no module, and draws no
        random number.

        Args:
            model: Of the family.
            model_output: What it returned.
            captured: What ``modules`` returned in this call.
            image_sizes: Of the input.
            config: The setting with which the model ran: its own, and what was applied.
        """

    @abstractmethod
    def reported(
        self, model_output: object, image_sizes: Sequence[tuple[int, int]], config: NmsConfig
    ) -> list[DetectionOutput]:
        """Returns what the model itself shows of each image, as a user reads it from its output.

        Everything is visible, ``logits`` is None, ``candidates`` are numbered from 0. It is what ``visible`` of
        ``parse`` is held against.
        """


ADAPTERS = Handlers[DetectionAdapter](
    (
        "ml.tracing.adapters.torchvision_rcnn",
        "ml.tracing.adapters.torchvision_dense",
        "ml.tracing.adapters.transformers_detr",
    )
)
