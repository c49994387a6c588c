"""``mlog fsck RUN ...``: are the files of runs whole?"""

import argparse
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ml.cli.numbers import size
from ml.cli.output import Column, Output, printable
from ml.cli.repair import write_repaired
from ml.cli.run_check import RunCheck, Verdict, check_run, needs_repair
from ml.core.errors import MLError
from ml.loggers.check import FileCheck
from ml.reading import Run, open_run, open_runs

_log = logging.getLogger("ml")

_MAX_LISTED = 10
_INDENT = 2
_MIN_NAME_WIDTH, _END_WIDTH = 30, 12
_STYLES: dict[Verdict, str] = {"clean": "green", "damaged": "bold red", "unreadable": "bold yellow"}
_STATUSES: dict[Verdict, int] = {"clean": 0, "damaged": 1, "unreadable": 2}
_EPILOG = """\
exit status:
  0  everything is whole; a process that was killed is no damage
  1  something is damaged, torn, missing, or there twice; also after --repair
  2  something cannot be checked: no run, or a file that cannot be read

--repair copies every whole record of a damaged file to a new one beside it, and
leaves the old one as it is: log.jsonl.repaired-1, 0001-0001.journal.repaired-1,
events.out.repaired-1.*. To use a copy, move the old file away and give the copy its name."""


class _Checked(NamedTuple):
    """A run, and the copies that were made of its damaged files."""

    check: RunCheck
    repaired: list[Path]


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="a run, or a directory with runs below it")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--repair", action="store_true", help="copy what is whole to new files")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Checks the runs, each by itself; returns the worst of their exit statuses."""
    status, counts, listed = 0, dict[Verdict, int](), list[dict[str, object]]()
    for path in arguments.runs:
        try:
            for one in _runs(path):
                check = check_run(one)
                checked = _Checked(check, _repaired(check) if arguments.repair else [])
                counts[check.verdict] = counts.get(check.verdict, 0) + 1
                status = max(status, _STATUSES[check.verdict])
                if arguments.json:
                    listed.append(_as_json(checked))
                else:
                    _print(checked, output)
                    output.flush()
        except OSError as error:
            _log.error("%s", error)
            status = 2
    if arguments.json:
        output.json({"status": status, "runs": listed})
    elif sum(counts.values()) > 1:
        output.line(f"{sum(counts.values())} runs: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}")
    return status


def _runs(path: Path) -> Iterable[Run]:
    """Returns the run at ``path``, else those below it.

    Raises:
        FileNotFoundError: There is none.
    """
    try:
        return [open_run(path)]
    except FileNotFoundError:
        if not path.is_dir():
            raise
        return open_runs(path).values()


def _repaired(check: RunCheck) -> list[Path]:
    made: list[Path] = []
    damaged = [parts for parts in check.copies if any(map(needs_repair, parts))]
    if damaged and check.is_live:
        _log.warning("%s may be running, so nothing of it is repaired.", check.run.path)
        return made
    for parts in damaged:
        try:
            made.append(write_repaired(parts))
        except (MLError, OSError) as error:
            check.unreadable.append(f"{parts[0].path} could not be repaired: {error}")
    return made


# text


def _print(checked: _Checked, output: Output) -> None:
    check, records = checked.check, sum(file.records for file in checked.check.files)
    head = f"{check.verdict:10}  {printable(check.run.path)}"
    output.line(head, style=_STYLES[check.verdict])
    output.line(f"  {records} records in {len(check.files)} files; {_endings(check)}", style="dim")
    if check.verdict != "clean":
        _print_files(check, output)
    for line in _details(checked):
        output.line(f"  {line}")


def _endings(check: RunCheck) -> str:
    if not check.ended_well:
        return "how it ended was not recorded"
    words = {True: "closed", False: "not closed", None: "running"}
    if len(check.ended_well) == 1:
        return words[next(iter(check.ended_well.values()))]
    return ", ".join(f"attempt {number} {words[ended]}" for number, ended in sorted(check.ended_well.items()))


