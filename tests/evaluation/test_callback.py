"""An evaluation without any framework: what is kept of it, when, and what it leaves alone."""

import inspect
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from ml.core.errors import ConfigError, LogValueError
from ml.core.run import RunContext
from ml.core.state import State
from ml.evaluation import Artifacts, EvalCallback, Image, Table
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.memory import MemoryLogger
from ml.testing import FakeClock

LABELS = ["cat", "dog", "cat", "emu"]
PICTURES = [np.full((9, 9), 60 * index, np.uint8) for index in range(len(LABELS))]


class Animals(EvalCallback):
    """Guesses the label of the sample ``epoch`` rows further on."""

    def __init__(
        self, directory, data_columns=("image", "label"), columns=("sample", "image", "prediction"), **settings
    ):
        super().__init__(list(data_columns), list(columns), **{"artifacts": directory, "run_id": "demo"} | settings)

    def add_ground_truth(self, logs=None):
        for picture, label in zip(PICTURES, LABELS, strict=True):
            self.data_table.add_data(Image(picture), label)

    def add_model_predictions(self, epoch, logs=None):
        for sample in self.data_table_ref.get_index():
            guess = LABELS[(sample + epoch) % len(LABELS)]
            self.pred_table.add_data(sample, self.data_table_ref.data[sample]["image"], guess)


def predictions(directory):
    return Artifacts(directory).versions("run_demo_pred")


def files_in(directory, pattern="*"):
    return {path.name: path.stat().st_size for path in (directory / "blobs").rglob(pattern) if path.is_file()}


# what is kept


def test_every_evaluation_is_a_version_that_was_made_of_the_ground_truth(tmp_path):
    animals = Animals(tmp_path)
    made = [animals.evaluate(epoch, {"accuracy": 1 / (epoch + 1), "note": "none"}) for epoch in range(3)]

    artifacts = Artifacts(tmp_path)
    val = artifacts.get("val")
    assert made == predictions(tmp_path) == [artifacts.get(f"run_demo_pred:epoch_{epoch}") for epoch in range(3)]
    assert [version.metrics for version in made] == [{"accuracy": 1.0}, {"accuracy": 0.5}, {"accuracy": 1 / 3}]
    assert {version.used for version in made} == {("val:v0",)}
    assert artifacts.used_by(val) == ["demo"] == artifacts.logged_by(made[0])
    assert val.table().get_column("label") == LABELS
    assert made[1].table().get_column("prediction") == [*LABELS[1:], LABELS[0]]


def test_a_row_number_leads_from_a_prediction_to_its_ground_truth(tmp_path):
    table = Animals(tmp_path).evaluate(1).table()

    assert [table.row(row["sample"])["label"] for row in table.data] == LABELS
    assert [row["image"].array().tolist() for row in table.data] == [picture.tolist() for picture in PICTURES]


def test_media_are_stored_once_however_many_evaluations_there_are(tmp_path):
    animals = Animals(tmp_path)
    animals.evaluate(0)
    first = files_in(tmp_path, "*.png")
    for epoch in range(1, 5):
        animals.evaluate(epoch)

    assert files_in(tmp_path, "*.png") == first
    assert len(first) == len(PICTURES)
    assert len(predictions(tmp_path)) == 4  # the fifth guesses as the first does


def test_the_same_predictions_are_the_same_version(tmp_path):
    """Also those of another process that repeats the run; its aliases move."""
    first = Animals(tmp_path).evaluate(0)
    again = Animals(tmp_path).evaluate(len(LABELS))

    assert again == first
    assert set(first.aliases) == {"epoch_0", f"epoch_{len(LABELS)}", "latest"}
    assert len(Artifacts(tmp_path).versions("val")) == 1


def test_best_is_told_by_a_metric_and_missing_once_is_said(tmp_path, caplog):
    animals = Animals(tmp_path, best=("loss", "min"))
    for epoch, loss in enumerate([3.0, 1.0, 2.0]):
        animals.evaluate(epoch, {"loss": loss})
    animals.evaluate(0, {"los": 0.5})
    animals.evaluate(1, {"los": 0.5})

    assert Artifacts(tmp_path).get("run_demo_pred:best").metrics == {"loss": 1.0}
    assert caplog.text.count("told by 'loss', which is not among the metrics of an evaluation: 'los'") == 1


