"""What an evaluation in the middle of training must not change: it ends, and training is where it was."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from ml.loggers.tensors import torch_module


@contextmanager
def undisturbed(model: object) -> Iterator[None]:
    """Looks at a model: whatever is drawn inside is not drawn, and the model is in evaluation mode meanwhile.

    The global random numbers of Python, NumPy and torch go on afterwards as if nothing had happened; an iteration
    over a ``DataLoader`` draws one, also in order. No gradients are recorded inside (``torch.enable_grad()`` records
    them). Every module of a torch model has the mode again that it had.

    Args:
        model: If it is a ``torch.nn.Module``, as models of Keras on torch are too, its mode is kept.
    """
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with _torch_undisturbed(model):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _torch_undisturbed(model: object) -> Iterator[None]:
    torch = torch_module()
    if torch is None:  # the program has no model of torch, and draws nothing from it
        yield
        return
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, torch.nn.Module) else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.no_grad())
        stack.callback(_restore, modes)
        if isinstance(model, torch.nn.Module):
            model.eval()
        yield


def _restore(modes: list[tuple[object, bool]]) -> None:
    for module, is_training in modes:
        module.training = is_training  # type: ignore[attr-defined]
