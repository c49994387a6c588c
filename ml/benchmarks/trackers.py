"""Trackers: what training tells the benchmark about itself, next to what it costs.

::

    LossTracker(benchmark).track(losses, "training loss")
    ConfusionMatrixTracker(benchmark).track(confusion_matrix(y_true, y_pred, labels), labels, "digits")
    with HyperparameterTracker(benchmark, "sweep", ["lr", "width"], "loss", low_means_good=True) as tracker:
        tracker.track({"lr": 0.1, "width": 64, "loss": 0.31})

Each call is a measurement of its own, also when descriptions are alike. What lies in ``data``, as JSON:

- ``loss``: ``[0.9, 0.5]``, by epoch, from epoch 1. The value is the last one.
- ``tta``: ``[0.7, 0.9, 0.9]``, the best accuracy until each epoch. The value is the best.
- ``timed_tta``: ``{"target": 0.95, "accuracy": 0.96}``. The value is the seconds that it took.
- ``hyperparameters``: ``{"hyperparameters": {"lr": 0.1, "width": 64}, "target": "loss", "low_means_good": true,
  "sweep": "9f2c61aa"}``, where all trials of a tracker have the same ``sweep``. The value is the target's.
- ``confusion_matrix``: ``{"matrix": [[5, 1], [0, 4]], "labels": ["cat", "dog"]}``; rows are predicted, columns actual.

``serialize`` returns as bytes what ``track`` keeps: JSON, never pickle. Numbers that JSON lacks are ``"NaN"``,
``"Infinity"`` and ``"-Infinity"``; ``ml.loggers.strict_json.number`` reads them.
"""

import math
import secrets
from collections.abc import Mapping, Sequence
from typing import cast

from ml.benchmarks.confusion import Axis, confusion_matrix, labelled_matrix
from ml.benchmarks.database import Benchmark
from ml.benchmarks.measurement import Measurement
from ml.benchmarks.values import numbers, plain, to_json
from ml.core.errors import ConfigError, LogValueError
from ml.core.plain import Plain

__all__ = [
    "ConfusionMatrixTracker",
    "HyperparameterTracker",
    "LossTracker",
    "TTATracker",
    "TimedTTATracker",
    "confusion_matrix",
]


class _Tracker:
    """Keeps values of one type.

    Args:
        benchmark: Takes them.

    Raises:
        ConfigError: It is none, or open for reading.
    """

    type: str
    unit = ""

    def __init__(self, benchmark: Benchmark) -> None:
        if not isinstance(benchmark, Benchmark):
            raise ConfigError(f"{type(self).__name__} needs a Benchmark, got {benchmark!r:.80}.")
        benchmark.check_writes()
        self.benchmark = benchmark

    def _keep(self, description: str, value: float | None, data: Plain) -> None:
        benchmark = self.benchmark
        to_json(data)  # raises here and not out of sight
        benchmark.record(
            [
                Measurement(
                    description,
                    self.type,
                    value,
                    self.unit,
                    source="tracked",
                    rank=benchmark.context.rank,
                    at_s=benchmark.elapsed_s(),
                    time_s=benchmark.context.wall_clock(),
                    data=data,
                )
            ]
        )


class LossTracker(_Tracker):
    """Keeps a curve of losses, one an epoch."""

    type = "loss"

    def serialize(self, loss_values: object) -> bytes:
        """Returns the losses as JSON, in UTF-8.

        Args:
            loss_values: Numbers in a list, a tuple, an iterator, or an array, tensor or series of shape (epochs,).

        Raises:
            LogValueError: They are none.
        """
        return to_json(list[Plain](_curve(loss_values, "losses")))

    def track(self, loss_values: object, description: str) -> None:
        """Keeps the losses of a run of training, from epoch 1.

        Args:
            loss_values: As ``serialize`` takes them.
            description: What they are called.

        Raises:
            LogValueError: They are no numbers, there are none, or the description is no text. Nothing is kept.
        """
        losses = _curve(loss_values, "losses")
        self._keep(_text(description), losses[-1], list[Plain](losses))


