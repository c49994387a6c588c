"""Evaluates in a ``Trainer`` of ``lightning``: ``Trainer(callbacks=[LightningTables(evaluation)])``.

``evaluation`` is an ``ml.evaluation.EvalCallback``; its ``model`` is the ``LightningModule``. It evaluates at the end
of an epoch, behind the validation of that epoch, with what the module has logged as metrics, and after
``trainer.test``. The package ``pytorch_lightning`` will do as well.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ml.core.errors import missing
from ml.evaluation.callback import EvalCallback

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    try:
        from pytorch_lightning.callbacks import Callback  # type: ignore[assignment]
    except ImportError as error:
        raise missing("LightningTables", "the package lightning", "lightning", error) from error

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class _Metrics(Mapping[str, object]):
    """The metrics of a trainer when they are looked at: to read them may wait for the accelerator."""

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = trainer

    def __getitem__(self, name: str) -> object:
        return self._trainer.callback_metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._trainer.callback_metrics)

    def __len__(self) -> int:
        return len(self._trainer.callback_metrics)


class LightningTables(Callback):
    """Calls an ``EvalCallback`` at Lightning's hooks. What it does, and what ends training, is said there.

    Args:
        evaluation: What evaluates. Every rank calls it, and the one of rank 0 publishes.
    """

    def __init__(self, evaluation: EvalCallback) -> None:
        super().__init__()
        self.evaluation = evaluation

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Gives it the module; an earlier ``fit`` is over, also if it raised."""
        self.evaluation.set_model(pl_module)
        self.evaluation.set_params({})

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Begins with the ground truth."""
        self.evaluation.on_train_begin()

    def on_train_epoch_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Notes which epoch it is."""
        self.evaluation.on_epoch_begin(trainer.current_epoch)

    def on_train_batch_end(
        self, trainer: "Trainer", pl_module: "LightningModule", outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Evaluates, if batches are evaluated."""
        self.evaluation.on_train_batch_end(batch_idx, _Metrics(trainer))

    def on_train_epoch_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Evaluates: the validation of the epoch has ended, if there was one."""
        self.evaluation.on_epoch_end(trainer.current_epoch, trainer.callback_metrics)

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """What is tested from now on is no part of a training."""
        self.evaluation.on_train_end()

    def on_test_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Evaluates under the alias ``test``."""
        self.evaluation.on_test_end(trainer.callback_metrics)
