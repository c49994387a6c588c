"""One pass over inferences whose truth is known: what is wrong with them, and what an estimator can learn from it."""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from ml.core.errors import ConfigError
from ml.loggers.strict_json import Json
from ml.tracing.baseline import the_task
from ml.tracing.examples import Example, example_of, lacking, parts_by_image
from ml.tracing.fitting import fit
from ml.tracing.judging import Thresholds, judge
from ml.tracing.overview import dataset_types_text
from ml.tracing.reading import Traces
from ml.tracing.sampling import Sample
from ml.tracing.selection import Selection
from ml.tracing.summary import Summary

FORMAT: Final = 1

MAX_EXAMPLES: Final = 5000
"""Of more images, so many are chosen at random for the estimator."""


class EvaluationOptions(NamedTuple):
    """With what is evaluated.

    Attributes:
        dataset_type: Of the inferences; ``None``: of all.
        foreground_iou: As ``Thresholds`` has it.
        background_iou: As ``Thresholds`` has it.
        num_worst: How many images are named, those with the most errors; >= 0.
        seed: Of the parting of images; >= 0.
    """

    dataset_type: str | None = "val"
    foreground_iou: float = 0.5
    background_iou: float = 0.1
    num_worst: int = 20
    seed: int = 0


def options_of(given: Mapping[str, Json], names: Collection[str] = EvaluationOptions._fields) -> EvaluationOptions:
    """Returns options.

    Args:
        given: By name.
        names: Those that may be given.

    Raises:
        ConfigError: There is no such option, or it has another type or range.
    """
    if unknown := given.keys() - set(names):
        raise ConfigError(f"There is no option {sorted(unknown)[0]!r:.80}; there are {', '.join(names)}.")
    default = EvaluationOptions()
    dataset_type = given.get("dataset_type", default.dataset_type)
    if dataset_type is not None and not isinstance(dataset_type, str):
        raise ConfigError(f"dataset_type is a text or None, got {dataset_type!r:.80}.")
    foreground, background = _number(given, "foreground_iou"), _number(given, "background_iou")
    Thresholds(foreground, background).checked()
    return EvaluationOptions(dataset_type, foreground, background, _whole(given, "num_worst"), _whole(given, "seed"))


def evaluate(traces: Traces, selection: Selection, options: EvaluationOptions) -> tuple[int | None, Json]:
    """Returns of which epoch inferences are, ``None`` if all were asked for, and what is wrong with them.

    Args:
        traces: Where they are.
        selection: Which.
        options: How.

    Raises:
        ConfigError: There is no such version, none of them has a truth, or scikit-learn is not installed.
        FormatError: The database is damaged.
    """
    thresholds = Thresholds(options.foreground_iou, options.background_iou)
    summary, sample = Summary(options.num_worst), Sample[tuple[str, Example]](MAX_EXAMPLES)
    unlabelled, epochs, tasks = 0, set[int](), set[str]()
    for traced in traces.read(selection):
        if traced.inference.truth is None:
            unlabelled += 1
            continue
        judgement = judge(traced, thresholds)
        summary.add(traced, judgement)
        sample.add(traced.id, (traced.inference.input_id, example_of(traced, judgement)))
        epochs.add(traced.inference.epoch)
        tasks.add(traced.inference.output.task)
    if not epochs:
        raise ConfigError(
            f"Nothing can be evaluated: of {selection.model_name} {selection.version_name} there are {unlabelled} "
            f"inferences without a truth and none with one, with the dataset type {selection.dataset_type!r:.80} and "
            f"n_epoch={selection.n_epoch!r}. {dataset_types_text(traces.overview().of(selection))} Another "
            "dataset_type is an option."
        )
    task = the_task(tasks, selection)
    data: dict[str, Json] = {
        "format": FORMAT,
        "task": task,
        "num_unlabelled": unlabelled,
        "iou": list(thresholds),
        **summary.to_json(),
    }
    data |= _estimated(sample.items(), task, options.seed)
    return None if selection.n_epoch == "all" else epochs.pop(), data


def _estimated(named: list[tuple[str, Example]], task: str, seed: int) -> dict[str, Json]:
    examples, parts = [example for _, example in named], parts_by_image([name for name, _ in named], seed)
    reason = lacking(examples, parts)
    if reason is not None:
        return {"estimator": None, "no_estimator": reason}
    return {"estimator": fit(examples, parts, task=task, seed=seed).to_json()}


def _number(given: Mapping[str, Json], name: str) -> float:
    value = given.get(name, EvaluationOptions._field_defaults[name])
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} is a number, got {value!r:.80}.")
    return float(value)


def _whole(given: Mapping[str, Json], name: str) -> int:
    value = given.get(name, EvaluationOptions._field_defaults[name])
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name} is a whole number, 0 or more, got {value!r:.80}.")
    return value
