"""Writes TensorBoard event files: one TensorBoard run per phase, tags ``<namespace>/<key>``.

::

    tensorboard/events.out.tfevents.*            configuration as text, and hyperparameters
    tensorboard/{train,valid,test}/events.out.tfevents.*

Every attempt has files of its own. Each begins by saying at which step the
attempt started, so TensorBoard drops what a resume overtook: with
``--load_fast=false`` at once, with its default loader tag by tag, as each is
logged again.
"""

import logging
import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from omegaconf import DictConfig

from ml.core.config import conf_field
from ml.core.errors import ConfigError
from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import Phase, State
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.event_files import EventFile, EventFiles, record, scalar_head, scalars_event
from ml.loggers.kinds import AUDIO, HISTOGRAM, IMAGE, POINT_CLOUD, STRING, TABLE, VIDEO, Kind
from ml.loggers.tensorboard_tags import Tags, tag_name

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch import Tensor

    from ml.loggers.values import Lazy
    from ml.media.table import TableData

_log = logging.getLogger("ml")
_pack_float = struct.Struct("<f").pack


class _Scalars(NamedTuple):
    """The scalars of one state, encoded, by tag."""

    state: State
    values: dict[str, bytes]


class _Medium(NamedTuple):
    """A picture, clip, histogram or point cloud; ``build`` makes its values when its tag is known."""

    state: State
    tag: str
    kind: Kind
    build: "Callable[[str], list[Summary.Value]]"


@dataclass
class Logged:
    """What was logged since the last write. Texts of one tag and step are one value, whichever states logged them."""

    scalars: list[_Scalars] = field(default_factory=list)
    texts: dict[tuple[Phase, int, str], tuple[State, list[str]]] = field(default_factory=dict)
    media: list[_Medium] = field(default_factory=list)


class PhaseRun(NamedTuple):
    """A TensorBoard run: the file of one phase, and its tags."""

    file: EventFile
    tags: Tags


class Written(NamedTuple):
    """A record, and what it holds at which step."""

    run: PhaseRun
    step: int
    tags: Iterable[str]
    record: bytes


@dataclass
class TensorBoardLoggerConfig(BaseLoggerConfig):
    """What the TensorBoard backend can be told, beside what every backend can.

    Attributes:
        hparams_exclude: Globs over the dotted names of settings, ``trainer.seed``: what one matches
            is no column of the HPARAMS table. The text ``config`` has every setting.
    """

    hparams_exclude: list[str] = conf_field(["loggers.*", "run.*", "callbacks.*"])


