"""Checks everything that a run wrote: its records, its logs, their media."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from ml.cli.liveness import is_live
from ml.core.errors import FormatError
from ml.loggers.check import FileCheck
from ml.loggers.event_check import check_event_file
from ml.loggers.journal_check import check_journal
from ml.loggers.json_check import check_log
from ml.loggers.media_check import MediaCheck, check_media
from ml.loggers.places import LOG, MEDIA
from ml.reading import Run

Verdict = Literal["clean", "damaged", "unreadable"]

_NOT_LOGS = {MEDIA, "attempts", "checkpoints"}
_SET_ASIDE = re.compile(r".*\.torn-[0-9]+")


@dataclass
class RunCheck:
    """What a run's files hold.

    Attributes:
        run: The run.
        is_live: Whether its process may be writing now. What is not whole at the end of a file is no damage then.
        ended_well: For each attempt whether it was closed in good order; ``None`` while it runs.
        copies: The files, by what a repair would make of them: the parts of one log become one.
        lost: How many records the numbers of a journal show to be missing, by attempt.
        media: What became of the media of each log, by its folder.
        damaged: What else is damaged, as sentences.
        unreadable: What could not be checked, as sentences.
        set_aside_bytes: What earlier resumes found torn, and moved aside.
    """

    run: Run
    is_live: bool
    ended_well: dict[int, bool | None] = field(default_factory=dict)
    copies: list[list[FileCheck]] = field(default_factory=list)
    lost: dict[int, int] = field(default_factory=dict)
    media: dict[Path, MediaCheck] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    set_aside_bytes: int = 0

    @property
    def files(self) -> list[FileCheck]:
        """Every file."""
        return [check for copy in self.copies for check in copy]

    @property
    def verdict(self) -> Verdict:
        """The worst that was found."""
        if self.unreadable:
            return "unreadable"
        media = any(check.missing or check.changed for check in self.media.values())
        files = any(map(needs_repair, self.files))
        return "damaged" if self.damaged or files or media or any(self.lost.values()) else "clean"


def needs_repair(check: FileCheck) -> bool:
    """Returns whether a file has damage, or records twice. A journal may have some twice: after a failed sync."""
    return not check.is_whole or (check.duplicates > 0 and check.format != "journal")


def check_run(run: Run) -> RunCheck:
    """Reads every file of a run that this package writes, and changes none. Nothing that a file holds makes it fail."""
    found = RunCheck(run, is_live(run))
    _check_attempts(found)
    for directory, folders, names in os.walk(run.path, onerror=lambda error: found.unreadable.append(str(error))):
        folders[:] = sorted(folder for folder in folders if folder not in _NOT_LOGS)
        folder = Path(directory)
        if LOG in names:
            _guarded(found, folder / LOG, _check_log)
        if any(name.endswith(".journal") for name in names):
            _guarded(found, folder, _check_journal)
        seen: set[int] = set()
        for name in sorted(names):
            if "tfevents" in name:
                _guarded(found, folder / name, partial(_check_events, seen))
            elif _SET_ASIDE.fullmatch(name):
                found.set_aside_bytes += (folder / name).lstat().st_size
    return found


def _guarded(found: RunCheck, path: Path, check: Callable[[RunCheck, Path], None]) -> None:
    try:
        check(found, path)
    except FormatError as error:
        found.damaged.append(str(error))
    except OSError as error:
        found.unreadable.append(f"{error.filename or path}: {error.strerror or error}")


def _check_attempts(found: RunCheck) -> None:
    try:
        for attempt in found.run.attempts:
            number, status = attempt.get("attempt"), attempt.get("status")
            if isinstance(number, int):
                found.ended_well[number] = status != "running"
        if found.is_live and found.ended_well:
            found.ended_well[max(found.ended_well)] = None
        _ = found.run.config
    except FormatError as error:
        found.damaged.append(str(error))
    except OSError as error:
        found.unreadable.append(str(error))


def _check_log(found: RunCheck, path: Path) -> None:
    log = check_log(path, is_growing=found.is_live)
    found.copies.append(log.files)
    _check_media(found, path.parent, log.media)


def _check_journal(found: RunCheck, folder: Path) -> None:
    journal = check_journal(folder, is_growing=found.is_live)
    found.copies += [[check] for check in journal.files]
    for attempt, lost in journal.lost.items():
        found.lost[attempt] = found.lost.get(attempt, 0) + lost
    for attempt, closed in journal.closed.items():
        if found.ended_well.get(attempt, True) is not None:
            found.ended_well[attempt] = closed and found.ended_well.get(attempt, True)
    _check_media(found, folder, journal.media)


def _check_media(found: RunCheck, folder: Path, named: dict[str, str]) -> None:
    media = check_media(folder, named)
    # Of a run that goes on, the line that names a file may be written in a moment.
    found.media[folder] = media._replace(unnamed=[]) if found.is_live else media


def _check_events(seen: set[int], found: RunCheck, path: Path) -> None:
    found.copies.append([check_event_file(path, seen, is_growing=found.is_live)])
