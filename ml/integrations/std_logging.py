"""Python's own messages in the run: what ``logging`` and ``warnings`` say, as texts and in ``errors.jsonl``.

::

    with start_run("runs/demo") as run, logging_handler(run):
        train(run)

A warning of the logger ``data.loader`` is then the text ``logging/warning`` of the step in which it was said::

    data.loader: loader is slow (loader.py:42)

and, with its traceback, a line of ``errors.jsonl``, which also has those that were said outside of any step::

    {"time": ..., "source": "logging", "level": "WARNING", "about": "data.loader", "message": ..., "traceback": ...}

Keys are levels, ``debug`` to ``critical``, so there are at most five, whatever loggers there are. A warning of
``warnings`` is one of the logger ``py.warnings``. What Python shows on the terminal stays as it was; the backend
``stdout`` shows the texts once more, unless it has ``exclude=["logging/*"]``.

Nothing comes back: messages of ours, of ``ml`` and ``ml.*``, are left out, as they are in ``errors.jsonl`` anyway;
a message of a backend's own thread goes to ``errors.jsonl`` alone, so that it gives that backend nothing to write; a
message that is said while another one is taken is taken to a depth of three. And of each kind of message only the
first ones are kept, see ``Occurrences``; the others are counted, which is told once a minute and at the end.
"""

import logging
import warnings
from contextvars import Context, ContextVar
from types import TracebackType
from typing import NamedTuple, TextIO

from ml.core.errors import ConfigError
from ml.integrations.std_records import Count, Occurrences, level_of, message_of, trace_of
from ml.io.lifetime import close_at_exit, forget_at_exit, tell_after_fork
from ml.session import Run

NAMESPACE = "logging"
MAX_DEPTH = 3
"""So many messages may be said one inside of the other, e.g. by the ``__str__`` of what is logged."""

_OURS = "ml"
_WARNINGS = "py.warnings"  # the logger that logging.captureWarnings uses

_depth: ContextVar[int] = ContextVar("ml_logging_depth", default=0)
_passes_on: ContextVar[bool] = ContextVar("ml_logging_passes_on", default=False)


class RecordCounts(NamedTuple):
    """What became of the records that a handler was given.

    Attributes:
        kept: Kept in full.
        counted: Like others that were kept in full.
        nested: Said too deep inside of other records.
        late: Came when the run was closed.
    """

    kept: int
    counted: int
    nested: int
    late: int


def logging_handler(run: Run, level: int | str = logging.WARNING) -> "RunHandler":
    """Returns a handler of ``logging`` that puts records into a run.

    As a context, and between ``attach`` and ``detach``, it also takes what ``warnings`` says. It may as well be
    added to any logger, as other handlers are; then it takes the records of that one alone.

    Args:
        run: Where they go. Leave it open until the handler is detached.
        level: The least level that is taken: a number, or a name such as ``"ERROR"``.

    Raises:
        ConfigError: There is no such level.
    """
    return RunHandler(run, level)


