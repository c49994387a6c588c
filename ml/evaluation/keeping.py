"""Keeps the tables of a training's evaluations; what cannot be kept is told and counted, and never stops training."""

import logging
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ml.core.errors import ConfigError, WriteError
from ml.core.run import detect_rank, resolve_primary_rank
from ml.evaluation.aliases import Mode, check_best
from ml.evaluation.artifacts import Artifacts, Version
from ml.evaluation.parquet import require_pyarrow
from ml.evaluation.rows import ReadableTable
from ml.evaluation.sinks import KeptTable, TableSink
from ml.evaluation.table import Table
from ml.io.store import Store, StoreConfig

ArtifactsSource = Artifacts | Store | StoreConfig | str | Path
"""Artifacts, or where they are: a store, its configuration, the URL of a bucket, the path of a directory."""

_RUN_ID_BYTES = 4

_log = logging.getLogger("ml")


class Keeper:
    """Publishes the ground truth and the predictions of one run, on the primary rank alone.

    Nothing is opened before the first table comes: by then the ranks are known.

    Args:
        artifacts: Where to.
        run_id: Of the run; ``None``: that of ``artifacts``, and if it has none, one that is drawn.
        best: The metric that decides which predictions are ``best``, and whether more or less of it is better.
        sinks: What else takes the tables.

    Attributes:
        run_id: Of the run.
        failures: How many tables could not be kept, by what failed: ``"data"``, ``"predictions"``, or the class of a
            sink.
        data: The version of the ground truth; ``None``: it was never published.

    Raises:
        ConfigError: ``best`` makes no sense, ``run_id`` is another one than that of ``artifacts``, or pyarrow is
            missing.
    """

    def __init__(
        self,
        artifacts: ArtifactsSource,
        *,
        run_id: str | None = None,
        best: tuple[str, Mode] | None = None,
        sinks: Sequence[TableSink] = (),
    ) -> None:
        require_pyarrow()
        if best is not None:
            check_best(best)
        known = artifacts.run_id if isinstance(artifacts, Artifacts) else ""
        if run_id is not None and known and run_id != known:
            raise ConfigError(
                f"The artifacts are those of run {known!r}, and run_id={run_id!r}. Leave out one of them."
            )
        self.run_id = run_id or known or secrets.token_hex(_RUN_ID_BYTES)
        self.failures: Counter[str] = Counter()
        self.data: Version | None = None
        self._source, self._best, self._sinks = artifacts, best, tuple(sinks)
        self._artifacts: Artifacts | None = None
        self._handed_over: Table | None = None
        self._has_data = self._owes_data = self._misses_best = False

    def keep_data(self, table: Table, *, name: str, type: str, table_name: str) -> ReadableTable:
        """Publishes the ground truth, and notes that this run uses it.

        Returns:
            It, as it is to be read from now on: as published, or as it is where that failed.

        Raises:
            ConfigError: The store or a name makes no sense, or a library is missing.
        """
        if not self._is_primary():
            return table
        self._has_data = self._owes_data = True
        with self._losing("data", f"The ground truth {name!r}"):
            artifacts = self._opened()
            version = artifacts.publish(name, {table_name: table}, type=type)
            artifacts.use(version)
            self.data, self._owes_data = version, False
        published = None if self._owes_data else self.data
        if table is not self._handed_over:
            self._handed_over = table
            self._hand_over(KeptTable("data", table, name, type, table_name, published, None, (), {}))
        return table if published is None else published.table(table_name)

    def keep_predictions(
        self,
        table: Table,
        *,
        type: str,
        table_name: str,
        aliases: Sequence[str],
        epoch: int | None,
        metrics: Mapping[str, float],
    ) -> Version | None:
        """Publishes predictions as the next version of ``run_<id>_pred``, made of the ground truth.

        Returns:
            The version; ``None``: it could not be published, or this is not the primary rank.

        Raises:
            ConfigError: An alias or a name makes no sense.
        """
        if not self._is_primary():
            return None
        name, version = f"run_{self.run_id}_pred", None
        with self._losing("predictions", predictions_of(epoch)):
            if self._owes_data:
                raise WriteError("The ground truth that they refer to is not published.")
            version = self._opened().publish(
                name,
                {table_name: table},
                type=type,
                aliases=aliases,
                metrics=metrics,
                used=[] if self.data is None else [self.data],
                best=self._best_of(metrics),
            )
        self._hand_over(KeptTable("predictions", table, name, type, table_name, version, epoch, aliases, metrics))
        return version

    @property
    def owes_data(self) -> bool:
        """Whether the ground truth is still to be published here, or once more."""
        return self._owes_data

    def lose(self, what: str, subject: str, error: Exception) -> None:
        """Tells and counts what could not be kept; the ground truth is owed anew, as the store may have lost that too.

        Args:
            what: ``"data"`` or ``"predictions"``.
            subject: What was lost, as the subject of a sentence.
            error: Why.
        """
        self._tell(what, subject, error)
        self._owes_data = self._has_data

    @contextmanager
    def _losing(self, what: str, subject: str) -> Iterator[None]:
        try:
            yield
        except ConfigError:
            raise
        except Exception as error:  # of a library's, too; nothing of the user's runs here
            self.lose(what, subject, error)

    def _tell(self, what: str, subject: str, error: Exception) -> None:
        self.failures[what] += 1
        _log.warning("%s cannot be kept, and training goes on: %s", subject, error)

    def _hand_over(self, kept: KeptTable) -> None:
        for sink in self._sinks:
            try:
                sink.keep(kept)
            except Exception as error:  # foreign code
                name = type(sink).__name__
                self._tell(name, f"For {name} the table {kept.table_name!r}", error)

    def _opened(self) -> Artifacts:
        if self._artifacts is None:
            source = self._source
            if not isinstance(source, Artifacts):
                self._artifacts = Artifacts(source, run_id=self.run_id)
            elif source.run_id:
                self._artifacts = source
            else:
                self._artifacts = Artifacts(source.store, run_id=self.run_id, wall_clock=source.wall_clock)
        return self._artifacts

    def _best_of(self, metrics: Mapping[str, float]) -> tuple[str, Mode] | None:
        if self._best is None or self._best[0] in metrics:
            return self._best
        if not self._misses_best:
            self._misses_best = True
            _log.warning(
                "The best predictions are told by %r, which is not among the metrics of an evaluation: %s.",
                self._best[0],
                ", ".join(map(repr, metrics)) or "there are none",
            )
        return None

    @staticmethod
    def _is_primary() -> bool:
        rank, world_size = detect_rank()
        return rank == resolve_primary_rank(None, world_size)


def predictions_of(epoch: int | None) -> str:
    """Returns what the predictions of an epoch are called in a sentence."""
    return "The predictions" if epoch is None else f"The predictions of epoch {epoch}"