def _print_files(check: RunCheck, output: Output) -> None:
    files = check.files
    if not files:
        return
    columns = [
        Column("records", [str(file.records) for file in files], is_number=True),
        Column("torn", [_amount(file.torn_bytes) for file in files], is_number=True),
        Column("damaged", [_amount(file.damaged_bytes) for file in files], is_number=True),
        Column("twice", [str(file.duplicates or "-") for file in files], is_number=True),
    ]
    room = max(_MIN_NAME_WIDTH, output.width - _INDENT - sum(column.width + 2 for column in columns))
    names = [_fitted(_relative(file.path, check), room, output) for file in files]
    styles = ["" if not needs_repair(file) else "red" for file in files]
    output.table([Column("file", names), *columns], styles=[styles] * (len(columns) + 1), indent=_INDENT)


def _fitted(name: str, width: int, output: Output) -> str:
    """Returns a name with its middle left out, where it is too long: the ends tell names apart."""
    return name if len(name) <= width else output.shortened(name, width - _END_WIDTH) + name[-_END_WIDTH:]


def _amount(size_bytes: int) -> str:
    return size(size_bytes) if size_bytes else "-"


def _details(checked: _Checked) -> Iterator[str]:
    check = checked.check
    for file in check.files:
        yield from _listed(
            f"{_relative(file.path, check)}, byte {damage.offset}: {size(damage.size_bytes)} damaged: "
            f"{printable(damage.reason)}"
            for damage in file.damages
        )
    for attempt, lost in check.lost.items():
        if lost:
            yield f"journal of attempt {attempt}: {lost} records are missing between others"
    for folder, media in check.media.items():
        for what, paths in (("missing", media.missing), ("changed", media.changed), ("named nowhere", media.unnamed)):
            yield from _listed(f"{what}: {_relative(folder / path, check)}" for path in paths)
    if check.set_aside_bytes:
        yield f"{size(check.set_aside_bytes)} that a crash tore lie aside, in *.torn-*"
    yield from map(printable, [*check.damaged, *check.unreadable])
    yield from (f"repaired: {_relative(path, check)}" for path in checked.repaired)


def _listed(lines: Iterable[str]) -> Iterator[str]:
    listed = list(lines)
    yield from listed[:_MAX_LISTED]
    if len(listed) > _MAX_LISTED:
        yield f"and {len(listed) - _MAX_LISTED} more like it: see --json"


def _relative(path: Path, check: RunCheck) -> str:
    return printable(path.relative_to(check.run.path))


# JSON


def _as_json(checked: _Checked) -> dict[str, object]:
    check = checked.check
    return {
        "path": str(check.run.path),
        "verdict": check.verdict,
        "running": check.is_live,
        "clean_shutdown": {str(attempt): ended for attempt, ended in sorted(check.ended_well.items())},
        "files": [_file_as_json(file, check) for file in check.files],
        "lost_records": {str(attempt): lost for attempt, lost in check.lost.items()},
        "media": {str(folder.relative_to(check.run.path)): media._asdict() for folder, media in check.media.items()},
        "torn_bytes_set_aside": check.set_aside_bytes,
        "damaged": check.damaged,
        "unreadable": check.unreadable,
        "repaired": [str(path) for path in checked.repaired],
    }


def _file_as_json(file: FileCheck, check: RunCheck) -> dict[str, object]:
    return {
        "path": str(file.path.relative_to(check.run.path)),
        "format": file.format,
        "size_bytes": file.size_bytes,
        "records": file.records,
        "torn_bytes": file.torn_bytes,
        "damaged_ranges": file.damaged_ranges,
        "damaged_bytes": file.damaged_bytes,
        "damages": [
            {"offset": damage.offset, "size_bytes": damage.size_bytes, "reason": damage.reason}
            for damage in file.damages
        ],
        "duplicates": file.duplicates,
    }