class TTATracker(_Tracker):
    """Keeps the way to an accuracy: the best one until each epoch."""

    type = "tta"

    def serialize(self, accuracies: object) -> bytes:
        """Returns the best accuracy until each epoch as JSON, in UTF-8.

        Args:
            accuracies: Numbers as ``LossTracker.serialize`` takes them. NaN is no accuracy: the best until then stays.

        Raises:
            LogValueError: They are none.
        """
        return to_json(list[Plain](_running_best(_curve(accuracies, "accuracies"))))

    def track(self, accuracies: object, description: str) -> None:
        """Keeps the best accuracy until each epoch, from epoch 1.

        Args:
            accuracies: As ``serialize`` takes them.
            description: What they are called.

        Raises:
            LogValueError: They are no numbers, there are none, or the description is no text. Nothing is kept.
        """
        best = _running_best(_curve(accuracies, "accuracies"))
        self._keep(_text(description), best[-1], list[Plain](best))


class TimedTTATracker(_Tracker):
    """Keeps how long it takes to reach an accuracy, once for each description. The time begins with the tracker.

    Args:
        benchmark: Takes it.
        target_acc: The accuracy that is to be reached.

    Raises:
        ConfigError: The target is no number.
    """

    type, unit = "timed_tta", "s"

    def __init__(self, benchmark: Benchmark, target_acc: float) -> None:
        super().__init__(benchmark)
        try:
            (self.target_acc,) = numbers(target_acc, "a target")
        except (LogValueError, ValueError) as error:
            raise ConfigError(f"target_acc is an accuracy, such as 0.95, got {target_acc!r:.80}.") from error
        if math.isnan(self.target_acc):
            raise ConfigError("target_acc is an accuracy, such as 0.95, got NaN, which none ever reaches.")
        self._began_s = benchmark.elapsed_s()
        self._reached: set[str] = set()

    def serialize(self, accuracy: object) -> bytes:
        """Returns target and accuracy as JSON, in UTF-8.

        Raises:
            LogValueError: The accuracy is not one number.
        """
        return to_json(self._data(_one(accuracy)))

    def track(self, accuracy: object, description: str) -> None:
        """Keeps the seconds since the tracker was made, if the accuracy is the first one at or above the target.

        Args:
            accuracy: A number, or an array or tensor of one.
            description: What it is called.

        Raises:
            LogValueError: It is not one number, or the description is no text. Nothing is kept.
        """
        number, text = _one(accuracy), _text(description)
        if number >= self.target_acc and text not in self._reached:
            self._reached.add(text)
            self._keep(text, self.benchmark.elapsed_s() - self._began_s, self._data(number))

    def _data(self, accuracy: float) -> Plain:
        return {"target": self.target_acc, "accuracy": accuracy}


