"""A device that is not there: tensors that say they lie on ``gpu:0``, and write down every operator and who called it.

Its streams are lazy: a copy to the host is made when its event is waited for, and
not before, so what reads it too early reads zeros. Run as a program it logs to
real backends and prints what was found, as JSON. It registers a device for the
whole process, so it has one of its own.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.utils.backend_registration
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.testing import FakeClock

MAIN = threading.get_ident()


class Device(torch.utils.backend_registration._DummyBackendModule):
    """What ``torch.gpu`` is."""

    def __init__(self) -> None:
        self.operators: list[str] = []
        self.waits: list[bool] = []  # whether the training thread waited
        self.captures = False
        self.fails: tuple[str, ...] = ()
        self.fails_late = False
        self.stack = [Stream()]

    def note(self, operator: str) -> None:
        if threading.get_ident() == MAIN:
            self.operators.append(operator)
        if operator in self.fails:
            raise RuntimeError("CUDA error: the device fell off the bus")

    def is_current_stream_capturing(self) -> bool:
        return self.captures

    def current_stream(self, device: object = None) -> "Stream":
        return self.stack[-1]

    @contextmanager
    def stream(self, stream: "Stream"):
        self.stack.append(stream)
        try:
            yield
        finally:
            self.stack.pop()

    @property
    def Stream(self):  # noqa: N802
        return Stream

    @property
    def Event(self):  # noqa: N802
        return Event


class Stream:
    """Copies that wait for an event to be waited for."""

    def __init__(self, device: object = None) -> None:
        self.queue: list[Callable[[], object]] = []

    def wait_stream(self, other: "Stream") -> None:
        gpu.note("wait_stream")


class Event:
    """A place in a stream."""

    def record(self, stream: Stream) -> None:
        self.queue, stream.queue = stream.queue, []

    def synchronize(self) -> None:
        gpu.waits.append(threading.get_ident() == MAIN)
        if gpu.fails_late:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        for copy in self.queue:
            copy()
        self.queue = []


class OnGpu(torch.Tensor):
    """A tensor on the device; the numbers are in ``inner``."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "OnGpu":
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), dtype=inner.dtype, device="gpu:0"
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return "OnGpu(...)"

    def record_stream(self, stream: "Stream") -> None:
        gpu.note("record_stream")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        operator, kwargs = func.name().partition("::")[2].partition(".")[0], dict(kwargs or {})
        to_host = operator == "copy_" and not isinstance(args[0], OnGpu)
        to_host = to_host or (operator == "_to_copy" and str(kwargs.get("device")) == "cpu")
        later = to_host and (kwargs.get("non_blocking") or (operator == "copy_" and len(args) > 2 and args[2]))
        gpu.note(f"{operator} to host" + (" later" if later else "") if to_host else operator)
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        kwargs.pop("pin_memory", None)
        args, kwargs = _pytree.tree_map_only(OnGpu, lambda tensor: tensor.inner, (args, kwargs))
        if later:
            gpu.current_stream().queue.append(lambda: func(*args, **kwargs))
            return args[0]
        made = func(*args, **kwargs)
        return made if to_host else _pytree.tree_map_only(torch.Tensor, OnGpu, made)


