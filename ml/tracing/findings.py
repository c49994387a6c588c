"""What a page, or a command, says of a version: its inferences of each dataset type, held against its results."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from ml.core.errors import ConfigError
from ml.loggers.strict_json import Json
from ml.tracing.baseline import METHOD as DRIFT
from ml.tracing.baseline import Baseline, baseline_from
from ml.tracing.drift import WINDOW_SIZE, DriftMonitor
from ml.tracing.estimator import ErrorEstimator, estimator_of
from ml.tracing.evaluating import EvaluationOptions
from ml.tracing.overview import (
    Group,
    ResultEntry,
    TracedVersion,
    dataset_types_text,
    overview,
    results_of,
    there_are,
    version_of,
)
from ml.tracing.reading import Result, Traces, open_traces
from ml.tracing.selection import Selection
from ml.tracing.survey import Survey, survey

MAX_WINDOWS: Final = 200
"""So many are judged of many inferences; each has more then."""


class UsedResult(NamedTuple):
    """A result that inferences are held against.

    Attributes:
        name: Of the result.
        epoch: Of which inferences it is; ``None``: of all.
        dataset_type: Of which it is; ``None``: of all.
    """

    name: str
    epoch: int | None
    dataset_type: str | None


class Findings(NamedTuple):
    """What there is to say of a version.

    Attributes:
        version: The version.
        groups: All of its inferences, those that are not looked at, too.
        surveys: Of each dataset type, those that are; at least one. Those with a truth come first.
        results: All of its results, the oldest first.
        figures: By the name of a result its main figure: mAP, or of a classifier the accuracy.
        evaluation: Whose estimator is used; ``None``: none is.
        estimator: It.
        baseline: What drift is held against; ``None``: nothing is.
        window_size: How many inferences are judged together.
    """

    version: TracedVersion
    groups: tuple[Group, ...]
    surveys: tuple[Survey, ...]
    results: tuple[ResultEntry, ...]
    figures: Mapping[str, float]
    evaluation: UsedResult | None
    estimator: ErrorEstimator | None
    baseline: UsedResult | None
    window_size: int


def find(
    databases: Sequence[str | Path],
    selection: Selection,
    *,
    result_names: Sequence[str] = (),
    max_samples: int = 0,
    window_size: int | None = None,
) -> Findings:
    """Returns what there is to say of chosen inferences.

    Args:
        databases: Paths of SQLite files, or URLs of SQLAlchemy's.
        selection: Which inferences. Without a dataset type, each is chosen by itself: ``"latest"`` is the newest run
            that has it.
        result_names: An evaluation, a baseline, or both; of what is not named the newest is taken.
        max_samples: How many samples of a dataset type are kept.
        window_size: How many inferences are judged together for drift; ``None``: 100, or as many as make
            ``MAX_WINDOWS`` windows.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: There are no such inferences, or there is no such result.
        FormatError: A database or a result is damaged.
    """
    there = overview(databases)
    version = version_of(there, selection.model_name, selection.version_name)
    groups = there.of(version)
    counts = _counts(groups, selection.checked())
    if not counts:
        raise ConfigError(_nothing(groups, selection))
    results = tuple(results_of(databases, selection))
    for name in result_names:
        if name not in {entry.name for entry in results}:
            raise ConfigError(f"There is no result {name!r:.80}. {there_are([entry.name for entry in results])}")
    with open_traces(*databases) as traces:
        used = _used(traces, selection, results, result_names)
        watched = [
            count for name, count in counts.items() if used.baseline is None or name != used.baseline.dataset_type
        ]
        if window_size is None:
            most = max(watched, default=1)
            window_size = min(most, max(WINDOW_SIZE, -(-most // MAX_WINDOWS)))
        monitor = None
        if used.drift is not None and watched:
            monitor = DriftMonitor(used.drift, window_size=window_size)
        surveys = [
            survey(
                traces,
                selection._replace(dataset_type=name),
                count=count,
                estimator=used.estimator,
                monitor=None if used.baseline is not None and name == used.baseline.dataset_type else monitor,
                max_samples=max_samples,
            )
            for name, count in counts.items()
        ]
    found = tuple(sorted((one for one in surveys if one is not None), key=lambda one: not one.num_labelled))
    if not found:
        raise ConfigError(_nothing(groups, selection))
    return Findings(
        version, groups, found, results, used.figures, used.evaluation, used.estimator, used.baseline, window_size
    )


class _Used(NamedTuple):
    """What the results say."""

    figures: dict[str, float]
    evaluation: UsedResult | None
    estimator: ErrorEstimator | None
    baseline: UsedResult | None
    drift: Baseline | None


def _used(traces: Traces, selection: Selection, results: Sequence[ResultEntry], names: Sequence[str]) -> _Used:
    used = _Used({}, None, None, None, None)
    named = {entry.method == DRIFT for entry in results if entry.name in names}
    for entry in results:  # one after the other: a baseline may be large
        result = traces.load_result(selection, entry.name)
        data: Json = {} if result is None else result.data
        if result is None or not isinstance(data, dict):
            continue
        figure = data.get("map", data.get("accuracy"))
        if isinstance(figure, int | float):
            used.figures[entry.name] = float(figure)
        is_drift = entry.method == DRIFT
        if entry.name not in names and is_drift in named:
            continue
        about = UsedResult(entry.name, entry.epoch, _dataset_type(result))
        if is_drift:
            used = used._replace(baseline=about, drift=baseline_from(data))
        elif data.get("estimator") is not None:
            used = used._replace(evaluation=about, estimator=estimator_of(data["estimator"]))
    return used


def _dataset_type(result: Result) -> str | None:
    options = result.options if isinstance(result.options, dict) else {}
    name = options.get("dataset_type", EvaluationOptions().dataset_type)
    return name if isinstance(name, str) else None


def _counts(groups: Sequence[Group], selection: Selection) -> dict[str, int]:
    """Returns how many inferences of each dataset type are chosen, as ``ml.tracing.selection`` says."""
    counts = dict[str, int]()
    by_type = sorted(groups, key=lambda group: group.dataset_type)  # stable: runs stay in order
    for name, same in groupby(by_type, key=lambda group: group.dataset_type):
        if selection.dataset_type not in (None, name):
            continue
        some = [group for group in same if selection.run in (None, group.run)]
        some = [group for group in some if isinstance(selection.n_epoch, str) or group.epoch == selection.n_epoch]
        if some and selection.n_epoch != "all":
            newest = [group for group in some if group.run == some[-1].run]
            some = [max(newest, key=lambda group: group.epoch)]
        if some:
            counts[name] = sum(group.num_inferences for group in some)
    return counts


def _nothing(groups: Sequence[Group], selection: Selection) -> str:
    return (
        f"There are no inferences of the dataset type {selection.dataset_type!r:.80} with "
        f"n_epoch={selection.n_epoch!r:.40}{'' if selection.run is None else f' in the run {selection.run!r:.80}'}. "
        f"{dataset_types_text(groups)}"
    )
