"""Logging never changes training: weights, losses and random-number states are bit-identical with and without it."""

import contextlib
import random

import numpy as np
import pytest
import torch
from PIL import Image

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(16, 32),
            torch.nn.BatchNorm1d(32),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(32, 4),
        )

    def forward(self, inputs):
        return self.layers(inputs)


def log_every_kind(logger, network, inputs, outputs, loss):
    """Logs every kind of value, as values and as callables, with selection, sampling and resizing."""
    logger.log_scalar("loss", loss)
    logger.log_scalar("lazy", lambda: (outputs * 2).mean())
    logger.log_scalar("mean", loss, reduce="mean")
    logger.log_string("note", "a step")
    logger.log_image("image", inputs[0].reshape(4, 4))
    logger.log_image("boxes", lambda: torch.zeros(3, 40, 40), boxes=torch.tensor([[1, 1, 9, 9]]), labels=["a"])
    logger.log_labeled_image("labelled", (Image.new("L", (20, 20)), "text"))
    logger.log_images("images", lambda: inputs.reshape(-1, 1, 4, 4), max_images=5)
    logger.log_labeled_images("grid", (inputs.reshape(-1, 4, 4), list("abcdefgh")))
    logger.log_audio("audio", inputs[0])
    logger.log_video("video", inputs.reshape(-1, 4, 4), max_frames=2)
    logger.log_histogram("weights", lambda: network.layers[0].weight)
    logger.log_histogram("gradients", network.layers[0].weight.grad)
    logger.log_point_cloud("points", outputs[:, :3], max_points=5)


def train(steps, backends, directory):
    """Trains; returns all that must not depend on logging, as bytes."""
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    logger, losses = MultiLogger("task"), []
    group = LoggerGroup(backends, RunContext(directory), on_error="raise") if backends else contextlib.nullcontext()
    with group:
        for step in range(1, steps + 1):
            if step % 20 == 0:
                network.eval()
            inputs = torch.randn(8, 16) + np.random.rand() + random.random()
            outputs = network(inputs)
            loss = outputs.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if backends:
                log_every_kind(logger, network, inputs, outputs, loss)
                group.write([logger], State(num_steps=step))
            losses.append(loss.detach())
            network.train()
    weights = [tensor.numpy().tobytes() for tensor in network.state_dict().values()]
    states = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().numpy().tobytes())
    return weights, torch.stack(losses).numpy().tobytes(), states


def every_backend():
    every_step = {"write_every_n_seconds": 0, "write_media_every_n_seconds": 0}
    return [
        MemoryLogger(BaseLoggerConfig("memory", **every_step)),
        JsonLogger(JsonLoggerConfig("json", **every_step)),
        TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", **every_step)),
    ]


@pytest.mark.parametrize("steps", [60, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_training_is_bit_identical_with_every_kind_logged_every_step(tmp_path, steps):
    backends = every_backend()

    logged = train(steps, backends, tmp_path)

    assert logged == train(steps, [], tmp_path)
    assert len(backends[0].entries) == 14 * steps


@pytest.mark.parametrize("mode", ["grad", "no_grad", "inference", "autocast", "float64"])
def test_modes_of_torch_are_left_as_they_were(tmp_path, mode):
    modes = {
        "grad": torch.enable_grad,
        "no_grad": torch.no_grad,
        "inference": torch.inference_mode,
        "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        "float64": contextlib.nullcontext,
    }
    seen, logger = [], MultiLogger("task")
    previous = torch.get_default_dtype()
    if mode == "float64":
        torch.set_default_dtype(torch.float64)

    def settings():
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.get_default_device(),
        )

    try:
        memory = MemoryLogger(BaseLoggerConfig("memory", write_media_every_n_seconds=0))
        with modes[mode](), LoggerGroup([memory], RunContext(tmp_path), on_error="raise") as group:
            before = settings()
            for phase in ("train", "valid", "train"):
                logger.log_scalar("loss", torch.ones(2).mean())
                logger.log_histogram("histogram", lambda: torch.ones(3) * 2)
                logger.log_image("image", torch.rand(3, 8, 8))
                logger.log_scalar("seen", lambda: seen.append(torch.is_grad_enabled()) or 1.0)
                group.write([logger], State(phase))
                assert settings() == before
            assert group.flush()
            assert settings() == before
            assert len(memory.entries) == 12
    finally:
        torch.set_default_dtype(previous)
    assert seen == [False] * 3


def test_tensors_of_inference_mode_are_logged_outside_of_it_too(tmp_path):
    memory, logger = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("task")
    with LoggerGroup([memory], RunContext(tmp_path), on_error="raise") as group:
        with torch.inference_mode():
            logger.log_scalar("loss", torch.ones(3).mean())
            logger.log_histogram("weights", torch.ones(3))
        group.write([logger], State(num_steps=1))

    assert sorted(entry.key for entry in memory.entries) == ["loss", "weights"]


def test_a_random_generator_that_a_callable_draws_from_moves_by_its_draw_alone(tmp_path):
    memory, logger = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("task")
    torch.manual_seed(0)
    expected = torch.rand(1).item(), torch.rand(1).item()
    torch.manual_seed(0)
    with LoggerGroup([memory], RunContext(tmp_path)) as group:
        logger.log_scalar("drawn", lambda: torch.rand(1))
        group.write([logger], State(num_steps=1))
        after = torch.rand(1).item()

    assert (memory.entries[0].value, after) == expected
