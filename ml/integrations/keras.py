"""Logs Keras: ``model.fit(..., callbacks=[KerasCallback(run)])``, also ``evaluate``.

A step is one training batch, counted on over all epochs and fits. At the end of an epoch come the metrics
under the names that Keras gives them, as in ``History.history``, and the learning rate::

    loss  accuracy  val_loss  val_accuracy  learning_rate

With ``log_every_n_batches`` come those of single batches too, apart: ``batch/loss``. They are Keras's own,
the mean over the epoch so far. What ``evaluate`` gives outside of ``fit`` is of the phase ``test``, at the
step where training stands. ``predict`` has no metrics.

Keras asks of a callback that it has certain methods, not that it is of a certain class: this module needs no
Keras, whatever its version and backend, and loads none.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from ml.core.errors import ConfigError
from ml.integrations.metrics import log_metrics
from ml.session import Run

_LEARNING_RATE = "learning_rate"


class _Optimizer(Protocol):
    learning_rate: float


class _Model(Protocol):
    optimizer: _Optimizer | None


class KerasCallback:
    """Logs a Keras model's training to a run. What it has logged of a step or an epoch is written at once.

    Keras hands single batches to callbacks only after it has waited for their metrics: with
    ``log_every_n_batches`` training on an accelerator waits at every batch, as with any Keras callback that looks
    at batches. Without it this callback makes nothing wait within an epoch.

    Args:
        run: What is logged to. ``start_run(..., resume=True, state=...)`` goes on counting where the state stands.
        log_every_n_batches: Logs the metrics of every so many batches too; by default only those of epochs,
            as Keras's TensorBoard callback does.

    Raises:
        ConfigError: ``log_every_n_batches`` is no whole number of 1 or more.
    """

    def __init__(self, run: Run, *, log_every_n_batches: int | None = None) -> None:
        every = log_every_n_batches
        if every is not None and (type(every) is not int or every < 1):
            raise ConfigError(f"log_every_n_batches is 1 or more, or None for epochs alone; got {every!r}.")
        self._run, self._every = run, every
        self._model: _Model | None = None
        self._step = 0
        self._is_fitting = False

    def set_model(self, model: _Model) -> None:
        """Takes the model that is trained or evaluated."""
        self._model = model

    def set_params(self, params: object) -> None:
        """A ``fit``, ``evaluate`` or ``predict`` begins: an earlier ``fit`` is over, also if it raised."""
        self._is_fitting = False

    def on_train_begin(self, logs: object = None) -> None:
        """Goes on counting where this callback, or the run, stands."""
        self._step = max(self._step, self._run.state.num_steps)

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        """Counts the batch."""
        self._is_fitting = True
        self._step += 1

    @property
    def on_train_batch_end(self) -> Callable[..., None]:
        """Logs the batch, if batches are logged. If not, Keras must see that no one looks at them: it then goes on."""
        return _nothing if self._every is None else self._log_batch

    def on_epoch_end(self, epoch: int, logs: Mapping[str, object] | None = None) -> None:
        """Logs the metrics of the epoch, and of its validation."""
        self._log(logs or {}, "")
        self._run.end_epoch()

    def on_train_end(self, logs: object = None) -> None:
        """What is evaluated from now on is no validation of an epoch."""
        self._is_fitting = False

    def on_test_end(self, logs: Mapping[str, object] | None = None) -> None:
        """Logs what ``evaluate`` found, unless ``fit`` has called it: that comes with the epoch, as ``val_...``."""
        if not self._is_fitting:
            with self._run.phase("test"):
                self._run.log(logs or {})
                self._run.step()

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Keras's other hooks, those of later versions too: none does anything."""
        if name.startswith("on_"):
            return _nothing
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _log_batch(self, batch: int, logs: Mapping[str, object] | None = None) -> None:
        if self._every is not None and self._step % self._every == 0:
            self._log(logs or {}, "batch/")

    def _log(self, logs: Mapping[str, object], prefix: str) -> None:
        rate = {} if _LEARNING_RATE in logs or self._model is None else self._learning_rate(self._model)
        log_metrics(self._run, self._step, {f"{prefix}{key}": value for key, value in {**logs, **rate}.items()})
        self._run.step()

    def _learning_rate(self, model: _Model) -> dict[str, object]:
        optimizer = getattr(model, "optimizer", None)
        return {} if optimizer is None else {_LEARNING_RATE: lambda: float(optimizer.learning_rate)}


def _nothing(*args: object, **kwargs: object) -> None:
    """A hook that does nothing, and is marked as Keras marks its own that do nothing."""


_nothing._is_default = True  # type: ignore[attr-defined]
