"""Watches a model where it is known what is true: in training, validation and tests."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from ml.core.errors import ConfigError
from ml.tracing.monitoring import MAX_QUEUE_BYTES
from ml.tracing.options import Epochs, Fields, Options, check_epoch
from ml.tracing.output import NmsConfig
from ml.tracing.task import Task
from ml.tracing.tracer import ModelTracer
from ml.tracing.watching import CallArguments

if TYPE_CHECKING:
    from ml.tracing.features import Reduction


class TrainingTracer(ModelTracer):
    """The base of the tracers. It is called with what is true, too, and returns what the model returns.

    Args:
        model: As of a logger (``MonitoringLogger``), and so are the other arguments that are not described here.
        model_name: Of the architecture.
        version_name: Of the training.
        n_epoch: Which epochs are exported and sent: ``"all"``, ``"latest"`` or one of them. Which one is recorded is
            said with each call.
        target_layers: Layers whose outputs are kept as features.
        additional_fields: Columns of inferences.
        additional_label_fields: Columns of true boxes, as ``additional_fields`` are written; their values stand beside
            the boxes: ``{"boxes": ..., "labels": ..., "occluded": [True, False]}``.
        auto_sync: What is saved is also sent, soon after; a tracer does so only if it is told to.
        force_table_recreate: Renames the tables that are there, and begins new ones.
        api_endpoint: Where to send to.
        api_key: For that endpoint.
        n_class: How many classes there are.
        score_thresh: Applies to the model for the time of each call; ``None``: the model's own.
        iou_thresh: The same.
        max_detections_per_image: The same.
        database: The path of an SQLite file, or a URL of ``ml.db``.
        feature_reductions: How a layer's output is reduced, by its alias.
        max_candidates: How many candidates of an image are kept at most.
        thumbnail_px: What the longer side of a kept picture has at most; ``None``: no pictures are kept.
        clock: Monotonic seconds.
        wall_clock: Unix seconds.
        max_queue_bytes: What may wait for the database.

    Raises:
        ConfigError: As of a logger.
    """

    def __init__(
        self,
        model: nn.Module,
        model_name: str,
        version_name: str,
        n_epoch: Epochs = "all",
        target_layers: Mapping[str, str] | None = None,
        additional_fields: Fields | None = None,
        additional_label_fields: Fields | None = None,
        auto_sync: bool = False,
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
            additional_label_fields=additional_label_fields,
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
            logger=None,
            clock=clock,
            wall_clock=wall_clock,
            max_queue_bytes=max_queue_bytes,
        ).checked()
        super().__init__(model, self._task_of(model), options)
        self._epoch = 0

    @classmethod
    def _task_of(cls, model: nn.Module) -> Task:
        raise ConfigError(f"{cls.__name__} is a base class. Use a tracer for the model's task.")

    def __call__(
        self,
        model_input: object,
        ground_truth: object,
        input_ids: Sequence[str] | None = None,
        dataset_type: str = "train",
        n_epoch: int | None = None,
        **kwargs: object,
    ) -> object:
        """Calls the model, and keeps what it said, and what is true.

        Args:
            model_input: What the model is called with; a mapping holds its arguments by name.
            ground_truth: Of a detector a list, for each image ``{"boxes": (T, 4), "labels": (T,)}`` or what has
                ``xyxy`` and ``labels``: in pixels of the image, numbered as the model's output. Of a classifier the
                class of each input. ``None`` of an input: not known; of all: of none. What is no truth costs its own
                input, and is counted.
            input_ids: What each input is called; ``None``: by the hash of its content.
            dataset_type: ``"train"``, ``"val"``, ``"test"``, or what the user calls it.
            n_epoch: How many epochs the model has been trained for; ``None``: as in the call before, 0 in the first.
            **kwargs: Of ``additional_fields`` the values, by name: one for each input.

        Returns:
            What the model returned: the very object.

        Raises:
            ConfigError: There is no such field, or not as many ids, values or truths as inputs. The model was not
                called.
            ClosedError: The tracer is closed.
        """
        if n_epoch is not None:
            self._epoch = check_epoch(n_epoch)
        return self._trace(model_input, CallArguments(input_ids, dataset_type, self._epoch, kwargs, ground_truth))
