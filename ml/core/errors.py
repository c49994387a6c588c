"""Every error that this package raises.

::

    MLError
      ConfigError(ValueError)     wrong configuration or arguments: found before anything starts
      LogValueError(ValueError)   one value cannot be logged; its neighbours are
      WriteError                  nothing was written *now*; ``__cause__`` is the OSError
        ClosedError               nothing will be written any more
      FormatError(ValueError)     a file or message cannot be read

A message says what failed, the value that was there, what to do, and where the
value was logged. The same facts are attributes, so code need not parse text.
"""

from pathlib import Path


class MLError(Exception):
    """The base of every error of this package."""


class ConfigError(MLError, ValueError):
    """A configuration or an argument is wrong; nothing was started."""


def missing(what: str, package: str, extra: str, error: ImportError | None = None) -> ConfigError:
    """Returns the error that says how to install what is not there, or cannot be imported.

    Args:
        what: What needs it, as a subject: ``"Parquet"``.
        package: What is needed, by its name.
        extra: Of this package, that installs it.
        error: What came of importing it.
    """
    reason = f", which cannot be imported ({error})" if error is not None else ""
    return ConfigError(f"{what} needs {package}{reason}. Install it with: pip install 'ml-logbook[{extra}]'.")


class LogValueError(MLError, ValueError):
    """A value cannot be logged.

    Attributes:
        problem: What was wrong, with the value that was there.
        fix: What to do about it; may be empty.
        path: ``<namespace>/<key>``; empty where it is not known yet.
        origin: ``file.py:line`` that logged the value; empty where it is not known.
    """

    def __init__(self, problem: str, fix: str = "", *, path: str = "", origin: str = "") -> None:
        self.problem, self.fix, self.path, self.origin = problem, fix, path, origin
        subject = f"Cannot log '{path}': " if path else ""
        remedy = f" {fix}" if fix else ""
        where = f" (Logged at {origin}.)" if origin else ""
        super().__init__(f"{subject}{problem}.{remedy}{where}")

    def located(self, path: str, origin: str = "") -> "LogValueError":
        """Returns the same error with the key that was logged and the line that did it."""
        error = LogValueError(self.problem, self.fix, path=path, origin=origin or self.origin)
        error.__cause__ = self.__cause__
        return error

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_log_value_error, (self.problem, self.fix, self.path, self.origin)


def _rebuild_log_value_error(problem: str, fix: str, path: str, origin: str) -> LogValueError:
    return LogValueError(problem, fix, path=path, origin=origin)


class WriteError(MLError):
    """Nothing was written; the same values may be offered again. ``__cause__`` is the OSError."""


class ClosedError(WriteError):
    """What was written to is closed, or belongs to another process."""


class FormatError(MLError, ValueError):
    """A file or message is damaged or not of the expected format.

    Attributes:
        path: The file; empty for bytes that came from elsewhere.
        offset: Bytes from its start to the damage.
    """

    def __init__(self, message: str, *, path: str | Path = "", offset: int = 0) -> None:
        self.message, self.path, self.offset = message, str(path), offset
        where = f"{self.path or 'data'}, byte {offset}: "
        super().__init__(where + message)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_format_error, (self.message, self.path, self.offset)


def _rebuild_format_error(message: str, path: str, offset: int) -> FormatError:
    return FormatError(message, path=path, offset=offset)
