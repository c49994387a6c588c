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

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ml.core.config import BaseConfig
from ml.core.errors import ConfigError
from ml.core.plain import plain_mapping
from ml.core.registry import LOGGERS
from ml.core.run import RunContext, detect_rank, resolve_primary_rank
from ml.core.state import PHASES, Phase, State, normalized, resumed
from ml.io.lifetime import close_at_exit, forget_at_exit, tell_after_fork
from ml.io.rankstore import process_group_store
from ml.io.rundir import Resume, RunDirectory, Status, start_run_directory
from ml.io.signals import Sigterm
from ml.loggers.base import AnyLogger, BaseLogger
from ml.loggers.entry import Ident
from ml.loggers.graphs import outside_of_graphs, skip_frames
from ml.loggers.group import LoggerGroup
from ml.loggers.multi import MultiLogger, check_namespace, items_of
from ml.loggers.reduce import AcrossRanks, Reduce
from ml.loggers.report import OnError
from ml.loggers.stats import LoggerStats

LoggerSpec = AnyLogger | BaseConfig | Mapping[str, object] | str
"""A backend, its configuration, a mapping with a ``name``, or the name alone."""

DEFAULT_LOGGERS = ("stdout", "json", "tensorboard")

SIGTERM_S = 4.0
"""How long ``handle_sigterm`` lets a SIGTERM wait. Clusters send a SIGKILL after 5 s at the least, mostly after 30."""

RECORD_S = 0.5
"""How long how a run ended may take to be recorded, when its backends have taken all the time there was."""

_log = logging.getLogger("ml")


def start_run(
    directory: str | Path | None = None,
    *,
    config: object | None = None,
    loggers: Iterable[LoggerSpec] | LoggerSpec = DEFAULT_LOGGERS,
    resume: Resume = False,
    state: State | Mapping[str, object] | None = None,
    on_error: OnError = "warn",
    close_timeout_s: float = 10.0,
    audit_syncs: bool = False,
    handle_sigterm: bool = False,
    primary_rank: int | None = None,
) -> "Run":
    """Starts a run: its directory, its backends, its counters.

    Args:
        directory: Where the run is kept; by default ``runs/<date>_<time>``. One that holds
            a run already is not joined: the new run goes to ``<directory>-2`` and says so.
        config: What was configured: a mapping, a dataclass or a ``DictConfig``. Recorded and
            logged with its secrets taken out.
        loggers: The backends, or a single one; ``[]`` is none.
        resume: Joins the run in ``directory`` as its next attempt; ``"auto"``: if there is one, else
            starts it. Give its ``state`` too.
        state: Where training stands, from a checkpoint: ``run.state._asdict()`` of the earlier
            attempt, or ``run.state`` itself. It goes on in training.
        on_error: ``"warn"``: a failing backend is reported, training goes on. ``"raise"``, for tests.
        close_timeout_s: How long closing may take, all backends and the record of the run's end together.
        audit_syncs: Names every callable that waits for an accelerator, as ``.item()`` does. Slow: for a few steps.
        handle_sigterm: Makes a SIGTERM wait, at most 4.5 s, until what was logged in finished steps is
            durable and the run is recorded as interrupted; then it acts as it did before. In the main thread only.
        primary_rank: Of several ranks, the one that decides the directory and has the backends, the same on all;
            with pipeline parallelism -1, the last. By default what ``ML_PRIMARY_RANK`` says, else 0.

    Returns:
        The run, a context manager. On a rank that is not the primary one it counts, and writes nothing but to
        backends with ``all_ranks``.

    Raises:
        ConfigError: A backend, its configuration or the state is wrong, or the directory cannot be used.
    """
    built = _build_all(loggers)
    LoggerGroup.check(built, on_error, close_timeout_s)
    if handle_sigterm:
        try:
            Sigterm.check()
        except ValueError as error:
            raise ConfigError(f"handle_sigterm=True cannot work here: {error}. Leave it out.") from error
    began = resumed(state)
    rank, world_size = detect_rank()
    primary_rank = resolve_primary_rank(primary_rank, world_size)
    store = process_group_store()
    place = start_run_directory(
        directory,
        resume=resume,
        config=config,
        rank=rank,
        world_size=world_size,
        primary_rank=primary_rank,
        store=store,
    )
    context = RunContext(place.path, attempt=place.attempt, rank=rank, world_size=world_size, primary_rank=primary_rank)
    try:
        group = LoggerGroup(
            built,
            context,
            store=store,
            on_error=on_error,
            close_timeout_s=close_timeout_s,
            audit_syncs=audit_syncs,
        )
    except BaseException:
        place.finish("failed")
        raise
    if config is not None:
        group.log_config(config)
    return Run(
        group,
        place,
        began,
        config=config,
        begins_anew=state is None and place.attempt > 1,
        close_timeout_s=close_timeout_s,
        handle_sigterm=handle_sigterm,
    )