@register_logger("tensorboard", TensorBoardLoggerConfig)
class TensorBoardLogger(BaseLogger[TensorBoardLoggerConfig]):
    """Writes every kind of value where TensorBoard shows it, at the step and the wall time of the state that logged it.

    Scalars are float32 there, by TensorBoard's format; one that is larger becomes
    infinite, said once. A tag that already is another kind gets ``.<kind>``, for
    example ``task/sample.image`` beside a scalar ``task/sample``; scalars never
    do. What earlier attempts used a tag for is not looked up.

    Several strings of one key in a step become one table. Of a logged table the first 50 rows are a text, and the first
    64 pictures a grid: the JSON backend keeps all. NaN and infinities of a
    histogram are counted in a scalar ``<tag>.nonfinite``, when there are any.
    Hyperparameters are the settings that are numbers, truth values or texts.
    """

    gathers = True

    def initialize(self, context: RunContext) -> None:
        """Makes the directory.

        Raises:
            ConfigError: The package ``tensorboard`` is not installed.
        """
        try:
            import ml.loggers.tensorboard_events  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"The logger '{self.id}' needs the package tensorboard, which cannot be imported ({error}). "
                "Install it with: pip install tensorboard (it is part of the extra 'train')."
            ) from error
        super().initialize(context)
        self._logged = Logged()
        self._scalars: _Scalars | None = None
        self._heads: dict[tuple[str, str], tuple[str, bytes]] = {}
        self._first_steps: dict[Phase, int] = {}
        self._runs: dict[Phase, PhaseRun] = {}
        self._files = EventFiles()
        self._configuration: list[tuple[EventFile, int, bytes]] = []
        self._warned: set[str] = set()

    def log_config(self, config: DictConfig) -> None:
        """Takes the configuration: as a text ``config``, and as hyperparameters."""
        from ml.loggers import tensorboard_events as events

        now_s, step = self.context.wall_clock(), self.context.attempt
        event = events.event(now_s, step, events.configuration(config, now_s, self.config.hparams_exclude))
        self._configuration = [(self._new_file(self.log_directory, step), step, record(event))]

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        """Takes a number; it is written as float32."""
        number = value()
        known = self._heads.get((namespace, key))
        if known is None:
            tag = tag_name(namespace, key)
            known = self._heads[namespace, key] = (tag, scalar_head(tag))
        tag, head = known
        scalars = self._scalars
        if scalars is None or (state is not scalars.state and state != scalars.state) or tag in scalars.values:
            scalars = self._scalars = _Scalars(state, {})
            self._logged.scalars.append(scalars)
            self._note_first_step(state)
        try:
            scalars.values[tag] = head + _pack_float(number)
        except (OverflowError, struct.error):  # the latter for an integer that no float holds
            self._warn_once(
                "float32",
                f"TensorBoard keeps scalars as float32: '{tag}' of {state.phase} is too large for it at step "
                f"{state.num_steps}, and becomes infinite. Others like it are not reported.",
            )
            scalars.values[tag] = head + _pack_float(math.inf if number > 0 else -math.inf)

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        """Takes a text, shown as Markdown."""
        text = value()
        self._note_first_step(state)
        place = (state.phase, state.num_steps, tag_name(namespace, key))
        self._logged.texts.setdefault(place, (state, []))[1].append(text)

    def log_image(self, key: str, value: "Callable[[], Tensor]", state: State, namespace: str) -> None:
        """Takes a picture, as PNG."""
        self._log_picture(key, cast("Lazy", value), state, namespace, IMAGE, "png")

    def log_video(self, key: str, value: "Callable[[], Tensor]", state: State, namespace: str) -> None:
        """Takes a video, as an animated GIF among the images."""
        self._log_picture(key, cast("Lazy", value), state, namespace, VIDEO, "gif")

    def log_audio(self, key: str, value: "Callable[[], tuple[Tensor, int]]", state: State, namespace: str) -> None:
        """Takes a clip, as WAV."""
        from ml.loggers import tensorboard_events as events

        self._add(key, state, namespace, AUDIO, partial(events.audio, wav=cast("Lazy", value).encoded("wav")))

    def log_histogram(self, key: str, value: "Callable[[], Tensor]", state: State, namespace: str) -> None:
        """Takes the 64 bins of finite values, and the number of the others."""
        from ml.loggers import tensorboard_events as events

        bins = cast("Lazy", value).histogram()
        nonfinite = bins.nan + bins.pos_inf + bins.neg_inf
        if nonfinite:
            self.log_scalar(f"{key}.nonfinite", lambda: nonfinite, state, namespace)
        self._add(key, state, namespace, HISTOGRAM, partial(events.histogram, bins=bins))

    def log_point_cloud(self, key: str, value: "Callable[[], Tensor]", state: State, namespace: str) -> None:
        """Takes points and their colours, for the mesh plugin."""
        from ml.loggers import tensorboard_events as events

        lazy = cast("Lazy", value)
        build = partial(events.points, vertices=lazy.array(), colors=lazy.colors)
        self._add(key, state, namespace, POINT_CLOUD, build)

    def log_table(self, key: str, value: "Callable[[], TableData]", state: State, namespace: str) -> None:
        """Takes the first rows of a table as a text, its first pictures, with their boxes, as ``<key>.images``."""
        from ml.loggers import tensorboard_events as events
        from ml.loggers.table_text import markdown
        from ml.media.image import encode_png
        from ml.media.table_pictures import picture_grid

        table = value()
        self._add(key, state, namespace, TABLE, partial(events.text, texts=[markdown(table)]))
        grid = picture_grid(table.columns)
        if grid is not None:
            build = partial(events.picture, encoded=encode_png(grid), shape=grid.shape)
            self._add(f"{key}.images", state, namespace, IMAGE, build)

    def write(self, state: State) -> None:
        """Appends everything logged since the last write, each phase in one piece."""
        logged, self._logged = self._logged, Logged()
        self._scalars = None
        written = self._encoded(logged)
        self._write_configuration()
        self._files.append((line.run.file, line.step, line.record) for line in written)
        for run, step, tags, _ in written:
            behind = run.tags.advance(tags, step)
            if behind is not None:
                self._warn_once(
                    "order",
                    f"'{behind}' was logged at step {step} after a later step: TensorBoard's default loader drops "
                    "the later points. Let steps only grow. Others like it are not reported.",
                )

    def flush(self) -> None:
        """Returns when everything written is durable."""
        self._write_configuration()
        self._files.sync()

    def close(self) -> None:
        """Closes every file; the first failure is raised when all have been tried."""
        try:
            self._write_configuration()
        finally:
            self._files.close()

    def _log_picture(self, key: str, value: "Lazy", state: State, namespace: str, kind: Kind, form: str) -> None:
        from ml.loggers import tensorboard_events as events

        build = partial(events.picture, encoded=value.encoded(form), shape=value.array().shape)
        self._add(key, state, namespace, kind, build)

    def _add(
        self, key: str, state: State, namespace: str, kind: Kind, build: "Callable[[str], list[Summary.Value]]"
    ) -> None:
        self._note_first_step(state)
        self._logged.media.append(_Medium(state, tag_name(namespace, key), kind, build))

    def _note_first_step(self, state: State) -> None:
        first = self._first_steps
        first[state.phase] = min(first.get(state.phase, state.num_steps), state.num_steps)

    def _encoded(self, logged: Logged) -> list[Written]:
        """Returns the records to append.

        Scalars come first, so that their tags are theirs. Media and texts have
        events of their own: one that is damaged takes nothing else along.
        """
        from ml.loggers import tensorboard_events as events

        written: list[Written] = []
        for state, values in logged.scalars:
            run = self._run(state.phase)
            for tag, kind in run.tags.claim(values).items():
                _log.warning(
                    "'%s' of %s was of kind %s before it was a scalar: TensorBoard shows one kind of value per tag, so "
                    "the scalar may not be shown. Give one of them another key.",
                    tag,
                    state.phase,
                    kind.name,
                )
            written.append(Written(run, state.num_steps, values, record(scalars_event(state, values.values()))))
        for (phase, step, tag), (state, texts) in logged.texts.items():
            run = self._run(phase)
            tag = run.tags.tag_of(tag, STRING)
            event = events.event(state.time_s, step, events.text(tag, texts))
            written.append(Written(run, step, (tag,), record(event)))
        for state, tag, kind, build in logged.media:
            run = self._run(state.phase)
            tag = run.tags.tag_of(tag, kind)
            event = events.event(state.time_s, state.num_steps, build(tag))
            written.append(Written(run, state.num_steps, (tag,), record(event)))
        return written

    def _run(self, phase: Phase) -> PhaseRun:
        """Returns the TensorBoard run of ``phase``, which begins where the attempt does.

        A validation overtakes what earlier attempts validated from this attempt's
        first training step on; training never what was trained up to a validation.
        """
        if phase not in self._runs:
            first = self._first_steps
            step = min(first[phase], first.get("train", first[phase]))
            self._runs[phase] = PhaseRun(self._new_file(self.log_directory / phase, step), Tags())
        return self._runs[phase]

    def _new_file(self, directory: Path, first_step: int) -> EventFile:
        from ml.loggers import tensorboard_events as events

        def first_records(step: int) -> bytes:
            return b"".join(record(event) for event in events.opening(self.context.wall_clock(), step))

        return self._files.add(EventFile(directory, self.context, first_records, first_step))

    def _write_configuration(self) -> None:
        if self._configuration:
            self._files.append(self._configuration)
            self._configuration = []

    def _warn_once(self, subject: str, message: str) -> None:
        if subject not in self._warned:
            self._warned.add(subject)
            _log.warning(message)
