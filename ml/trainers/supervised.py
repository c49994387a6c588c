"""Supervised training: the loop, readable top to bottom."""

from collections.abc import Sequence
from typing import Any, cast

import psutil
import torch
from torch import nn

from ml.core.errors import ConfigError
from ml.core.registry import register_trainer
from ml.core.state import Phase, State
from ml.loggers import MultiLogger
from ml.models.base import BaseModel
from ml.tasks.base import BaseTask, Batch, Totals
from ml.trainers.base import Attempt, BaseTrainer
from ml.trainers.batches import evaluation_batches, num_samples, training_batches
from ml.trainers.callbacks import Callback
from ml.trainers.checkpoints import Checkpoints
from ml.trainers.config import SupervisedTrainerConfig, check_supervised
from ml.trainers.optimization import Optimization
from ml.trainers.order import steps_per_epoch
from ml.trainers.randomness import get_random_states, seed_everything, set_random_states

# Above every signal number there is: a request beats a signal, so that all ranks see the same.
_STOP_REQUESTED = 1000


@register_trainer("supervised", SupervisedTrainerConfig)
class SupervisedTrainer(BaseTrainer[SupervisedTrainerConfig]):
    """Trains by gradient descent; validates now and then; tests at the end.

    A resumed training gives the same weights, bit for bit, as one that was never interrupted: same
    device, same ranks, samples loaded in this process.
    """

    def __init__(self, config: SupervisedTrainerConfig) -> None:
        super().__init__(config)
        check_supervised(config)

    def total_steps(self, task: BaseTask[Any], world_size: int) -> int:
        """Returns the number of training steps in all; see ``BaseTrainer.total_steps``."""
        config = self.config
        if config.batch_size % (world_size * config.accumulate):
            raise ConfigError(
                f"trainer.batch_size={config.batch_size} must be a multiple of {world_size} ranks "
                f"times trainer.accumulate={config.accumulate}."
            )
        if min(num_samples(task, "valid"), num_samples(task, "test")) < world_size:
            raise ConfigError(f"There are fewer validation or test samples than ranks, {world_size}.")
        steps = config.max_epochs * steps_per_epoch(num_samples(task, "train"), config.batch_size)
        return steps if config.max_steps is None else min(steps, config.max_steps)

    def fit(
        self, task: BaseTask[Any], model: BaseModel[Any], attempt: Attempt, callbacks: Sequence[Callback] = ()
    ) -> None:
        """Trains, validates and tests; see ``BaseTrainer.fit``."""
        self._prepare(task, model, attempt, callbacks)
        try:
            for callback in callbacks:
                callback.on_start(self)
            if self.state.num_steps == 0:
                self.logger.log_string("model", lambda: _describe(model))
            self._train()
            if self.interrupted_by is None:
                self._evaluate("test")
        finally:
            for callback in callbacks:
                callback.on_close(self)
            attempt.world.leave()

    def _train(self) -> None:
        if self.state.num_steps >= self._total_steps:
            return
        for batch in training_batches(self.task, self.config, self._world, self.state):
            last = self._step(batch)
            if self.state.num_epoch_steps == self._epoch_steps:
                self.state = _end_epoch(self.state)
            if self._is_due(self.config.valid_every_n_steps) or (last and self.interrupted_by is None):
                self._validate()
            if last or self._is_due(self.config.checkpoint_every_n_steps or self.config.valid_every_n_steps):
                self._save()
            if last:
                return

    def _step(self, batch: Batch) -> bool:
        """Does one training step and returns whether it is the last one of this attempt."""
        state = self._advance(len(batch.targets) * self._world.size)
        self._optimization.zero_grad()
        parts = [Batch(*part) for part in zip(*(tensor.chunk(self.config.accumulate) for tensor in batch), strict=True)]
        outcomes = []
        for part in parts:
            with self._optimization.autocast():
                outcome = self.task.step(self._trained, part, state)
            self._optimization.backward(outcome.loss / len(parts))
            outcomes.append(outcome)
        self._optimization.step(state.num_steps)

        self.task.log(outcomes, state)
        self._log_step(state)
        for callback in self._callbacks:
            callback.on_step_end(self, state)
        last = self._ends_with(state)
        # Forced, so that the last value of every key is written.
        self.attempt.logs.write(self._components, state, force=last)
        return last

    def _validate(self) -> None:
        self.metrics = self._evaluate("valid")
        for callback in self._callbacks:
            callback.on_valid_end(self, self.state, self.metrics)

    def _evaluate(self, phase: Phase) -> dict[str, float]:
        """Runs a validation or test pass over all ranks, logs it, and returns its metrics."""
        self._world.synchronize_buffers(self.model)
        totals: Totals = {}
        state = self.state._replace(phase=phase)
        self.model.eval()
        with torch.no_grad():
            for batch in evaluation_batches(self.task, phase, self.config, self._world, state):
                state = _count_evaluation(state)
                with self._optimization.autocast():
                    outcome = self.task.step(self.model, batch, state)
                self.task.log([outcome], state)
                for key, value in self.task.totals(outcome).items():
                    totals[key] = totals[key] + value if key in totals else value
                self.attempt.logs.write(self._components, state)
        self.model.train()
        metrics = self.task.log_pass(self._world.sum(totals), state)
        self.attempt.logs.write(self._components, state)
        self.attempt.logs.end_pass()
        self.state = state._replace(phase="train")
        # Validation is no part of the next step's time.
        self._step_ended_s = self.attempt.context.clock()
        return metrics

    def _prepare(
        self, task: BaseTask[Any], model: BaseModel[Any], attempt: Attempt, callbacks: Sequence[Callback]
    ) -> None:
        config, self._world = self.config, attempt.world
        self.task, self.model, self.attempt, self._callbacks = task, model, attempt, callbacks
        self._components: list[MultiLogger] = [model.logger, task.logger, self.logger]
        self._total_steps = self.total_steps(task, self._world.size)
        self._epoch_steps = steps_per_epoch(num_samples(task, "train"), config.batch_size)
        if config.num_threads is not None:
            torch.set_num_threads(config.num_threads)
        # Every rank draws its own numbers.
        seed_everything(config.seed + self._world.rank)
        model.to(self._world.device)
        self._optimization = Optimization(config, model, self._world.device, self._total_steps)
        self._checkpoints = Checkpoints(attempt.context.directory / "checkpoints", keep=config.keep_checkpoints)
        self.state = attempt.start
        self._load()
        wrapped = self._world.wrap(model)
        self._trained: nn.Module = cast(nn.Module, torch.compile(wrapped)) if config.compile else wrapped
        self._started_s = self._step_ended_s = attempt.context.clock()
        self._elapsed_before_s = self.state.elapsed_time_s

    def _log_step(self, state: State) -> None:
        clock, optimization = self.attempt.context.clock, self._optimization
        ended_s = clock()
        step_time_s, self._step_ended_s = max(ended_s - self._step_ended_s, 1e-9), ended_s
        samples = self.config.batch_size
        self.logger.log_scalar("learning_rate", optimization.learning_rate)
        self.logger.log_scalar("grad_norm", optimization.grad_norm)
        self.logger.log_scalar("step_time_ms", step_time_s * 1e3)
        self.logger.log_scalar("samples_per_second", samples / step_time_s)
        self.logger.log_scalar("memory_mb", lambda: psutil.Process().memory_info().rss / 2**20)
        if self._world.device.type == "cuda":
            self.logger.log_scalar("cuda_memory_mb", lambda: torch.cuda.max_memory_allocated() / 2**20)
        every = self.config.log_histograms_every
        if every and (state.num_steps == 1 or state.num_steps % every == 0):
            self.model.log_histograms()

    def _advance(self, samples: int) -> State:
        context, state = self.attempt.context, self.state
        self.state = state._replace(
            num_steps=state.num_steps + 1,
            num_epoch_steps=state.num_epoch_steps + 1,
            num_samples=state.num_samples + samples,
            num_epoch_samples=state.num_epoch_samples + samples,
            elapsed_time_s=self._elapsed_before_s + context.clock() - self._started_s,
            time_s=context.wall_clock(),
        )
        return self.state

    def _ends_with(self, state: State) -> bool:
        wish = _STOP_REQUESTED if self._stop_requested else self.attempt.signals.received or 0
        agreed = self._world.highest(wish)
        if state.num_steps >= self._total_steps or agreed == _STOP_REQUESTED:
            return True
        self.interrupted_by = agreed or None
        return bool(agreed)

    def _is_due(self, every_n_steps: int | None) -> bool:
        if every_n_steps is None:
            return self.state.num_epoch_steps == 0
        return self.state.num_steps % every_n_steps == 0

    def _save(self) -> None:
        device = self._world.device
        random_states = self._world.gather(get_random_states(device))
        if self._world.rank == 0:
            content = {
                "state": self.state._asdict(),
                "model": self.model.state_dict(),
                "random_states": random_states,
                "metrics": self.metrics,
                **self._optimization.state_dict(),
            }
            self._checkpoints.save(self.state.num_steps, content)

    def _load(self) -> None:
        content = self._checkpoints.load_newest()
        if content is None:
            return
        self.state = State(**content["state"])
        self.metrics = dict(content["metrics"])
        self.model.load_state_dict(content["model"])
        self._optimization.load_state_dict(content)
        random_states = content["random_states"]
        # With other ranks than before there is no right state; a fresh seed is none the worse.
        if len(random_states) == self._world.size:
            set_random_states(random_states[self._world.rank], self._world.device)


def _count_evaluation(state: State) -> State:
    if state.phase == "valid":
        return state._replace(num_valid_steps=state.num_valid_steps + 1)
    return state._replace(num_test_steps=state.num_test_steps + 1)


def _end_epoch(state: State) -> State:
    return state._replace(num_epochs=state.num_epochs + 1, num_epoch_steps=0, num_epoch_samples=0)


def _describe(model: nn.Module) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{type(model).__name__} with {count:,} parameters"
