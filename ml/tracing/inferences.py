"""Makes records of a traced call, in memory of their own: nothing of what the user was given is held."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ml.tracing.failures import Failures
from ml.tracing.output import DetectionOutput, NmsConfig
from ml.tracing.record import FeatureArray, FieldValue, Inference, Truth
from ml.tracing.task import Failure, Output, Size, Task
from ml.tracing.thumbnails import thumbnail_of

Features: TypeAlias = Mapping[str, FeatureArray]
Estimate: TypeAlias = Callable[[Output, Features], npt.NDArray[np.float32]]
FeaturesOf: TypeAlias = Callable[[Mapping[str, object], int, int, Size, Output], Features]


class Asked(NamedTuple):
    """What is known of a call before the model is called.

    Attributes:
        input_ids: Of its inputs.
        sizes: Of its inputs.
        dataset_type: As the user calls it.
        epoch: How many epochs the model had been trained for.
        step: The number of the call.
        time_s: When it began.
        fields: Of each input.
        truths: Of each input; ``None``: of none.
        pictures: Of each input: a model may change what it is given.
    """

    input_ids: Sequence[str]
    sizes: Sequence[Size]
    dataset_type: str
    epoch: int
    step: int
    time_s: float
    fields: Sequence[Mapping[str, FieldValue]]
    truths: Sequence[Truth | int | Failure | None] | None
    pictures: Sequence[bytes | None]


class InferenceMaker:
    """Makes the records of a tracer.

    Args:
        task: Of the model.
        failures: Counts what a record has to do without.
        max_candidates: How many candidates of an image are kept at most; all visible ones are, besides.
        thumbnail_px: What the longer side of a kept picture has at most; ``None``: no pictures are kept.
        features_of: Reduces what was captured to the features of one input: its number, of how many, its size, and what
            the model said of it. It does not raise.
        estimate: Of an output the probability that it is wrong; ``None``: it is not estimated.
    """

    def __init__(
        self,
        task: Task,
        failures: Failures,
        *,
        max_candidates: int,
        thumbnail_px: int | None,
        features_of: FeaturesOf,
        estimate: Estimate | None = None,
    ) -> None:
        self._task, self._failures = task, failures
        self._max_candidates, self._thumbnail_px = max_candidates, thumbnail_px
        self._features_of, self.estimate = features_of, estimate

    def pictures(self, model_input: object, count: int) -> list[bytes | None]:
        """Returns a picture of each input, before the model is called; ``None``: there is none, or none is kept.

        Args:
            model_input: Of the model; only where pictures are kept it is looked at.
            count: How many inputs there are.
        """
        return [self._picture(model_input, number) for number in range(count)]

    def made(
        self,
        asked: Asked,
        outputs: Sequence[Output],
        captured: Mapping[str, object],
        config: NmsConfig,
        latency_s: float,
    ) -> list[Inference]:
        """Returns the records of a call; one that cannot be made is counted, and the others are.

        Args:
            asked: What was known before.
            outputs: What the model said of each input.
            captured: What the chosen layers gave, by alias.
            config: With what setting the model ran.
            latency_s: How long it took, of all inputs together.
        """
        inferences = []
        for number, whole in enumerate(outputs):
            truth = None if asked.truths is None else asked.truths[number]
            if isinstance(truth, Exception):
                self._failures.add("truth", truth)
                continue
            output, num_candidates = self._task.kept(whole, self._max_candidates, config)
            features = self._features_of(captured, number, len(outputs), asked.sizes[number], output)
            inferences.append(
                Inference(
                    input_id=asked.input_ids[number],
                    dataset_type=asked.dataset_type,
                    epoch=asked.epoch,
                    step=asked.step,
                    time_s=asked.time_s,
                    latency_s=latency_s / len(outputs),
                    output=output,
                    num_candidates=num_candidates,
                    setting=config,
                    truth=truth,
                    features=features,
                    fields=asked.fields[number],
                    picture=asked.pictures[number],
                    error_probability=self._estimated(output, features),
                )
            )
        return inferences

    def _picture(self, model_input: object, number: int) -> bytes | None:
        if self._thumbnail_px is None:
            return None
        try:
            return thumbnail_of(model_input, number, self._thumbnail_px)
        except Exception as error:
            self._failures.add("picture", error)
            return None

    def _estimated(self, output: Output, features: Features) -> npt.NDArray[np.float32] | None:
        if self.estimate is None:
            return None
        try:
            seen = output.shown() if isinstance(output, DetectionOutput) else output
            probability = np.asarray(self.estimate(output, features), np.float32)
            expected = len(seen) if isinstance(seen, DetectionOutput) else 1
            if probability.shape != (expected,):
                raise ValueError(f"it gave shape {probability.shape} for {expected} detections")
            return probability
        except Exception as error:
            self._failures.add("estimate", error)
            return None
