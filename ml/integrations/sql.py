"""Writes scalars and strings to a database: SQLite in the run's directory, or any that SQLAlchemy has a URL for.

Many runs share a database. Three tables, to be read by hand or with pandas::

    runs      id, uid, name, path, created, config (JSON)
    scalars   run_id, key, phase, step, attempt, value, epoch, time
    strings   run_id, key, phase, step, attempt, number, value, epoch, time

    pd.read_sql("SELECT step, value FROM scalars WHERE key = 'task/loss' AND phase = 'train'", "sqlite:///x.db")

A key is ``<namespace>/<key>``; past 255 characters it is cut, ends in ``~`` and a hash, and the table ``long_keys`` has
the whole of it. Of several numbers of a key at a step of an attempt the last one counts; of texts all are kept,
numbered from 0. What is written twice is there once, so ``mlog replay RUN --to sql`` completes a run. How NaN and
odd texts are kept: ``ml.db``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from omegaconf import DictConfig

from ml.core.plain import Plain, plain_mapping
from ml.core.registry import register_logger
from ml.core.run import RunContext
from ml.core.state import State
from ml.integrations.sql_rows import Scalar, Text
from ml.loggers.base import BaseLogger, BaseLoggerConfig
from ml.loggers.remote import Ordinals, check_timeout, identity_of, remember_place
from ml.loggers.strict_json import real
from ml.loggers.values import series_path


@dataclass
class SqlLoggerConfig(BaseLoggerConfig):
    """What the SQL backend can be told.

    Attributes:
        url: The database: a URL of SQLAlchemy's, or the path of an SQLite file. By default ``log.db`` in the
            backend's folder. PostgreSQL needs its driver too: ``pip install 'psycopg[binary]'``.
        timeout_s: How long a write waits for a lock, or for a connection, before it is put off.
    """

    url: str | None = None
    timeout_s: float = 5.0


@register_logger("sql", SqlLoggerConfig)
class SqlLogger(BaseLogger[SqlLoggerConfig]):
    """Writes scalars and strings to a database, one transaction a write."""

    gathers = True
    is_remote = True

    def initialize(self, context: RunContext) -> None:
        from ml.integrations.sql_store import SqlStore  # needs SQLAlchemy, which may be missing

        super().initialize(context)
        check_timeout(self.id, "timeout_s", self.config.timeout_s)
        where = self.config.url or self.log_directory / "log.db"
        remember_place(self.log_directory, {"url": self.config.url})
        self._store = SqlStore(where, context.directory.absolute(), context.attempt, self.config.timeout_s)
        self._settings: dict[str | int | float | bool, Plain] | None = None  # not written yet
        self._ordinals = Ordinals()
        self._scalars: list[Scalar] = []
        self._texts: list[Text] = []

    def log_config(self, config: DictConfig) -> None:
        self._settings = plain_mapping(config)

    def log_scalar(self, key: str, value: Callable[[], int | float], state: State, namespace: str) -> None:
        self._scalars.append(Scalar(series_path(namespace, key), state, real(value())))

    def log_string(self, key: str, value: Callable[[], str], state: State, namespace: str) -> None:
        path, text = series_path(namespace, key), value()
        self._texts.append(Text(path, state, text, self._ordinals.take(state, path)))

    def write(self, state: State) -> None:
        scalars, self._scalars = self._scalars, []
        texts, self._texts = self._texts, []
        settings = self._settings
        try:
            uid = identity_of(self.log_directory)
            self._store.write(uid, state, scalars=scalars, texts=texts, settings=settings)
        except BaseException:
            self._ordinals.roll_back()
            raise
        self._ordinals.commit()
        if self._settings is settings:
            self._settings = None

    def flush(self) -> None:
        if self._settings is not None and self._store.is_begun:  # settings that came after the last value
            self.write(State(time_s=self.context.wall_clock()))

    def close(self) -> None:
        self._store.close()
