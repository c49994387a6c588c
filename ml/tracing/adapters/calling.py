"""Reads any model by a small class: what its candidates are, and what its setting is.

::

    class MyAdapter(CallableAdapter):
        name = "my detector"
        classes = 80
        setting = NmsConfig(score_thresh=0.25, iou_thresh=0.45, max_detections_per_image=300)

        @staticmethod
        def detect(model):
            return isinstance(model, MyDetector)

        def candidates(self, model_output, image_sizes):
            boxes, logits = model_output                     # (B, N, 4), x1, y1, x2, y2 in pixels; (B, N, 80)
            return [
                candidates_of(boxes[number], logits[number].sigmoid(), size, logits=logits[number])
                for number, size in enumerate(image_sizes)
            ]

Which candidates are visible is decided by the setting. A detector that is a function, not a module, is wrapped:
``ObjectDetectionLogger(CalledModule(my_function), ...)``, where ``detect`` asks ``model.function is my_function``.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ml.core.errors import ConfigError, LogValueError
from ml.tracing.adapters.base import Captured, DetectionAdapter
from ml.tracing.adapters.tensors import KEPT, array_of
from ml.tracing.output import DetectionOutput, NmsConfig
from ml.tracing.visibility import decided

_NAMES = ("pixel_values", "images", "image", "x")


class CallableAdapter(DetectionAdapter):
    """Reads a model of one's own; the top of this module shows one.

    A model that suppresses nothing itself has its setting in ``setting``: another one changes what is visible, and
    nothing that the model returns. For one that does, ``attributes`` says where it keeps its limits, and ``reported``
    what it shows; its candidates come from ``parse``, as a rule from ``modules`` whose outputs are captured.

    Attributes:
        classes: How many classes the model knows.
        setting: By which a user of the model, or the model itself, decides what is shown.
        attributes: Where the model keeps a limit, by the field of ``NmsConfig``, as ``{"score_thresh": "head.conf"}``:
            there it is read, and set while another one applies.
    """

    classes: ClassVar[int]
    setting: ClassVar[NmsConfig] = NmsConfig()
    attributes: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def candidates(self, model_output: object, image_sizes: Sequence[tuple[int, int]]) -> list[DetectionOutput]:
        """Returns the candidates of each image before any suppression, without gradients.

        ``candidates_of`` makes them from tensors. ``visible`` may stay ``None``, and is then decided by the setting.

        Args:
            model_output: What the model returned.
            image_sizes: Height and width of each image that it was given.
        """

    def n_class(self, model: nn.Module) -> int:
        if not isinstance(getattr(self, "classes", None), int):
            raise ConfigError(
                f"{type(self).__name__} does not say how many classes there are: set classes, or n_class."
            )
        return self.classes

    def nms_config(self, model: nn.Module) -> NmsConfig:
        return self.setting._replace(**{field: getattr(*place) for field, place in self._places(model).items()})

    @contextmanager
    def applied(self, model: nn.Module, config: NmsConfig) -> Iterator[None]:
        places = {field: at for field, at in self._places(model).items() if getattr(config, field) is not None}
        own = {field: getattr(*place) for field, place in places.items()}
        try:
            for field, place in places.items():
                setattr(*place, getattr(config, field))
            yield
        finally:
            for field, place in places.items():
                setattr(*place, own[field])

    def modules(self, model: nn.Module) -> Mapping[str, nn.Module]:
        return {}

    def image_sizes(self, model_input: object) -> list[tuple[int, int]]:
        """Returns the sizes of a batch (B, C, H, W), or of a list of images (C, H, W), also in a mapping."""
        images = model_input
        if isinstance(model_input, Mapping):
            images = next((model_input[name] for name in _NAMES if name in model_input), None)
        is_many = isinstance(images, list | tuple | Tensor | np.ndarray) and getattr(images, "ndim", 4) == 4
        listed = list(cast(Iterable[object], images)) if is_many else [images]
        if not is_many or any(getattr(image, "ndim", 0) != 3 for image in listed):
            raise LogValueError(
                f"the sizes of the images in a {type(model_input).__name__} are not known",
                f"Override image_sizes of {type(self).__name__}.",
            )
        return [(int(image.shape[1]), int(image.shape[2])) for image in cast(list[Tensor], listed)]

    def parse(
        self,
        model: nn.Module,
        model_output: object,
        captured: Captured,
        image_sizes: Sequence[tuple[int, int]],
        config: NmsConfig,
    ) -> list[DetectionOutput]:
        return self._decided(model_output, image_sizes, config)

    def reported(
        self, model_output: object, image_sizes: Sequence[tuple[int, int]], config: NmsConfig
    ) -> list[DetectionOutput]:
        shown = [output.shown() for output in self._decided(model_output, image_sizes, config)]
        return [replace(output, logits=None, candidates=np.arange(len(output))) for output in shown]

    def _decided(
        self, model_output: object, image_sizes: Sequence[tuple[int, int]], config: NmsConfig
    ) -> list[DetectionOutput]:
        outputs = self.candidates(model_output, image_sizes)
        if len(outputs) != len(image_sizes):
            raise LogValueError(
                f"{type(self).__name__}.candidates returns one output an image, "
                f"got {len(outputs)} for {len(image_sizes)} images"
            )
        return [decided(output, config) if output.visible is None else output for output in outputs]

    def _places(self, model: nn.Module) -> dict[str, tuple[object, str]]:
        """Returns where the model keeps its limits, by field: a part of it, and the name of an attribute there."""
        places = {}
        for field, path in self.attributes.items():
            *parents, name = path.split(".")
            try:
                if field not in NmsConfig._fields:
                    raise AttributeError(f"there are {', '.join(NmsConfig._fields)}")
                owner = attrgetter(".".join(parents))(model) if parents else model
                getattr(owner, name)
            except AttributeError as error:
                raise ConfigError(
                    f"{type(self).__name__} says that {field} is in {path!r} of its model: {error}."
                ) from error
            places[field] = (owner, name)
        return places


class CalledModule(nn.Module):
    """A module that calls a function with what it is given, and returns what it returns.

    Args:
        function: A detector that is no module: a function, or a session of another runtime.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: object, **kwargs: object) -> object:
        """Calls the function."""
        return self.function(*args, **kwargs)


