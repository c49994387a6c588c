"""What failed, said once: in full through ``logging`` and in ``errors.jsonl``, then counted.

A failure in the training loop's logging must be seen, and must not flood the
terminal or stop training. The first failure of its kind is reported with its
traceback; the next ones are counted, and summed up at most once a minute.
"""

import json
import logging
import traceback
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from ml.core.errors import MLError, WriteError
from ml.core.run import RunContext
from ml.io.files import AppendFile
from ml.io.lifetime import tell_after_fork
from ml.io.worker import Lock, Worker

if TYPE_CHECKING:
    from ml.core.redact import Redactor

OnError = Literal["warn", "raise"]

_SUMMARY_S = 60.0
_MAX_KINDS = 50
_QUEUE_BYTES = 2**20

_log = logging.getLogger("ml")


class Reporter:
    """Takes the failures of a group of loggers.

    Args:
        context: Whose directory holds ``errors.jsonl``, and whose clock spaces the summaries.
        redactor: Takes secrets out of what is written.
        on_error: ``"warn"`` reports; ``"raise"`` also keeps the first failure for ``raise_first``.
    """

    def __init__(self, context: RunContext, redactor: "Redactor", on_error: OnError) -> None:
        self._context, self._redactor, self._raises = context, redactor, on_error == "raise"
        self._lock = Lock()
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._noticed: set[tuple[str, str]] = set()
        self._repeated: Counter[str] = Counter()
        self._summed_s = context.clock()
        self._first: BaseException | None = None
        self._file: AppendFile | None = None
        self._worker: Worker[bytes] | None = None
        tell_after_fork(self)

    def report(self, source: str, message: str, error: BaseException | None = None, *, about: str = "") -> None:
        """Reports a failure of ``source`` (a backend's id, or ``"values"``), about one key or about none."""
        kind = (source, type(error).__name__, about)
        with self._lock:
            seen = self._seen.setdefault(source, set())
            is_new = kind not in seen and len(seen) < _MAX_KINDS
            if is_new:
                seen.add(kind)
            else:
                self._repeated[source] += 1
            if self._raises and self._first is None:
                self._first = error if error is not None else WriteError(message)
            is_time = bool(self._repeated) and self._context.clock() - self._summed_s >= _SUMMARY_S
        # Without the lock: a handler of ``logging`` may block, or wait for whoever is to report next.
        if is_new:
            text = self._redactor.redact_text(message)
            trace = self._redactor.redact_text(_trace(error))
            _log.error("%s%s", text, f"\n{trace.rstrip()}" if trace else "")
            self._write({"source": source, "about": about, "message": text, "traceback": trace})
        if is_time:
            self.sum_up()

    def notice(self, source: str, message: str) -> None:
        """Says something once that is no failure of the user's."""
        with self._lock:
            is_new = (source, message) not in self._noticed
            self._noticed.add((source, message))
        if is_new:
            _log.warning("%s", self._redactor.redact_text(message))

    def sum_up(self) -> None:
        """Says how many failures were only counted since the last time."""
        with self._lock:
            self._summed_s = self._context.clock()
            repeated, self._repeated = self._repeated, Counter()
        for source, count in repeated.items():
            _log.warning("%s: %d more failures like those reported above.", source, count)

    def raise_first(self) -> None:
        """Raises the first failure since the last call, if failures are to be raised."""
        if not self._raises:
            return
        with self._lock:
            first, self._first = self._first, None
        if first is not None:
            raise first

    def close(self, timeout_s: float) -> None:
        """Writes what is left."""
        self.sum_up()
        if self._worker is not None:
            self._worker.stop(timeout_s)

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock when this process was forked."""
        self._lock = Lock()

    def _write(self, entry: dict[str, str]) -> None:
        if not self._context.directory.is_dir():
            return  # a group that keeps no files, in a test or a notebook
        entry = {"time": datetime.fromtimestamp(self._context.wall_clock(), UTC).isoformat(), **entry}
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            if self._worker is None:
                try:
                    self._worker = Worker("ml-errors", self._append, max_bytes=_QUEUE_BYTES)
                except RuntimeError:  # the interpreter ends, and no thread can be started any more
                    return
        self._worker.submit(line, size_bytes=len(line))

    def _append(self, lines: list[bytes]) -> float | None:
        try:
            if self._file is None:
                self._file = AppendFile(self._context.directory / "errors.jsonl")
            self._file.append(b"".join(lines))
            self._file.sync()
        except WriteError as error:
            _log.warning("errors.jsonl cannot be written: %s", error)
        return None


def text_of(error: BaseException) -> str:
    """Returns the text of an error, also of one that has none."""
    try:
        return str(error)
    except Exception:
        return "an error whose text cannot be had"


def _trace(error: BaseException | None) -> str:
    """Returns the traceback, where it says more than the message."""
    if error is None or (isinstance(error, MLError) and error.__cause__ is None):
        return ""
    return "".join(traceback.format_exception(error))
