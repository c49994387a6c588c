"""What failed, said once: in full through ``logging`` and in ``errors.jsonl``, then counted.

A failure in the training loop's logging must be seen, and must not flood the
terminal or stop training. The first failure of its kind is reported with its
traceback; the next ones are counted, and summed up at most once a minute. What is
remembered is bounded, however many different failures there are.
"""

import json
import logging
import traceback
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from ml.core.errors import MLError, WriteError
from ml.core.run import RunContext
from ml.io.durable import DurableFile
from ml.io.lifetime import tell_after_fork
from ml.io.segments import open_log
from ml.io.worker import Lock, Worker

if TYPE_CHECKING:
    from ml.core.redact import Redactor

OnError = Literal["warn", "raise"]

_SUMMARY_S = 60.0
_MAX_KINDS = 50
_MAX_NOTICES = 200
_MAX_LENGTH = 2**16  # of a message or a traceback, in characters: a repr() in one may be as long as an array
_MAX_SECRET = 2**14  # the longest that is found, in characters: the body of a private key
_QUEUE_BYTES = 2**20

_log = logging.getLogger("ml")


class Reporter:
    """Takes the failures of a group of loggers.

    Args:
        context: Whose directory holds ``errors.jsonl``, and whose clock spaces the summaries.
        redactor: Takes secrets out of what is written.
        on_error: ``"warn"`` reports; ``"raise"`` also keeps the first failure for ``raise_first``.

    Attributes:
        redactor: The same; what a backend is given goes through it too.
    """

    def __init__(self, context: RunContext, redactor: "Redactor", on_error: OnError) -> None:
        self.redactor = redactor
        self._context, self._raises = context, on_error == "raise"
        self._lock = Lock()
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._noticed: set[int] = set()
        self._repeated: Counter[str] = Counter()
        self._unsaid = 0
        self._summed_s = context.clock()
        self._first: BaseException | None = None
        self._file: DurableFile | None = None
        self._worker: Worker[bytes] | None = None
        self._is_closed = False
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
            summary = self._due_summary()
        # Without the lock: a handler of ``logging`` may block, or wait for whoever is to report next.
        if is_new:
            text, trace = self._shown(message), self._shown(_trace(error))
            _say(logging.ERROR, f"{text}\n{trace.rstrip()}" if trace else text)
            self._write({"source": source, "about": self._shown(about), "message": text, "traceback": trace})
        _say(logging.WARNING, *summary)

    def notice(self, source: str, message: str) -> None:
        """Says something once that is no failure of the user's."""
        about = hash((source, message))
        with self._lock:
            is_new = about not in self._noticed and len(self._noticed) < _MAX_NOTICES
            if is_new:
                self._noticed.add(about)
            elif about not in self._noticed:
                self._unsaid += 1
            summary = self._due_summary()
        if is_new:
            _say(logging.WARNING, self._shown(message))
        _say(logging.WARNING, *summary)

    def keep(self, source: str, level: str, about: str, message: str, trace: str) -> str | None:
        """Writes what other code has said, which is no failure of ours: it is neither said again nor raised.

        Returns:
            All of it as it may be shown: without secrets, and bounded. ``None`` when nothing is kept any more.
        """
        if self._is_closed:
            return None
        about, text, trace = self._shown(about), self._shown(message), self._shown(trace)
        self._write({"source": source, "level": level, "about": about, "message": text, "traceback": trace})
        return f"{about}: {text}\n{trace.rstrip()}" if trace else f"{about}: {text}"

    def sum_up(self) -> None:
        """Says how many failures were only counted since the last time."""
        with self._lock:
            summary = self._take_summary()
        _say(logging.WARNING, *summary)

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
        self._is_closed = True
        self.sum_up()
        if self._worker is not None and not self._worker.end(timeout_s):
            self._worker.join(timeout_s)

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock when this process was forked."""
        self._lock = Lock()

    def _due_summary(self) -> list[str]:
        """Returns what is to be summed up, if a minute has passed; the lock is held."""
        is_due = self._context.clock() - self._summed_s >= _SUMMARY_S and (self._repeated or self._unsaid)
        return self._take_summary() if is_due else []

    def _take_summary(self) -> list[str]:
        self._summed_s = self._context.clock()
        repeated, self._repeated = self._repeated, Counter()
        unsaid, self._unsaid = self._unsaid, 0
        lines = [f"{source}: {count} more failures like those reported above." for source, count in repeated.items()]
        return lines + ([f"{unsaid} more notices, of other kinds than those above."] if unsaid else [])

    def _shown(self, text: str) -> str:
        """Returns a text as it may be written: without secrets, and not too long."""
        redacted = self.redactor.redact_text(text[: 2 * _MAX_LENGTH])
        if len(text) > 2 * _MAX_LENGTH:
            redacted = redacted[:-_MAX_SECRET]  # what was cut may be a secret, which then was not known for one
        if len(text) <= _MAX_LENGTH:
            return redacted
        return f"{redacted[:_MAX_LENGTH]}… ({len(text)} characters)"

    def _write(self, entry: dict[str, str]) -> None:
        entry = {"time": datetime.fromtimestamp(self._context.wall_clock(), UTC).isoformat(), **entry}
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        with self._lock:
            if self._worker is None:
                try:
                    worker = Worker("ml-errors", self._append, max_bytes=_QUEUE_BYTES)
                except RuntimeError:  # the interpreter ends, and no thread can be started any more
                    return
                if self._worker is None:
                    self._worker = worker
                else:  # a signal handler has reported meanwhile
                    worker.wind_down()
        self._worker.submit(line, size_bytes=len(line))

    def _append(self, lines: list[bytes]) -> float | None:
        try:
            if self._file is None:
                if not self._context.directory.is_dir():
                    return None  # a group that keeps no files, in a test or a notebook
                rank = "" if self._context.is_primary else f"-rank-{self._context.rank}"  # one writer a file
                self._file = DurableFile(open_log(self._context.directory / f"errors{rank}.jsonl"))
            self._file.append(b"".join(lines))
            self._file.sync()
        except (OSError, WriteError) as error:
            problem = f"errors.jsonl cannot be written, and may lack {len(lines)} of the reports above: {error}"
            _say(logging.WARNING, problem)
        return None


def text_of(error: BaseException) -> str:
    """Returns the text of an error, also of one that has none."""
    try:
        return str(error)
    except Exception:
        return "an error whose text cannot be had"


def _say(level: int, *texts: str) -> None:
    for text in texts:
        with suppress(Exception):  # a handler of ``logging`` that fails must end neither the loop nor a backend
            _log.log(level, "%s", text)


def _trace(error: BaseException | None) -> str:
    """Returns the traceback, where it says more than the message."""
    if error is None or (isinstance(error, MLError) and error.__cause__ is None):
        return ""
    return "".join(traceback.format_exception(error))