def candidates_of(
    boxes: Tensor | npt.NDArray[np.floating],
    scores: Tensor | npt.NDArray[np.floating],
    image_size: tuple[int, int],
    *,
    logits: Tensor | npt.NDArray[np.floating] | None = None,
    most: int = KEPT,
) -> DetectionOutput:
    """Returns candidates of one image: every box with every class, the surest of these, by descending score.

    Args:
        boxes: Shape (N, 4): x1, y1, x2, y2 in pixels of the image.
        scores: Shape (N, C), in [0, 1]: how sure each class is. Without a background.
        image_size: Height and width, in pixels.
        logits: Shape (N, D), from which the scores came.
        most: How many are returned at most. What a setting shows has to be among them.

    Raises:
        LogValueError: The shapes do not belong together.
    """
    corners, shares = _tensor(boxes), _tensor(scores)
    if corners.ndim != 2 or shares.ndim != 2 or corners.shape != (len(shares), 4):
        raise LogValueError(
            f"boxes (N, 4) have scores (N, C), got {tuple(corners.shape)} and {tuple(shares.shape)}",
            "Pass those of one image.",
        )
    best = shares.flatten().sort(descending=True, stable=True)
    numbers, count = best.indices[:most], max(shares.shape[1], 1)
    candidates = numbers // count
    return DetectionOutput(
        boxes=array_of(corners[candidates], torch.float32),
        scores=array_of(best.values[:most], torch.float32),
        labels=array_of(numbers % count, torch.int64),
        logits=None if logits is None else array_of(_tensor(logits)[candidates], torch.float32),
        candidates=array_of(candidates, torch.int64),
        image_size=image_size,
    )


def _tensor(values: Tensor | npt.NDArray[np.floating]) -> Tensor:
    """Returns values as a tensor where they are: ``torch.as_tensor`` would move them to the default device."""
    return values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
