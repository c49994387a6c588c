"""Keeps ``torch.compile`` out of logging: a call inside a compiled function is never traced.

Traced, ``log_scalar`` would be compiled anew for every key, up to dynamo's limit.
So the graph of the compiled function ends before the call and goes on after it,
once compiled and never again. With ``fullgraph=True``, which allows no break,
return the value and log it outside, or tell dynamo to move the call to the end::

    def log_loss(loss):
        logger.log_scalar("loss", loss)

    torch._dynamo.config.reorderable_logging_functions.add(log_loss)

A break inside of a Python loop leaves the whole function uncompiled, as any break
there does: log a mapping with ``log_scalars`` after the loop. torch is not imported
here: dynamo finds the marks on the functions, and on their code.
"""

import sys
from collections.abc import Callable
from types import FunctionType
from typing import TypeVar

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

_MARK = "_torchdynamo_disable"
_ADVICE = (
    "it only notes what was logged. With fullgraph=True return the value and log it outside of the compiled function,"
    " or see torch._dynamo.config.reorderable_logging_functions"
)


def outside_of_graphs(function: FunctionT) -> FunctionT:
    """Marks a function that compiled functions may call: dynamo ends its graph there, and calls it."""
    setattr(function, _MARK, True)
    setattr(function, f"{_MARK}_msg", _ADVICE)
    return function


def skip_frames(owner: type) -> None:
    """Has dynamo leave the marked methods of a class, and what they call, to the interpreter.

    Without torch there is nothing to do, and a version of it whose names differ
    compiles the calls, which costs time and nothing else. Again does nothing.
    """
    frames = sys.modules.get("torch._C._dynamo.eval_frame")
    if frames is None or not hasattr(frames, "set_code_exec_strategy") or not hasattr(frames, "_FrameExecStrategy"):
        return
    skip = frames._FrameAction.SKIP
    for method in vars(owner).values():
        if isinstance(method, FunctionType) and getattr(method, _MARK, False):
            frames.set_code_exec_strategy(method.__code__, frames._FrameExecStrategy(skip, skip))
