"""Keeps everything that a run logs in a journal, of which a crash or a bad disk costs single records.

::

    journal/0001-0001.journal                                  attempt 1; see ``ml.io.journal`` and ``journal_records``
    journal/media/3f/3f7b0c….png                               files above 4 KiB, by the hash of their content

``mlog replay`` gives what is in it to any other backend.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from omegaconf import DictConfig

from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.atomic import write_all_atomically
from ml.io.files import make_directories
from ml.io.frames import MAX_PAYLOAD_BYTES
from ml.io.journal import JournalWriter
from ml.loggers.base import BaseLogger, BaseLoggerConfig, bytes_below
from ml.loggers.journal_records import END, Rows, encode_config, encode_medium, exact
from ml.loggers.kinds import STRING, Kind
from ml.loggers.places import MEDIA, media_path
from ml.loggers.stored import histogram_fields
from ml.loggers.strict_json import Json
from ml.loggers.values import Lazy

MAX_INLINE_BYTES = 4 * 2**10
_MAX_TEXT = 2**20  # characters; escaped, one may take six bytes


@dataclass
class JournalLoggerConfig(BaseLoggerConfig):
    """The journal has no settings of its own. By default it writes every step up to 1,000, then once a second."""


@register_logger("journal", JournalLoggerConfig)
class JournalLogger(BaseLogger[JournalLoggerConfig]):
    """Appends everything that it is given, of every kind, as it was given; the configuration comes first.

    Numbers and texts of one state are one record. Each medium is one of its own,
    in the encoded form that all backends share; the file of one above 4 KiB is on
    the disk before its record, once for equal content. An attempt that was closed
    ends in a record that says so.
    """

    gathers = True

    def initialize(self, context: RunContext) -> None:
        super().initialize(context)
        self._journal = JournalWriter(self.log_directory, context.attempt)
        self._config: list[bytes] = []
        self._logged: list[bytes | Rows] = []
        self._rows_of: dict[State, Rows] = {}
        self._rows: Rows | None = None
        self._files: dict[Path, bytes] = {}
        self._doubtful: set[Path] = set()

    def log_config(self, config: DictConfig) -> None:
        self._config = [encode_config(config, self.context.wall_clock())]

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        number = exact(value())
        self._rows_at(state).add("scalars", namespace, key, number)

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        text = value()
        if len(text) <= _MAX_TEXT:
            self._rows_at(state).add("strings", namespace, key, text)
        else:
            self._log_file(STRING, key, state, namespace, {"form": "txt"}, text.encode())

    def _log_media(self, key: str, value: Lazy, state: State, namespace: str) -> None:
        form = next(iter(value.kind.encoders), None)
        if form is None:
            self._log_record(value.kind, key, state, namespace, {"histogram": histogram_fields(value.histogram())})
            return
        about: dict[str, Json] = {"form": form, **cast(dict[str, Json], value.about())}
        self._log_file(value.kind, key, state, namespace, about, value.encoded(form))

    log_image = log_audio = log_video = log_histogram = log_point_cloud = log_table = _log_media  # type: ignore[assignment]

    def write(self, state: State) -> None:
        logged, self._logged, self._rows_of, self._rows = self._logged, [], {}, None
        files, self._files = self._files, {}
        self._keep(files)  # first: a record never names a file that is not there
        self._append([payload for entry in logged for payload in _payloads(entry)])

    def flush(self) -> None:
        self._append([])
        self._journal.sync()

    def media_bytes_on_disk(self) -> int:
        return bytes_below(self.log_directory / MEDIA)

    def close(self) -> None:
        try:
            if self._config or self._journal.next_sequence > 1:
                self._append([END])
        finally:
            self._journal.close()

    def _rows_at(self, state: State) -> Rows:
        """Returns where numbers and texts of ``state`` are gathered until they are written."""
        rows = self._rows
        if rows is None or (state is not rows.state and state != rows.state):
            rows = self._rows_of.get(state)
            if rows is None:
                rows = self._rows_of[state] = Rows(state, self._journal.next_sequence)
                self._logged.append(rows)
            self._rows = rows
        return rows

    def _log_file(
        self, kind: Kind, key: str, state: State, namespace: str, about: dict[str, Json], data: bytes
    ) -> None:
        if len(data) <= MAX_INLINE_BYTES:
            self._log_record(kind, key, state, namespace, about, data)
            return
        digest = hashlib.sha256(data).hexdigest()
        about |= {"sha256": digest, "size_bytes": len(data)}
        self._files[self.log_directory / media_path(digest, str(about["form"]))] = data
        self._log_record(kind, key, state, namespace, about)

    def _log_record(
        self,
        kind: Kind,
        key: str,
        state: State,
        namespace: str,
        about: dict[str, Json],
        data: bytes | None = None,
    ) -> None:
        write = self._journal.next_sequence
        self._logged.append(encode_medium(write, state, kind, namespace, key, about, data))

    def _keep(self, files: dict[Path, bytes]) -> None:
        """Puts files on the disk, those that are not there: one of the same name has the same content."""
        missing = {path: data for path, data in files.items() if path in self._doubtful or not path.exists()}
        self._doubtful.update(missing)
        for folder in {path.parent for path in missing}:
            make_directories(folder)
        write_all_atomically(missing, mode=0o600)
        self._doubtful.difference_update(missing)

    def _append(self, payloads: list[bytes]) -> None:
        """Appends records behind the configuration, which is kept until it was appended."""
        if self._config or payloads:
            self._journal.append([*self._config, *payloads])
            self._config = []


def _payloads(entry: bytes | Rows) -> Iterable[bytes]:
    return [entry] if isinstance(entry, bytes) else entry.payloads(MAX_PAYLOAD_BYTES)
