"""Reads a run that W&B keeps on this machine, online or offline, for ``mlog import``. W&B itself is not needed.

::

    wandb/offline-run-20260102_030405-k3j9x2ab/
      run-k3j9x2ab.wandb           values, settings: see ``ml.integrations.wandb_records``
      files/media/images/…         pictures, clips, videos, texts as pages, points

Steps are W&B's own, unless one metric is the x axis of all (``define_metric("*", step_metric=…)``), as it is in
runs of Lightning and of our backend ``wandb``: then that metric is the step. A run of our backend has phases too.
A run that ended with another exit code than 0 has failed. What cannot be read of a row or the settings costs itself.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ml.core.errors import ConfigError, FormatError
from ml.core.state import PHASES, Phase, State, normalized
from ml.integrations.foreign import MAX_DEPTH, About
from ml.integrations.media_files import content_of, stored_file
from ml.integrations.wandb_names import PHASE, STEP, path_of
from ml.integrations.wandb_records import (
    Axis,
    Config,
    Exit,
    Facts,
    LogReader,
    Row,
    Summary,
    Tree,
    Unreadable,
    parsed,
    texts_of,
)
from ml.loggers.kinds import AUDIO, HISTOGRAM, IMAGE, POINT_CLOUD, SCALAR, STRING, VIDEO, Kind
from ml.loggers.sources import Entry, Settings, Tell, say_nothing
from ml.loggers.stored import MAX_BINS, StoredHistogram, StoredMedia
from ml.loggers.strict_json import parsing, real
from ml.loggers.values import split_path
from ml.media.histogram import Histogram, histogram_from
from ml.media.ply import encode_ply

_FILES = "files"
_FILE_KINDS = {"image-file": IMAGE, "audio-file": AUDIO, "video-file": VIDEO}


class _Moment(NamedTuple):
    """When a row was logged."""

    step: int
    time_s: float
    elapsed_s: float


def is_source(path: Path) -> bool:
    """Whether ``path`` is a ``.wandb`` file, the folder of a run, or a folder of such folders."""
    return bool(_logs_of(path))


def sources(path: Path) -> list[Path]:
    """Returns the runs at a path: ``path`` itself if it is one, else the folders of those below it."""
    logs = _logs_of(path)
    return [path] if len(logs) == 1 else [log.parent for log in logs]


def read(source: Path, tell: Tell) -> Iterator[Entry | Settings]:
    """Yields what a run logged, in its order; its configuration comes first.

    Args:
        source: What ``is_source`` takes. A folder that holds several runs is none of them.
        tell: Told what is damaged, missing or of no use.

    Raises:
        ConfigError: ``source`` holds several runs, or none.
        OSError: The log cannot be read.
    """
    logs = _logs_of(source)
    if len(logs) != 1:
        hint = f": import one of them, such as {logs[0].parent}" if logs else ""
        raise ConfigError(f"{source} holds {len(logs)} runs of W&B{hint}.")
    log, axis, config, start_s = logs[0], "", Tree(), 0.0
    for part in _parts(log, say_nothing):  # told below, once
        if isinstance(part, Config):
            _merge(config, part.values)
        elif isinstance(part, Axis):
            axis = part.name
        elif isinstance(part, Row) and not start_s:
            start_s = _number(part.values.get("_timestamp"))
    for name, value in config.items():
        if isinstance(value, Unreadable):
            tell(f"'{name}' of the configuration is left out: {value.why}.")
    if settings := _readable(config, "_wandb"):
        yield Settings(1, start_s, settings)
    yield from _Rows(log, axis, tell).read()


def about(source: Path) -> About:
    """Returns what W&B has of a run: its name, project, tags, notes and summary, and whether it failed.

    Raises:
        OSError: The log cannot be read.
    """
    facts, summary, code = Tree(), Tree(), 0
    for log in _logs_of(source)[:1]:
        for part in _parts(log, say_nothing):
            if isinstance(part, Facts):
                facts |= part.values
            elif isinstance(part, Summary):
                _merge(summary, part.values)
            elif isinstance(part, Exit):
                code = part.code
    name = facts.pop("name", "")
    if kept := _readable(summary, "_"):
        facts["summary"] = kept
    return About(name, "failed" if code else "finished", facts)


class _Rows:
    """Makes entries of the rows of a log."""

    def __init__(self, log: Path, axis: str, tell: Tell) -> None:
        self._log, self._axis, self._tell = log, axis, tell
        self._folder = log.parent / _FILES
        self._last_step = 0
        self._told: set[str] = set()

    def read(self) -> Iterator[Entry]:
        rows = (part for part in _parts(self._log, self._tell) if isinstance(part, Row))
        for write, row in enumerate(rows, start=1):
            moment = self._moment(row.values)
            logged = {
                name: value
                for name, value in _flat(row.values)
                if isinstance(value, Unreadable) or not (name.startswith("_") or name == self._axis)
            }
            phase = _phase_of(logged)
            is_ours = self._axis == STEP
            state = normalized(
                State(phase, num_steps=moment.step, elapsed_time_s=moment.elapsed_s, time_s=moment.time_s)
            )
            for name, value in logged.items():
                path = path_of(name, phase) if is_ours else name
                for kind, made in self._made(path, value, moment.step):
                    yield Entry(1, write, state, kind, *split_path(path), made)

    def _moment(self, values: Tree) -> _Moment:
        step = dict(_flat(values)).get(self._axis) if self._axis else values.get("_step")
        if isinstance(step, int | float) and math.isfinite(real(step)):  # else the row is of the step before
            self._last_step = int(step)
            if step != self._last_step:
                self._tell_once("_step", f"Steps are whole numbers: of {step}, and others, the whole part is taken.")
        return _Moment(self._last_step, _number(values.get("_timestamp")), _number(values.get("_runtime")))

    def _made(self, path: str, value: object, step: int) -> Iterator[tuple[Kind, Any]]:
        """Yields the values that one of W&B is: several where that is a list of media."""
        if isinstance(value, Unreadable):
            self._tell(f"'{path}' at step {step} is left out: {value.why}.")
        elif isinstance(value, bool | int | float):
            yield SCALAR, value if isinstance(value, float) else int(value)
        elif isinstance(value, str):
            yield STRING, value
        elif isinstance(value, dict):
            try:
                yield from self._medium(path, value)
            except (OSError, FormatError) as error:
                self._tell(f"'{path}' at step {step} is left out: {error}")
        elif value is not None:
            self._tell_once(path, f"'{path}' is left out: it is neither a number, a text nor a medium that is taken.")

    def _medium(self, path: str, value: Tree) -> Iterator[tuple[Kind, Any]]:
        origin = str(self._log)
        form = value["_type"]
        with parsing(f"no medium of W&B ({form if isinstance(form, str) else type(form).__name__!r:.40})"):
            if form == "histogram":
                yield HISTOGRAM, StoredHistogram(_histogram(value), path=path, origin=origin)
            elif form in _FILE_KINDS:
                medium = stored_file(self._folder, value["path"], kind=_FILE_KINDS[form], path=path)
                yield medium.kind, medium
            elif form == "html-file":
                yield from ((STRING, text) for text in texts_of(content_of(self._folder, value["path"]).decode()))
            elif form == "object3D-file" and str(value["path"]).endswith(".pts.json"):
                yield POINT_CLOUD, _points(json.loads(content_of(self._folder, value["path"])), path, origin)
            elif form == "images/separated" and len(value["filenames"]) == 1:
                medium = stored_file(self._folder, value["filenames"][0], kind=IMAGE, path=path)
                yield medium.kind, medium
            else:
                self._tell_once(path, f"'{path}' is left out: media of type {form:.40} are not taken.")

    def _tell_once(self, about: str, problem: str) -> None:
        if about not in self._told:
            self._told.add(about)
            self._tell(problem)


def _logs_of(path: Path) -> list[Path]:
    """Returns the logs at a path: the file itself, that of a run's folder, or those of the runs below."""
    if path.suffix == ".wandb" and path.is_file():
        return [path]
    for below in ("run-*.wandb", "*run-*/run-*.wandb", "wandb/*run-*/run-*.wandb"):
        if found := sorted(path.glob(below)):
            return found
    return []


