"""Reads projects of trackio, which are SQLite databases, for ``mlog import``. Trackio itself is not needed.

::

    trackio/demo.db                               runs, with their values and settings
    trackio/media/demo/<run>/<step>/….png         what was logged as a file

A database has the runs of a project. One of them is named by a path that goes on behind it, ``demo.db/<run>``: that is
what ``sources`` returns. Rows of our backend ``trackio`` say their attempt and their phase in their ``log_id``,
``ml:<run>:<attempt>:<phase>:<digest>``; those of others are of training.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ml.core.errors import ConfigError, FormatError
from ml.core.state import PHASES, Phase, State, normalized
from ml.integrations.media_files import stored_file
from ml.integrations.sqlite_reading import ForeignDatabase, opened
from ml.io.names import safe_segment
from ml.loggers.kinds import AUDIO, HISTOGRAM, IMAGE, SCALAR, STRING, VIDEO, Kind
from ml.loggers.phase_names import series_of
from ml.loggers.sources import Entry, Settings, Tell, say_nothing
from ml.loggers.stored import MAX_BINS, StoredHistogram
from ml.loggers.strict_json import parsing
from ml.loggers.values import split_path
from ml.media.histogram import histogram_from

RESERVED = frozenset({"project", "run", "timestamp", "step", "time", "metrics"})
"""Keys that trackio has for itself. It stores such a key of a user as ``__<key>``, and one that begins so likewise."""

_FILE_KINDS = {"trackio.image": IMAGE, "trackio.audio": AUDIO, "trackio.video": VIDEO}

_MAX_ROW_BYTES = 2**26
_MAX_ATTEMPTS = 1000  # for each of which the rows are read once more
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class Found(NamedTuple):
    """A row: the values that were logged together.

    Attributes:
        is_ours: Whether our backend wrote it; else attempt and phase are not known.
        attempt: 1 where it is not known.
        phase: ``train`` where it is not known.
        step: The step.
        time_s: Wall clock, Unix seconds; 0 where it is not known.
        values: What trackio has as JSON, by name; see ``path_of``.
    """

    is_ours: bool
    attempt: int
    phase: Phase
    step: int
    time_s: float
    values: dict[str, Any]


def log_id_of(run_id: str, attempt: int, phase: Phase, digest: str) -> str:
    """Returns what a row of our backend is called; trackio keeps one row of a name."""
    return f"ml:{run_id}:{attempt}:{phase}:{digest}"


def is_source(path: Path) -> bool:
    """Whether ``path`` is a database of trackio, a run in one, or a folder with databases: ``<project>.db``."""
    if path.is_dir():
        return bool(_databases_in(path))
    try:
        with opened(_database_of(path), max_value_bytes=_MAX_ROW_BYTES) as database:
            return {"id", "run_name", "step", "metrics", "timestamp"} <= database.columns("metrics")
    except (OSError, FormatError):
        return False


def sources(path: Path) -> list[Path]:
    """Returns the runs of a database, as paths that ``read`` takes; ``path`` itself, if it is or has just one.

    Those of a folder are the runs of its databases.

    Raises:
        OSError, FormatError: It cannot be read.
    """
    if path.is_dir():
        return [run for database in _databases_in(path) for run in sources(database)]
    if not path.is_file():
        return [path]
    with opened(path, max_value_bytes=_MAX_ROW_BYTES) as database:
        names = _runs(database)
    return [path / segment for segment in names] if len(names) > 1 else [path]


def read(source: Path, tell: Tell) -> Iterator[Entry | Settings]:
    """Yields what a run logged, attempt by attempt, in its order; the configuration comes first.

    Args:
        source: A database with one run, or one of ``sources``.
        tell: Told what is damaged, missing or of no use.

    Raises:
        ConfigError: The database has several runs, or not this one.
        OSError, FormatError: It cannot be read.
    """
    path = _database_of(source)
    with opened(path, max_value_bytes=_MAX_ROW_BYTES) as database:
        try:
            runs = _runs(database)
            if source == path and len(runs) != 1:
                raise ConfigError(f"{path} holds {len(runs)} runs. Name one: {', '.join(map(str, sources(path)))}.")
            run = runs.get(source.name) if source != path else next(iter(runs.values()))
            if run is None:
                raise ConfigError(f"{path} has no run {source.name!r}. It has: {', '.join(runs)}.")
            attempts = sorted({row.attempt for row in _rows(database, run, tell)})
            if len(attempts) > _MAX_ATTEMPTS:
                tell(f"{len(attempts) - _MAX_ATTEMPTS} attempts are left out: a run has up to {_MAX_ATTEMPTS}.")
            settings = _settings(database, run, tell)
            for attempt in attempts[:_MAX_ATTEMPTS]:
                yield from _of_attempt(database, run, attempt, settings, path, tell)
        except FormatError as error:
            tell(f"{path} cannot be read any further: {error.message}.")


def rows_of(path: Path, run_id: str) -> list[Found]:
    """Returns the rows of a run; none where there is no database, or no such run.

    Raises:
        OSError, FormatError: The database cannot be read.
    """
    if not path.exists():
        return []
    with opened(path, max_value_bytes=_MAX_ROW_BYTES) as database:
        known = database.columns("metrics")
        return list(_rows(database, ("run_id", run_id), say_nothing)) if known else []


def _of_attempt(
    database: ForeignDatabase,
    run: tuple[str, str],
    attempt: int,
    settings: dict[str, Any],
    path: Path,
    tell: Tell,
) -> Iterator[Entry | Settings]:
    rows = (row for row in _rows(database, run, say_nothing) if row.attempt == attempt)  # damage is told
    before: State | None = None
    write, has_settings = 0, not settings
    told: set[str] = set()
    for row in rows:
        if not has_settings:
            has_settings = True
            yield Settings(attempt, row.time_s, settings)
        state = normalized(State(row.phase, num_steps=row.step, time_s=row.time_s))
        write += state != before
        before = state
        for name, value in row.values.items():
            place = path_of(name, row)
            try:
                for kind, made in made_of(value, path, place):
                    yield Entry(attempt, write, state, kind, *split_path(place), made)
            except (OSError, FormatError) as error:
                tell(f"'{place}' at step {row.step} is left out: {error}")
            except LookupError as error:
                if place not in told:
                    told.add(place)
                    tell(f"'{place}' is left out: {error.args[0]}.")


def made_of(value: object, path: Path, place: str) -> Iterator[tuple[Kind, Any]]:
    """Yields a value as a backend is given it.

    Raises:
        LookupError: It is of a type that is not taken.
        OSError, FormatError: Its file cannot be read, or it is not what it says.
    """
    if isinstance(value, str):
        yield (SCALAR, _NOT_FINITE[value]) if value in _NOT_FINITE else (STRING, value)
    elif isinstance(value, bool | int | float):
        yield SCALAR, value if isinstance(value, float) else int(value)
    elif isinstance(value, dict) and isinstance(form := value.get("_type"), str):
        with parsing(f"no value of type {form:.40}"):
            if form == "trackio.markdown":
                yield STRING, str(value["_value"])
            elif form == "trackio.histogram":
                bins = histogram_from(value["values"], value["bins"], max_bins=MAX_BINS)
                yield HISTOGRAM, StoredHistogram(bins, path=place, origin=str(path))
            elif form in _FILE_KINDS:
                folder, kind = path.parent / "media", _FILE_KINDS[form]
                medium = stored_file(folder, value["file_path"], kind=kind, path=place)
                yield medium.kind, medium
            else:
                raise FormatError(f"values of type {form:.40} are not taken")
    elif value is not None:
        raise LookupError("it is neither a number, a text nor a medium that is taken")


def _rows(database: ForeignDatabase, run: tuple[str, str], tell: Tell) -> Iterator[Found]:
    log_id = "log_id" if "log_id" in database.columns("metrics") else "NULL"
    query = f"SELECT timestamp, step, {log_id}, metrics FROM metrics WHERE rowid = ?"
    for (number,) in database.rows(f"SELECT rowid FROM metrics WHERE {run[0]} = ? ORDER BY id", (run[1],)):
        try:
            with parsing("no row of trackio"):  # asked for one by one: what SQLite refuses costs the one
                (timestamp, step, name, text), *_ = database.rows(query, (number,))
                values = json.loads(text)
                if not isinstance(values, dict) or not isinstance(step, int):
                    raise TypeError("it is no mapping at a step")
                yield Found(*_origin_of(name), step, _seconds(timestamp), values)
        except FormatError as error:
            tell(f"Row {number} is left out: {error.message}")


def _origin_of(log_id: object) -> tuple[bool, int, Phase]:
    """Returns whether our backend wrote a row, and the attempt and the phase that it is of."""
    parts = log_id.split(":") if isinstance(log_id, str) else []
    if len(parts) == 5 and parts[0] == "ml" and parts[2].isdecimal() and len(parts[2]) < 10:
        for phase in PHASES:
            if parts[3] == phase:
                return True, max(1, int(parts[2])), phase
    return False, 1, "train"


def out_of_the_way(name: str) -> str:
    """Returns the name under which trackio stores a key."""
    return f"__{name}" if name in RESERVED or name.startswith("__") else name


def path_of(name: str, row: Found) -> str:
    """Returns the ``<namespace>/<key>`` that a name in a row stands for."""
    if name.startswith("__") and out_of_the_way(name[2:]) == name:
        name = name[2:]
    phase, path = series_of(name)
    return path if row.is_ours and phase == row.phase else name


def _runs(database: ForeignDatabase) -> dict[str, tuple[str, str]]:
    """Returns the column and the value that select each run, by a name that is a path segment."""
    ident = "run_id" if "run_id" in database.columns("metrics") else "run_name"
    query = f"SELECT {ident}, MIN(run_name) FROM metrics GROUP BY {ident} ORDER BY MIN(id)"
    runs: dict[str, tuple[str, str]] = {}
    for value, name in database.rows(query):
        segment = safe_segment(str(name))
        runs[segment if segment not in runs else safe_segment(f"{name}-{value}")] = (ident, str(value))
    return runs


def _settings(database: ForeignDatabase, run: tuple[str, str], tell: Tell) -> dict[str, Any]:
    """Returns the configuration of a run, without what trackio notes beside it."""
    try:
        if not {run[0], "config"} <= database.columns("configs"):
            return {}
        found = next(database.rows(f"SELECT config FROM configs WHERE {run[0]} = ?", (run[1],)), None)
        with parsing("no configuration"):
            config = json.loads(found[0]) if found else {}
            return {str(name): value for name, value in config.items() if not name.startswith("_")}
    except FormatError as error:
        tell(f"The configuration is left out: {error.message}")
        return {}


def _seconds(timestamp: object) -> float:
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _database_of(source: Path) -> Path:
    return source if source.is_file() else source.parent


def _databases_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.db")) if path.is_file() and is_source(path)]
