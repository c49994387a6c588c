"""From a loss to better weights: optimiser, learning rate, clipping and mixed precision."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ml.trainers.config import SupervisedTrainerConfig

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Optimization:
    """AdamW with a learning rate that depends on the step alone, so it resumes by itself.

    Args:
        config: Precision, learning rate, clipping.
        model: Whose parameters are optimised, in place.
        device: Where they are.
        total_steps: Where the schedule ends.

    Attributes:
        learning_rate: Of the last step.
    """

    def __init__(
        self, config: SupervisedTrainerConfig, model: nn.Module, device: torch.device, total_steps: int
    ) -> None:
        self._config, self._device, self._total_steps = config, device, total_steps
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # Decay pulls weights towards zero; on biases and normalisation that has no meaning.
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in self._parameters if parameter.ndim >= 2]},
            {"params": [parameter for parameter in self._parameters if parameter.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self._norm: Tensor | None = None
        self.learning_rate = 0.0

    def autocast(self) -> torch.autocast:
        """Returns the context in which the model runs in the configured precision."""
        dtype = _DTYPES[self._config.precision]
        return torch.autocast(self._device.type, dtype, enabled=dtype is not torch.float32)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of ``loss``, shape (), to what was added since the last step."""
        torch.autograd.backward(self._scaler.scale(loss))

    def step(self, num_steps: int) -> None:
        """Clips the gradients and moves the weights.

        Args:
            num_steps: Training steps, this one included.
        """
        self.learning_rate = scheduled_learning_rate(num_steps, self._total_steps, self._config)
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._scaler.unscale_(self._optimizer)
        self._norm = None
        if self._config.clip_grad_norm is not None:
            self._norm = self._total_norm()
            clip_grads_with_norm_(self._parameters, self._config.clip_grad_norm, self._norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def grad_norm(self) -> Tensor:
        """Returns the length of the last step's gradient before it was clipped, shape ()."""
        return self._total_norm() if self._norm is None else self._norm

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        self._optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint needs: plain containers of tensors and numbers."""
        return {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, states: dict[str, Any]) -> None:
        """Takes up what ``state_dict`` returned."""
        self._optimizer.load_state_dict(states["optimizer"])
        if states["scaler"]:  # empty: the precision was another one
            self._scaler.load_state_dict(states["scaler"])

    def _total_norm(self) -> Tensor:
        return get_total_norm([parameter.grad for parameter in self._parameters if parameter.grad is not None])


def scheduled_learning_rate(num_steps: int, total_steps: int, config: SupervisedTrainerConfig) -> float:
    """Returns the learning rate of a step: a linear rise, then the schedule.

    Args:
        num_steps: Training steps, this one included: the first is 1.
        total_steps: The last one.
        config: Has the schedule.
    """
    warmup = min(config.warmup_steps, total_steps // 2)
    if num_steps <= warmup:
        return config.learning_rate * num_steps / warmup
    if config.schedule == "constant":
        return config.learning_rate
    # The last step still learns something: zero would come one step later.
    progress = (num_steps - warmup - 1) / (total_steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
