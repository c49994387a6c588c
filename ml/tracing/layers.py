"""What the layers that the user chose returned: as it is, of the last call, and reduced, of every input."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from ml.core.errors import LogValueError
from ml.io.worker import Lock
from ml.tracing.failures import Failures
from ml.tracing.features import Reduction, reduced
from ml.tracing.output import DetectionOutput
from ml.tracing.record import FeatureArray
from ml.tracing.task import Output, Size

DEFAULT = Reduction("mean")


class LayerFeatures:
    """The features of one tracer.

    Args:
        aliases: Of the layers.
        reductions: How each is reduced, by alias; by default its mean over space, in float16.
        failures: Counts what cannot be reduced.
    """

    def __init__(self, aliases: Sequence[str], reductions: Mapping[str, Reduction], failures: Failures) -> None:
        self._reductions = {alias: reductions.get(alias, DEFAULT) for alias in aliases}
        self._failures, self._lock = failures, Lock()
        self._last: dict[str, object] = {}

    def remember(self, captured: Mapping[str, object]) -> None:
        """Keeps what the layers returned in a call, until the next one."""
        with self._lock:
            self._last.update({alias: captured[alias] for alias in self._reductions if alias in captured})

    def last(self, alias: str) -> object:
        """Returns what a layer returned last.

        Raises:
            KeyError: There is no such layer, or nothing of it.
        """
        with self._lock:
            if alias in self._last:
                return self._last[alias]
        known = ", ".join(map(repr, self._reductions)) or "none"
        missing = "was not captured yet" if alias in self._reductions else "is not among target_layers"
        raise KeyError(f"{alias!r} {missing}. Their aliases: {known}.")

    def of_input(
        self, captured: Mapping[str, object], number: int, count: int, size: Size, output: Output
    ) -> dict[str, FeatureArray]:
        """Returns what is kept of the layers for one input: by alias, and behind a dot the part of a layer's output.

        Args:
            captured: What the layers returned.
            number: Of the input.
            count: How many inputs the call had; the first dimension of an output.
            size: Of the input, in pixels.
            output: Of the model for this input; ``visible`` is decided.
        """
        boxes = output.shown().boxes if isinstance(output, DetectionOutput) else None
        features: dict[str, FeatureArray] = {}
        for alias, reduction in self._reductions.items():
            try:
                for name, tensor in _tensors(alias, captured.get(alias)):
                    if tensor.ndim == 0 or len(tensor) != count:
                        raise LogValueError(
                            f"{name!r} has shape {tuple(tensor.shape)}, of which the first number is not that of the"
                            f" inputs, {count}",
                            "Choose a layer whose output has a row for each input.",
                        )
                    features[name] = reduced(tensor[number], reduction, boxes=boxes, image_size=size)
            except Exception as error:  # of a layer that cannot be reduced: the others are
                self._failures.add("feature", error)
        return features

    def forget(self) -> None:
        """Lets go of everything."""
        with self._lock:
            self._last.clear()


def _tensors(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors in what a layer returned: one, or several in a list, tuple or mapping."""
    match value:
        case Tensor():
            yield name, value
        case Mapping():
            for key, item in value.items():
                yield from _tensors(f"{name}.{key}", item)
        case list() | tuple():
            for number, item in enumerate(value):
                yield from _tensors(f"{name}.{number}", item)
