"""Run directories, read back: curves as pandas frames, pictures, texts and settings.

::

    run = open_run("runs/digits/2026-01-02_03-04-05")
    run.scalars("task/loss").plot(x="step", y="value")
    run.images("task/digits")[-1]                      # a notebook shows the picture
    open_runs("runs/digits").scalars("task/loss")      # with a column for each setting that differs

Nothing is cached and nothing is written: a run can be read while it is running.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from omegaconf import DictConfig, OmegaConf

from ml.core.errors import ConfigError, FormatError
from ml.core.state import Phase
from ml.io.attempt_files import read_bounded, read_config
from ml.loggers.history import Logged, last_of_a_step, read_values
from ml.loggers.kinds import IMAGE, SCALAR, STRING, TABLE
from ml.loggers.places import LOG_FILE, curves_of, log_of
from ml.loggers.strict_json import parsing
from ml.loggers.table_file import read_table

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image

    from ml.media.table import TableData

_log = logging.getLogger("ml")

ResultT = TypeVar("ResultT")
Setting = str | int | float | bool | None


class RunImage(NamedTuple):
    """A logged picture, which a notebook shows: where it comes from, as ``Run.scalars`` says it, and its file."""

    key: str
    phase: Phase
    step: int
    epoch: int
    time: datetime
    attempt: int
    path: Path

    def open(self) -> "Image":
        """Returns the picture.

        Raises:
            OSError: The file is not there, or is no picture.
        """
        from PIL import Image

        with Image.open(self.path) as image:
            image.load()
            return image

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


class RunTable(NamedTuple):
    """A logged table: where it comes from, as ``Run.scalars`` says it, and its file.

    ``pandas.read_json(table.path, orient="table")`` reads it, too, with pictures as ``data:`` URIs.
    """

    key: str
    phase: Phase
    step: int
    epoch: int
    time: datetime
    attempt: int
    path: Path

    def open(self) -> "TableData":
        """Returns the rows that were kept, and how many there were.

        Raises:
            OSError: The file is not there.
            FormatError: It is no table.
        """
        return read_table(self.path)

    def to_pandas(self) -> "DataFrame":
        """Returns the rows that were kept, pictures as PIL images.

        Raises:
            OSError, FormatError: As ``open``.
            ConfigError: pandas is not installed.
        """
        _require_pandas()
        from ml.loggers.table_frame import frame_of

        return frame_of(self.open())


class Run:
    """One run. ``open_run`` makes it.

    What a later attempt went over again is left out (``ml.loggers.history`` says
    exactly what), so a run has one curve. If a key occurs twice at one step of an
    attempt, the last value counts.

    Attributes:
        path: The run's directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def scalars(self, key: str | None = None) -> "DataFrame":
        """Returns scalars, by step.

        Args:
            key: ``<namespace>/<key>``; by default all.

        Returns:
            Columns phase, step, epoch, key, value (float64, with real NaN and
            infinities), time (UTC) and attempt. Empty if nothing was logged.

        Raises:
            ConfigError: pandas is not installed.
        """
        return _frame(last_of_a_step(read_values(curves_of(self.path), SCALAR, key)), "float64")

    def strings(self, key: str | None = None) -> "DataFrame":
        """Returns texts as ``scalars`` returns numbers. If a key has several at a step, all are there."""
        return _frame(read_values(curves_of(self.path), STRING, key), "str")

    def images(self, key: str | None = None) -> list[RunImage]:
        """Returns the pictures of a key, by default of all, by step. Their files are not opened yet."""
        log = log_of(self.path)
        rows = last_of_a_step(read_values(log, IMAGE, key))
        return [RunImage(r.key, r.phase, r.step, r.epoch, r.time, r.attempt, log.parent / str(r.value)) for r in rows]

    def tables(self, key: str | None = None) -> list[RunTable]:
        """Returns the tables of a key, by default of all, by step. Their files are not opened yet."""
        log = log_of(self.path)
        rows = last_of_a_step(read_values(log, TABLE, key))
        return [RunTable(r.key, r.phase, r.step, r.epoch, r.time, r.attempt, log.parent / str(r.value)) for r in rows]

    @property
    def config(self) -> DictConfig:
        """The configuration of the last attempt that kept one; empty if none did. Secrets are out of it.

        Raises:
            FormatError: The file is no configuration.
        """
        for directory in reversed(self._attempt_directories()):
            path = directory / "config.yaml"
            if path.exists():
                return read_config(path)
        return OmegaConf.create({})

    @property
    def settings(self) -> dict[str, Setting]:
        """The configuration as one mapping: ``model.width`` to its value. A list is one setting, as text.

        Raises:
            FormatError: The file is no configuration.
        """
        return dict(_flattened(OmegaConf.to_container(self.config, resolve=False)))

    @property
    def attempts(self) -> list[dict[str, object]]:
        """What is known of each start of the run: its ``run.json``, the first start first.

        Raises:
            FormatError: A file is damaged.
        """
        paths = (directory / "run.json" for directory in self._attempt_directories())
        return [_read_object(path) for path in paths if path.exists()]

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``failed`` or ``interrupted``: the last attempt's; ``unknown`` if it has none.

        A run whose process was killed stays ``running``.
        """
        attempts = self.attempts
        return str(attempts[-1].get("status", "unknown")) if attempts else "unknown"

    def _attempt_directories(self) -> list[Path]:
        directories = [path for path in self.path.glob("attempts/*") if path.name.isdecimal()]
        return sorted(directories, key=lambda path: int(path.name))


class Runs(Mapping[str, Run]):
    """Runs by name, which is the path below the folder that was opened. ``open_runs`` makes it.

    A run that cannot be read is left out of a frame, and warned about.
    """

    def __init__(self, runs: Mapping[str, Run]) -> None:
        self._runs = dict(runs)

    def __getitem__(self, name: str) -> Run:
        return self._runs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"Runs({', '.join(self._runs)})"

    @property
    def config(self) -> "DataFrame":
        """The settings in which the runs differ: a row for each run, a column for each setting, ``model.width``.

        Raises:
            ConfigError: pandas is not installed.
        """
        _require_pandas()
        import pandas as pd

        return pd.DataFrame.from_dict(self.settings(), orient="index").rename_axis("run")

    def scalars(self, key: str | None = None) -> "DataFrame":
        """Returns the scalars of all runs, one below the other.

        Args:
            key: ``<namespace>/<key>``; by default all.

        Returns:
            A column ``run``, those of ``Run.scalars``, and one for each setting in which the runs
            differ: ``model.width``, or ``config.step`` if it is called as another column is.

        Raises:
            ConfigError: pandas is not installed.
        """
        _require_pandas()
        import pandas as pd

        frames = []
        settings = self.settings()
        for name, frame in self._each(lambda run: run.scalars(key)).items():
            frame.insert(0, "run", name)
            for setting, value in settings.get(name, {}).items():
                frame[f"config.{setting}" if setting in frame else setting] = value
            frames.append(frame)
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)

    def settings(self) -> dict[str, dict[str, Setting]]:
        """Returns for each run those of its settings that are not the same in all of them."""
        flat = self._each(lambda run: run.settings)
        names = dict.fromkeys(setting for settings in flat.values() for setting in settings)
        # Null is a value, and not the same as none.
        differing = [name for name in names if len({repr(settings.get(name, ...)) for settings in flat.values()}) > 1]
        return {run: {name: settings[name] for name in differing if name in settings} for run, settings in flat.items()}

    def _each(self, read: Callable[[Run], ResultT]) -> dict[str, ResultT]:
        results = {}
        for name, run in self._runs.items():
            try:
                results[name] = read(run)
            except (OSError, ValueError) as error:
                _log.warning("The run %s is left out: %s", name, error)
        return results


def open_run(path: str | Path) -> Run:
    """Opens a run's directory for reading. It may be running.

    Raises:
        FileNotFoundError: There is no run.
    """
    path = Path(path)
    if _is_run(path):
        return Run(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no run at {path}: it is no directory.")
    below = next(_run_directories(path), None)
    hint = "" if below is None else f" Below it are runs, such as {below}; open_runs (mlog runs) reads them all."
    raise FileNotFoundError(f"There is no run at {path}: it has neither attempts/ nor {LOG_FILE}.{hint}")


def open_runs(root: str | Path) -> Runs:
    """Opens every run below ``root``, at any depth.

    Raises:
        FileNotFoundError: There is none.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no run below {root}: it is no directory.")
    runs = {str(path.relative_to(root)): Run(path) for path in _run_directories(root)}
    if not runs:
        raise FileNotFoundError(f"There is no run below {root}: no directory has attempts/ or {LOG_FILE}.")
    return Runs(runs)


