"""Classification, as a tracer sees it: a model whose output is logits, one row an input."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from ml.core.errors import ConfigError, LogValueError
from ml.tracing.fields import FieldSpec
from ml.tracing.output import ClassificationOutput, NmsConfig
from ml.tracing.record import Truth
from ml.tracing.task import Failure, Output, Size


class ClassificationTask:
    """A task of ``ml.tracing.task``."""

    name = "classification"

    def n_class(self, model: nn.Module) -> int:
        last = next((module for module in reversed(list(model.modules())) if _num_outputs(module)), None)
        if last is None:
            raise ConfigError("How many classes the model knows cannot be told from its last layer. Give n_class.")
        return _num_outputs(last)

    def nms_config(self, model: nn.Module) -> NmsConfig:
        return NmsConfig()

    def applied(self, model: nn.Module, config: NmsConfig) -> AbstractContextManager[None]:
        if config != NmsConfig():
            raise ConfigError("A classifier shows no detections: it takes no score_thresh, iou_thresh, or maximum.")
        return nullcontext()

    def modules(self, model: nn.Module) -> Mapping[str, nn.Module]:
        return {}

    def sizes(self, model_input: object) -> list[Size]:
        if isinstance(model_input, Mapping):
            model_input = next((value for value in model_input.values() if isinstance(value, Tensor)), None)
        if isinstance(model_input, Tensor | np.ndarray) and model_input.ndim:
            is_image = model_input.ndim == 4
            size = (int(model_input.shape[2]), int(model_input.shape[3])) if is_image else (0, 0)
            return [size] * len(model_input)
        raise LogValueError(f"a classifier is given a batch, got a {type(model_input).__name__}")

    def parse(
        self,
        model: nn.Module,
        model_output: object,
        captured: Mapping[str, object],
        sizes: Sequence[Size],
        config: NmsConfig,
    ) -> Sequence[ClassificationOutput]:
        logits = _logits(model_output)
        if logits is None or logits.ndim != 2 or len(logits) != len(sizes):
            shape = f"a {type(model_output).__name__}" if logits is None else f"shape {tuple(logits.shape)}"
            raise LogValueError(f"the logits of {len(sizes)} inputs have shape ({len(sizes)}, C), got {shape}")
        rows = logits.detach().to("cpu", torch.float32).numpy()
        return [ClassificationOutput(row, size if any(size) else None) for row, size in zip(rows, sizes, strict=True)]

    def disagreements(
        self, outputs: Sequence[Output], model_output: object, sizes: Sequence[Size], config: NmsConfig
    ) -> int:
        return 0  # the logits are the model's own output

    def kept(self, output: Output, limit: int, config: NmsConfig) -> tuple[ClassificationOutput, int]:
        if not isinstance(output, ClassificationOutput):
            got = type(output).__name__
            raise LogValueError(f"a classifier's output is parsed to a ClassificationOutput, got a {got}")
        return ClassificationOutput(np.array(output.logits), output.image_size), len(output.logits)

    def truths(
        self, ground_truth: object, count: int, specs: Sequence[FieldSpec]
    ) -> list[Truth | int | Failure | None]:
        labels = ground_truth.tolist() if isinstance(ground_truth, Tensor | np.ndarray) else ground_truth
        if not isinstance(labels, Sequence) or isinstance(labels, str) or len(labels) != count:
            got = len(labels) if isinstance(labels, Sequence) else type(labels).__name__
            raise ConfigError(f"ground_truth is the class of each of {count} inputs, got {got}.")
        return [_label(label) for label in labels]


def _label(given: object) -> int | Failure | None:
    number = given.tolist() if isinstance(given, Tensor | np.generic) else given
    if number is None or (isinstance(number, int) and not isinstance(number, bool)):
        return number
    return LogValueError(f"the class of an input is a whole number, got {given!r:.40}")


def _num_outputs(module: nn.Module) -> int:
    count = getattr(module, "out_features", None) or getattr(module, "out_channels", None)
    return count if isinstance(count, int) else 0


def _logits(output: object) -> Tensor | None:
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif not isinstance(output, Tensor):
        output = getattr(output, "logits", None)
    return output if isinstance(output, Tensor) else None
