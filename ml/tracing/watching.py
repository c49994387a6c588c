"""One call of a model, watched: what is known before, what its modules and itself return, and how long it takes.

What fails here costs what is kept of the call, never the call.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from typing import NamedTuple, Protocol

import torch
from torch import nn

from ml.core.errors import ConfigError, LogValueError
from ml.io.thread_local import ThreadLocal
from ml.io.worker import Lock
from ml.tracing.delivery import Listener
from ml.tracing.failures import Failures
from ml.tracing.fields import FieldSpec, check_names, columns_of
from ml.tracing.hooks import Recorder
from ml.tracing.identity import input_ids_of
from ml.tracing.inferences import Asked, InferenceMaker
from ml.tracing.layers import LayerFeatures
from ml.tracing.options import Options
from ml.tracing.output import NmsConfig
from ml.tracing.record import Inference
from ml.tracing.settings import SharedContext, turns_of
from ml.tracing.task import Output, Size, Task
from ml.tracing.timing import Stopwatch
from ml.tracing.wrapped import unwrapped

OWN = "own:"
"""Begins the aliases of what ``_parse_model_output`` needs, so that no alias of the user's is like one of them."""


class Call(NamedTuple):
    """What a thread's call of the model is read with.

    Attributes:
        captured: What the modules that the task watches returned, by alias, without a graph.
        config: The setting with which the model ran.
    """

    captured: Mapping[str, object]
    config: NmsConfig


class CallArguments(NamedTuple):
    """What a call is given beside the model's input.

    Attributes:
        input_ids: Of each input; ``None``: by its content.
        dataset_type: As the user calls it.
        epoch: How many epochs the model had been trained for.
        fields: Of ``additional_fields`` the values, by name.
        truths: Of each input; ``None``: of none.
    """

    input_ids: Sequence[str] | None
    dataset_type: str
    epoch: int
    fields: Mapping[str, object]
    truths: object = None


class Counts(NamedTuple):
    """How much was watched."""

    calls: int
    inputs: int
    disagreements: int


class Reader(Protocol):
    """What reads a model: a tracer, with what its class overrides."""

    def _get_image_sizes(self, model_input: object) -> list[Size]: ...

    def _parse_model_output(self, model_output: object, img_sizes: Sequence[Size]) -> Sequence[Output]: ...

    def _apply_nms_config(self, model: nn.Module, nms_config: NmsConfig) -> AbstractContextManager[None]: ...

    def _inner(self) -> nn.Module: ...


def called(model: nn.Module, model_input: object) -> object:
    """Calls a model: a mapping holds its arguments by name, all else is the only one."""
    return model(**model_input) if isinstance(model_input, Mapping) else model(model_input)


