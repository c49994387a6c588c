"""What the adapters of other trainers ask of them, and when."""

import pytest

from ml.evaluation.callback import EvalCallback

lightning_tables = pytest.importorskip("ml.integrations.lightning_tables")


class Steps(EvalCallback):
    def add_ground_truth(self, logs=None):
        self.data_table.add_data(0)

    def add_model_predictions(self, epoch, logs=None):
        self.pred_table.add_data(epoch, self.data_table_ref.get_index()[0])


class CountingTrainer:
    """Counts how often it computes its metrics, for which Lightning waits for the accelerator."""

    def __init__(self):
        self.computed = 0

    @property
    def callback_metrics(self):
        self.computed += 1
        return {"loss": 0.5}


@pytest.mark.parametrize(("every_n_batches", "evaluated"), [(None, []), (4, [4, 8])], ids=["none", "every fourth"])
def test_lightning_computes_its_metrics_at_the_batches_that_are_evaluated_alone(tmp_path, every_n_batches, evaluated):
    steps = Steps(["row"], ["epoch", "row"], artifacts=tmp_path, every_n_batches=every_n_batches)
    trainer, tables = CountingTrainer(), lightning_tables.LightningTables(steps)
    steps.on_train_begin()
    asked = []
    for batch in range(1, 9):
        before = trainer.computed
        tables.on_train_batch_end(trainer, None, None, None, batch - 1)
        asked += [batch] if trainer.computed > before else []
    steps.close()

    assert asked == evaluated
