"""A real, short training by Keras on torch, logged beside Keras's own ``History`` and ``CSVLogger``."""

import csv
import json
import os
import subprocess
import sys

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest

from ml import ConfigError, namespace_context, open_run, start_run
from ml.integrations.keras import KerasCallback

ROWS, BATCH = 48, 8
BATCHES = ROWS // BATCH


@pytest.fixture
def run(tmp_path):
    with start_run(tmp_path / "run", loggers=["json"]) as run:
        yield run


@pytest.fixture
def data():
    inputs = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")
    return inputs, inputs.sum(1)


def model(learning_rate=0.05):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(learning_rate), loss="mse", metrics=["mae"])
    return model


def fit(model, data, callbacks, **options):
    options = {"epochs": 3, "batch_size": BATCH, "verbose": 0, "shuffle": False, **options}
    return model.fit(*data, callbacks=callbacks, **options).history


class Batches(keras.callbacks.Callback):
    """Keeps what Keras tells a callback about every batch."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append(logs)


def points_of(run, phase="train"):
    """Returns ``{key: [(step, value)]}``, as it is read back."""
    run.close()
    frame = open_run(run.path).scalars()
    frame = frame[frame["phase"] == phase]
    return {key: list(zip(of["step"], of["value"], strict=True)) for key, of in frame.groupby("key")}


def values(points):
    return {key: [value for _, value in of] for key, of in points.items()}


def test_epochs_are_those_of_history_and_csv_logger(run, data, tmp_path):
    fitted = fit(
        model(),
        data,
        [KerasCallback(run), keras.callbacks.CSVLogger(str(tmp_path / "theirs.csv"))],
        validation_data=data,
        validation_freq=2,
    )
    points = points_of(run)
    with open(tmp_path / "theirs.csv") as file:
        rows = list(csv.DictReader(file))

    rates = points.pop("learning_rate")
    assert values(points) == fitted
    assert points["loss"] == [(BATCHES * (n + 1), float(row["loss"])) for n, row in enumerate(rows)]
    assert points["mae"] == [(BATCHES * (n + 1), float(row["mae"])) for n, row in enumerate(rows)]
    assert [step for step, _ in points["val_loss"]] == [2 * BATCHES]
    assert rates == [(BATCHES * n, pytest.approx(0.05)) for n in (1, 2, 3)]


@pytest.mark.parametrize("ours_first", [True, False])
def test_the_learning_rate_is_the_one_that_keras_itself_records(run, data, ours_first):
    ours, theirs = KerasCallback(run), keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    fitted = fit(model(0.1), data, [ours, theirs] if ours_first else [theirs, ours])

    assert values(points_of(run)) == fitted


def test_a_learning_rate_schedule_is_logged_as_it_stands(run, data):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=BATCHES, decay_rate=0.5)
    fit(model(schedule), data, [KerasCallback(run)])

    rates = [value for _, value in points_of(run)["learning_rate"]]
    assert rates == pytest.approx([0.05, 0.025, 0.0125])


def test_batches_are_those_that_keras_tells_every_callback(run, data):
    theirs = Batches()
    fitted = fit(model(), data, [KerasCallback(run, log_every_n_batches=4), theirs])
    points = points_of(run)

    steps = [4, 8, 12, 16]
    for key in ("loss", "mae"):
        assert points[f"batch/{key}"] == [(step, theirs.logs[step - 1][key]) for step in steps]
        assert [value for _, value in points[key]] == fitted[key]
    assert [step for step, _ in points["batch/learning_rate"]] == steps


def test_a_callback_that_logs_epochs_alone_lets_no_batch_wait(run):
    """Keras hands batches over on another thread then, which waits for them in training's stead."""
    callback = KerasCallback(run)
    hooks = keras.callbacks.CallbackList([callback], add_history=True)
    others = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]

    assert hooks._async_train
    assert hooks._async_test
    assert not keras.callbacks.CallbackList([KerasCallback(run, log_every_n_batches=1)])._async_train
    assert all(callable(getattr(callback, name)) for name in others)


def test_steps_go_on_over_fits_and_over_a_resume(run, data, tmp_path):
    callback = KerasCallback(run)
    for _ in range(2):
        fit(model(), data, [callback], epochs=1)
    run.close()
    with start_run(run.path, loggers=["json"], resume=True, state=run.state) as resumed:
        fit(model(), data, [KerasCallback(resumed)], epochs=1)

    assert [step for step, _ in points_of(resumed)["loss"]] == [BATCHES, 2 * BATCHES, 3 * BATCHES]
    assert resumed.state.num_epochs == 3


def test_what_is_evaluated_outside_of_fit_is_a_test_at_the_step_where_training_stands(run, data):
    callback, trained = KerasCallback(run), model()
    fit(trained, data, [callback], epochs=2, validation_data=data)
    found = trained.evaluate(*data, verbose=0, callbacks=[callback], return_dict=True)
    with namespace_context("half"):
        half = trained.evaluate(data[0][:8], data[1][:8], verbose=0, callbacks=[callback], return_dict=True)
    trained.predict(data[0], verbose=0, callbacks=[callback])

    expected = {key: [(2 * BATCHES, value)] for key, value in found.items()}
    expected |= {f"half/{key}": [(2 * BATCHES, value)] for key, value in half.items()}
    assert points_of(run, "test") == expected


def test_a_fit_that_raises_leaves_all_that_it_logged_and_the_next_evaluation_is_a_test(data, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                raise KeyboardInterrupt

    with start_run(tmp_path / "run", loggers=["json"]) as run:
        callback, trained = KerasCallback(run, log_every_n_batches=1), model()
        with pytest.raises(KeyboardInterrupt):
            fit(trained, data, [callback, Stop()])
        found = trained.evaluate(*data, verbose=0, callbacks=[callback], return_dict=True)

    assert [step for step, _ in points_of(run)["batch/loss"]] == [1, 2, 3, 4, 5]
    assert points_of(run, "test") == {key: [(5, value)] for key, value in found.items()}


def test_numbers_that_are_not_finite_are_kept(run, data):
    fitted = fit(model(1e20), data, [KerasCallback(run), keras.callbacks.TerminateOnNaN()], epochs=1)
    ours = values(points_of(run))

    assert not np.isfinite(ours["loss"][0])
    assert repr(ours["loss"]) == repr(fitted["loss"])


def test_training_is_the_same_with_and_without_it(run, data):
    plain, logged = model(), model()
    assert fit(plain, data, [], shuffle=False) == fit(logged, data, [KerasCallback(run, log_every_n_batches=1)])
    for ours, theirs in zip(logged.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "epoch"])
def test_a_number_of_batches_that_is_none_is_refused(run, every):
    with pytest.raises(ConfigError, match="log_every_n_batches"):
        KerasCallback(run, log_every_n_batches=every)


def test_the_module_loads_no_keras():
    program = "import sys, json, ml.integrations.keras; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)

    assert "ml.integrations.keras" in loaded
    assert not {"keras", "torch", "tensorflow"} & set(loaded)
