"""Watches a model in production, where nobody knows what is true.

With a ``result_name`` the probability that each visible detection is wrong is estimated, by what an evaluation found
out; without one there are basic statistics.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from ml.core.errors import ConfigError
from ml.tracing.delivery import Listener
from ml.tracing.options import Epochs, Fields, Options
from ml.tracing.output import NmsConfig
from ml.tracing.statistics import Statistics, Tally
from ml.tracing.task import Task
from ml.tracing.tracer import ModelTracer
from ml.tracing.watching import CallArguments

if TYPE_CHECKING:
    from ml.loggers.multi import MultiLogger
    from ml.tracing.estimator import ErrorEstimator
    from ml.tracing.features import Reduction

MAX_QUEUE_BYTES = 64 << 20


class MonitoringLogger(ModelTracer):
    """The base of the loggers. It is called as the model is, and returns what the model returns.

    Args:
        model: A model, with or without ``torch.compile`` or a wrapper for parallel training around it.
        model_name: Of the architecture. Its hash is kept at first use, and has to be the same later.
        version_name: Of the training: conditions, data.
        result_name: Of an evaluation of this version, by which errors are estimated; ``None``: they are not.
        n_epoch: How many epochs the model had been trained for, which is also what is exported and sent. ``"latest"``
            is the last one of the newest run of this version in the database, 0 if there is none; ``"all"`` is
            recorded as the same one, but exports and sends all.
        target_layers: Layers whose outputs are kept as features: by alias a path, as ``named_modules`` has it.
        additional_fields: Columns of the user's own: ``[{"name": "camera", "type": "str"}]``; the types are ``str``,
            ``int``, ``float``, ``bool`` and ``json``. Their values are given to the call by name.
        auto_sync: What is saved is also sent, soon after, if there is an endpoint.
        force_table_recreate: Renames the tables that are there to ``<name>_old_<n>``, and begins new ones.
        api_endpoint: Where to send to: a URL of HTTP, or of an object store. ``None``: ``ML_API_ENDPOINT``; without
            one nothing ever leaves the machine.
        api_key: For that endpoint. ``None``: ``ML_API_KEY``.
        n_class: How many classes there are; ``None``: as the model says.
        score_thresh: A detection is shown if its score is above it. It applies to the model for the time of each call;
            ``None``: the model's own, and the model is not touched. So with the next two.
        iou_thresh: Of two detections of one class that overlap by more the surer one is shown.
        max_detections_per_image: How many are shown at most.
        database: The path of an SQLite file, or a URL of ``ml.db``; ranks above 0 write to a file of their own.
        feature_reductions: How a layer's output is reduced, by its alias; by default to its mean over space.
        max_candidates: How many candidates of an image are kept at most, the surest; visible ones are always kept.
        thumbnail_px: What the longer side of a kept picture has at most; ``None``: no pictures are kept.
        logger: Takes statistics of each call, under its own namespace.
        clock: Monotonic seconds.
        wall_clock: Unix seconds.
        max_queue_bytes: What may wait for the database. The oldest inferences are given up past it, counted, and told:
            a deployment never waits.

    Raises:
        ConfigError: An argument makes no sense, or no class knows the model; another architecture has the name; there
            is no such result.
    """

    def __init__(
        self,
        model: nn.Module,
        model_name: str,
        version_name: str,
        result_name: str | None = None,
        n_epoch: Epochs = "latest",
        target_layers: Mapping[str, str] | None = None,
        additional_fields: Fields | None = None,
        auto_sync: bool = True,
        force_table_recreate: bool = False,
        api_endpoint: str | None = None,
        api_key: str | None = None,
        n_class: int | None = None,
        score_thresh: float | None = None,
        iou_thresh: float | None = None,
        max_detections_per_image: int | None = None,
        *,
        database: str | Path = "traces.db",
        feature_reductions: "Mapping[str, Reduction] | None" = None,
        max_candidates: int = 300,
        thumbnail_px: int | None = None,
        logger: "MultiLogger | None" = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
    ) -> None:
        options = Options(
            model_name=model_name,
            version_name=version_name,
            n_epoch=n_epoch,
            target_layers=target_layers,
            additional_fields=additional_fields,
            additional_label_fields=None,
            auto_sync=auto_sync,
            force_table_recreate=force_table_recreate,
            api_endpoint=api_endpoint,
            api_key=api_key,
            n_class=n_class,
            nms=NmsConfig(score_thresh, iou_thresh, max_detections_per_image),
            database=database,
            feature_reductions=feature_reductions,
            max_candidates=max_candidates,
            thumbnail_px=thumbnail_px,
            logger=logger,
            clock=clock,
            wall_clock=wall_clock,
            max_queue_bytes=max_queue_bytes,
        ).checked()
        super().__init__(model, self._task_of(model), options)
        self._tally, self._epoch = Tally(), self._saver.epoch()
        self.listen(self._tally.add)
        if logger is not None:
            self.listen(_logging(logger))
        if result_name is not None:
            try:
                self._maker.estimate = self._estimator(result_name).estimate
            except BaseException:
                self.close(0.0)
                raise

    @classmethod
    def _task_of(cls, model: nn.Module) -> Task:
        raise ConfigError(f"{cls.__name__} is a base class. Use a logger for the model's task.")

    def __call__(
        self,
        model_input: object,
        input_ids: Sequence[str] | None = None,
        dataset_type: str = "deploying",
        **kwargs: object,
    ) -> object:
        """Calls the model, and keeps what it said.

        Args:
            model_input: What the model is called with; a mapping holds its arguments by name.
            input_ids: What each input is called; ``None``: by the hash of its content, which costs 1 ms for a MB. One
                that comes again in this run replaces the one before.
            dataset_type: ``"train"``, ``"val"``, ``"test"``, ``"deploying"``, or what the user calls it.
            **kwargs: Of ``additional_fields`` the values, by name: one for each input.

        Returns:
            What the model returned: the very object.

        Raises:
            ConfigError: There is no such field, or not as many ids or values as inputs. The model was not called.
            ClosedError: The logger is closed.
        """
        return self._trace(model_input, CallArguments(input_ids, dataset_type, self._epoch, kwargs))

    def statistics(self) -> Statistics:
        """Returns what was seen so far, of all calls of this logger."""
        return self._tally.statistics()

    def _estimator(self, result_name: str) -> "ErrorEstimator":
        from ml.tracing.estimator import load_estimator
        from ml.tracing.reading import open_traces

        options = self._options
        with open_traces(options.database) as traces:
            estimator = load_estimator(traces, self.identity, result_name, options.n_epoch)
            if estimator is not None:
                return estimator
            result = traces.load_result(self.identity, result_name)
        problem = f"There is no evaluation {result_name!r:.80} of {options.model_name} {options.version_name}."
        if result is not None:
            reason = result.data.get("no_estimator") if isinstance(result.data, dict) else None
            problem = f"The result {result_name!r:.80} has no estimator of errors{f': {reason}' if reason else ''}."
        raise ConfigError(f"{problem} Leave result_name out for basic statistics.")


def _logging(logger: "MultiLogger") -> Listener:
    return lambda inferences: logger.log_scalars(Tally.of(inferences).scalars())
