"""What trackers kept, as charts. It comes from a database, so anybody may have written it."""

from collections.abc import Sequence

from ml.benchmarks.reading import StoredMeasurement
from ml.core.plain import Plain
from ml.loggers.strict_json import number, parsing
from ml.report.charts import Dimension, HeatMap, ParallelChart

_TRACKED = ("loss", "tta", "confusion_matrix", "hyperparameters")


def is_tracked(type_: str) -> bool:
    """Whether a tracker keeps this type, and more than a number of it."""
    return type_ in _TRACKED


def curve_of(measurement: StoredMeasurement) -> tuple[list[float], list[float]]:
    """Returns epochs, from 1, and the values at them.

    Raises:
        FormatError: It is no curve.
    """
    with parsing(f"no curve of '{measurement.description:.80}'"):
        values = [float(number(value)) for value in _list(measurement.data)]
        return [float(epoch) for epoch in range(1, len(values) + 1)], values


def heat_map_of(measurement: StoredMeasurement, title: str) -> HeatMap:
    """Returns a confusion matrix, rows predicted and columns actual.

    Raises:
        FormatError: It is none.
    """
    with parsing(f"no confusion matrix of '{measurement.description:.80}'"):
        data = _dict(measurement.data)
        names = [str(label) for label in _list(data["labels"])]
        rows = [[float(number(value)) for value in _list(row)] for row in _list(data["matrix"])]
        if [len(row) for row in rows] != [len(names)] * len(names):
            raise ValueError(f"{len(names)} labels do not fit {len(rows)} rows of {sorted({*map(len, rows)})} columns")
        total, right = sum(map(sum, rows)), sum(rows[index][index] for index in range(len(rows)))
        note = f"{right:g} of {total:g} right ({100 * right / total:.1f} %)" if total else ""
        return HeatMap(f"confusion matrix: {title}", "predicted", "actual", names, names, rows, note)


def search_of(trials: Sequence[StoredMeasurement], title: str) -> ParallelChart:
    """Returns the trials of a search; a hyperparameter that a trial does not have is the text ``-``.

    Raises:
        FormatError: One is no trial.
    """
    with parsing(f"no trials of '{trials[0].description:.80}'"):
        all_data = [_dict(trial.data) for trial in trials]
        settings = [_dict(data["hyperparameters"]) for data in all_data]
        names = list(dict.fromkeys(name for setting in settings for name in setting))
        dimensions = [Dimension(str(name), [_value(setting.get(name, "-")) for setting in settings]) for name in names]
        values = [float("nan") if trial.value is None else trial.value for trial in trials]
        target = Dimension(str(all_data[0]["target"]), values)
        note = f"{len(trials)} trials"
        return ParallelChart(f"search: {title}", dimensions, target, bool(all_data[0]["low_means_good"]), note)


def _value(value: Plain) -> float | str:
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)


def _list(value: Plain) -> list[Plain]:
    if not isinstance(value, list):
        raise TypeError(f"no list: {value!r:.60}")
    return value


def _dict(value: Plain) -> dict[str | int | float | bool, Plain]:
    if not isinstance(value, dict):
        raise TypeError(f"no mapping: {value!r:.60}")
    return value
