"""Logging for any training loop.

::

    with start_run("runs/demo", config=config) as run:
        for batch in loader:
            run.log({"loss": loss, "accuracy": lambda: accuracy(out, batch)})
            run.step(samples=len(batch))
        run.end_epoch()
        with run.phase("valid"):
            for batch in valid_loader:
                run.log({"loss": loss}, weight=len(batch))
                run.step()
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from ml.core.config import BaseConfig
from ml.core.errors import ConfigError
from ml.core.registry import LOGGERS
from ml.core.run import RunContext, detect_rank
from ml.core.state import PHASES, Phase, State
from ml.io.lifetime import close_at_exit, forget_at_exit, tell_after_fork
from ml.io.rundir import RunDirectory, Status, Store, start_run_directory
from ml.loggers.base import AnyLogger, BaseLogger
from ml.loggers.group import LoggerGroup
from ml.loggers.multi import MultiLogger
from ml.loggers.reduce import Reduce
from ml.loggers.report import OnError
from ml.loggers.stats import LoggerStats

LoggerSpec = AnyLogger | BaseConfig | Mapping[str, object] | str
"""A backend, its configuration, a mapping with a ``name``, or the name alone."""

DEFAULT_LOGGERS = ("stdout", "json", "tensorboard")


def start_run(
    directory: str | Path | None = None,
    *,
    config: object | None = None,
    loggers: Iterable[LoggerSpec] = DEFAULT_LOGGERS,
    resume: bool = False,
    state: State | Mapping[str, object] | None = None,
    on_error: OnError = "warn",
    close_timeout_s: float = 10.0,
) -> "Run":
    """Starts a run: its directory, its backends, its counters.

    Args:
        directory: Where the run is kept; by default ``runs/<date>_<time>``. One that holds
            a run already is not joined: the new run goes to ``<directory>-2`` and says so.
        config: What was configured: a mapping, a dataclass or a ``DictConfig``. Recorded and
            logged with its secrets taken out.
        loggers: The backends.
        resume: Joins the run in ``directory`` as its next attempt.
        state: Where training stands, from a checkpoint: ``run.state`` of the earlier attempt,
            or the mapping ``run.state._asdict()``.
        on_error: ``"warn"``: a failing backend is reported, training goes on. ``"raise"``, for tests.
        close_timeout_s: How long closing may take, all backends together.

    Returns:
        The run, a context manager. On a rank that is not the primary one it counts, and writes nothing.

    Raises:
        ConfigError: A backend or its configuration is wrong, or the directory cannot be used.
    """
    built = [_build(spec) for spec in loggers]
    LoggerGroup.check(built, on_error)
    began = _state(state)
    rank, world_size = detect_rank()
    place = start_run_directory(
        directory, resume=resume, config=config, rank=rank, world_size=world_size, store=_process_group_store()
    )
    context = RunContext(place.path, attempt=place.attempt, rank=rank, world_size=world_size)
    try:
        group = LoggerGroup(built, context, on_error=on_error, close_timeout_s=close_timeout_s)
    except BaseException:
        place.finish("failed")
        raise
    if config is not None:
        group.log_config(config)
    return Run(group, place, began)


class Run:
    """A run that is under way; ``start_run`` makes one.

    Attributes:
        path: The run's directory.
        context: Attempt, rank and clocks.
        group: The backends.
        logger: What ``log`` logs to, for the other kinds of value: ``run.logger.log_image(...)``.
    """

    def __init__(self, group: LoggerGroup, place: RunDirectory, state: State) -> None:
        self.path, self.context, self.group = place.path, group.context, group
        self.logger = MultiLogger("")
        self._place = place
        self._components = [self.logger]
        self._earlier_s = state.elapsed_time_s or place.elapsed_time_s
        self._started_s = self.context.clock()
        self._state = state._replace(start_time_s=place.started_s)
        self._closed = False
        close_at_exit(self)
        tell_after_fork(self)

    @property
    def state(self) -> State:
        """Where training stands now; keep it in a checkpoint."""
        elapsed_s = self._earlier_s + self.context.clock() - self._started_s
        return self._state._replace(elapsed_time_s=elapsed_s, time_s=self.context.wall_clock())

    def component(self, namespace: str) -> MultiLogger:
        """Returns a further logger, with a namespace of its own; ``step`` ends its steps too."""
        component = MultiLogger(namespace)
        self._components.append(component)
        return component

    def log(self, values: Mapping[str, object], *, weight: float = 1.0, reduce: Reduce | None = None) -> None:
        """Logs numbers, and texts: ``{key: value or callable}``.

        Args:
            values: A key ``a/b`` is key ``b`` in the namespace ``a``. A text is logged as a
                string; a callable gives a number. Other kinds: ``run.logger``.
            weight: What each number counts for in a mean, e.g. the batch size.
            reduce: See ``MultiLogger.log_scalar``.
        """
        for key, value in values.items():
            if isinstance(value, str):
                self.logger.log_string(key, value)
            else:
                self.logger.log_scalar(key, value, reduce=reduce, weight=weight)

    def step(self, *, samples: int = 0, step: int | None = None, force: bool = False) -> None:
        """Ends a step: counters advance, and every backend that is due gets its values.

        Args:
            samples: Training samples of this step.
            step: Your own counter, from 1; by default one more than before.
            force: Makes every backend due.
        """
        state = self._state
        if state.phase == "valid":
            self._state = state._replace(num_valid_steps=state.num_valid_steps + 1)
        elif state.phase == "test":
            self._state = state._replace(num_test_steps=state.num_test_steps + 1)
        else:
            self._state = state._replace(
                num_steps=state.num_steps + 1 if step is None else step,
                num_epoch_steps=state.num_epoch_steps + 1,
                num_samples=state.num_samples + samples,
                num_epoch_samples=state.num_epoch_samples + samples,
            )
        self.group.write(self._components, self.state, force=force)

    def end_epoch(self) -> None:
        """Ends an epoch of training."""
        self._state = self._state._replace(
            num_epochs=self._state.num_epochs + 1, num_epoch_steps=0, num_epoch_samples=0
        )

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """What is logged inside belongs to ``phase``; leaving it writes one weighted mean of every number.

        Raises:
            ConfigError: There is no such phase.
        """
        if phase not in PHASES:
            raise ConfigError(f"A phase is one of {', '.join(PHASES)}, got {phase!r}.")
        self._end_open_step()
        before = self._state.phase
        self._state = self._state._replace(phase=phase)
        try:
            yield
        finally:
            self._end_open_step()
            self.group.end_pass()
            self._state = self._state._replace(phase=before)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until what was written is durable; see ``LoggerGroup.flush``."""
        return self.group.flush(timeout_s)

    def stats(self) -> dict[str, LoggerStats]:
        """Returns what became of every value so far, by backend id."""
        return self.group.stats()

    def close(self, status: Status | None = None) -> dict[str, LoggerStats]:
        """Ends the run and records how; closing twice is closing once.

        Args:
            status: How it ended; by default ``finished``, or ``failed`` or ``interrupted``
                where the interpreter ends with an exception that no one caught.
        """
        if self._closed:
            return self.group.stats()
        self._closed = True
        if status is None:
            status = _status(getattr(sys, "last_value", None))
        with ExitStack() as ending:
            ending.callback(forget_at_exit, self)
            ending.callback(self._place.finish, status, elapsed_time_s=self.state.elapsed_time_s)
            ending.callback(self.group.close)
            self._end_open_step()
        return self.group.stats()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close(_status(error))
        except Exception:
            if error is None:  # else what ended the loop is raised; this one was reported
                raise

    def after_fork_in_child(self) -> None:
        """Leaves the run to the parent."""
        self._closed = True

    def _end_open_step(self) -> None:
        if any(len(component) for component in self._components):
            self.group.write(self._components, self.state)


def _build(spec: LoggerSpec) -> AnyLogger:
    if isinstance(spec, BaseLogger):
        return spec
    built: AnyLogger = LOGGERS.build({"name": spec} if isinstance(spec, str) else spec)
    return built


def _state(state: State | Mapping[str, object] | None) -> State:
    if state is None:
        return State()
    if isinstance(state, State):
        return state
    unknown = sorted(set(state) - set(State._fields))
    if unknown:
        raise ConfigError(f"A state has no field {unknown[0]!r}. It has: {', '.join(State._fields)}.")
    return State(**state)  # type: ignore[arg-type]  # the names are checked


def _status(error: BaseException | None) -> Status:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    clean_exit = isinstance(error, SystemExit) and error.code in (None, 0)
    return "finished" if error is None or clean_exit else "failed"


def _process_group_store() -> Store | None:
    """Returns the store through which the ranks of ``torch.distributed`` found one another."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    store: Store = distributed.distributed_c10d._get_default_store()
    return store