def test_metrics_are_the_numbers_among_the_logs_and_a_loss_with_a_graph_is_one_without_a_warning(tmp_path, recwarn):
    logs = {
        "loss": torch.ones(1, requires_grad=True) / 2,
        "accuracy": np.float32(0.25),
        "large": 10**400,
        "curve": torch.ones(2),
        "none": None,
        "text": "1",
        "bytes": b"1",
    }

    assert Animals(tmp_path).evaluate(0, logs).metrics == {"loss": 0.5, "accuracy": 0.25, "large": float("inf")}
    assert [str(warning.message) for warning in recwarn] == []


def test_no_row_is_left_out_of_a_large_table(tmp_path):
    class Large(Animals):
        def add_model_predictions(self, epoch, logs=None):
            for number in range(10_050):
                self.pred_table.add_data(number)

    assert len(Large(tmp_path, columns=["number"]).evaluate(0).table()) == 10_050


def test_a_logger_gets_the_predictions_and_their_metrics_with_the_step(tmp_path):
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("eval")
    animals = Animals(tmp_path, logger=component)
    with LoggerGroup([memory], RunContext(tmp_path / "run", clock=FakeClock())) as logs:
        animals.evaluate(2, {"accuracy": 0.5})
        animals.close()
        logs.write([component], State(num_steps=7))

    found = {(entry.step, entry.key): entry.value for entry in memory.entries}
    assert set(found) == {(7, "eval_data"), (7, "eval_data/accuracy")}
    assert found[7, "eval_data/accuracy"] == 0.5
    table = found[7, "eval_data"]
    assert table.column_names == ["sample", "image", "prediction"]
    assert list(table.columns[2].cells) == ["cat", "emu", "cat", "dog"]
    assert table.columns[1].kind == "image"


# when


