"""Detection, as a tracer sees it: through the adapter of the model's family, or what a derived class says itself."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from ml.core.errors import ConfigError, LogValueError
from ml.detection.boxes import corners_of, labels_of
from ml.tracing.adapters.base import DetectionAdapter
from ml.tracing.fields import FieldSpec, value_of
from ml.tracing.output import DetectionOutput, NmsConfig
from ml.tracing.record import FieldValue, Truth
from ml.tracing.task import Failure, Output, Size
from ml.tracing.visibility import decided

_TOLERANCE_PX, _TOLERANCE = 0.01, 1e-5


class DetectionTask:
    """A task of ``ml.tracing.task``.

    Args:
        adapter: Of the model's family; ``None``: whoever derived a class for it overrides what is asked here.
    """

    name = "detection"

    def __init__(self, adapter: DetectionAdapter | None) -> None:
        self._adapter = adapter

    def n_class(self, model: nn.Module) -> int:
        return self._known("_get_n_class, or give n_class").n_class(model)

    def nms_config(self, model: nn.Module) -> NmsConfig:
        return NmsConfig() if self._adapter is None else self._adapter.nms_config(model)

    def applied(self, model: nn.Module, config: NmsConfig) -> AbstractContextManager[None]:
        if config == NmsConfig():
            return nullcontext()
        return self._known("_apply_nms_config before thresholds can be given").applied(model, config)

    def modules(self, model: nn.Module) -> Mapping[str, nn.Module]:
        return {} if self._adapter is None else self._adapter.modules(model)

    def sizes(self, model_input: object) -> list[Size]:
        return _sizes(model_input) if self._adapter is None else self._adapter.image_sizes(model_input)

    def parse(
        self,
        model: nn.Module,
        model_output: object,
        captured: Mapping[str, object],
        sizes: Sequence[Size],
        config: NmsConfig,
    ) -> Sequence[DetectionOutput]:
        adapter = self._known("_parse_model_output")
        lost = sorted(set(adapter.modules(model)) - set(captured))
        if lost:
            raise LogValueError(
                f"{', '.join(lost)} of the {adapter.name} returned nothing that could be kept",
                "A compiled model must not have been called before the tracer is made; or call torch.compiler.reset().",
            )
        return adapter.parse(model, model_output, captured, sizes, config)

    def disagreements(
        self, outputs: Sequence[Output], model_output: object, sizes: Sequence[Size], config: NmsConfig
    ) -> int:
        if self._adapter is None:
            return 0
        reported = self._adapter.reported(model_output, sizes, config)
        pairs = zip(outputs, reported, strict=True)
        return sum(not _agree(_with_decision(output, config), shown) for output, shown in pairs)

    def kept(self, output: Output, limit: int, config: NmsConfig) -> tuple[DetectionOutput, int]:
        output = _with_decision(output, config)
        assert output.visible is not None, "it was decided"
        # Visible ones first, so that none of them is cut off; then all by descending score.
        ranked = np.lexsort((-output.scores, ~output.visible))[: max(limit, int(output.visible.sum()))]
        chosen = ranked[np.argsort(-output.scores[ranked], kind="stable")]
        return output.chosen(chosen), len(output)

    def truths(
        self, ground_truth: object, count: int, specs: Sequence[FieldSpec]
    ) -> list[Truth | int | Failure | None]:
        if not isinstance(ground_truth, list | tuple) or len(ground_truth) != count:
            got = len(ground_truth) if isinstance(ground_truth, list | tuple) else type(ground_truth).__name__
            raise ConfigError(
                f'ground_truth is a list of {{"boxes": ..., "labels": ...}}, one for each of {count} images, got {got}.'
            )
        return [_attempted(truth, specs) for truth in ground_truth]

    def _known(self, what: str) -> DetectionAdapter:
        if self._adapter is None:
            raise ConfigError(f"No adapter knows this model, so its class has to override {what}.")
        return self._adapter


def _attempted(given: object, specs: Sequence[FieldSpec]) -> Truth | Failure | None:
    try:
        return None if given is None else _truth(given, specs)
    except Exception as error:  # of a truth that is none: it costs its own image
        return error


def _truth(given: object, specs: Sequence[FieldSpec]) -> Truth:
    fields: dict[str, list[FieldValue]] = {}
    if isinstance(given, Mapping):
        if "boxes" not in given or "labels" not in given:
            raise LogValueError(f"a ground truth has boxes and labels, got {sorted(map(str, given))}")
        boxes, labels = given["boxes"], given["labels"]
        for spec in specs:
            if given.get(spec.name) is not None:
                fields[spec.name] = [value_of(spec, value) for value in given[spec.name]]
    else:
        boxes, labels = given.xyxy, given.labels  # type: ignore[attr-defined]  # BoxesLike, or it raises
    corners = corners_of(_on_cpu(boxes)).astype(np.float32)
    numbers = np.array(labels_of(_on_cpu(labels), len(corners)))
    if len(numbers) and numbers.dtype.kind != "i":
        raise LogValueError(f"labels are numbers as the model's own, got {numbers.tolist()[0]!r:.40}")
    for name, values in fields.items():
        if len(values) != len(corners):
            raise LogValueError(f"{name} of {len(corners)} boxes has {len(values)} values")
    rows = tuple({name: values[number] for name, values in fields.items()} for number in range(len(corners)))
    return Truth(corners, numbers.astype(np.int64), rows if fields else ())


def _on_cpu(value: object) -> object:
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _with_decision(output: Output, config: NmsConfig) -> DetectionOutput:
    if not isinstance(output, DetectionOutput):
        raise LogValueError(f"a detector's output is parsed to a DetectionOutput, got a {type(output).__name__}")
    return decided(output, config) if output.visible is None else output


def _agree(output: DetectionOutput, shown: DetectionOutput) -> bool:
    mine, own = output.shown(), shown
    if len(mine) != len(own):
        return False
    if np.array_equal(mine.boxes, own.boxes) and np.array_equal(mine.labels, own.labels):
        return bool(np.allclose(mine.scores, own.scores, rtol=0, atol=_TOLERANCE))  # nearly always, and cheaper
    mine, own = _ordered(mine), _ordered(own)
    return (
        bool(np.array_equal(mine.labels, own.labels))
        and bool(np.allclose(mine.scores, own.scores, rtol=0, atol=_TOLERANCE, equal_nan=True))
        and bool(np.allclose(mine.boxes, own.boxes, rtol=_TOLERANCE, atol=_TOLERANCE_PX, equal_nan=True))
    )


def _ordered(output: DetectionOutput) -> DetectionOutput:
    """Returns an output in an order that depends neither on how close numbers are rounded, nor on that of the input."""
    output = output.chosen(np.lexsort((*output.boxes.T, -output.scores)))
    rounded = np.round(output.boxes).T
    return output.chosen(np.lexsort((*rounded, np.round(output.scores, 3), output.labels)))


def _sizes(model_input: object) -> list[Size]:
    """Returns the sizes of images, (C, H, W) each, as most models take them: a batch, a list, or among arguments."""
    if isinstance(model_input, Mapping):
        for name in ("pixel_values", "images", "image", "x"):
            if name in model_input:
                return _sizes(model_input[name])
    if isinstance(model_input, torch.Tensor | np.ndarray) and model_input.ndim == 4:
        return [(int(model_input.shape[2]), int(model_input.shape[3]))] * len(model_input)
    if isinstance(model_input, Sequence) and all(getattr(image, "ndim", 0) == 3 for image in model_input):
        return [(int(image.shape[1]), int(image.shape[2])) for image in model_input]
    raise LogValueError(
        f"the sizes of the images in a {type(model_input).__name__} are not known", "Override _get_image_sizes."
    )
