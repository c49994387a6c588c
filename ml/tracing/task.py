"""What a model is for, as far as a tracer has to know: how it is asked, what it says, and what is true."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from torch import nn

from ml.tracing.fields import FieldSpec
from ml.tracing.output import ClassificationOutput, DetectionOutput, NmsConfig
from ml.tracing.record import Truth

Output: TypeAlias = DetectionOutput | ClassificationOutput
Size: TypeAlias = tuple[int, int]
Failure: TypeAlias = Exception


class Task(Protocol):
    """What a tracer asks about a model of the user's own, without a wrapper around it.

    Attributes:
        name: As ``Identity.task`` has it.
    """

    name: str

    def n_class(self, model: nn.Module) -> int:
        """Returns how many classes the model knows."""

    def nms_config(self, model: nn.Module) -> NmsConfig:
        """Returns the model's own setting."""

    def applied(self, model: nn.Module, config: NmsConfig) -> AbstractContextManager[None]:
        """Returns a context inside which the model has another setting.

        Raises:
            ConfigError: It has no such limit.
        """

    def modules(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Returns the modules whose outputs ``parse`` needs, by alias."""

    def sizes(self, model_input: object) -> list[Size]:
        """Returns height and width of each input; (0, 0) of what is no image."""

    def parse(
        self,
        model: nn.Module,
        model_output: object,
        captured: Mapping[str, object],
        sizes: Sequence[Size],
        config: NmsConfig,
    ) -> Sequence[Output]:
        """Returns what the model said of each input."""

    def disagreements(
        self, outputs: Sequence[Output], model_output: object, sizes: Sequence[Size], config: NmsConfig
    ) -> int:
        """Returns of how many inputs what was parsed is not what the model itself shows."""

    def kept(self, output: Output, limit: int, config: NmsConfig) -> tuple[Output, int]:
        """Returns what is kept of an output, in memory of its own, and how many candidates there were."""

    def truths(
        self, ground_truth: object, count: int, specs: Sequence[FieldSpec]
    ) -> list[Truth | int | Failure | None]:
        """Returns what is true of each input; ``None`` where it is not known, an error where it is no truth.

        Raises:
            ConfigError: It is not one for each input.
        """
