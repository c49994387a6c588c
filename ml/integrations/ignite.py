"""Logs pytorch-ignite: ``attach(trainer, run)``, with what ignite's own ``TensorboardLogger`` would log.

::

    attach(trainer, run, output_transform=lambda loss: {"loss": loss}, evaluators={"validation": evaluator})
    trainer.run(loader, max_epochs=10)

logs ``training/loss`` of every iteration and ``validation/<metric>`` whenever the evaluator has run. The step of
everything is the trainer's iteration, as of a ``TensorboardLogger`` with ``global_step_transform=
global_step_from_engine(trainer, Events.ITERATION_COMPLETED)``; keys are its tags. What was logged is written at
once, so nothing is open when an engine raises: exceptions go their way as if nothing were attached.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Literal, NoReturn, Protocol

from ml.core.errors import ConfigError, missing
from ml.integrations.metrics import log_metrics
from ml.session import Run

try:
    from ignite.engine import Engine, Events
except ImportError as error:
    raise missing("attach", "the package pytorch-ignite", "ignite", error) from error


class Optimizer(Protocol):
    """What has a learning rate for each of its groups of parameters, as an optimizer of torch has."""

    param_groups: list[dict[str, object]]


def attach(
    trainer: Engine,
    run: Run,
    *,
    tag: str = "training",
    event: object = Events.ITERATION_COMPLETED,
    output_transform: Callable[[object], object] | None = None,
    metric_names: Iterable[str] | Literal["all"] = (),
    optimizer: Optimizer | None = None,
    evaluators: Mapping[str, Engine] | None = None,
) -> ExitStack:
    """Logs what an engine's process function returns, and the metrics of evaluators beside it.

    A mapping, a sequence or a one-dimensional tensor is logged element by element, as ``<key>/<name>``.

    Args:
        trainer: The engine whose iterations are the steps. One that was resumed goes on with its own.
        run: What is logged to. It is not closed.
        tag: What the trainer's keys begin with: ``<tag>/<name>``.
        event: Of the trainer: when its output is logged. ``Events.ITERATION_COMPLETED(every=10)`` thins it.
        output_transform: Makes of ``trainer.state.output`` what is logged: a mapping, or a value, whose key is then
            ``<tag>/output``. By default the output as it is: give one where that is more than some numbers.
        metric_names: Of ``trainer.state.metrics``, what is logged with the output, e.g. running averages.
        optimizer: Logs ``<tag>/lr/group_<number>`` with the output.
        evaluators: By tag; their ``state.metrics`` are logged when they have run: ``<tag>/<metric>``.

    Returns:
        What takes all this away again: ``close()``, or leave it as a context.

    Raises:
        ConfigError: ``event`` is none of the trainer's.
    """
    chosen = metric_names if metric_names == "all" else tuple(metric_names)

    def write(values: Iterable[tuple[str, object]]) -> None:
        log_metrics(run, trainer.state.iteration, dict(values))
        run.step()

    def log_output(engine: Engine) -> None:
        state = engine.state
        values = {name: state.metrics.get(name) for name in (state.metrics if chosen == "all" else chosen)}
        values |= _named(state.output, output_transform)
        if optimizer is not None:
            values["lr"] = {f"group_{number}": group["lr"] for number, group in enumerate(optimizer.param_groups)}
        write(_flat(tag, values))

    def log_evaluation(name: str, engine: Engine) -> None:
        write(_flat(name, engine.state.metrics))

    def end_epochs(behind: int, engine: Engine) -> None:
        for _ in range(run.state.num_epochs, engine.state.epoch - behind):
            run.end_epoch()

    handlers: list[tuple[Engine, object, Callable[[Engine], None]]] = [
        (trainer, event, log_output),
        # Not when an epoch is completed: what evaluators find then still belongs to it.
        (trainer, Events.EPOCH_STARTED, partial(end_epochs, 1)),
        (trainer, Events.COMPLETED, partial(end_epochs, 0)),
        *((engine, Events.COMPLETED, partial(log_evaluation, name)) for name, engine in (evaluators or {}).items()),
    ]
    with ExitStack() as attached:
        for engine, fired, handler in handlers:
            try:
                attached.enter_context(engine.add_event_handler(fired, handler))
            except ValueError as error:
                raise ConfigError(f"event is one that the trainer fires, got {event!r}.") from error
        return attached.pop_all()


def _named(output: object, transform: Callable[[object], object] | None) -> dict[str, object]:
    """Returns an output under its keys. A transform that raises costs its values, and training nothing."""
    try:
        output = output if transform is None else transform(output)
        return dict(output) if isinstance(output, Mapping) else {} if output is None else {"output": output}
    except Exception as error:
        return {"output": partial(_raise, error)}


def _raise(error: Exception) -> NoReturn:
    raise error


def _flat(key: str, value: object) -> Iterator[tuple[str, object]]:
    """Returns the keys and values that ignite's own loggers make of an output."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{key}/{name}", inner)
    elif (isinstance(value, Sequence) and not isinstance(value, str)) or getattr(value, "ndim", 0) == 1:
        for number, inner in enumerate(value):  # type: ignore[arg-type]
            yield from _flat(f"{key}/{number}", inner)
    else:
        yield key, value
