"""Logs what a framework gives its loggers: ``{key: value}``, and the step that the values are of.

::

    log_metrics(run, 100, {"train_loss": 0.25, "eval": {"f1": 0.5}, "note": "warm"})

is of step 100: the numbers ``train_loss`` and ``eval/f1``, and the text ``note``. Every
value is taken at once, so a framework may reuse its tensors as soon as the call returns.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ml.loggers.multi import items_of
from ml.loggers.tensors import as_dense, is_tensor
from ml.session import Run

if TYPE_CHECKING:
    from torch import Tensor


def log_metrics(run: Run, step: int, metrics: Mapping[str, object]) -> None:
    """Logs metrics of a step, which goes on until something of another step is logged, or ``run.step()``.

    What is neither a number nor a text costs itself alone: it is reported once for its key, with the cure, and
    counted as failed.

    Args:
        run: What is logged to.
        step: The framework's own counter; it need not grow, and may be 0.
        metrics: Numbers, tensors and arrays of one element, texts, and mappings of these, one deep: ``{"eval":
            {"f1": 0.5}}`` is the key ``eval/f1``. A callable is computed when the step ends.
    """
    run.begin_step(step)
    run.log({key: taken(value) for key, value in _flat(metrics)})


def taken(value: object) -> object:
    """Returns a value that does not change when the caller goes on.

    Args:
        value: Of a tensor or array with one element, its number; on an accelerator, a copy that no one waits for.
            Everything else is returned as it is.
    """
    try:
        if isinstance(value, np.ndarray):
            return value.item() if value.size == 1 else value
        return _taken_tensor(value) if is_tensor(value) else value  # type: ignore[arg-type]
    except Exception:  # said of the key, with the cure, when the step ends
        return value


def _taken_tensor(tensor: "Tensor") -> object:
    if tensor.numel() != 1:
        return tensor
    dense = as_dense(tensor)
    return dense.reshape(()).tolist() if dense.device.type == "cpu" else dense.clone()


def _flat(metrics: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in items_of(metrics, "log_metrics"):
        if isinstance(value, Mapping):
            yield from ((f"{key}/{name}", inner) for name, inner in value.items())
        else:
            yield key, value
