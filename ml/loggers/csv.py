"""Appends scalars to ``log.csv``, one row a value, in the order in which they were logged.

::

    phase,step,epoch,key,value,time,attempt
    train,3,0,task/loss,0.25,2026-01-02T03:04:05.678901Z,1

The columns are those of ``mlog export --to csv``; how a key becomes a cell says ``ml.loggers.csv_rows``. The file is
only ever appended to: a resumed run continues it, a crash costs at most the last line, which is set aside, and after a
failed sync it goes on in another file (``ml.io.segments``) that begins with the header as well.
``pandas.read_csv("csv/log.csv", parse_dates=["time"])`` is the frame that ``ml.open_run(run).scalars()`` is; of a run
that was resumed it has what was overtaken too. (Where a key is called ``nan`` or ``NA``, with
``keep_default_na=False, na_values={"value": ["nan"]}``.)

Numbers alone: texts would make the column ``value`` one of texts.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.durable import DurableFile
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.csv_rows import Row, encoded_rows, open_rows
from ml.loggers.values import series_path

FILE = "log.csv"


@dataclass
class CsvLoggerConfig(BaseLoggerConfig):
    """The CSV backend has no settings of its own."""


@register_logger("csv", CsvLoggerConfig)
class CsvLogger(BaseLogger[CsvLoggerConfig]):
    """Appends scalars to ``csv/log.csv``."""

    gathers = True

    def initialize(self, context: RunContext) -> None:
        super().initialize(context)
        self._file: DurableFile | None = None  # opened by the first write, which can be repeated where a disk is full
        self._rows: list[Row] = []

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        self._rows.append((state, series_path(namespace, key), value()))

    def write(self, state: State) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        if self._file is None:
            self._file = DurableFile(open_rows(self.log_directory / FILE))
        self._file.append(encoded_rows(rows, self.context.attempt))

    def flush(self) -> None:
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