class HostSide(TorchDispatchMode):
    """Makes pinned memory of what is at hand, and sends to the device what is to go there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        operator, kwargs = func.name().partition("::")[2].partition(".")[0], dict(kwargs or {})
        if kwargs.pop("pin_memory", None):
            gpu.note("pinned")
        if str(kwargs.get("device", "")).startswith("gpu") and not any(isinstance(item, OnGpu) for item in args):
            gpu.note(f"{operator} to device" + (" later" if kwargs.pop("non_blocking", False) else ""))
            kwargs["device"] = "cpu"
            return OnGpu(func(*args, **kwargs))
        return func(*args, **kwargs)


class Told(logging.Handler):
    """Keeps what a user is told."""

    def emit(self, record: logging.LogRecord) -> None:
        told.append(record.getMessage())


told: list[str] = []
logging.getLogger("ml").addHandler(Told())
gpu = Device()
torch.utils.backend_registration._setup_privateuseone_for_python_backend("gpu", gpu)


class Binned(MemoryLogger):
    """Keeps the counts of histograms."""

    def log_histogram(self, key, value, state, namespace):
        made = value.histogram()
        super().log_scalar(key, lambda: [made.count, made.min, made.max, int(made.counts.sum())], state, namespace)


class Bench:
    """A component, real backends and a clock."""

    def __init__(self, directory: Path, name: str, **settings: object) -> None:
        self.clock, self.component = FakeClock(), MultiLogger("model")
        self.memory = Binned(BaseLoggerConfig("memory", write_every_n_seconds=5, write_media_every_n_seconds=5))
        json_logger = JsonLogger(JsonLoggerConfig("json", write_every_n_seconds=5, write_media_every_n_seconds=5))
        self.directory = directory / name
        context = RunContext(self.directory, clock=self.clock, wall_clock=self.clock)
        self.group = LoggerGroup([self.memory, json_logger], context, **settings)
        self.steps = 0
        told.clear()

    def step(self) -> list[str]:
        """Ends a step; returns what the training thread had the device do in it."""
        gpu.operators.clear()
        self.steps += 1
        self.group.write([self.component], State(num_steps=self.steps))
        return list(gpu.operators)

    def end(self) -> dict[str, object]:
        gpu.operators.clear()
        stats = self.group.close()["json"]
        file = self.directory / "json" / "log.jsonl"
        return {
            "entries": [[entry.step, entry.key, shown(entry.value)] for entry in self.memory.entries],
            "lines": [json.loads(line).get("scalars") for line in file.read_text().splitlines()],
            "failed": stats.failed,
            "waits": gpu.waits[:],
            "at_close": list(gpu.operators),
            "told": told[:],
        }


def shown(value: object) -> object:
    return [list(value.shape), float(value.mean())] if isinstance(value, np.ndarray) else value


def on_gpu(*shape: int) -> OnGpu:
    return OnGpu(torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape))


def scalars(directory: Path) -> dict[str, object]:
    """Ten scalars, held and from callables, at a step that is due and at one that is not."""
    bench = Bench(directory, "scalars")
    loss = on_gpu(10)

    def log() -> None:
        for index in range(5):
            bench.component.log_scalar(f"held{index}", loss[index])
            bench.component.log_scalar(f"lazy{index}", lambda index=index: loss[5 + index])

    log()
    due = bench.step()
    loss.inner.fill_(7.0)  # what the copy was made of is changed before anyone waits for it
    log()
    not_due = bench.step()
    return {"due": due, "not_due": not_due, **bench.end()}


def media(directory: Path) -> dict[str, object]:
    """Every kind of media, each more than its picture shows."""
    bench, log = Bench(directory, "media"), None
    log = bench.component
    log.log_image("image", on_gpu(3, 70, 70) / (3 * 4900))
    log.log_images("images", on_gpu(100, 1, 70, 70) / 490_000, max_images=4)
    log.log_video("video", on_gpu(300, 8, 8) / 19200, max_frames=3)
    log.log_audio("audio", on_gpu(100) / 100)
    log.log_point_cloud("points", on_gpu(2000, 3), max_points=10, colors=on_gpu(2000, 3) / 6000)
    log.log_histogram("histogram", on_gpu(10, 10))
    due = bench.step()
    return {"due": due, **bench.end()}


def reductions(directory: Path) -> dict[str, object]:
    """A mean over steps that are not due, of numbers and weights on the device."""
    bench, done = Bench(directory, "reductions"), []
    for step in (1, 2, 3):
        bench.component.log_scalar("mean", OnGpu(torch.tensor(float(step))), reduce="mean", weight=step)
        bench.component.log_scalar("least", OnGpu(torch.tensor(float(step))), reduce="min")
        done += bench.step()
    return {"due": done, **bench.end()}


def capture(directory: Path) -> dict[str, object]:
    """A graph is captured while the step ends, on CUDA and on the device."""
    bench, loss, called = Bench(directory, "capture"), on_gpu(4), []
    pixels = on_gpu(90, 8, 8)
    gpu.captures = True
    torch.cuda.is_initialized, torch.cuda.is_current_stream_capturing = lambda: True, lambda: gpu.captures
    bench.component.log_scalar("lazy", lambda: called.append(1) or 1.0)
    bench.component.log_scalar("held", loss[0])
    bench.component.log_scalar("reduced", loss[0], reduce="mean")
    bench.component.log_histogram("histogram", pixels)
    bench.component.log_images("images", pixels)
    bench.component.log_scalar("number", 0.5)
    due = bench.step()
    gpu.captures = False
    return {"due": due, "called": called, **bench.end()}


def failing(directory: Path, *operators: str, late: bool = False) -> dict[str, object]:
    """A device that is lost."""
    bench, loss = Bench(directory, f"failing-{len(operators)}-{late}"), on_gpu(4)
    gpu.fails, gpu.fails_late = operators, late
    bench.component.log_scalar("held", loss[0])
    bench.component.log_scalar("another", loss[1])
    bench.component.log_image("image", OnGpu(torch.zeros(8, 8)))
    bench.component.log_histogram("histogram", OnGpu(torch.zeros(8, 8)))
    bench.component.log_scalar("number", 0.5)
    bench.step()
    gpu.fails = ()
    made = bench.end()
    gpu.fails_late = False
    return made


def audit(directory: Path, name: str, **settings: object) -> dict[str, object]:
    """Callables that wait for the device, and some that do not, twice."""
    bench, loss = Bench(directory, name, **settings), on_gpu(4)
    log = bench.component
    for _ in range(2):
        log.log_scalar("item", lambda: loss[0].item())
        log.log_scalar("bool", lambda: 1.0 if loss[1] else 0.0)
        log.log_scalar("cpu", lambda: loss[2].cpu())
        log.log_histogram("mask", lambda: loss[loss > 1])
        log.log_scalar("mean", lambda: loss.max().item(), reduce="mean")
        log.log_image("boxes", torch.zeros(8, 8), boxes=lambda: loss.cpu()[None])
        log.log_scalar("itself", lambda: loss[3])
        log.log_scalar("host", lambda: torch.ones(3).sum().item())
        bench.step()
        bench.clock.advance(10)
    return bench.end()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    with HostSide():
        found = {
            "scalars": scalars(place),
            "media": media(place),
            "reductions": reductions(place),
            "capture": capture(place),
            "lost": failing(place, "clone", "stack", "_to_copy", "isfinite"),
            "late": failing(place, late=True),
            "audited": audit(place, "audited", audit_syncs=True),
            "unaudited": audit(place, "unaudited"),
        }
    print(json.dumps(found))
