"""The TensorBoard backend of ``SummaryWriter``: beside every kind of value it takes summaries, as plugins read them.

::

    tensorboard/train/events.out.tfevents.*              everything that was added
    tensorboard/train/<run>/events.out.tfevents.*        a row of hyperparameters, and its metrics

Two kinds are its own. ``EVENTS`` are built when they are added: small, and never dropped before anything else.
``PLOT`` is made of arrays, on the backend's thread: a medium, which counts for the budget of media.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ml.core.errors import LogValueError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.event_files import EventFile, record
from ml.loggers.kinds import STRING, Common, Kind
from ml.loggers.snapshot import Snapshots
from ml.loggers.tensorboard import Logged, PhaseRun, TensorBoardLogger, TensorBoardLoggerConfig, Written
from ml.loggers.tensorboard_tags import Tags

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

    from ml.loggers.values import Lazy


class Events(NamedTuple):
    """Events of a TensorBoard run, serialized, without step and wall time.

    Attributes:
        events: One record each.
        tags: Which series they belong to.
        step: Their step; ``None`` is that of the state that they were logged at.
        run: The TensorBoard run, below that of the writer; empty: that one.
    """

    events: tuple[bytes, ...]
    tags: tuple[str, ...] = ()
    step: int | None = None
    run: str = ""


class Recipe(NamedTuple):
    """How a plot is made: ``build`` is given the tag, and a copy of each array that was logged."""

    tag: str
    build: "Callable[..., list[Summary.Value]]"


def _select_events(snapshots: Snapshots, value: object, options: object) -> Events:
    if not isinstance(value, Events):
        raise LogValueError(f"events are logged as Events, got a {type(value).__name__}")
    return value


def _select_arrays(snapshots: Snapshots, value: object, options: Recipe) -> object:
    return snapshots.copy(value)


def _munge_arrays(copied: Sequence[Any], options: Recipe) -> Common:
    from ml.integrations import summary_events as events

    return Common(np.frombuffer(events.summary(options.build(options.tag, *copied)), np.uint8))


EVENTS = Kind(
    "events",
    "log_events",
    "events",
    select=_select_events,
    example=lambda: Events(()),
    droppable=False,
    limited=False,
)
PLOT = Kind(
    "plot", "log_plot", "plots", select=_select_arrays, example=lambda: [np.eye(3)], munge=_munge_arrays, limited=False
)


@dataclass
class SummaryLoggerConfig(TensorBoardLoggerConfig):
    """What the backend of ``SummaryWriter`` can be told, beside what the TensorBoard backend can.

    Attributes:
        purge_step: The first step of earlier attempts that TensorBoard no longer shows. Without one it shows
            everything that is in the log directory, as it does for torch's writer.
    """

    purge_step: int | None = None


class _Added(NamedTuple):
    """Events, and the state that they were logged at."""

    state: State
    events: Events


class SummaryLogger(TensorBoardLogger):
    """Writes what ``SummaryWriter`` adds. A text is a value of its own, with the tag that torch's writer gives it.

    It is TensorBoard's backend, and keeps its files where that does: give it that name, or an id.
    """

    @cached_property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of the TensorBoard backend, and two more."""
        return super().kinds | {EVENTS, PLOT}

    def initialize(self, context: RunContext) -> None:
        """Makes the directory.

        Raises:
            ConfigError: The package ``tensorboard`` is not installed.
        """
        super().initialize(context)
        self._added: list[_Added] = []
        self._rows: dict[str, PhaseRun] = {}

    def log_events(self, key: str, value: Callable[[], Events], state: State, namespace: str) -> None:
        """Takes events that are built."""
        self._note_first_step(state)
        self._added.append(_Added(state, value()))

    def log_plot(self, key: str, value: "Lazy", state: State, namespace: str) -> None:
        """Takes what is made of arrays."""
        self._add(key, state, namespace, PLOT, partial(_renamed, value.array().tobytes()))

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        """Takes a text, shown as Markdown."""
        from ml.integrations import summary_events as events

        self._add(f"{key}/text_summary", state, namespace, STRING, partial(events.text, content=value()))

    def write(self, state: State) -> None:
        """Appends everything logged since the last write. Nothing is added to a row of hyperparameters after that."""
        super().write(state)
        rows, self._rows = self._rows, {}
        for run in rows.values():
            self._files.end(run.file)

    def _encoded(self, logged: Logged) -> list[Written]:
        from ml.integrations import summary_events

        added, self._added = self._added, []
        written = super()._encoded(logged)
        for state, (events, tags, step, name) in added:
            step = state.num_steps if step is None else step
            run = self._row(name, step) if name else self._run(state.phase)
            for event in events:
                stamped = summary_events.stamped(event, state.time_s, step)
                written.append(Written(run, step, tags, record(stamped)))
        return written

    def _row(self, name: str, step: int) -> PhaseRun:
        """Returns the TensorBoard run of a row of hyperparameters."""
        if name not in self._rows:
            self._rows[name] = PhaseRun(self._new_file(self.log_directory / "train" / name, step), Tags())
        return self._rows[name]

    def _new_file(self, directory: Path, first_step: int) -> EventFile:
        from ml.integrations import summary_events
        from ml.loggers import tensorboard_events

        purge_step = cast(SummaryLoggerConfig, self.config).purge_step

        def first_records(step: int) -> bytes:
            wall_time_s = self.context.wall_clock()
            if step == first_step and self.context.attempt > 1:  # what earlier attempts wrote is still to be shown
                if purge_step is None:
                    return record(summary_events.file_version(wall_time_s))
                step = purge_step
            return b"".join(map(record, tensorboard_events.opening(wall_time_s, step)))

        return self._files.add(EventFile(directory, self.context, first_records, first_step))


def _renamed(event: bytes, tag: str) -> "list[Summary.Value]":
    """Returns the values of an event; a single one gets ``tag``, which is its own unless that is of another kind."""
    from ml.integrations import summary_events as events

    values = events.values_of(event)
    if len(values) == 1 and values[0].metadata.plugin_data.plugin_name != "mesh":
        values[0].tag = tag
    return values
