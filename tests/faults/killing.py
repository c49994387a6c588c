"""Trainers that are killed at random moments, and what the disk must have of each of them."""

import json
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ml.io.journal import JournalReader, Record
from ml.loggers.journal_records import Values, decode
from tests.loggers.tensorboard_reader import accumulated, events

PROGRAM = Path(__file__).parent / "programs" / "to_kill.py"
VALUES_A_STEP = 2
LATE_NS = 200_000_000
"""What was handed over so long before a kill is on the disk: 100 ms until it is written, as much for a busy machine."""

_BATCH = 50
_LIMIT_S = 300.0

Found = Iterator[tuple[int, str]]
"""The step of every value that was read back, and what it is: ``"number"`` or ``"text"``."""


class Note(NamedTuple):
    """What a trainer noted when a step had ended.

    Attributes:
        time_ns: When that was, on the monotonic clock.
        handed_over: The last step whose values wait in no window.
        pending: ``stats().pending`` then.
    """

    time_ns: int
    handed_over: int
    pending: int


@dataclass
class Figures:
    """What became of the trainers.

    Attributes:
        kills: How many were killed.
        steps: Steps that they ended.
        acknowledged: Steps that ``flush`` acknowledged.
        missing: Steps that had ended and were not on the disk, those that waited in a window included.
        latest_ms: The longest time before a kill that a step was handed over and is not on the disk.
        late: Kills where that is more than 200 ms.
    """

    kills: int = 0
    steps: int = 0
    acknowledged: int = 0
    missing: int = 0
    latest_ms: float = 0.0
    late: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.steps} steps ended, {self.acknowledged} acknowledged by flush, 0 of them lost;"
            f" {self.missing} others missing, handed over at most {self.latest_ms:.0f} ms before the kill"
            f" ({self.late} kills beyond 200 ms)"
        )


def kill_trainers(directory: Path, backend: str, kills: int, *, seed: int, longest_s: float) -> Figures:
    """Kills that many trainers and looks at what each has left behind.

    Args:
        directory: Where they log; emptied when they were looked at.
        backend: What they log to: a name of ``READERS``.
        kills: How many.
        seed: Of the moments and of what is logged.
        longest_s: How long the longest may train.

    Raises:
        AssertionError: A promise is broken: what ``flush`` acknowledged is lost, a value is there twice, one that
            was counted as written is not there, or a file cannot be read.
    """
    figures = Figures()
    for first in range(0, kills, _BATCH):
        count = min(_BATCH, kills - first)
        place = directory / f"{backend}-{first}"
        place.mkdir()
        command = [sys.executable, str(PROGRAM), str(place), backend, str(count), str(seed + first), str(longest_s)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr
        for number in range(count):
            _look_at(place / str(number), READERS[backend], figures)
        shutil.rmtree(place)
    return figures


def _look_at(place: Path, read: Callable[[Path], Found], figures: Figures) -> None:
    killed_ns, acknowledged, notes = _notes(place.with_name(f"{place.name}.notes"))
    found = Counter(read(place))
    last = max((step for step, _ in found), default=0)
    assert set(found.values()) <= {1}, f"{place}: a value is there twice"
    expected = {(step, kind) for step in range(1, last + 1) for kind in ("number", "text")}
    missing_kinds = expected - set(found)
    assert not missing_kinds, f"{place}: a value before the last one is missing: {sorted(missing_kinds)[:3]}"
    assert last >= acknowledged, f"{place}: flush acknowledged step {acknowledged}, the last one there is {last}"
    missing = max(0, len(notes) - last)
    if notes:
        assert VALUES_A_STEP * missing <= notes[-1].pending, f"{place}: more is missing than was said to be pending"
    late_ns = next((killed_ns - note.time_ns for note in notes if note.handed_over > last), 0)
    figures.kills += 1
    figures.steps += len(notes)
    figures.acknowledged += acknowledged
    figures.missing += missing
    figures.latest_ms = max(figures.latest_ms, late_ns / 1e6)
    figures.late += late_ns > LATE_NS


def _notes(path: Path) -> tuple[int, int, list[Note]]:
    raw = path.read_bytes()
    killed_ns, acknowledged = struct.unpack_from("qq", raw)
    return killed_ns, acknowledged, [Note(*fields) for fields in struct.iter_unpack("qqq", raw[16:])]


def _read_json(place: Path) -> Found:
    path = place / "json" / "log.jsonl"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for line in whole:
        entry = json.loads(line, parse_constant=_refuse)
        yield from ((entry["step"], "number") for number in entry["scalars"].values() if number == entry["step"])
        yield from ((int(text.split()[0]), "text") for text in entry["strings"]["model/text"])


def _read_tensorboard(place: Path) -> Found:
    folder = place / "tensorboard" / "train"
    if not folder.exists():
        return
    accumulated(folder)  # it opens
    for event in events(folder):
        for value in event.summary.value:
            if value.tag == "model/text":
                yield int(value.tensor.string_val[0].split()[0]), "text"
            elif value.simple_value == event.step:
                yield event.step, "number"


def _read_journal(place: Path) -> Found:
    for record in JournalReader(place / "journal").read():
        if not isinstance(record, Record):
            assert record.damage.is_tail, str(record)
            continue
        entry = decode(record.payload)
        if isinstance(entry, Values):
            for _, _, key, value in entry.rows:
                is_text = key == "text"
                yield int(str(value).split()[0]) if is_text else entry.state.num_steps, "text" if is_text else "number"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


READERS: dict[str, Callable[[Path], Found]] = {
    "json": _read_json,
    "tensorboard": _read_tensorboard,
    "journal": _read_journal,
}
"""The backends that trainers can be killed with, and how what they wrote is read back."""
