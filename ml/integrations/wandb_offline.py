"""Reads a run that W&B keeps on this machine, online or offline, for ``mlog import``. W&B itself is not needed.

::

    wandb/offline-run-20260102_030405-k3j9x2ab/
      run-k3j9x2ab.wandb           values, settings: see ``ml.integrations.wandb_records``
      files/media/images/…         pictures, clips, videos, texts as pages, points

Steps are W&B's own, unless one metric is the x axis of all (``define_metric("*", step_metric=…)``), as it is in
runs of Lightning and of our backend ``wandb``: then that metric is the step. A run of our backend has phases too.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ml.core.errors import ConfigError, FormatError
from ml.core.state import PHASES, Phase, State, normalized
from ml.integrations.media_files import content_of, stored_file
from ml.integrations.wandb_records import Axis, Config, LogReader, Row, Tree, parsed, texts_of
from ml.loggers.kinds import HISTOGRAM, POINT_CLOUD, SCALAR, STRING, Kind
from ml.loggers.sources import Entry, Settings
from ml.loggers.stored import MAX_BINS, StoredHistogram, StoredMedia
from ml.loggers.strict_json import parsing, real
from ml.loggers.values import series_path
from ml.media.histogram import Histogram
from ml.media.ply import encode_ply

Tell = Callable[[str], None]

STEP, PHASE = "step", "phase"
"""The x axis of runs of our backend, and the phase of what was not logged in training."""

_FILES = "files"


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
    for part in _parts(log, lambda problem: None):  # told below, once
        if isinstance(part, Config):
            _merge(config, part.values)
        elif isinstance(part, Axis):
            axis = part.name
        elif not start_s:
            start_s = _number(part.values.get("_timestamp"))
    settings = {name: value for name, value in config.items() if name != "_wandb"}
    if settings:
        yield Settings(1, start_s, settings)
    yield from _Rows(log, axis, tell).read()


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
                name: value for name, value in _flat(row.values) if not name.startswith("_") and name != self._axis
            }
            phase, logged = _phase_of(logged)
            state = normalized(
                State(phase, num_steps=moment.step, elapsed_time_s=moment.elapsed_s, time_s=moment.time_s)
            )
            for name, value in logged.items():
                namespace, key = _names_of(name)
                for kind, made in self._made(name, value, moment.step):
                    yield Entry(1, write, state, kind, namespace, key, made)

    def _moment(self, values: Tree) -> _Moment:
        step = dict(_flat(values)).get(self._axis) if self._axis else values.get("_step")
        if isinstance(step, int | float) and math.isfinite(real(step)):  # else the row is of the step before
            self._last_step = int(step)
            if step != self._last_step:
                self._tell_once("_step", f"Steps are whole numbers: of {step}, and others, the whole part is taken.")
        return _Moment(self._last_step, _number(values.get("_timestamp")), _number(values.get("_runtime")))

    def _made(self, name: str, value: object, step: int) -> Iterator[tuple[Kind, Any]]:
        """Yields the values that one of W&B is: several where that is a list of media."""
        if isinstance(value, bool | int | float):
            yield SCALAR, value if isinstance(value, float) else int(value)
        elif isinstance(value, str):
            yield STRING, value
        elif isinstance(value, dict):
            try:
                yield from self._medium(name, value)
            except (OSError, FormatError) as error:
                self._tell(f"'{name}' at step {step} is left out: {error}")
        elif value is not None:
            self._tell_once(name, f"'{name}' is left out: it is neither a number, a text nor a medium that is taken.")

    def _medium(self, name: str, value: Tree) -> Iterator[tuple[Kind, Any]]:
        path, origin = series_path(*_names_of(name)), str(self._log)
        with parsing(f"no medium of W&B ({value.get('_type')!r:.40})"):
            form = value["_type"]
            if form == "histogram":
                yield HISTOGRAM, StoredHistogram(_histogram(value), path=path, origin=origin)
            elif form in ("image-file", "audio-file", "video-file"):
                medium = stored_file(self._folder, value["path"], path=path)
                yield medium.kind, medium
            elif form == "html-file":
                yield from ((STRING, text) for text in texts_of(content_of(self._folder, value["path"]).decode()))
            elif form == "object3D-file" and str(value["path"]).endswith(".pts.json"):
                yield POINT_CLOUD, _points(json.loads(content_of(self._folder, value["path"])), path, origin)
            elif form == "images/separated" and len(value["filenames"]) == 1:
                medium = stored_file(self._folder, value["filenames"][0], path=path)
                yield medium.kind, medium
            else:
                self._tell_once(name, f"'{name}' is left out: media of type {form!r:.40} are not taken.")

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


def _parts(log: Path, tell: Tell) -> Iterator[Row | Config | Axis]:
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


def _phase_of(logged: dict[str, Any]) -> tuple[Phase, dict[str, Any]]:
    """Returns the phase of a row and its values; one that our backend wrote outside of training says it."""
    for phase in PHASES[1:]:
        others = {name: value for name, value in logged.items() if name != PHASE}
        prefix = f"{phase}/"
        if logged.get(PHASE) == phase and all(name.startswith(prefix) for name in others):
            return phase, {name.removeprefix(prefix): value for name, value in others.items()}
    return "train", logged


def _names_of(name: str) -> tuple[str, str]:
    """Returns the namespace and the key that a name stands for."""
    return ("", name) if name.find("/") <= 0 else (name.partition("/")[0], name.partition("/")[2])


def _flat(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of a tree as W&B calls them, ``a.b``; a medium is one value."""
    for name, value in tree.items():
        if isinstance(value, dict) and "_type" not in value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _merge(tree: Tree, newer: Tree) -> None:
    for name, value in newer.items():
        if isinstance(value, dict) and isinstance(tree.get(name), dict):
            _merge(tree[name], value)
        else:
            tree[name] = value


def _number(value: object) -> float:
    return real(value) if isinstance(value, int | float) else 0.0


def _histogram(value: Tree) -> Histogram:
    """Returns the bins of a histogram, of which W&B keeps no moments; those are NaN."""
    if "packedBins" in value:
        packed = value["packedBins"]
        count = int(packed["count"])
        if not 0 < count <= MAX_BINS:
            raise ValueError(f"a histogram has 1 to {MAX_BINS} bins, got {count}")
        edges = packed["min"] + packed["size"] * np.arange(count + 1, dtype=np.float64)
    else:
        edges = np.array(value["bins"], np.float64)
    counts = np.array(value["values"], np.float64).round().astype(np.int64)
    if counts.ndim != 1 or not 0 < len(counts) <= MAX_BINS or edges.shape != (len(counts) + 1,):
        raise ValueError(f"a histogram has 1 to {MAX_BINS} bins, and one edge more")
    return Histogram(counts, edges, int(counts.sum()), edges[0], edges[-1], math.nan, math.nan, 0, 0, 0)


def _points(rows: list[list[float]], path: str, origin: str) -> StoredMedia:
    table = np.array(rows, np.float64)
    if table.ndim != 2 or table.shape[1] not in (3, 4, 6) or not len(table):
        raise ValueError(f"points have 3 coordinates, and perhaps a category or a colour; got shape {table.shape}")
    points = np.ascontiguousarray(table[None, :, :3], np.float32)
    colors = table[None, :, 3:].clip(0, 255).astype(np.uint8) if table.shape[1] == 6 else None
    data = encode_ply(points, colors)
    return StoredMedia(POINT_CLOUD, "ply", data, {"shape": list(points.shape)}, path=path, origin=origin)