class HyperparameterTracker(_Tracker):
    """Keeps what a search over hyperparameters has tried: a measurement a trial, as soon as it is told.

    Args:
        benchmark: Takes them.
        description: What the search is called.
        hyperparameters: The names of what is searched over.
        target: The name of what is to be as good as possible.
        low_means_good: Whether a low target is good, as of a loss; ``False`` for an accuracy.

    Raises:
        ConfigError: A name is no text, there are none, one is there twice, or is the target's.
    """

    type = "hyperparameters"

    def __init__(
        self,
        benchmark: Benchmark,
        description: str,
        hyperparameters: Sequence[str],
        target: str,
        low_means_good: bool = True,
    ) -> None:
        super().__init__(benchmark)
        if isinstance(hyperparameters, str):
            raise ConfigError(f"hyperparameters is a list of names, got {hyperparameters!r}. Write [...].")
        names = [*hyperparameters, target]
        if not all(isinstance(name, str) for name in (*names, description)):
            raise ConfigError(f"Descriptions and names are texts, got {description!r:.80} and {names!r:.200}.")
        if len(names) < 2 or len(set(names)) < len(names):
            raise ConfigError(f"A search has hyperparameters and a target, each named once; got {names!r:.200}.")
        if not isinstance(low_means_good, bool):
            raise ConfigError(f"low_means_good is True or False, got {low_means_good!r:.80}.")
        self.description, self.hyperparameters, self.target = description, list(hyperparameters), target
        self.low_means_good = low_means_good
        self._sweep, self._trials = secrets.token_hex(4), list[Plain]()

    def serialize(self) -> bytes:
        """Returns all trials until now, with what the search is, as JSON in UTF-8."""
        return to_json(
            {
                "hyperparameters": list[Plain](self.hyperparameters),
                "target": self.target,
                "low_means_good": self.low_means_good,
                "trials": self._trials,
            }
        )

    def track(self, measurement: Mapping[str, object]) -> None:
        """Keeps a trial.

        Args:
            measurement: The value of each hyperparameter, a number, a text or a list; and of the target, a number.
                What else is in it is kept among the hyperparameters.

        Raises:
            LogValueError: Something is missing, or is no such value. This trial is not kept; the others are.
        """
        if not isinstance(measurement, Mapping):
            raise LogValueError(
                f"a trial is a mapping of names to values, got {measurement!r:.80}",
                f"Give {', '.join([*self.hyperparameters, self.target])}.",
            )
        missing = [name for name in (*self.hyperparameters, self.target) if name not in measurement]
        if missing:
            raise LogValueError(
                f"a trial of '{self.description:.80}' lacks {', '.join(map(repr, missing))},"
                f" and has {[*measurement]!r:.200}",
                "Give a value for each.",
            )
        trial = cast("dict[str | int | float | bool, Plain]", plain(measurement))
        target = _one(trial.pop(self.target))
        self._keep(
            self.description,
            target,
            {
                "hyperparameters": trial,
                "target": self.target,
                "low_means_good": self.low_means_good,
                "sweep": self._sweep,
            },
        )
        self._trials.append({**trial, self.target: target})

    def __enter__(self) -> "HyperparameterTracker":
        return self

    def __exit__(self, *exception: object) -> None:
        """Does nothing: each trial was kept when it was told, also where a later one raised."""


class ConfusionMatrixTracker(_Tracker):
    """Keeps confusion matrices: axis 0 is predicted, axis 1 is actual. scikit-learn has them the other way round."""

    type = "confusion_matrix"

    def serialize(self, matrix: object, labels: object, *, axis_0: Axis = "predicted") -> bytes:
        """Returns matrix and labels as JSON in UTF-8; axis 0 is predicted.

        Args:
            matrix: Numbers of shape (classes, classes): lists, an array, a tensor or a frame.
            labels: A text or a number for each class.
            axis_0: What axis 0 of ``matrix`` is: ``"actual"`` for one of scikit-learn, which is then transposed.

        Raises:
            LogValueError: They are none, or do not fit.
        """
        return to_json(labelled_matrix(matrix, labels, axis_0))

    def track(self, matrix: object, labels: object, description: str, *, axis_0: Axis = "predicted") -> None:
        """Keeps a matrix.

        Args:
            matrix: As ``serialize`` takes it.
            labels: As ``serialize`` takes them.
            description: What it is called.
            axis_0: As ``serialize`` takes it.

        Raises:
            LogValueError: Matrix and labels are none, or do not fit, or the description is no text.
        """
        self._keep(_text(description), None, labelled_matrix(matrix, labels, axis_0))


def _running_best(accuracies: Sequence[float]) -> list[float]:
    best, found = math.nan, []
    for accuracy in accuracies:
        best = best if accuracy <= best or math.isnan(accuracy) else accuracy
        found.append(best)
    return found


def _curve(values: object, what: str) -> list[float]:
    found = numbers(values, what)
    if not found:
        raise LogValueError(f"there are no {what}", "Give one an epoch.")
    return found


def _one(value: object) -> float:
    found = numbers(value, "an accuracy or target")
    if len(found) != 1:
        raise LogValueError(f"an accuracy or target is one number, got {len(found)}")
    return found[0]


def _text(description: object) -> str:
    if not isinstance(description, str):
        raise LogValueError(f"a description is a text, got {description!r:.80}")
    return description
