import math
import random

import numpy as np
import pytest
import torch
from torch.nn import functional

from ml.core.errors import ConfigError
from ml.loggers import BaseLoggerConfig
from ml.trainers.checkpoints import Checkpoints
from ml.trainers.randomness import get_random_states
from ml.trainers.signals import StopSignals
from tests.trainers.tiny import SIZES, Recorder, Training, tiny_config


def interrupted_at(step, directory, config) -> Training:
    signals = StopSignals()
    return Training(directory, config, signals=signals, callbacks=[Recorder(signal_at=step, signals=signals)])


@pytest.mark.parametrize("step", [1, 5, 7, 10], ids=["first", "end_of_epoch", "mid_epoch", "end_of_second_epoch"])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "precision": "bfloat16", "valid_every_n_steps": 2}])
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path, step, settings):
    config = tiny_config(**settings)
    whole = Training(tmp_path / "whole", config)
    states = get_random_states(torch.device("cpu"))

    first = interrupted_at(step, tmp_path / "parts", config)
    torch.manual_seed(99)
    rest = Training(tmp_path / "parts", config)

    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, rest.weights()[name]), name
    assert whole.values("train", "loss") == first.values("train", "loss") + rest.values("train", "loss")
    assert whole.values("valid", "loss") == first.values("valid", "loss") + rest.values("valid", "loss")
    assert first.steps("train", "loss")[-1] == step
    assert rest.steps("train", "loss")[0] == step + 1
    resumed_states = get_random_states(torch.device("cpu"))
    assert all(torch.equal(states[name], resumed_states[name]) for name in ("torch", "python", "numpy"))


def test_what_is_logged_changes_nothing(tmp_path):
    quiet = Training(tmp_path / "quiet", tiny_config(log_histograms_every=0), logger=BaseLoggerConfig(exclude=["*"]))
    quiet_states = get_random_states(torch.device("cpu"))
    chatty = Training(tmp_path / "chatty", tiny_config(log_histograms_every=1))

    assert not quiet.entries
    assert chatty.entries
    assert all(torch.equal(quiet.weights()[name], chatty.weights()[name]) for name in quiet.weights())
    chatty_states = get_random_states(torch.device("cpu"))
    assert all(torch.equal(quiet_states[name], chatty_states[name]) for name in ("torch", "python", "numpy"))


def test_training_consumes_only_the_random_numbers_of_the_model(tmp_path):
    Training(tmp_path, tiny_config(seed=3), plain=True)
    drawn = torch.rand(1), random.random(), np.random.rand()

    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    assert drawn == (torch.rand(1), random.random(), np.random.rand())


def test_the_last_step_is_written_whatever_the_rate(tmp_path):
    training = Training(tmp_path, tiny_config(), logger=BaseLoggerConfig(write_every_n_steps=1000))

    for key in ("loss", "accuracy", "learning_rate", "grad_norm", "samples_per_second", "step_time_ms", "memory_mb"):
        assert training.steps("train", key) == [1, 15], key


def test_the_state_counts_steps_epochs_and_samples(tmp_path):
    recorder = Recorder()
    Training(tmp_path, tiny_config(max_steps=12), callbacks=[recorder])

    state = recorder.states[11]
    assert (state.num_steps, state.num_samples) == (12, 96)
    assert (state.num_epochs, state.num_epoch_steps, state.num_epoch_samples) == (2, 2, 16)
    assert (recorder.states[4].num_epochs, recorder.states[4].num_epoch_steps) == (0, 5)


def test_validation_follows_each_epoch_and_the_last_step(tmp_path):
    assert Training(tmp_path / "a", tiny_config(max_steps=12)).steps("valid", "loss") == [5, 10, 12]
    every_4 = Training(tmp_path / "b", tiny_config(max_steps=12, valid_every_n_steps=4))
    assert every_4.steps("valid", "loss") == [4, 8, 12]
    assert every_4.steps("test", "loss") == [12]


def test_a_pass_is_the_mean_over_its_samples_not_over_its_batches(tmp_path):
    training = Training(tmp_path, tiny_config(valid_batch_size=4))  # 10 samples: 4, 4 and 2

    images, targets = training.task.dataset("valid").tensors
    with torch.no_grad():
        prediction = training.model.eval()(images).prediction
    assert training.values("valid", "loss")[-1] == pytest.approx(
        functional.cross_entropy(prediction, targets).item(), rel=1e-5
    )
    accuracy = (prediction.argmax(dim=1) == targets).double().mean().item()
    assert training.values("valid", "accuracy")[-1] == accuracy == training.trainer.objective


