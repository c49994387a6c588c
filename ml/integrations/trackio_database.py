"""Reads projects of trackio, which are SQLite databases, for ``mlog import``. Trackio itself is not needed.

::

    trackio/demo.db                               runs, with their values and settings
    trackio/media/demo/<run>/<step>/….png         what was logged as a file

A database has the runs of a project. One of them is named by a path that goes on behind it, ``demo.db/<run>``: that is
what ``sources`` returns. Rows of our backend ``trackio`` say their attempt and their phase in their ``log_id``,
``ml:<run>:<attempt>:<phase>:<digest>``; those of others are of training.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from ml.core.errors import ConfigError, FormatError
from ml.core.state import PHASES, Phase, State, normalized
from ml.integrations.media_files import stored_file
from ml.io.names import safe_segment
from ml.loggers.kinds import HISTOGRAM, SCALAR, STRING, Kind
from ml.loggers.sources import Entry, Settings
from ml.loggers.stored import MAX_BINS, StoredHistogram
from ml.loggers.strict_json import parsing
from ml.loggers.values import series_path
from ml.media.histogram import Histogram

Tell = Callable[[str], None]

RESERVED = frozenset({"project", "run", "timestamp", "step", "time", "metrics"})
"""Keys that trackio has for itself. It stores such a key of a user as ``__<key>``."""

_MAX_ROW_CHARACTERS = 2**26
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_MAGIC = b"SQLite format 3\0"


class Found(NamedTuple):
    """A row: the values that were logged together.

    Attributes:
        attempt: 1 where it is not known.
        phase: ``train`` where it is not known.
        step: The step.
        time_s: Wall clock, Unix seconds; 0 where it is not known.
        values: What trackio has as JSON, by name; names of another phase still have that in front.
    """

    attempt: int
    phase: Phase
    step: int
    time_s: float
    values: dict[str, Any]


def log_id_of(run_id: str, attempt: int, phase: Phase, digest: str) -> str:
    """Returns what a row of our backend is called; trackio keeps one row of a name."""
    return f"ml:{run_id}:{attempt}:{phase}:{digest}"


def is_source(path: Path) -> bool:
    """Whether ``path`` is a database of trackio, or a run in one."""
    try:
        with _opened(_database_of(path)) as database:
            columns = {str(row[1]) for row in database.execute("PRAGMA table_info(metrics)")}
    except (OSError, FormatError, sqlite3.Error):
        return False
    return {"run_name", "step", "metrics", "timestamp"} <= columns


def sources(path: Path) -> list[Path]:
    """Returns the runs of a database, as paths that ``read`` takes; ``path`` itself, if it is or has just one.

    Raises:
        OSError, FormatError: It cannot be read.
    """
    if not path.is_file():
        return [path]
    with _opened(path) as database, _explained(path):
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
    with _opened(path) as database:
        try:
            runs = _runs(database)
            if source == path and len(runs) != 1:
                raise ConfigError(f"{path} holds {len(runs)} runs. Name one: {', '.join(map(str, sources(path)))}.")
            run = runs.get(source.name) if source != path else next(iter(runs.values()))
            if run is None:
                raise ConfigError(f"{path} has no run {source.name!r}. It has: {', '.join(runs)}.")
            attempts = sorted({row.attempt for row in _rows(database, run, tell)})
            settings = _settings(database, run, tell)
            for attempt in attempts:
                yield from _of_attempt(database, run, attempt, settings, path, tell)
        except sqlite3.Error as error:
            tell(f"{path} cannot be read any further: {error}.")


def rows_of(path: Path, run_id: str) -> list[Found]:
    """Returns the rows of a run; none where there is no database, or no such run.

    Raises:
        OSError, FormatError: The database cannot be read.
    """
    if not path.exists():
        return []
    with _opened(path) as database, _explained(path):
        known = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'metrics'").fetchone()
        return list(_rows(database, ("run_id", run_id), _say_nothing)) if known else []


def _of_attempt(
    database: sqlite3.Connection,
    run: tuple[str, str],
    attempt: int,
    settings: dict[str, Any],
    path: Path,
    tell: Tell,
) -> Iterator[Entry | Settings]:
    rows = (row for row in _rows(database, run, _say_nothing) if row.attempt == attempt)  # damage is told
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
            namespace, key = _names_of(name, row.phase)
            place = series_path(namespace, key)
            try:
                for kind, made in _made(value, path, place):
                    yield Entry(attempt, write, state, kind, namespace, key, made)
            except (OSError, FormatError) as error:
                tell(f"'{place}' at step {row.step} is left out: {error}")
            except LookupError as error:
                if place not in told:
                    told.add(place)
                    tell(f"'{place}' is left out: {error.args[0]}.")


def _made(value: object, path: Path, place: str) -> Iterator[tuple[Kind, Any]]:
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
                yield HISTOGRAM, StoredHistogram(_histogram(value), path=place, origin=str(path))
            elif form in ("trackio.image", "trackio.audio", "trackio.video"):
                medium = stored_file(path.parent / "media", value["file_path"], path=place)
                yield medium.kind, medium
            else:
                raise FormatError(f"values of type {form:.40} are not taken")
    elif value is not None:
        raise LookupError("it is neither a number, a text nor a medium that is taken")


def _rows(database: sqlite3.Connection, run: tuple[str, str], tell: Tell) -> Iterator[Found]:
    columns = {str(row[1]) for row in database.execute("PRAGMA table_info(metrics)")}
    log_id = "log_id" if "log_id" in columns else "NULL"
    query = (
        f"SELECT id, timestamp, step, {log_id}, length(metrics), metrics FROM metrics WHERE {run[0]} = ? ORDER BY id"
    )
    for number, timestamp, step, name, length, text in database.execute(query, (run[1],)):
        try:
            with parsing("no row of trackio"):
                if length > _MAX_ROW_CHARACTERS:
                    raise ValueError(f"it has {length} characters, more than {_MAX_ROW_CHARACTERS}")
                values = json.loads(text)
                if not isinstance(values, dict) or not isinstance(step, int):
                    raise TypeError("it is no mapping at a step")
                attempt, phase = _origin_of(name)
                yield Found(attempt, phase, step, _seconds(timestamp), values)
        except FormatError as error:
            tell(f"Row {number} is left out: {error.message}")


def _origin_of(log_id: object) -> tuple[int, Phase]:
    """Returns the attempt and the phase that a row of our backend is of."""
    parts = log_id.split(":") if isinstance(log_id, str) else []
    if len(parts) == 5 and parts[0] == "ml" and parts[2].isdecimal() and len(parts[2]) < 10:
        for phase in PHASES:
            if parts[3] == phase:
                return max(1, int(parts[2])), phase
    return 1, "train"


def _names_of(name: str, phase: Phase) -> tuple[str, str]:
    """Returns the namespace and the key that a name stands for."""
    if phase != "train":
        name = name.removeprefix(f"{phase}/")
    if name.startswith("__") and name[2:] in RESERVED:
        name = name[2:]
    return ("", name) if name.find("/") <= 0 else (name.partition("/")[0], name.partition("/")[2])


def _runs(database: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Returns the column and the value that select each run, by a name that is a path segment."""
    columns = {str(row[1]) for row in database.execute("PRAGMA table_info(metrics)")}
    ident = "run_id" if "run_id" in columns else "run_name"
    query = f"SELECT {ident}, MIN(run_name) FROM metrics GROUP BY {ident} ORDER BY MIN(id)"
    runs: dict[str, tuple[str, str]] = {}
    for value, name in database.execute(query):
        segment = safe_segment(str(name))
        runs[segment if segment not in runs else safe_segment(f"{name}-{value}")] = (ident, str(value))
    return runs


