"""Gives a run to trackio, Hugging Face's tracker on this machine: ``trackio show`` finds it.

::

    ~/.cache/huggingface/trackio/<project>.db              values and settings; TRACKIO_DIR puts it elsewhere
    ~/.cache/huggingface/trackio/media/<project>/<run>/…   pictures, clips, videos
    <run directory>/trackio/identity.json                  what trackio calls the run, for resuming and replay

A state is one row: ``{"task/loss": 0.25}`` at the training step. Validation and test have their phase in front of the
key: ``valid/task/loss``. Nothing is sent anywhere, and no server is started: rows go straight into trackio's storage,
in one transaction a write.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ml.core.draws import nothing_drawn
from ml.core.errors import ConfigError, FormatError, WriteError, missing
from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import Phase, State
from ml.integrations.trackio_database import log_id_of, out_of_the_way, rows_of
from ml.io.atomic import write_all_atomically
from ml.io.fileops import OPS, sync_file
from ml.io.lifetime import let_pools_be_made_late
from ml.loggers.base import BaseLogger, BaseLoggerConfig, bytes_below
from ml.loggers.remote import identity_of
from ml.loggers.values import Lazy
from ml.loggers.wide_rows import WideRow, WideRows, in_64_bits

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID_DIGITS = 16
_PRIVATE = 0o600


@dataclass
class TrackioLoggerConfig(BaseLoggerConfig):
    """What the trackio backend can be told, beside what every backend can.

    Attributes:
        project: By default the name of the folder that the run's directory is in.
        run_name: By default the name of the run's directory.
    """

    project: str | None = None
    run_name: str | None = None


@register_logger("trackio", TrackioLoggerConfig)
class TrackioLogger(BaseLogger[TrackioLoggerConfig]):
    """Logs every kind but point clouds to a run of trackio; a run that the user has beside it is not touched.

    Numbers are kept, with NaN and infinities; whole numbers from 2^63 become floats. Texts are reports. Of a histogram
    trackio takes the bins. A key that it has for itself (``step``, ``time``, ``run`` and the like) is stored as
    ``__<key>``, as trackio does it. All attempts of a run are one run there.

    The configuration is stored with the first values. What is there already, of the same attempt, phase, step and key,
    is not stored twice.
    """

    gathers = True
    is_remote = True

    def __init__(self, config: TrackioLoggerConfig) -> None:
        super().__init__(config)
        name = config.run_name
        if name is not None and ("/" in name or "\0" in name or name in ("", ".", "..")):
            raise ConfigError(f"run_name of '{self.id}' is one path segment, got {name!r}.")

    def initialize(self, context: RunContext) -> None:
        """Makes the directory; trackio is left for later, as it takes its time.

        Raises:
            ConfigError: Trackio is not installed.
        """
        if find_spec("trackio") is None:
            raise missing(f"The logger '{self.id}'", "trackio", "trackio")
        super().initialize(context)
        with nothing_drawn():
            import_module("rich.style")  # which draws, and which trackio imports on another thread
        let_pools_be_made_late()
        directory = context.directory.absolute()
        self._project = self.config.project or directory.parent.name or "ml"
        self._name = self.config.run_name or directory.name
        self._settings: dict[str, Any] | None = None
        self._rows: WideRows[Any] = WideRows(out_of_the_way)
        self._files: dict[Path, bytes] = {}
        self._kept: set[tuple[Phase, int, str]] | None = None

    def log_config(self, config: DictConfig) -> None:
        self._settings = cast(dict[str, Any], _plain(OmegaConf.to_container(config)))

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        self._rows.put(namespace, key, in_64_bits(value()), state)

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        self._rows.put(namespace, key, {"_type": "trackio.markdown", "_value": value()}, state)

    def log_histogram(  # type: ignore[override]  # a group gives media as Lazy
        self, key: str, value: Lazy, state: State, namespace: str
    ) -> None:
        bins = value.histogram()
        made = {"_type": "trackio.histogram", "bins": bins.edges.tolist(), "values": bins.counts.tolist()}
        self._rows.put(namespace, key, made, state)

    def _log_file(self, key: str, value: Lazy, state: State, namespace: str) -> None:
        from trackio.utils import MEDIA_DIR, project_media_dir

        form = next(iter(value.kind.encoders))
        data = value.encoded(form)
        folder = project_media_dir(self._project) / self._name / str(state.num_steps)
        path = folder / f"{hashlib.sha256(data).hexdigest()[:32]}.{form}"
        self._files[path] = data
        made = {
            "_type": f"trackio.{value.kind.name}",
            "file_path": path.relative_to(MEDIA_DIR).as_posix(),
            "caption": None,
        }
        self._rows.put(namespace, key, made, state)

    log_image = log_audio = log_video = _log_file  # type: ignore[assignment]

    def write(self, state: State) -> None:
        rows = self._rows.take()
        files, self._files = self._files, {}
        if not rows:
            return
        from trackio.sqlite_storage import SQLiteStorage

        run_id, attempt = identity_of(self.log_directory, digits=_ID_DIGITS), self.context.attempt
        try:
            if self._kept is None:
                found = rows_of(SQLiteStorage.get_project_db_path(self._project), run_id)
                self._kept = {
                    (row.phase, row.step, name) for row in found if row.attempt == attempt for name in row.values
                }
            new = [row for row in rows if self._take_new(row)]
            if not new:
                return
            for folder in {path.parent for path in files}:
                folder.mkdir(parents=True, exist_ok=True)
            write_all_atomically(files, mode=_PRIVATE)  # first: a row never names a file that is not there
            SQLiteStorage.bulk_log(
                self._project,
                self._name,
                [row.values for row in new],
                steps=[row.state.num_steps for row in new],
                timestamps=[(_EPOCH + timedelta(seconds=row.state.time_s)).isoformat() for row in new],
                config=self._settings,
                log_ids=[log_id_of(run_id, attempt, *identity) for identity in _identities(new)],
                run_id=run_id,
            )
        except (sqlite3.Error, FormatError) as error:
            raise WriteError(f"trackio's database cannot be written: {error}") from error
        self._settings = None

    def flush(self) -> None:
        """Syncs the database; trackio's own settings leave that to the next checkpoint."""
        if self._kept is None:
            return
        from trackio.sqlite_storage import SQLiteStorage

        database = SQLiteStorage.get_project_db_path(self._project)
        for path in (database, database.with_name(f"{database.name}-wal")):
            if path.exists():
                sync_file(path)
        OPS.sync_directory(database.parent)

    def media_bytes_on_disk(self) -> int:
        from trackio.utils import project_media_dir

        return bytes_below(project_media_dir(self._project) / self._name)

    def _take_new(self, row: WideRow[Any]) -> bool:
        """Takes out of a row what earlier writers of this attempt stored; returns whether something is left."""
        assert self._kept is not None, "it was looked up"
        for name in list(row.values):
            if (row.state.phase, row.state.num_steps, name) in self._kept:
                del row.values[name]
        return bool(row.values)


def _identities(rows: Iterable[WideRow[Any]]) -> Iterator[tuple[Phase, str]]:
    """Yields the phase and a digest of each row: the same if rows are offered again, and no two alike."""
    seen: Counter[bytes] = Counter()
    for row in rows:
        content = json.dumps([row.state, row.values]).encode()
        seen[content] += 1  # a text may be logged twice in a step
        yield row.state.phase, hashlib.sha256(content + b"%d" % seen[content]).hexdigest()[:24]


def _plain(value: Any) -> Any:
    """Returns a value with whole numbers that JSON of trackio can hold; those beyond 64 bits become floats."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return in_64_bits(value) if isinstance(value, int) else value