def _parts(log: Path, tell: Tell) -> Iterator[Row | Config | Axis | Summary | Facts | Exit]:
    reader = LogReader(log)
    for record in reader.read():
        try:
            if isinstance(record, FormatError):
                raise record
            yield from parsed(record)
        except FormatError as error:
            tell(f"A part of {log} is left out: {error}")
    if reader.unread_bytes:
        tell(f"{log} ends within a record, which is left out: its last {reader.unread_bytes} bytes.")


def _phase_of(logged: dict[str, Any]) -> Phase:
    """Takes the phase out of a row of our backend: one that was written outside of training has it."""
    for phase in PHASES[1:]:
        if logged.get(PHASE) == phase and all(name == PHASE or name.startswith(f"{phase}/") for name in logged):
            del logged[PHASE]
            return phase
    return "train"


def _flat(tree: Tree, prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Yields the values of a tree as W&B calls them, ``a.b``; a medium is one value."""
    for name, value in tree.items():
        if not isinstance(value, dict) or "_type" in value:
            yield prefix + name, value
        elif depth < MAX_DEPTH:
            yield from _flat(value, f"{prefix}{name}.", depth + 1)
        else:
            yield prefix + name, Unreadable(f"it is more than {MAX_DEPTH} levels deep")


def _readable(tree: Tree, but: str) -> Tree:
    """Returns what can be read of a tree, without names that begin with ``but``."""
    return {
        name: value for name, value in tree.items() if not isinstance(value, Unreadable) and not name.startswith(but)
    }


def _merge(tree: Tree, newer: Tree, depth: int = 1) -> None:
    for name, value in newer.items():
        if isinstance(value, dict) and isinstance(tree.get(name), dict) and depth < MAX_DEPTH:
            _merge(tree[name], value, depth + 1)
        else:
            tree[name] = value


def _number(value: object) -> float:
    return real(value) if isinstance(value, int | float) else 0.0


def _histogram(value: Tree) -> Histogram:
    if "packedBins" in value:
        packed = value["packedBins"]
        count = int(packed["count"])
        if not 0 < count <= MAX_BINS:
            raise ValueError(f"a histogram has 1 to {MAX_BINS} bins, got {count}")
        with np.errstate(all="ignore"):  # what is not finite is refused below
            edges = packed["min"] + packed["size"] * np.arange(count + 1, dtype=np.float64)
    else:
        edges = value["bins"]
    return histogram_from(value["values"], edges, max_bins=MAX_BINS)


def _points(rows: list[list[float]], path: str, origin: str) -> StoredMedia:
    table = np.array(rows, np.float64)
    if table.ndim != 2 or table.shape[1] not in (3, 4, 6) or not len(table):
        raise ValueError(f"points have 3 coordinates, and perhaps a category or a colour; got shape {table.shape}")
    points = np.ascontiguousarray(table[None, :, :3], np.float32)
    colors = table[None, :, 3:].clip(0, 255).astype(np.uint8) if table.shape[1] == 6 else None
    data = encode_ply(points, colors)
    return StoredMedia(POINT_CLOUD, "ply", data, {"shape": list(points.shape)}, path=path, origin=origin)