def test_validation_neither_trains_nor_leaves_evaluation_mode_behind(tmp_path):
    often = Training(tmp_path / "often", tiny_config(valid_every_n_steps=1))
    rarely = Training(tmp_path / "rarely", tiny_config())

    assert often.model.training
    assert all(torch.equal(often.weights()[name], rarely.weights()[name]) for name in often.weights())


def test_accumulated_batches_make_the_same_step(tmp_path):
    whole, parts = (
        Training(tmp_path / str(count), tiny_config(max_steps=3, accumulate=count), plain=True) for count in (1, 4)
    )

    for name, tensor in whole.weights().items():
        assert torch.allclose(tensor, parts.weights()[name], atol=1e-6), name
    assert parts.values("train", "loss") == pytest.approx(whole.values("train", "loss"), abs=1e-6)
    assert parts.values("train", "accuracy") == pytest.approx(whole.values("train", "accuracy"))


def test_a_signal_finishes_the_step_and_leaves_a_checkpoint(tmp_path):
    training = interrupted_at(7, tmp_path, tiny_config())

    assert training.trainer.interrupted_by == 15
    assert training.steps("train", "loss")[-1] == 7
    assert training.steps("test", "loss") == []
    assert [path.name for path in Checkpoints(tmp_path / "checkpoints", keep=3).paths()] == [
        "step-00000005.pt",
        "step-00000007.pt",
    ]


def test_a_callback_that_stops_training_ends_it_as_if_it_were_done(tmp_path):
    training = Training(tmp_path, tiny_config(), callbacks=[Recorder(stop_at=7)])

    assert training.trainer.interrupted_by is None
    assert training.steps("valid", "loss") == [5, 7]
    assert training.steps("test", "loss") == [7]


def test_a_finished_training_is_only_tested_again(tmp_path):
    Training(tmp_path, tiny_config())
    again = Training(tmp_path, tiny_config())

    assert again.steps("train", "loss") == []
    assert again.steps("test", "loss") == [15]
    assert not math.isnan(again.trainer.objective)


def test_callbacks_see_every_step_and_are_closed_when_training_fails(tmp_path):
    class Failing(Recorder):
        def on_valid_end(self, trainer, state, metrics) -> None:
            raise RuntimeError("no")

    recorder, failing = Recorder(), Failing()
    with pytest.raises(RuntimeError, match="no"):
        Training(tmp_path, tiny_config(valid_every_n_steps=2), callbacks=[recorder, failing])

    assert recorder.calls == ["start 0", "step 1", "step 2", "valid ['accuracy', 'loss']", "close"]


def test_histograms_of_all_weights_and_gradients_come_at_the_first_step_and_every_n(tmp_path):
    every_value = BaseLoggerConfig(write_media_every_n_seconds=0)
    training = Training(tmp_path, tiny_config(log_histograms_every=6), logger=every_value)

    for name, _ in training.model.named_parameters():
        assert training.steps("train", f"weight_{name}") == training.steps("train", f"grad_{name}") == [1, 6, 12]


def test_every_phase_has_pictures_texts_and_points(tmp_path):
    training = Training(tmp_path, tiny_config(max_steps=1))

    for phase in ("valid", "test"):
        for key in ("samples", "embeddings", "confidence", "confusion", "mistakes"):
            assert len(training.values(phase, key)) == 1, key
    for key in ("samples", "embeddings", "confidence", "model"):
        assert len(training.values("train", key)) == 1, key


def test_a_compiled_model_leaves_a_checkpoint_that_an_uncompiled_one_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: torch.nn.Sequential(model))  # no compiler is needed for that
    Training(tmp_path, tiny_config(compile=True, max_steps=5))

    assert Training(tmp_path, tiny_config(max_steps=6)).steps("train", "loss") == [6]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 41}, "1 ... 40"),
        ({"batch_size": 0}, "trainer.batch_size must be above 0"),
        ({"accumulate": 3}, "multiple of 1 ranks times trainer.accumulate=3"),
        ({"precision": "half"}, "one of float32, bfloat16, float16, got 'half'"),
        ({"schedule": "onecycle"}, "one of cosine, constant"),
        ({"valid_every_n_steps": 0}, "trainer.valid_every_n_steps must be above 0"),
        ({"learning_rate": -1.0}, "trainer.learning_rate must be 0 or more"),
    ],
)
def test_a_configuration_that_cannot_work_says_what_would(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        Training(tmp_path / "run", tiny_config(**settings))
    assert not (tmp_path / "run").exists()


def test_more_ranks_than_samples_are_refused_before_they_wait_for_one_another(tmp_path):
    training = Training(tmp_path, tiny_config(max_steps=1))
    with pytest.raises(ConfigError, match="fewer validation or test samples"):
        training.trainer.total_steps(training.task, SIZES["test"] + 1)
