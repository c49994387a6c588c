"""Reads folders of TensorBoard event files, whoever wrote them: torch, tensorboardX, TensorFlow, Keras, or ml.

::

    logs/run/events.out.tfevents.…              training                         loss
    logs/run/train/events.out.tfevents.…        training
    logs/run/validation/events.out.tfevents.…   phase valid: also valid, val, eval
    logs/run/test/events.out.tfevents.…         phase test
    logs/run/loss_a/events.out.tfevents.…       training, with the folder before the tag: loss_a/loss

The last part of a folder's path is its phase, if it is the name of one; what else it has below the run goes before the
tag. Files are read in the order of their names, as TensorBoard reads them, and those of several folders together, by
their times. Where a writer began anew (``SessionLog.START``) at a step, what had been logged at that step and after it
is left out, as TensorBoard leaves it out; in files of this package every attempt is one of its own.

Hyperparameters are the configuration. Where several sessions differ in theirs, as those of torch's ``add_hparams`` do,
it holds what they agree on, and under ``hyperparameters`` all of each session, by the folder of its file.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from heapq import merge
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ml.core.errors import FormatError, missing
from ml.core.state import Phase, State, normalized
from ml.io.damage import Damage
from ml.loggers.event_check import read_events
from ml.loggers.sources import Entry, Settings, Tell
from ml.loggers.values import series_path, split_path

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

    from ml.integrations.event_values import Found

_NAME = "tfevents"
_OURS = re.compile(r"events\.out\.tfevents\.[0-9]{10}\.([0-9]{4,})\.[A-Za-z0-9_-]+\.[0-9]+\.[0-9]+\.[0-9a-f]{8}")
_PHASES: dict[str, Phase] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "eval": "valid",
    "test": "test",
}
_NO_ATTEMPT = 10**9
_VALUES_A_WRITE = 1000
_HYPERPARAMETERS = b"_hparams_/session_start_info"
_SESSIONS = "hyperparameters"
"""The setting with those of each session, where they differ: by the folder of its file, and which of it."""

_MAX_COMPARED = 10  # a program that logs them again mostly logs the same
_SMALL_BYTES = 100  # of an event that says that a session starts


class _Files(NamedTuple):
    """The event files of one attempt in one folder, in order.

    Attributes:
        folder: The folder.
        paths: The files.
        is_ours: Whether this package wrote them.
        phase: Of what they hold.
        prefix: What goes before their tags.
    """

    folder: Path
    paths: list[Path]
    is_ours: bool
    phase: Phase
    prefix: str


class _Opening(NamedTuple):
    """What is known of the files of a folder before their values are read.

    Attributes:
        time_s: Wall clock of the first event.
        starts: By number of the event, at which step a session starts there.
        settings: The hyperparameters of each session.
    """

    time_s: float
    starts: list[tuple[int, int]]
    settings: list[dict[str, object]]


class _Item(NamedTuple):
    """A value, and when and where it was logged."""

    time_s: float
    step: int
    files: _Files
    found: "Found"


def is_source(path: Path) -> bool:
    """Whether there are event files at or below ``path``."""
    return next(_folders(path), None) is not None


def sources(path: Path) -> list[Path]:
    """Returns the runs below ``path``, as ``read`` takes them.

    A run is a folder with event files, or with folders ``train``, ``valid``, ``test`` that have some; what lies below a
    run is part of it.
    """
    if path.is_file():
        return [path]
    roots = {folder.parent if folder.name in _PHASES and folder != path else folder for folder in _folders(path)}
    return [root for root in sorted(roots) if not any(other in root.parents for other in roots)]


def read(source: Path, tell: Tell) -> Iterator[Entry | Settings]:
    """Yields what a run logged, attempt by attempt, each in the order of its times; hyperparameters come first.

    Args:
        source: The folder of a run, or one event file.
        tell: Told what is damaged, of no kind of ours, or overtaken.

    Raises:
        ConfigError: tensorboard is not installed.
    """
    try:
        import tensorboard.compat.proto.event_pb2  # noqa: F401
    except ImportError as error:
        raise missing("Reading event files", "tensorboard", "train", error) from error
    by_attempt = _files_by_attempt(source)
    writes = count(1)
    for attempt in sorted(by_attempt):
        openings = [(files, _opening(files, tell)) for files in by_attempt[attempt]]
        begun_s = min((opening.time_s for _, opening in openings), default=0.0)
        if settings := _settings(openings, source):
            yield Settings(attempt, begun_s, settings)
        left_out: Counter[tuple[str, str]] = Counter()
        streams = [_items(files, opening, left_out, tell) for files, opening in openings]
        yield from _entries(merge(*streams, key=lambda item: item.time_s), attempt, begun_s, writes)
        for (what, why), number in left_out.items():
            tell(f"{number} {'value' if number == 1 else 'values'} of {what}: {why}.")


def _entries(items: Iterator[_Item], attempt: int, begun_s: float, writes: Iterator[int]) -> Iterator[Entry]:
    write, given = next(writes), 0
    for time_s, step, files, (kind, tag, value) in items:
        if given >= _VALUES_A_WRITE:
            write, given = next(writes), 0
        given += _VALUES_A_WRITE if kind.droppable else 1  # of media one is enough to be held in memory
        state = State(
            files.phase,
            num_steps=step,
            start_time_s=begun_s,
            elapsed_time_s=max(0.0, time_s - begun_s),
            time_s=time_s,
        )
        namespace, key = split_path(series_path(files.prefix, tag))
        yield Entry(attempt, write, normalized(state), kind, namespace, key, value)


def _folders(path: Path) -> Iterator[Path]:
    """Yields the folders with event files at or below ``path``."""
    if path.is_file():
        yield from [path.parent] if _NAME in path.name else []
        return
    for folder, below, names in os.walk(path):
        below.sort()
        if any(_NAME in name for name in names):
            yield Path(folder)


def _files_by_attempt(source: Path) -> dict[int, list[_Files]]:
    found: dict[int, list[_Files]] = {}
    for folder in _folders(source):
        paths = [source] if source.is_file() else sorted(path for path in folder.iterdir() if _NAME in path.name)
        parts = () if source.is_file() else folder.relative_to(source).parts
        last = folder.name if source.is_file() or not parts else parts[-1]
        phase = _PHASES.get(last, "train")
        prefix = "/".join(parts[:-1] if last in _PHASES else parts)
        by_attempt: dict[tuple[int, bool], list[Path]] = {}
        for path in paths:
            ours = _OURS.fullmatch(path.name)
            attempt = int(ours[1]) if ours else 0
            by_attempt.setdefault((attempt, True) if 0 < attempt < _NO_ATTEMPT else (1, False), []).append(path)
        for (attempt, is_ours), files in by_attempt.items():
            found.setdefault(attempt, []).append(_Files(folder, files, is_ours, phase, prefix))
    return found


def _settings(openings: list[tuple[_Files, _Opening]], source: Path) -> dict[str, object]:
    """Returns the hyperparameters: what all sessions agree on, and if that is not all of it, those of each as well."""
    sessions: dict[str, dict[str, object]] = {}
    numbers: Counter[str] = Counter()
    for files, opening in openings:
        folder = "" if files.folder in (source, source.parent) else files.folder.relative_to(source).as_posix()
        for settings in opening.settings:
            numbers[folder] += 1
            sessions[folder if numbers[folder] == 1 else f"{folder}#{numbers[folder]}"] = settings
    found: dict[str, object] = {}
    differing: set[str] = set()
    for settings in sessions.values():
        differing |= {name for name, value in settings.items() if found.setdefault(name, value) != value}
    if not differing:
        return found
    return {name: value for name, value in found.items() if name not in differing} | {_SESSIONS: sessions}


def _opening(files: _Files, tell: Tell) -> _Opening:
    """Looks for starts of sessions and hyperparameters, which decide about what comes before them."""
    from tensorboard.compat.proto.event_pb2 import SessionLog

    from ml.integrations.event_values import hyperparameters_of

    time_s, starts, sessions = 0.0, list[tuple[int, int]](), list[dict[str, object]]()
    for number, raw in enumerate(_raw_events(files, None)):
        has_settings = _HYPERPARAMETERS in raw
        if number and len(raw) > _SMALL_BYTES and not has_settings:
            continue
        event = _parsed(raw)
        if event is None:
            continue
        time_s = time_s or event.wall_time
        if event.session_log.status == SessionLog.START:
            starts.append((number, event.step))
        if has_settings:
            try:
                settings = hyperparameters_of(event)
            except FormatError as error:
                tell(f"Hyperparameters in {files.folder} are left out: {error.message}")
            else:
                if settings and settings not in sessions[-_MAX_COMPARED:]:
                    sessions.append(settings)
    return _Opening(time_s, starts, sessions)


def _items(files: _Files, opening: _Opening, left_out: Counter[tuple[str, str]], tell: Tell) -> Iterator[_Item]:
    from ml.integrations.event_values import EventValues, LeftOut

    values = EventValues(str(files.folder))
    starts = list(opening.starts)
    for number, raw in enumerate(_raw_events(files, tell)):
        event = _parsed(raw)
        if event is None:
            left_out[f"events of {files.folder}", "they cannot be read"] += 1
            continue
        while starts and starts[0][0] <= number:
            del starts[0]
        for field in ("graph_def", "meta_graph_def", "tagged_run_metadata"):
            if event.HasField(field):
                left_out[field.removesuffix("_def").replace("_", " "), "there is no such kind of value"] += 1
        for found in values.of(event):
            if isinstance(found, LeftOut):
                what = f"the plugin '{found.plugin}'" + (f" called '{found.tag}'" if found.why else "")
                left_out[what, found.why or "there is no such kind of value"] += 1
            elif any(step <= event.step for _, step in starts):
                left_out[f"{files.folder}", "a later session began at their step or before it"] += 1
            elif not (files.is_ours and found.tag == "config" and files.folder.name not in _PHASES):
                yield _Item(event.wall_time, event.step, files, found)


def _raw_events(files: _Files, tell: Tell | None) -> Iterator[bytes]:
    """Yields the serialized events of files, one after the other; what is damaged is told."""
    for path in files.paths:
        try:
            for found in read_events(path):
                if not isinstance(found, Damage):
                    yield found.event
                elif tell is not None:
                    what = "at the end, not whole" if found.is_tail else "damaged"
                    tell(f"{path}, byte {found.offset}: {found.size_bytes} B {what}: {found.reason}.")
        except (OSError, FormatError) as error:
            if tell is not None:
                tell(f"{path} is left out: {error}")


def _parsed(raw: bytes) -> "Event | None":
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    try:
        event: Event = Event.FromString(raw)
    except DecodeError:
        return None
    return event