def _is_run(path: Path) -> bool:
    return (path / "attempts").is_dir() or (path / LOG_FILE).is_file()


def _run_directories(root: Path) -> Iterator[Path]:
    for directory, folders, _ in os.walk(root):
        folders[:] = sorted(
            folder for folder in folders if not folder.startswith(".")
        )  # such as a replay in the making
        if _is_run(Path(directory)):
            folders.clear()
            yield Path(directory)


def _frame(values: list[Logged], dtype: str) -> "DataFrame":
    _require_pandas()
    import pandas as pd

    frame = pd.DataFrame(map(_in_utf_8, values), columns=list(Logged._fields))
    frame["time"] = pd.to_datetime(frame["time"], utc=True).astype("datetime64[us, UTC]")
    return frame.astype({"step": "int64", "epoch": "int64", "attempt": "int64", "value": dtype})


def _in_utf_8(logged: Logged) -> Logged:
    """Returns what was logged with half a surrogate pair as an escape: a column of texts can hold none."""
    key, value = (
        text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else text
        for text in (logged.key, logged.value)
    )
    return logged._replace(key=str(key), value=value)


def _require_pandas() -> None:
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise ConfigError("Frames need pandas, of the extra 'train': pip install 'ml-logbook[train]'.") from error


# the files of an attempt


def _read_object(path: Path) -> dict[str, object]:
    with parsing("no JSON", path):
        content = json.loads(read_bounded(path))
    if not isinstance(content, dict):
        raise FormatError("no JSON object", path=path)
    return content


def _flattened(config: object, name: str = "") -> Iterator[tuple[str, Setting]]:
    """Yields ``("model.width", 64)`` for each setting of nested mappings; a list is one setting, as text."""
    if isinstance(config, dict) and (config or not name):
        for key, value in config.items():
            yield from _flattened(value, f"{name}.{key}" if name else str(key))
    elif isinstance(config, str | int | float | None):
        yield name, config
    else:
        yield name, str(config)