class Watcher:
    """Watches the calls of a model.

    Args:
        reader: Reads the model.
        task: What the model is for.
        options: Of the tracer.
        failures: Counts what fails.
        fields: That a call has values of, one for each input.
        label_fields: That a ground truth has values of, one for each box.
        recorder: Has the hooks.
        layers: Take what the chosen layers returned.
        maker: Makes the records.
        deliver: Takes them.
    """

    def __init__(
        self,
        reader: Reader,
        task: Task,
        options: Options,
        failures: Failures,
        fields: Sequence[FieldSpec],
        label_fields: Sequence[FieldSpec],
        recorder: Recorder,
        layers: LayerFeatures,
        maker: InferenceMaker,
        deliver: Listener,
    ) -> None:
        self._reader, self._task, self._options, self._failures = reader, task, options, failures
        self._fields, self._label_fields = fields, label_fields
        self._recorder, self._layers, self._maker, self._deliver = recorder, layers, maker, deliver
        turns = turns_of(reader._inner())
        has_own = options.nms == NmsConfig()
        self._applied = turns.own if has_own else SharedContext(self._setting, partial(failures.add, "setting"), turns)
        self._lock, self._of_thread = Lock(), ThreadLocal()
        self._numbers, self._calls, self._inputs, self._disagreements = count(1), 0, 0, 0

    @property
    def current(self) -> Call:
        """The call that is being read on this thread."""
        call: Call = self._of_thread.call
        return call

    def counts(self) -> Counts:
        """Returns how much was watched so far."""
        with self._lock:
            return Counts(self._calls, self._inputs, self._disagreements)

    def call(self, model: nn.Module, model_input: object, arguments: CallArguments) -> object:
        """Calls a model, has what it said kept, and returns its very output.

        Raises:
            ConfigError: There are not as many ids, values or truths as inputs, or they are of another type; the model
                was not called.
        """
        asked = self._asked(model_input, arguments)
        with self._lock:
            self._calls += 1
        if asked is None:
            return self.call_unwatched(model, model_input)
        with self._recorder.armed() as collect, self._applied:
            watch = Stopwatch(self._options.clock)
            output = called(model, model_input)
            elapsed_s = watch.stop()
            captured = collect()
        self._count(len(asked.sizes))  # of a call that the model answered: what it raised is no loss
        self._keep(asked, model, output, captured, elapsed_s)
        return output

    def call_unwatched(self, model: nn.Module, model_input: object) -> object:
        """Calls a model with the setting that was chosen, and keeps nothing."""
        with self._applied:
            return called(model, model_input)

    def after_fork_in_child(self) -> None:
        """Lets go of what other threads, which are not in the child, held."""
        self._applied.after_fork_in_child()

    def _count(self, inputs: int) -> None:
        with self._lock:
            self._inputs += inputs

    def _setting(self) -> AbstractContextManager[None]:
        return self._reader._apply_nms_config(self._reader._inner(), self._options.nms)

    def _asked(self, model_input: object, arguments: CallArguments) -> Asked | None:
        """Returns what is known before the call; ``None``: it is not an input that can be traced, which is counted."""
        input_ids, dataset_type, epoch, fields, truths = arguments
        check_names(self._fields, fields)
        if not _is_name(dataset_type):
            raise ConfigError(f"dataset_type is a name, such as 'val', got {dataset_type!r:.80}.")
        try:
            sizes = self._reader._get_image_sizes(model_input)
        except Exception as error:
            self._count(1)
            self._failures.add("input", error)
            return None
        ids = None if input_ids is None else _checked_ids(input_ids, len(sizes))
        rows = columns_of(self._fields, fields, len(sizes), partial(self._failures.add, "field"))
        known = None if truths is None else self._task.truths(truths, len(sizes), self._label_fields)
        if ids is None:
            try:
                ids = input_ids_of(model_input, len(sizes))
            except Exception as error:
                self._count(len(sizes))
                self._failures.add("input", error, len(sizes))
                return None
        pictures = self._maker.pictures(model_input, len(sizes))
        number, now_s = next(self._numbers), self._options.wall_clock()
        return Asked(ids, sizes, dataset_type, epoch, number, now_s, rows, known, pictures)

    def _keep(
        self,
        asked: Asked,
        model: nn.Module,
        output: object,
        captured: Mapping[str, object],
        elapsed_s: Callable[[], float],
    ) -> None:
        """Reads an output, and hands on what is to be kept; raises nothing but what interrupts it, such as Ctrl-C."""
        try:
            with torch.no_grad():
                self._layers.remember(captured)
                inferences = self._read(asked, model, output, captured, elapsed_s)
            if inferences:
                self._deliver(inferences)
        except Exception as error:
            hint = "The model is in training mode, where it may have another output." if model.training else ""
            self._failures.add("parse", error, len(asked.sizes), hint=hint)
        except BaseException:
            self._failures.add("parse", "It was interrupted.", len(asked.sizes))
            raise

    def _read(
        self,
        asked: Asked,
        model: nn.Module,
        output: object,
        captured: Mapping[str, object],
        elapsed_s: Callable[[], float],
    ) -> list[Inference]:
        config = self._task.nms_config(unwrapped(model)).overridden_by(self._options.nms)
        own = {alias.removeprefix(OWN): value for alias, value in captured.items() if alias.startswith(OWN)}
        self._of_thread.call = Call(own, config)
        try:
            outputs = list(self._reader._parse_model_output(output, asked.sizes))
        finally:
            del self._of_thread.call
        if len(outputs) != len(asked.sizes):
            raise LogValueError(f"the output of {len(asked.sizes)} inputs was parsed to that of {len(outputs)}")
        inferences = self._maker.made(asked, outputs, captured, config, elapsed_s())
        self._compare(outputs, output, asked.sizes, config)
        return inferences

    def _compare(self, outputs: Sequence[Output], output: object, sizes: Sequence[Size], config: NmsConfig) -> None:
        """Holds what was parsed against what the model itself shows."""
        try:
            differing = self._task.disagreements(outputs, output, sizes, config)
        except Exception as error:
            self._failures.add("compare", error)
            return
        if not differing:
            return
        with self._lock:
            is_first = not self._disagreements
            self._disagreements += differing
        if is_first:
            self._failures.tell(
                f"a disagreement: what the model shows is not what is kept as visible, of {differing} of {len(sizes)}"
                " inputs. More are only counted."
            )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name)


def _checked_ids(input_ids: Sequence[str], count: int) -> list[str]:
    if not isinstance(input_ids, list | tuple):
        raise ConfigError(f"input_ids is a list of one name for each of {count} inputs, got {input_ids!r:.80}.")
    if len(input_ids) != count:
        raise ConfigError(f"input_ids has one name for each input: {count}, got {len(input_ids)}.")
    for name in input_ids:
        if not _is_name(name):
            raise ConfigError(f"input_ids are names, got {name!r:.80}.")
    return list(input_ids)
