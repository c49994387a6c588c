"""Keeps what a model predicts, sample by sample, each epoch a version, in whatever loop.

::

    class Digits(EvalCallback):
        def __init__(self, images, labels):
            super().__init__(["idx", "image", "label"], ["epoch", "idx", "image", "label", "pred"])
            self.images, self.labels = images, labels

        def add_ground_truth(self, logs=None):
            for idx, (image, label) in enumerate(zip(self.images, self.labels)):
                self.data_table.add_data(idx, Image(image), label)

        def add_model_predictions(self, epoch, logs=None):
            predicted = self.model(self.images).argmax(1)
            for idx in self.data_table_ref.get_index():
                self.pred_table.add_data(epoch, *self.data_table_ref.data[idx], predicted[idx])

    evaluation = Digits(images, labels)
    evaluation.set_model(model)
    for epoch in range(10):
        ...
        evaluation.evaluate(epoch, {"accuracy": accuracy})

With Keras it is a callback as it is, ``model.fit(..., callbacks=[evaluation])``. With Lightning and the trainer of
Hugging Face, adapters in ``ml.integrations`` call it. This is what it leaves, in ``evaluation`` by default:

====================  ==================================================================================
``val``               the ground truth, once
``run_<id>_pred``     the predictions, a version an evaluation: ``latest``, ``epoch_3``, and ``best``,
                      with the metrics of that epoch; media of the ground truth are not stored again
====================  ==================================================================================
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ml.core.errors import ConfigError, FormatError, LogValueError, WriteError
from ml.evaluation.aliases import Mode
from ml.evaluation.artifacts import Version
from ml.evaluation.columns import Column, ColumnName, checked
from ml.evaluation.ground_truth import GroundTruth
from ml.evaluation.hooks import call, nothing
from ml.evaluation.keeping import ArtifactsSource, Keeper, predictions_of
from ml.evaluation.loop import undisturbed
from ml.evaluation.metadata import clean_metrics
from ml.evaluation.sampling import check_max_samples
from ml.evaluation.sinks import LoggedTables, TableSink
from ml.evaluation.table import Table
from ml.loggers.multi import MultiLogger

Columns = Sequence[ColumnName | Column]
Logs = Mapping[str, object]


class EvalCallback(ABC):
    """Derive from it, and say what the ground truth is and what the model predicts; everything else is done.

    Both methods may leave out ``logs``. They are called on every rank, as a model may need them all; the primary rank
    publishes. Meanwhile a torch model is in evaluation mode, no gradients are recorded, and what is drawn is not drawn:
    training goes on as without it. What the methods raise ends training. What cannot be stored is told and counted, in
    ``failures``; training goes on, and the ground truth is published with the next evaluation.

    Args:
        data_table_columns: Of the ground truth: names, or columns with a kind.
        pred_table_columns: Of the predictions.
        *args: For the next class that a derived one has as a base.
        artifacts: Where to: a directory, the URL of a bucket, ``Artifacts``.
        run_id: Of the run: predictions are ``run_<run_id>_pred``. ``None``: as ``artifacts`` says, or drawn.
        best: The metric among the logs that tells which version is ``best``, and whether the greatest or the least.
        every_n_epochs: Epoch ends between two evaluations: with 5 these are the epochs 4, 9, 14, counted from 0.
        every_n_batches: Batches of training between two further evaluations, under the aliases ``batch_100``,
            ``batch_200``; with Keras these wait for the accelerator at every batch. ``None``: there are none.
        max_samples: How many rows ``data_table_ref.get_index()`` gives, always the same ones; ``None``: all.
        logger: Logs the predictions, and their metrics, too.
        sinks: Take all tables, too.
        **kwargs: For the next class.

    Attributes:
        data_table: The ground truth that ``add_ground_truth`` fills, a ``Table``.
        pred_table: The predictions that ``add_model_predictions`` fills, a ``Table``.
        params: What Keras says of the training.

    Raises:
        ConfigError: A setting makes no sense, or pyarrow is missing.
        TypeError: There is no such setting, and no next class.
    """

    data_table: Table
    pred_table: Table

    def __init__(
        self,
        data_table_columns: Columns,
        pred_table_columns: Columns,
        *args: object,
        artifacts: ArtifactsSource = "evaluation",
        run_id: str | None = None,
        best: tuple[str, Mode] | None = None,
        every_n_epochs: int = 1,
        every_n_batches: int | None = None,
        max_samples: int | None = None,
        logger: MultiLogger | None = None,
        sinks: Sequence[TableSink] = (),
        **kwargs: object,
    ) -> None:
        if (args or kwargs) and not _has_next(type(self)):
            surplus = ", ".join([*map(repr, args), *(f"{name}=" for name in kwargs)])
            raise TypeError(
                f"{type(self).__name__} takes two lists of columns, and its settings by name; not {surplus}."
            )
        super().__init__(*args, **kwargs)
        _check_every("every_n_epochs", every_n_epochs)
        if every_n_batches is not None:
            _check_every("every_n_batches", every_n_batches)
        check_max_samples(max_samples)
        checked(data_table_columns), checked(pred_table_columns)
        self.data_table_columns, self.pred_table_columns = list(data_table_columns), list(pred_table_columns)
        logged = [] if logger is None else [LoggedTables(logger)]
        self._keeper = Keeper(artifacts, run_id=run_id, best=best, sinks=[*logged, *sinks])
        self._every_n_epochs, self._every_n_batches, self._max_samples = every_n_epochs, every_n_batches, max_samples
        self.params: Mapping[str, object] = {}
        self._model: Any = None
        self._data_table_ref: GroundTruth | None = None
        self._data_names: tuple[str, ...] = ()
        self._last: Version | None = None
        self._epoch: int | None = None
        self._logs: Logs = {}
        self._batches = 0
        self._is_training = False

    @abstractmethod
    def add_ground_truth(self, logs: Logs | None = None) -> None:
        """Adds the samples to ``self.data_table``. Called once, when training begins.

        Args:
            logs: As Keras gives them there; mostly ``None``.
        """

    @abstractmethod
    def add_model_predictions(self, epoch: int, logs: Logs | None = None) -> None:
        """Adds what ``self.model`` predicts to ``self.pred_table``. Called in each evaluation.

        Args:
            epoch: From 0 on.
            logs: Metrics of the epoch by name.
        """

    @property
    def model(self) -> Any:
        """What predicts, of whatever framework: as ``set_model`` was given it."""
        return self._model

    @model.setter
    def model(self, model: Any) -> None:
        self._model = model

    @property
    def data_table_ref(self) -> GroundTruth:
        """The ground truth, read back: ``.get_index()`` gives the rows to look at, ``.data[idx][column]`` their values.

        A value taken from here is stored as a reference, not again; a number from ``get_index()`` becomes a reference
        to its row.

        Raises:
            ConfigError: ``log_data_table`` was not called yet.
        """
        if self._data_table_ref is None:
            raise ConfigError("There is no ground truth yet: log_data_table() makes it, when training begins.")
        return self._data_table_ref

    @property
    def run_id(self) -> str:
        """Of the run."""
        return self._keeper.run_id

    @property
    def failures(self) -> Counter[str]:
        """How many tables could not be kept, by what failed: ``data``, ``predictions``, or the class of a sink."""
        return self._keeper.failures

    def evaluate(self, epoch: int, logs: Logs | None = None, *, aliases: Sequence[str] | None = None) -> Version | None:
        """Evaluates now, whatever loop calls it. The first call begins with the ground truth.

        Args:
            epoch: From 0 on.
            logs: Metrics by name: numbers among them are kept with the version.
            aliases: Of the version, instead of ``epoch_<epoch>``; ``latest`` moves by itself.

        Returns:
            The version; ``None``: it could not be kept, or this is not the primary rank.

        Raises:
            Exception: Whatever the two methods raise.
        """
        self._epoch, self._logs, self._last = epoch, logs or {}, None
        with undisturbed(self._model):  # sinks are foreign code, and may draw as well
            if self._data_table_ref is None:
                self._begin(None)
            elif self._keeper.owes_data:
                EvalCallback.log_data_table(self, *self._data_names)  # as it was called, maybe by one that overrides it
            if self._data_table_ref is None:  # the disk is full, and it was told
                return None
            try:
                self.init_pred_table(column_names=self.pred_table_columns)
                call(self.add_model_predictions, epoch, logs=logs)
            except (WriteError, FormatError) as error:
                self._keeper.lose("predictions", predictions_of(epoch), error)
                return None
            self.log_pred_table() if aliases is None else self.log_pred_table(aliases=aliases)
        return self._last

    def init_data_table(self, column_names: Columns) -> None:
        """Makes ``data_table``, in the place of an earlier one.

        Args:
            column_names: Names, or columns with a kind.
        """
        self._close("data_table")
        self._data_table_ref = None
        self.data_table = Table(column_names, name="data_table")

    def init_pred_table(self, column_names: Columns) -> None:
        """Makes ``pred_table``, in the place of an earlier one.

        Args:
            column_names: Names, or columns with a kind.
        """
        self._close("pred_table")
        self.pred_table = Table(column_names, name="pred_table")

    def log_data_table(self, name: str = "val", type: str = "dataset", table_name: str = "val_data") -> None:
        """Publishes ``data_table`` and notes that this run uses it; ``data_table_ref`` is then what was published.

        Args:
            name: Of the artifact.
            type: Of the artifact.
            table_name: In the artifact.
        """
        self._data_names = name, type, table_name
        kept = self._keeper.keep_data(self.data_table, name=name, type=type, table_name=table_name)
        self._data_table_ref = GroundTruth(kept, self._max_samples)

    def log_pred_table(
        self, type: str = "evaluation", table_name: str = "eval_data", aliases: Sequence[str] | None = None
    ) -> None:
        """Publishes ``pred_table`` as a new version, made of the ground truth.

        Args:
            type: Of the artifact.
            table_name: In the artifact.
            aliases: Of the version; ``None``: ``epoch_<epoch>``. ``latest``, and ``best``, move by themselves.
        """
        if aliases is None:
            aliases = [] if self._epoch is None else [f"epoch_{self._epoch}"]
        self._last = self._keeper.keep_predictions(
            self.pred_table,
            type=type,
            table_name=table_name,
            aliases=aliases,
            epoch=self._epoch,
            metrics=numbers_of(self._logs),
        )

    def close(self) -> None:
        """Removes the temporary files of the tables; what was published stays. May be called again."""
        self._close("data_table")
        self._close("pred_table")

    def set_model(self, model: Any) -> None:
        """Takes what predicts."""
        self._model = model
        self._next("set_model")(model)

    def set_params(self, params: Mapping[str, object]) -> None:
        """Takes what Keras says of a ``fit`` or ``evaluate`` that begins; an earlier ``fit`` is over, or has raised."""
        self.params = params
        self._is_training = False
        self._next("set_params")(params)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Makes, fills and publishes the ground truth."""
        self._next("on_train_begin")(logs)
        self._is_training = True
        with undisturbed(self._model):
            self._begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Notes which epoch it is."""
        self._next("on_epoch_begin")(epoch, logs)
        self._epoch = epoch

    @property
    def on_train_batch_end(self) -> Callable[..., None]:
        """Evaluates every ``every_n_batches`` batches. Without, Keras must see that no one looks at them."""
        return self._next("on_train_batch_end") if self._every_n_batches is None else self._end_batch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Evaluates, every ``every_n_epochs`` epochs."""
        self._next("on_epoch_end")(epoch, logs)
        if (epoch + 1) % self._every_n_epochs == 0:
            self.evaluate(epoch, logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """What is tested from now on is no validation of an epoch."""
        self._next("on_train_end")(logs)
        self._is_training = False

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Evaluates under the alias ``test``, unless the test is the validation of an epoch: that has its own end."""
        self._next("on_test_end")(logs)
        if not self._is_training:
            self.evaluate(self._epoch or 0, logs, aliases=["test"])

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Keras's other hooks, those of later versions too: none does anything."""
        if name.startswith("on_"):
            return nothing
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _begin(self, logs: Logs | None) -> None:
        try:
            self.init_data_table(column_names=self.data_table_columns)
            call(self.add_ground_truth, logs=logs)
        except WriteError as error:
            self._keeper.lose("data", "The ground truth", error)
            return
        self.log_data_table()

    def _end_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._next("on_train_batch_end")(batch, logs)
        self._batches += 1
        if self._every_n_batches is not None and self._batches % self._every_n_batches == 0:
            self.evaluate(self._epoch or 0, logs, aliases=[f"batch_{self._batches}"])

    def _next(self, hook: str) -> Callable[..., None]:
        """Returns a hook of the next class that a derived one has as a base."""
        found: Callable[..., None] = getattr(super(), hook, nothing)
        return found

    def _close(self, name: str) -> None:
        table = vars(self).get(name)
        if isinstance(table, Table):
            table.close()


def _check_every(name: str, every: int) -> None:
    if type(every) is not int or every < 1:
        raise ConfigError(f"{name} is a whole number of 1 or more, got {every!r}.")


def numbers_of(logs: Logs) -> dict[str, float]:
    """Returns the numbers among some logs; a tensor of one element is one."""
    found: dict[str, float] = {}
    for name, value in logs.items():
        with suppress(LogValueError):
            found |= clean_metrics({name: value})
    return found


def _has_next(cls: type) -> bool:
    """Whether there is a class behind ``EvalCallback`` that may take arguments."""
    after = cls.__mro__[cls.__mro__.index(EvalCallback) + 1 :]
    return any("__init__" in vars(base) for base in after if base is not object)