class Recorded(Animals):
    """Notes what is called, with which arguments."""

    def __init__(self, *args, **settings):
        self.calls = []
        super().__init__(*args, **settings)

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith(("init_", "add_", "log_")):
            return found

        def noted(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            return found(*args, **kwargs)

        noted.__signature__ = inspect.signature(found)
        return noted


def test_the_steps_of_the_lifecycle_come_in_their_order_and_each_can_be_overridden(tmp_path):
    animals = Recorded(tmp_path)
    animals.on_train_begin()
    animals.on_epoch_begin(0)
    animals.on_epoch_end(0, {"loss": 1.0})

    assert animals.calls == [
        ("init_data_table", (), {"column_names": ["image", "label"]}),
        ("add_ground_truth", (None,), {}),
        ("log_data_table", (), {}),
        ("init_pred_table", (), {"column_names": ["sample", "image", "prediction"]}),
        ("add_model_predictions", (0, {"loss": 1.0}), {}),
        ("log_pred_table", (), {}),
    ]


def test_names_and_defaults_are_those_of_the_callback_it_is_modelled_on():
    def shape(method):
        parameters = inspect.signature(getattr(EvalCallback, method)).parameters.values()
        return {p.name: None if p.default is p.empty else p.default for p in parameters if p.name != "self"}

    assert shape("log_data_table") == {"name": "val", "type": "dataset", "table_name": "val_data"}
    assert shape("log_pred_table") == {"type": "evaluation", "table_name": "eval_data", "aliases": None}
    assert list(shape("init_data_table")) == list(shape("init_pred_table")) == ["column_names"]
    assert list(shape("add_ground_truth")) == ["logs"]
    assert list(shape("add_model_predictions")) == ["epoch", "logs"]
    assert list(shape("set_model")) == ["model"]
    assert list(shape("set_params")) == ["params"]
    assert {"add_ground_truth", "add_model_predictions"} == EvalCallback.__abstractmethods__


def test_both_methods_may_leave_out_logs(tmp_path):
    """The documented example does; the callback that it documents then fails."""
    seen = []

    class Without(Animals):
        def add_ground_truth(self):
            super().add_ground_truth()

        def add_model_predictions(self, epoch):
            seen.append((epoch, None))

    class Named(Animals):
        def add_model_predictions(self, epoch, *, logs):
            seen.append((epoch, logs))

    class Last(Animals):
        def add_model_predictions(self, number, of_epoch):
            seen.append((number, of_epoch))

    for cls in (Without, Named, Last):
        cls(tmp_path / cls.__name__).evaluate(3, {"loss": 0.5})
    assert seen == [(3, None), (3, {"loss": 0.5}), (3, {"loss": 0.5})]


def test_a_loop_of_its_own_may_be_written_with_the_steps(tmp_path):
    class Own(Animals):
        def on_train_begin(self, logs=None):
            self.init_data_table(column_names=self.data_table_columns)
            self.add_ground_truth(logs)
            self.log_data_table(name="animals", table_name="truth")

        def on_epoch_end(self, epoch, logs=None):
            self.init_pred_table(column_names=self.pred_table_columns)
            self.add_model_predictions(epoch, logs)
            self.log_pred_table(type="check", table_name="guesses", aliases=["candidate"])

    animals = Own(tmp_path)
    animals.on_train_begin()
    animals.on_epoch_end(0)
    (version,) = predictions(tmp_path)
    assert (version.type, version.tables, version.used) == ("check", ["guesses"], ("animals:v0",))
    assert sorted(version.aliases) == ["candidate", "latest"]


def test_every_nth_epoch_and_every_nth_batch_of_the_whole_training(tmp_path):
    animals = Animals(tmp_path, every_n_epochs=2, every_n_batches=3)
    animals.on_train_begin()
    for epoch in range(4):
        animals.on_epoch_begin(epoch)
        for batch in range(4):
            animals.on_train_batch_end(batch, {})
        animals.on_epoch_end(epoch)

    aliases = set(Artifacts(tmp_path).aliases("run_demo_pred"))
    assert aliases == {"latest", "epoch_1", "epoch_3", *(f"batch_{batch}" for batch in range(3, 17, 3))}


def test_as_many_samples_as_were_asked_for_are_looked_at_always_the_same(tmp_path):
    first, second = (Animals(tmp_path / name, max_samples=2) for name in "ab")
    samples = [
        [row["sample"].row for row in of.evaluate(epoch).table().data] for of in (first, second) for epoch in (0, 1)
    ]

    assert samples == [samples[0]] * 4
    assert len(samples[0]) == 2
    assert len(first.data_table_ref.data) == len(LABELS)


# what is left alone


def test_what_cannot_be_stored_is_told_and_counted_and_the_next_evaluation_makes_up_for_the_ground_truth(
    tmp_path, caplog
):
    (tmp_path / "disk").write_text("a file where a directory should be")
    animals = Animals(tmp_path / "disk" / "tables")
    animals.on_train_begin()
    assert animals.evaluate(0) is None
    assert [row["label"] for row in animals.data_table_ref.data] == LABELS
    failures = dict(animals.failures)
    (tmp_path / "disk").unlink()

    assert animals.evaluate(1).table().get_column("prediction") == [*LABELS[1:], LABELS[0]]
    assert failures == {"data": 2, "predictions": 1} == animals.failures
    assert "The predictions of epoch 0 cannot be kept, and training goes on" in caplog.text


@pytest.mark.parametrize("was_read", [True, False])
def test_a_store_that_is_removed_meanwhile_is_filled_again(tmp_path, was_read):
    animals = Animals(tmp_path / "tables")
    animals.on_train_begin()
    if was_read:
        animals.evaluate(0)
    shutil.rmtree(tmp_path / "tables")
    lost = animals.evaluate(1)
    kept = animals.evaluate(2)

    assert lost is None
    assert animals.failures["predictions"] == 1
    assert [row["image"].array().tolist() for row in kept.table().data] == [picture.tolist() for picture in PICTURES]
    assert Artifacts(tmp_path / "tables").get("val").table().get_column("label") == LABELS


def test_what_a_user_has_written_wrong_is_raised(tmp_path):
    class Wrong(Animals):
        def add_model_predictions(self, epoch, logs=None):
            (tmp_path / "missing").read_text()

    class Misfit(Animals):
        def add_model_predictions(self, epoch, logs=None):
            self.pred_table.add_data(1, 2)

    with pytest.raises(FileNotFoundError):
        Wrong(tmp_path / "a").evaluate(0)
    with pytest.raises(LogValueError, match="a row has 3 values"):
        Misfit(tmp_path / "b").evaluate(0)


def test_a_sink_that_fails_costs_nobody_else(tmp_path, caplog):
    kept = []

    class Failing:
        def keep(self, table):
            raise RuntimeError("the server is gone")

    class Keeping:
        def keep(self, table):
            kept.append((table.role, table.name, table.table_name, table.epoch, len(table.table)))

    animals = Animals(tmp_path, sinks=[Failing(), Keeping()])
    assert animals.evaluate(0) is not None
    assert kept == [("data", "val", "val_data", None, 4), ("predictions", "run_demo_pred", "eval_data", 0, 4)]
    assert animals.failures == {"Failing": 2}
    assert "the server is gone" in caplog.text


def test_every_rank_evaluates_and_the_primary_one_publishes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    animals = Recorded(tmp_path / "tables")

    assert animals.evaluate(0) is None
    assert len(animals.pred_table) == len(LABELS)
    assert not (tmp_path / "tables").exists()
    monkeypatch.setenv("RANK", "0")
    assert Animals(tmp_path / "tables").evaluate(0) is not None


def test_it_needs_no_framework_and_loads_none():
    program = (
        "import sys; import ml.evaluation.callback; "
        "print([name for name in ('keras', 'tensorflow', 'torch', 'wandb', 'pandas', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


# settings


def test_the_arguments_that_it_does_not_know_are_those_of_the_next_class(tmp_path):
    class Next:
        def __init__(self, first, *, second):
            self.given = first, second
            self.hooks = []

        def set_model(self, model):
            self.hooks.append(model)

        def on_epoch_end(self, epoch, logs=None):
            self.hooks.append(epoch)

    class Both(Animals, Next):
        def __init__(self):
            EvalCallback.__init__(
                self, ["image", "label"], ["sample", "image", "prediction"], 1, second=2, artifacts=tmp_path
            )

    both = Both()
    both.set_model("model")
    both.on_epoch_end(0)
    assert both.given == (1, 2)
    assert both.hooks == ["model", 0]
    assert both.model == "model"


def test_a_setting_that_there_is_not_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"Animals takes .* not every_epochs="):
        Animals(tmp_path, every_epochs=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs is a whole number of 1 or more, got 0"),
        ({"every_n_batches": 2.5}, "every_n_batches"),
        ({"max_samples": 0}, "max_samples"),
        ({"best": ("loss", "lowest")}, "'max' or its 'min', got 'lowest'"),
        ({"best": "accuracy"}, r"as in \('accuracy', 'max'\), got 'accuracy'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_at_once(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        Animals(tmp_path, **settings)


def test_columns_that_are_none_are_refused_before_a_training_has_begun():
    class Empty(EvalCallback):
        def add_ground_truth(self): ...

        def add_model_predictions(self, epoch): ...

    for columns in (("image", ["pred"]), (["image"], "pred"), (["image", "image"], ["pred"])):
        with pytest.raises(ConfigError, match=r"list of columns, got the text|Two columns have the name"):
            Empty(*columns)


def test_a_run_has_one_id(tmp_path):
    mine, drawn = Artifacts(tmp_path, run_id="mine"), Animals(tmp_path, run_id=None)

    assert Animals(mine, run_id=None).run_id == "mine"
    assert drawn.run_id != Animals(tmp_path, run_id=None).run_id
    with pytest.raises(ConfigError, match=r"run 'mine'.*run_id='demo'"):
        Animals(mine, run_id="demo")
    assert Animals(Artifacts(tmp_path)).evaluate(0).name == "run_demo_pred"


def test_ground_truth_that_is_not_there_yet_is_asked_for_with_words(tmp_path):
    with pytest.raises(ConfigError, match="log_data_table"):
        _ = Animals(tmp_path).data_table_ref


def test_temporary_files_go_with_close(tmp_path):
    animals = Animals(tmp_path)
    version = animals.evaluate(0)
    animals.close()
    animals.close()

    assert isinstance(animals.pred_table, Table)
    assert len(version.table()) == len(LABELS)
    with pytest.raises(Exception, match="closed"):
        animals.pred_table.add_data(0, None, "cat")