class _Begun(NamedTuple):
    """A step that was begun with a number of the caller's, and its wall-clock time."""

    step: int
    time_s: float


class Run:
    """A run that is under way; ``start_run`` makes one.

    After a fork, and when pickled or copied, the copy discards what it is given.

    Attributes:
        path: The run's directory.
        context: Attempt, rank and clocks.
        group: The backends.
        logger: What ``log`` logs to, for the other kinds of value: ``run.logger.log_image(...)``.
    """

    def __init__(
        self,
        group: LoggerGroup,
        place: RunDirectory,
        state: State,
        *,
        config: object | None = None,
        begins_anew: bool = False,
        close_timeout_s: float = 0.0,
        handle_sigterm: bool = False,
    ) -> None:
        self.path, self.context, self.group = place.path, group.context, group
        self.logger = MultiLogger("")
        self._place, self._close_timeout_s = place, close_timeout_s
        self._components = {"": self.logger}
        self._config = plain_mapping(config)
        self._earlier_s = state.elapsed_time_s or place.elapsed_time_s
        self._started_s = self.context.clock()
        self._state = state._replace(start_time_s=place.started_s)
        self._begun: _Begun | None = None
        self._begins_anew = begins_anew  # resumed, and nobody has said where training stands
        self._is_numbered = False  # whether steps are begun with numbers of the caller's
        self._closed = False
        self._warned: set[str] = set()
        self._sigterm: Sigterm | None = None
        if handle_sigterm:
            self._sigterm = Sigterm(self._prepare_to_end)
        self._at_exit = _AtExit(self)
        skip_frames(Run)
        close_at_exit(self._at_exit)
        tell_after_fork(self)

    @property
    def state(self) -> State:
        """Where training stands now. Keep ``state._asdict()`` in a checkpoint: plain numbers and a text."""
        elapsed_s = self._earlier_s + self.context.clock() - self._started_s
        return self._state._replace(elapsed_time_s=elapsed_s, time_s=self.context.wall_clock())

    def component(self, namespace: str) -> MultiLogger:
        """Returns the logger of a namespace, which ``step`` ends the steps of too; the same one every time.

        Raises:
            ConfigError: The namespace is no text, or holds a ``/``.
        """
        check_namespace(namespace)
        if namespace not in self._components:
            self._components[namespace] = MultiLogger(namespace)
        return self._components[namespace]

    def log_config(self, config: object) -> None:
        """Adds settings that were not known when the run started, such as the hyperparameters of another library.

        All settings together are recorded and given to every backend, secrets taken out; if nothing is new, nothing is.

        Args:
            config: A mapping, a dataclass or a ``DictConfig``; replaces settings of the same name at its top.
        """
        together = self._config | plain_mapping(config)
        if together != self._config:
            self._config = together
            self._place.record_config(self.group.log_config(together))

    @outside_of_graphs
    def log(
        self,
        values: Mapping[str, object],
        *,
        weight: float = 1.0,
        reduce: Reduce | None = None,
        across_ranks: AcrossRanks | None = None,
    ) -> None:
        """Logs numbers, and texts: ``{key: value or callable}``.

        Args:
            values: A key ``a/b`` is key ``b`` in the namespace ``a``. A text is logged as a
                string; a callable gives a number. Other kinds: ``run.logger``.
            weight: What each number counts for in a mean, e.g. the batch size.
            reduce: See ``MultiLogger.log_scalar``.
            across_ranks: See there; for the numbers alone.
        """
        for key, value in items_of(values, "run.log"):
            if isinstance(value, str):
                self.logger.log_string(key, value)
            else:
                self.logger.log_scalar(key, value, reduce=reduce, weight=weight, across_ranks=across_ranks)

    @outside_of_graphs
    def begin_step(self, step: int, *, time_s: float | None = None) -> None:
        """What is logged from now on is of training step ``step``; ends the open step, if it has another number.

        For loops that say of each value which step it is of, as those of other libraries do. A step that was begun
        is written in full when it ends, by ``step()``, the next ``begin_step`` or ``close``: nothing is thinned twice.

        Args:
            step: Their counter; it need not grow.
            time_s: Wall clock, Unix seconds, of the step; by default when it begins.
        """
        if self._state.phase != "train":
            self._warn_once("begin", "begin_step counts training; in a validation or test pass it does not.")
            return
        begun = self._begun
        number = self._count("step", step, (self._state.num_steps if begun is None else begun.step) + 1)
        if begun is not None:
            if begun.step == number and time_s in (None, begun.time_s):
                return
            self.step()
        self._is_numbered = True
        self._begun = _Begun(number, self.context.wall_clock() if time_s is None else time_s)

    @outside_of_graphs
    def step(self, *, samples: int = 0, step: int | None = None, force: bool = False) -> None:
        """Ends a step: counters advance, and every backend that is due gets its values.

        Args:
            samples: Training samples of this step. No whole number is made one, or 0, with a warning.
            step: Your own counter of training steps, from 1; by default that of ``begin_step``, else one more.
            force: Makes every backend due: all values of this step are written, as you want of the last one.
        """
        state = self._state
        samples = self._count("samples", samples, 0)
        time_s: float | None = None
        if self._begun is not None and state.phase == "train":
            (begun, time_s), self._begun, force = self._begun, None, True
            step = begun if step is None else step
        if state.phase == "train":
            following = state.num_steps + 1
            if step is None and self._begins_anew:
                self._tell_new_beginning()
            number = following if step is None else self._count("step", step, following)
            self._state = state._replace(
                num_steps=number,
                # What is begun once more is no further step.
                num_epoch_steps=state.num_epoch_steps + (number != state.num_steps),
                num_samples=state.num_samples + samples,
                num_epoch_samples=state.num_epoch_samples + samples,
            )
        else:
            if samples or step is not None:
                self._warn_once("pass", "samples= and step= count training; in a validation or test pass they do not.")
            counter = f"num_{state.phase}_steps"
            self._state = state._replace(**{counter: getattr(state, counter) + 1})
        ended = self.state
        self.group.write(self._loggers, ended if time_s is None else ended._replace(time_s=time_s), force=force)

    @outside_of_graphs
    def write_numbers(
        self, numbers: Sequence[tuple[int, float, Ident, float]], *, timeout_s: float | None = None
    ) -> bool:
        """Logs plain numbers of training steps that are over, and writes all of them; for adapters of other libraries.

        Args:
            numbers: Step, wall clock in Unix seconds, series (of ``run.logger.scalar_ident``) and number; those of one
                step one after the other.
            timeout_s: How long to wait for a step that another thread is ending; ``None``: as long as that takes, and
                an open step is ended first. Only the thread that trains may do that.

        Returns:
            False where a step is being ended, or is open, or a pass is running: nothing was taken.
        """
        if self._state.phase != "train" or (timeout_s is not None and any(map(len, self._loggers))):
            return False
        self._end_open_step()
        self._begun = None
        state = self.state
        rows = []
        for step, time_s, ident, number in numbers:
            if step != state.num_steps or time_s != state.time_s:
                state = normalized(state._replace(num_steps=step, time_s=time_s))
                step, time_s = state.num_steps, state.time_s
            rows.append((state, ident, number))
        self._state = self._state._replace(num_steps=state.num_steps)
        return self.group.write_numbers(rows, timeout_s)

    def end_epoch(self) -> None:
        """Ends an epoch of training."""
        self._state = self._state._replace(
            num_epochs=self._state.num_epochs + 1, num_epoch_steps=0, num_epoch_samples=0
        )

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """What is logged inside belongs to ``phase``; leaving it writes one weighted mean of every number.

        A pass that an exception ends has no mean. What was logged before, in a step that is not
        ended yet, waits for the end of that step.

        Raises:
            ConfigError: There is no such phase.
        """
        if phase not in PHASES:
            raise ConfigError(f"A phase is one of {', '.join(PHASES)}, got {phase!r}.")
        before = self._state.phase
        if phase == before:  # a block of the phase that is running anyway changes nothing
            yield
            return
        waiting = [(component, component.take()) for component in self._loggers]
        self._state = self._state._replace(phase=phase)
        try:
            yield
        except BaseException:
            for component in self._loggers:
                component.take()
            self.group.discard_pass()
            raise
        else:
            self._end_open_step()
            self.group.end_pass()
        finally:
            self._state = self._state._replace(phase=before)
            for component, entries in waiting:
                component.put_back(entries)
            if self._closed:  # inside of the block: no step will come that ends theirs
                self.group.write(self._loggers, self.state)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until what was written is durable; see ``LoggerGroup.flush``."""
        return self.group.flush(timeout_s)

    def stats(self) -> dict[str, LoggerStats]:
        """Returns what became of every value so far, by backend id."""
        return self.group.stats()

    def close(self, status: Status = "finished") -> dict[str, LoggerStats]:
        """Ends the run and records how it ended; closing twice is closing once.

        A step that was not ended is ended. A run that no one closes is closed when the interpreter
        ends: as ``failed`` or ``interrupted`` where that is by an exception that no one caught.
        """
        if self._closed:
            return self.group.stats()
        self._closed = True
        self.context.status = status
        deadline_s = time.monotonic() + self._close_timeout_s
        # Backends that hang take half a second more to be given up: the record has at least the last of this time.
        backends_s = self._close_timeout_s - min(RECORD_S, self._close_timeout_s / 2)
        with ExitStack() as ending:
            ending.callback(forget_at_exit, self._at_exit)
            if self._sigterm is not None:
                ending.callback(self._sigterm.close)
            ending.callback(self._record, status, self.state.elapsed_time_s, deadline_s + RECORD_S)
            ending.callback(self._close_group, time.monotonic() + backends_s)
            self.group.begin_close(backends_s)
            self._end_open_step()
            self._tell_overwritten()
        return self.group.stats()

    def _close_group(self, deadline_s: float) -> None:
        self.group.close(max(0.0, deadline_s - time.monotonic()))

    def _record(self, status: Status, elapsed_time_s: float, deadline_s: float) -> None:
        self._place.finish(status, elapsed_time_s=elapsed_time_s, timeout_s=max(0.0, deadline_s - time.monotonic()))

    def _prepare_to_end(self) -> None:
        durable = self.group.secure(SIGTERM_S)
        if self._sigterm is not None and self._sigterm.ends_process:
            self._record("interrupted", self.state.elapsed_time_s, time.monotonic() + RECORD_S)
        if not durable:
            _log.warning("SIGTERM: not everything that was logged could be made durable within %g s.", SIGTERM_S)

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

    def __reduce__(self) -> tuple[object, ...]:
        context = self.context
        identity = (self.path, context.attempt, context.rank, context.world_size, context.primary_rank)
        return _inert_copy, (*identity, self.state, tuple(self._components))

    @property
    def _loggers(self) -> list[MultiLogger]:
        return list(self._components.values())

    def _end_open_step(self) -> None:
        """Ends the step that holds values and was not ended; in training it is one more, or the one that was begun."""
        if not any(map(len, self._loggers)):
            return
        if self._state.phase == "train":
            self.step()
        else:
            self.group.write(self._loggers, self.state)

    def _count(self, name: str, value: int, otherwise: int) -> int:
        """Returns the whole part of what a caller gave, or ``otherwise``: a loop must not fail by it."""
        try:
            count = int(value)
            is_whole = bool(count == value)
        except Exception:
            count, is_whole = otherwise, False
        if not is_whole:
            kind = type(value).__name__
            self._warn_once(name, f"{name}= is a whole number, got a {kind}: {count} is taken.")
        return count

    def _tell_new_beginning(self) -> None:
        self._begins_anew = False
        if self.context.is_primary:
            _log.warning(
                "%s is resumed without a state: steps begin at 1 again, and overtake those of the earlier attempt"
                " when the run is read. Pass state=, the run.state._asdict() of a checkpoint.",
                self.path,
            )

    def _tell_overwritten(self) -> None:
        count = sum(component.overwritten for component in self._loggers)
        if count and not self._is_numbered:  # a framework may give a value of a step again
            _log.warning(
                "%s: %d values were replaced by a later one of the same key in the same step, and not written. Call"
                " run.step() at the end of every step.",
                self.path,
                count,
            )

    def _warn_once(self, about: str, message: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            _log.warning("In run.step, %s", message)


class _AtExit:
    """Closes a run that no one closed, when the interpreter ends."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def close(self) -> None:
        self._run.close(_status(getattr(sys, "last_value", None)))