def _settings(database: sqlite3.Connection, run: tuple[str, str], tell: Tell) -> dict[str, Any]:
    """Returns the configuration of a run, without what trackio notes beside it."""
    columns = {str(row[1]) for row in database.execute("PRAGMA table_info(configs)")}
    if run[0] not in columns:
        return {}
    found = database.execute(f"SELECT config FROM configs WHERE {run[0]} = ?", (run[1],)).fetchone()
    try:
        with parsing("no configuration"):
            config = json.loads(found[0]) if found else {}
            return {str(name): value for name, value in config.items() if not name.startswith("_")}
    except FormatError as error:
        tell(f"The configuration is left out: {error.message}")
        return {}


def _histogram(value: dict[str, Any]) -> Histogram:
    """Returns the bins of a histogram, of which trackio keeps no moments; those are NaN."""
    counts = np.array(value["values"], np.float64).round().astype(np.int64)
    edges = np.array(value["bins"], np.float64)
    if counts.ndim != 1 or not 0 < len(counts) <= MAX_BINS or edges.shape != (len(counts) + 1,):
        raise ValueError(f"a histogram has 1 to {MAX_BINS} bins, and one edge more")
    nan = float("nan")
    return Histogram(counts, edges, int(counts.sum()), float(edges[0]), float(edges[-1]), nan, nan, 0, 0, 0)


def _seconds(timestamp: object) -> float:
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _say_nothing(problem: str) -> None:
    pass


def _database_of(source: Path) -> Path:
    return source if source.is_file() else source.parent


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a database for reading alone.

    Raises:
        OSError: There is none.
        FormatError: It is something else.
    """
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise FormatError("no SQLite database", path=path)
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        yield database


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise FormatError(str(error), path=path) from error
