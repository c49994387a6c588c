"""A real, short training by pytorch-ignite, logged beside ignite's own ``TensorboardLogger``."""

import json

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import TensorboardLogger
from ignite.handlers.utils import global_step_from_engine
from ignite.metrics import Loss, MeanAbsoluteError, RunningAverage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ml import ConfigError, open_run, start_run
from ml.integrations.ignite import attach

BATCHES = 5


class Training:
    """A trainer that returns a loss and the numbers of a prediction, and an evaluator, of a linear model."""

    def __init__(self):
        self.random = torch.Generator().manual_seed(0)
        self.model = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.loader = [(self.draw(8, 3), self.draw(8, 1)) for _ in range(BATCHES)]
        self.trainer, self.evaluator = Engine(self.train), Engine(self.predict)
        RunningAverage(output_transform=lambda output: output["loss"]).attach(self.trainer, "average")
        Loss(torch.nn.functional.mse_loss).attach(self.evaluator, "mse")
        MeanAbsoluteError().attach(self.evaluator, "mae")

    def draw(self, *shape):
        return torch.randn(*shape, generator=self.random)

    def train(self, engine, batch):
        inputs, targets = batch
        self.optimizer.zero_grad()
        outputs = self.model(inputs)
        loss = torch.nn.functional.mse_loss(outputs, targets)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss, "first": outputs.detach()[:2, 0], "pair": (1.5, {"inner": loss.item()})}

    def predict(self, engine, batch):
        with torch.no_grad():
            return self.model(batch[0]), batch[1]

    def evaluate(self):
        self.evaluator.run(self.loader)


@pytest.fixture
def training():
    return Training()


@pytest.fixture
def run(tmp_path):
    with start_run(tmp_path / "run", loggers=["json"]) as run:
        yield run


def points_of(run, phase="train"):
    """Returns ``{key: [(step, value)]}``, as it is read back."""
    run.close()
    frame = open_run(run.path).scalars()
    assert set(frame["phase"]) <= {phase}
    return {key: list(zip(of["step"], of["value"], strict=True)) for key, of in frame.groupby("key")}


def points_of_tensorboard(directory):
    events = EventAccumulator(str(directory), {"scalars": 0}).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_keys_steps_and_values_are_those_of_ignites_own_logger(training, run, tmp_path):
    trainer, evaluator = training.trainer, training.evaluator
    trainer.add_event_handler(Events.EPOCH_COMPLETED, training.evaluate)
    attach(trainer, run, metric_names=["average"], optimizer=training.optimizer, evaluators={"validation": evaluator})
    with TensorboardLogger(log_dir=tmp_path / "theirs") as theirs:
        theirs.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED, "training", metric_names=["average"], output_transform=dict
        )
        theirs.attach_opt_params_handler(trainer, Events.ITERATION_COMPLETED, training.optimizer, tag="training")
        theirs.attach_output_handler(
            evaluator,
            Events.EPOCH_COMPLETED,
            "validation",
            metric_names="all",
            global_step_transform=global_step_from_engine(trainer, Events.ITERATION_COMPLETED),
        )
        trainer.run(training.loader, max_epochs=3)

    ours, theirs = points_of(run), points_of_tensorboard(tmp_path / "theirs")

    assert set(ours) == set(theirs) >= {"training/loss", "training/first/1", "training/pair/1/inner", "validation/mse"}
    for key, points in theirs.items():
        assert [step for step, _ in ours[key]] == [step for step, _ in points]
        # Theirs are rounded to 32 bits.
        assert torch.tensor([value for _, value in ours[key]]).tolist() == [value for _, value in points]
    assert [step for step, _ in ours["validation/mse"]] == [5, 10, 15]


def test_what_an_event_thins_is_not_thinned_again(training, run):
    attach(training.trainer, run, event=Events.ITERATION_COMPLETED(every=2), output_transform=lambda output: 1)
    training.trainer.run(training.loader, max_epochs=400)

    assert [step for step, _ in points_of(run)["training/output"]] == list(range(2, 2001, 2))


def test_values_keep_their_epoch_and_an_evaluation_after_training_has_the_last_step(training, run):
    trainer = training.trainer
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), training.evaluate)
    attach(trainer, run, evaluators={"validation": training.evaluator})
    trainer.run(training.loader, max_epochs=2)
    training.evaluate()
    run.close()

    frame = open_run(run.path).scalars()
    epochs = {key: list(zip(of["step"], of["epoch"], strict=True)) for key, of in frame.groupby("key")}
    assert epochs["training/loss"] == [(step, (step - 1) // BATCHES) for step in range(1, 11)]
    assert epochs["validation/mse"] == [(5, 0), (10, 2)]


def test_a_trainer_that_is_resumed_goes_on_with_its_own_iterations(training, run):
    first, second = training, Training()
    first.trainer.run(first.loader, max_epochs=2)
    attach(second.trainer, run)
    second.trainer.load_state_dict(first.trainer.state_dict())
    second.trainer.run(second.loader, max_epochs=3)

    assert [step for step, _ in points_of(run)["training/loss"]] == [11, 12, 13, 14, 15]


def test_an_exception_goes_its_way_and_what_was_logged_before_it_is_written(training, tmp_path):
    def stop(engine):
        raise ValueError("broken")

    training.trainer.add_event_handler(Events.ITERATION_STARTED(once=8), stop)
    run = start_run(tmp_path / "run", loggers=["json"])
    attach(training.trainer, run)
    with pytest.raises(ValueError, match="broken"), run:
        training.trainer.run(training.loader, max_epochs=2)

    assert [step for step, _ in points_of(run)["training/loss"]] == list(range(1, 8))
    assert json.loads((run.path / "attempts/1/run.json").read_text())["status"] == "failed"


def test_a_handler_of_the_users_still_decides_about_an_exception(training, run):
    seen = []

    def fail(engine):
        raise ValueError("broken")

    training.trainer.add_event_handler(Events.ITERATION_STARTED(once=3), fail)
    training.trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: seen.append(str(error)))
    attach(training.trainer, run)
    training.trainer.run(training.loader, max_epochs=1)  # which returns, as the handler raises nothing

    assert seen == ["broken"]


def test_values_that_cannot_be_logged_cost_themselves_and_not_training(training, run, caplog):
    attach(training.trainer, run, tag="bad", metric_names=["missing"], output_transform=lambda output: output["none"])
    attach(training.trainer, run, output_transform=lambda output: {"map": torch.zeros(2, 2), "loss": output["loss"]})
    training.trainer.run(training.loader, max_epochs=1)

    assert set(points_of(run)) == {"training/loss"}
    for key in ("bad/missing", "bad/output", "training/map"):
        assert key in caplog.text


def test_after_it_was_taken_away_nothing_is_logged(training, run):
    with attach(training.trainer, run, evaluators={"validation": training.evaluator}):
        training.trainer.run(training.loader, max_epochs=1)
    training.trainer.run(training.loader, max_epochs=2)
    training.evaluate()

    assert {key for key in points_of(run) if key.startswith("validation")} == set()
    assert run.state.num_steps == BATCHES


def test_an_event_that_the_trainer_has_not_is_refused_and_leaves_nothing_behind(training, run):
    with pytest.raises(ConfigError, match="event"):
        attach(training.trainer, run, event="lunch")
    training.trainer.run(training.loader, max_epochs=1)

    assert run.state.num_steps == 0