class RunHandler(logging.Handler):
    """Puts records into a run; see ``logging_handler``, which makes it.

    It never raises and waits for no one, so any thread, signal handler, finalizer and backend may log.
    It has no use for a formatter. In a forked child it takes nothing. ``addFilter`` leaves loggers out.
    """

    def __init__(self, run: Run, level: int | str = logging.WARNING) -> None:
        try:
            super().__init__(level)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"level is one that logging knows, such as 'ERROR' or 40, got {level!r}.") from error
        self._run, self._texts = run, run.component(NAMESPACE)
        self._occurrences = Occurrences(run.context.clock)
        self._nested, self._late = Count(), Count()
        self._is_inert = False
        self._attached: list[_Terminal | _Warnings] = []
        tell_after_fork(self)

    @property
    def counts(self) -> RecordCounts:
        """What became of the records so far."""
        kept, counted = self._occurrences.total()
        nested, late = self._nested.total(), self._late.total()
        return RecordCounts(kept - late, counted, nested, late)

    def attach(self) -> None:
        """Takes the records of all loggers, and warnings, from now on.

        Call ``logging.basicConfig`` before: it does nothing once there is a handler.
        """
        if not self._attached:
            root = logging.getLogger()
            root.addHandler(self)
            self._attached = [_Terminal(root), _Warnings(self)]
            close_at_exit(self)  # before the run, which is older

    def detach(self) -> None:
        """Undoes ``attach``, and tells what was only counted; what no step has taken yet is of the last one."""
        if self._attached:
            logging.getLogger().removeHandler(self)
            for attached in self._attached:
                attached.undo()
            self._attached = []
            forget_at_exit(self)
        if not self._is_inert:
            self._tell(self._occurrences.sum_up())
            if len(self._texts):  # else they would be a step more, in which nothing was trained
                self._run.group.write([self._texts], self._run.state)

    def close(self) -> None:
        """Detaches it."""
        self.detach()
        super().close()

    def __enter__(self) -> "RunHandler":
        self.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def handle(self, record: logging.LogRecord) -> bool:
        """Takes a record, but none of ours, and none that is a warning which was taken already.

        Without the lock that ``logging`` has for a handler: whoever holds it could wait for this very record.
        """
        name = record.name
        is_ours = name == _OURS or str(name).startswith(f"{_OURS}.")
        return not is_ours and not (name == _WARNINGS and _passes_on.get()) and self.take(record)

    def take(self, record: logging.LogRecord) -> bool:
        """Takes a record that the filters let pass."""
        if self._is_inert or not self.filter(record):
            return False
        depth = _depth.get()
        if depth >= MAX_DEPTH:
            self._nested.add()
            return False
        token = _depth.set(depth + 1)
        try:
            self.emit(record)
        except Exception:
            self.handleError(record)
        finally:
            _depth.reset(token)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record, or counts it."""
        note = self._occurrences.keep(record)
        if note is not None:
            name, level = str(record.name), level_of(record.levelno)
            if not self._keep(name, level, message_of(record) + note, trace_of(record)):
                self._late.add()
        else:
            self._tell(self._occurrences.due_summary())

    def after_fork_in_child(self) -> None:
        """Leaves the run to the parent."""
        self._is_inert = True

    def _tell(self, summary: list[tuple[str, str, str]]) -> None:
        for name, level, text in summary:
            self._keep(name, level, text)

    def _keep(self, name: str, level: str, message: str, trace: str = "") -> bool:
        group = self._run.group
        text = group.keep(NAMESPACE, level, name, message, trace)
        if text is None:
            return False
        if not group.is_backend_here:
            # Outside of any namespace_context: that is for what a component logs itself.
            Context().run(self._texts.log_string, level.lower(), text)
        return True


class _Terminal(logging.Handler):
    """Shows on standard error what ``logging`` would have shown there if we were not.

    It does so for a record for which it finds no handler; with ours it always finds one.
    """

    def __init__(self, root: logging.Logger) -> None:
        super().__init__(logging.lastResort.level if logging.lastResort is not None else logging.CRITICAL)
        self._root = root
        root.addHandler(self)

    def undo(self) -> None:
        """Takes it away again."""
        self._root.removeHandler(self)

    def handle(self, record: logging.LogRecord) -> bool:
        """Shows a record, unless there is another handler for it."""
        found = _handlers_of(record.name)
        stands_in = next((handler for handler in found if isinstance(handler, _Terminal)), None)
        others = any(not isinstance(handler, _Terminal | RunHandler) for handler in found)
        if logging.lastResort is not None and stands_in is self and not others:
            logging.lastResort.handle(record)
        return True


def _handlers_of(name: str) -> list[logging.Handler]:
    """Returns the handlers that records of a logger are given to."""
    logger = logging.Logger.manager.loggerDict.get(name)
    of: logging.Logger | None = logger if isinstance(logger, logging.Logger) else logging.getLogger()
    found: list[logging.Handler] = []
    while of is not None:
        found += of.handlers
        of = of.parent if of.propagate else None
    return found


class _Warnings:
    """Gives a handler what ``warnings`` says, and passes it on to where it was shown before."""

    def __init__(self, handler: RunHandler) -> None:
        self._handler: RunHandler | None = handler
        self._former, self._hook = warnings.showwarning, self._show
        warnings.showwarning = self._hook

    def undo(self) -> None:
        """Restores what was there. Where another hook came after this one, it stays and only passes on."""
        self._handler = None
        if warnings.showwarning is self._hook:
            warnings.showwarning = self._former

    def _show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        handler = self._handler
        if handler is not None and file is None and handler.level <= logging.WARNING:
            said = f"{category.__name__}: {message}"
            handler.take(logging.LogRecord(_WARNINGS, logging.WARNING, filename, lineno, said, None, None))
        token = _passes_on.set(True)
        try:
            self._former(message, category, filename, lineno, file, line)
        finally:
            _passes_on.reset(token)
