"""Appends what was logged to ``log.jsonl``, one strict JSON object per state, and keeps media as files beside it.

The file is only ever appended to, so a resumed run continues it and a crash
costs at most the last line. Where it cannot be trusted any more, after a failed
sync, the log goes on in another file (see ``ml.io.segments``). Lines look like this::

    {"attempt": 1, "phase": "train", "step": 3, "epoch": 0, "samples": 192, "elapsed_s": 0.51,
     "time": "2026-01-02T03:04:05.678901Z", "scalars": {"task/loss": 0.25}, "strings": {"task/note": ["started"]},
     "images": {"task/digits": {"path": "media/image/task/digits/train-00000003-0f3a9b….png", …}}}

Non-finite numbers are the strings "NaN", "Infinity" and "-Infinity".
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.atomic import write_all_atomically
from ml.io.durable import DurableFile
from ml.io.files import make_directories
from ml.io.names import safe_segment
from ml.io.segments import open_log
from ml.loggers.base import BaseLogger, BaseLoggerConfig, bytes_below
from ml.loggers.places import LOG, MEDIA
from ml.loggers.stored import histogram_fields
from ml.loggers.strict_json import Json, encoder, strict
from ml.loggers.values import Lazy, series_path

LONG_LINE_CHARACTERS = 8 * 2**20
"""Where the texts of a step go on in another line, as a reader takes lines of a limited length only."""

_PRIVATE = 0o600
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encoded = encoder((", ", ": "))


@dataclass
class JsonLoggerConfig(BaseLoggerConfig):
    """The JSON backend has no settings of its own."""


@register_logger("json", JsonLoggerConfig)
class JsonLogger(BaseLogger[JsonLoggerConfig]):
    """Appends scalars and strings to ``json/log.jsonl``; media are files in ``json/media``."""

    gathers = True

    def initialize(self, context: RunContext) -> None:
        super().initialize(context)
        self._file = DurableFile(open_log(self.log_directory / LOG))
        self._lines: list[dict[str, Json]] = []
        self._line_of: dict[State, dict[str, Json]] = {}
        self._text_characters: Counter[State] = Counter()  # in the line of each
        self._media: list[tuple[Path, bytes]] = []

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        path = series_path(namespace, key)
        self._section("scalars", state, path)[path] = strict(value())

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        text = value()
        self._section("strings", state).setdefault(series_path(namespace, key), []).append(text)  # type: ignore[union-attr]
        self._text_characters[state] += len(text)
        if self._text_characters[state] >= LONG_LINE_CHARACTERS:
            del self._line_of[state], self._text_characters[state]

    def _log_media(self, key: str, value: Lazy, state: State, namespace: str) -> None:
        form = next(iter(value.kind.encoders), None)
        if form is None:
            entry = histogram_fields(value.histogram())
        else:
            data = value.encoded(form)
            digest = hashlib.sha256(data).hexdigest()
            folder = Path(MEDIA, value.kind.name, safe_segment(namespace), safe_segment(key))
            file = folder / f"{state.phase}-{state.num_steps:08d}-{digest[:12]}.{form}"
            self._media.append((self.log_directory / file, data))
            about = cast(dict[str, Json], value.about())
            entry = {"path": file.as_posix(), "shape": about.pop("shape"), "sha256": digest, **about}
        path = series_path(namespace, key)
        self._section(value.kind.section, state, path)[path] = entry

    log_image = log_audio = log_video = log_histogram = log_point_cloud = log_table = _log_media  # type: ignore[assignment]

    def write(self, state: State) -> None:
        lines, self._lines, self._line_of = self._lines, [], {}
        media, self._media = self._media, []
        self._text_characters.clear()
        for folder in {path.parent for path, _ in media}:
            make_directories(folder)
        write_all_atomically(dict(media), mode=_PRIVATE)  # first: a line never names a file that is not there
        self._file.append(b"".join(_encoded(line) + b"\n" for line in lines))

    def flush(self) -> None:
        self._file.sync()

    def media_bytes_on_disk(self) -> int:
        return bytes_below(self.log_directory / MEDIA)

    def close(self) -> None:
        self._file.close()

    def _section(self, name: str, state: State, path: str | None = None) -> dict[str, Json]:
        """Returns where a line of ``state`` keeps values of a kind; one that has no value of ``path`` yet."""
        line = self._line_of.get(state)
        section = None if line is None else line.get(name)
        if line is None or (section is not None and path in cast(dict[str, Json], section)):
            line = self._line_of[state] = {
                "attempt": self.context.attempt,
                "phase": state.phase,
                "step": state.num_steps,
                "epoch": state.num_epochs,
                "samples": state.num_samples,
                "elapsed_s": round(state.elapsed_time_s, 6),
                "time": (_EPOCH + timedelta(seconds=state.time_s)).isoformat(timespec="microseconds")[:-6] + "Z",
            }
            self._lines.append(line)
            section = None
        if section is None:
            section = line[name] = {}
        return cast(dict[str, Json], section)
