"""Evaluates a version of a model by what was traced of it, and keeps what comes out under a name.

::

    evaluator = Evaluator("fcos", "v1", database="traces.db")
    result = evaluator.request_evaluation()                  # "fcos_v1_default_20260102"
    result.data["map"], result.data["errors"]                # 0.41, {"correct": 812, "classification": 31, ...}
    evaluator.request_evaluation("drift", "usual")
    DriftMonitor(evaluator.baseline("usual"))                # raises an alarm where it is not as usual
    ObjectDetectionLogger(model, "fcos", "v1", result.name)  # estimates how likely each detection is wrong

An evaluation reads inferences whose truth is known, one after the other. Its data is what ``ml.tracing.summary`` says,
with ``num_unlabelled``, ``iou`` (foreground and background) and ``estimator``, which is what ``ml.tracing.estimator``
reads, or null where ``no_estimator`` says why there is none.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ml.core.errors import ConfigError
from ml.loggers.strict_json import Json
from ml.tracing.baseline import METHOD, Baseline, baseline_from, make_baseline
from ml.tracing.evaluating import EvaluationOptions, evaluate, options_of
from ml.tracing.reading import Result, Traces, open_traces
from ml.tracing.schema import NAME_LENGTH
from ml.tracing.selection import Epochs, Selection, newest

if TYPE_CHECKING:
    from pandas import DataFrame

METHODS: Final = {"default": EvaluationOptions._fields, METHOD: ("dataset_type",)}
"""Of each method the options."""

_COLUMNS: Final = {
    "name": "result_name",
    "method": "method_name",
    "epoch": "n_epoch",
    "created": "created_at",
    "completed": "completed_at",
    "options": "options",
}


class Evaluator:
    """Evaluates a version of a model.

    Args:
        model_name: Of the architecture.
        version_name: Of the training.
        database: The path of an SQLite file, or a URL of ``ml.db``: where inferences are, and results are kept.
        wall_clock: Returns Unix seconds.
    """

    def __init__(
        self,
        model_name: str,
        version_name: str,
        *,
        database: str | Path = "traces.db",
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._of = Selection(model_name, version_name)
        self._database, self._wall_clock = database, wall_clock

    def request_evaluation(
        self,
        method_name: str = "default",
        result_name: str | None = None,
        n_epoch: Epochs = "latest",
        options: Mapping[str, Json] | None = None,
    ) -> Result:
        """Evaluates, here and now, and keeps the result.

        Args:
            method_name: ``"default"``: what is wrong, how often, and an estimator of errors. ``"drift"``: a baseline.
            result_name: ``None``: ``<model>_<version>_<method>_<date>``, with ``-2`` and so on if there is one.
            n_epoch: ``"latest"``, ``"all"``, or one; as a ``Selection`` has it.
            options: ``dataset_type`` of the inferences (default ``"val"``; None: all); for ``"default"`` also
                ``foreground_iou`` (0.5) and ``background_iou`` (0.1) of the types of error, ``num_worst`` (20) images
                to be named, ``seed`` (0) of the parting of images for the estimator.

        Raises:
            FileNotFoundError: There is no such database.
            ConfigError: An argument is wrong, there is a result of this name, or there are no such inferences;
                scikit-learn is not installed.
            FormatError: The database is damaged.
            WriteError: The result cannot be kept now.
        """
        if method_name not in METHODS:
            raise ConfigError(f"There is no method {method_name!r:.80}; there are {', '.join(METHODS)}.")
        chosen = options_of(options or {}, METHODS[method_name])
        selection = self._of._replace(n_epoch=n_epoch, dataset_type=chosen.dataset_type).checked()
        created = self._now()
        with open_traces(self._database) as traces:
            name = self._name(traces, result_name, method_name, created)
            epoch, data = self._found(traces, selection, method_name, chosen)
            given = dict(options or {})
            result = Result(name, method_name, epoch, created, self._now(), given, data)
            try:
                traces.save_result(self._of, result)
            except ConfigError:
                if result_name is not None:
                    raise
                # Somebody took the name meanwhile.
                result = replace(result, name=self._name(traces, None, method_name, created))
                traces.save_result(self._of, result)
        return result

    def list_results(
        self, result_name: str | None = None, method_name: str | None = None, n_epoch: Epochs = "latest"
    ) -> "DataFrame":
        """Returns the results of the version, a row each.

        Args:
            result_name: Only this one.
            method_name: Only those of this method.
            n_epoch: Only those of this epoch; ``"latest"``: of the last one of the newest run in the database. Results
                of all epochs together are always among them.

        Returns:
            Columns ``result_name``, ``method_name``, ``n_epoch`` (missing: of all), ``created_at``, ``completed_at``
            and ``options``, sorted by name.

        Raises:
            FileNotFoundError, FormatError: As ``request_evaluation``.
            ConfigError: ``n_epoch`` is wrong; pandas or pyarrow is not installed.
        """
        selection = self._of._replace(n_epoch=n_epoch).checked()
        with open_traces(self._database) as traces:
            frame = traces.results(self._of)
        epoch = newest(self._database, selection) if n_epoch == "latest" else n_epoch
        frame = frame[list(_COLUMNS)].rename(columns=_COLUMNS)
        frame["n_epoch"] = frame["n_epoch"].astype("Int64")
        frame["options"] = [json.loads(options) for options in frame["options"]]
        if epoch is not None and epoch != "all":
            frame = frame[frame["n_epoch"].isna() | (frame["n_epoch"] == epoch)]
        for column, wanted in (("result_name", result_name), ("method_name", method_name)):
            if wanted is not None:
                frame = frame[frame[column] == wanted]
        return frame.reset_index(drop=True)

    def get_result(self, name: str) -> Result:
        """Returns a result.

        Raises:
            FileNotFoundError, FormatError: As ``request_evaluation``.
            ConfigError: There is none of this name.
        """
        with open_traces(self._database) as traces:
            result = traces.load_result(self._of, name)
        if result is None:
            raise ConfigError(
                f"There is no result {name!r:.80} of {self._of.model_name} {self._of.version_name}. "
                "list_results(n_epoch='all') has those that there are."
            )
        return result

    def baseline(self, name: str) -> Baseline:
        """Returns what is usual, as ``request_evaluation("drift", name)`` has found it.

        Raises:
            FileNotFoundError, FormatError: As ``request_evaluation``.
            ConfigError: There is no result of this name, or it is no baseline.
        """
        result = self.get_result(name)
        if result.method != METHOD:
            raise ConfigError(f"The result {name!r:.80} is one of {result.method!r}, not of {METHOD!r}.")
        return baseline_from(result.data)

    def _found(
        self, traces: Traces, selection: Selection, method: str, options: EvaluationOptions
    ) -> tuple[int | None, Json]:
        if method == METHOD:
            epoch, made = make_baseline(traces, selection)
            return epoch, made.to_json()
        return evaluate(traces, selection, options)

    def _name(self, traces: Traces, wanted: str | None, method: str, created: datetime) -> str:
        name = wanted
        if name is None:
            name = f"{self._of.model_name}_{self._of.version_name}_{method}_{created:%Y%m%d}"
        if not 0 < len(name) <= NAME_LENGTH - len("-999"):
            raise ConfigError(f"A result's name has 1 to {NAME_LENGTH} characters, got {name!r:.80}. Give result_name.")
        if traces.load_result(self._of, name) is None:
            return name
        if wanted is not None:
            raise ConfigError(f"There is a result {wanted!r}. Choose another result_name.")
        number = 2
        while traces.load_result(self._of, f"{name}-{number}") is not None:
            number += 1
        return f"{name}-{number}"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall_clock(), UTC)