def _inert_copy(
    path: Path, attempt: int, rank: int, world_size: int, primary_rank: int, state: State, namespaces: tuple[str, ...]
) -> Run:
    """Returns what a pickled or copied run becomes: a closed one, with loggers that discard."""
    context = RunContext(path, attempt=attempt, rank=rank, world_size=world_size, primary_rank=primary_rank)
    group = LoggerGroup([], context)
    copy = Run(group, RunDirectory(path, attempt, state.start_time_s), state)
    for namespace in namespaces:
        copy.component(namespace).after_fork_in_child()
    copy.close()
    return copy


def _build_all(loggers: Iterable[LoggerSpec] | LoggerSpec) -> list[AnyLogger]:
    if isinstance(loggers, str | BaseConfig | Mapping | BaseLogger) or not isinstance(loggers, Iterable):
        return [_build(loggers)]
    return [_build(spec) for spec in loggers]


def _build(spec: LoggerSpec) -> AnyLogger:
    if isinstance(spec, BaseLogger):
        return spec
    if not isinstance(spec, str | BaseConfig | Mapping):
        raise ConfigError(
            "A backend is given by its name, its configuration, a mapping with a name, or as it is,"
            f" like JsonLogger(JsonLoggerConfig()); got {spec!r}. For none pass loggers=[]."
        )
    built: AnyLogger = LOGGERS.build({"name": spec} if isinstance(spec, str) else spec)
    return built


def _status(error: BaseException | None) -> Status:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    clean_exit = isinstance(error, SystemExit) and error.code in (None, 0)
    return "finished" if error is None or clean_exit else "failed"
