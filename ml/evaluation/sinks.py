"""Where else the tables of an evaluation go, beside the artifacts: whatever shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ml.loggers.multi import MultiLogger

if TYPE_CHECKING:
    from ml.evaluation.artifacts import Version
    from ml.evaluation.table import Table


@dataclass(frozen=True)
class KeptTable:
    """A table of an evaluation, and what is known of it.

    Attributes:
        role: Whether it is the ground truth, or what a model made of it.
        table: Its rows; open until the next evaluation.
        name: Of the artifact.
        type: Of the artifact: ``"dataset"``, ``"evaluation"``.
        table_name: In the artifact.
        version: That it was published as; ``None``: it could not be.
        epoch: That the evaluation is of; ``None``: nobody said.
        aliases: Of the version, beside ``latest``.
        metrics: Numbers that the evaluation is told by.
    """

    role: Literal["data", "predictions"]
    table: "Table"
    name: str
    type: str
    table_name: str
    version: "Version | None"
    epoch: int | None
    aliases: Sequence[str]
    metrics: Mapping[str, float]


class TableSink(Protocol):
    """Takes every table of an evaluation. What it raises is told and counted, and costs this table here alone."""

    def keep(self, kept: KeptTable) -> None:
        """Takes a table over, or what it shows of it."""
        ...


class LoggedTables:
    """Logs predictions as a table, and the metrics of the evaluation as scalars, with a ``MultiLogger``.

    They belong to the step that is under way, and every backend that takes tables shows them its own way: TensorBoard
    as text and pictures, JSON as a file.

    Args:
        logger: Whose step ends after the evaluation.
    """

    def __init__(self, logger: MultiLogger) -> None:
        self._logger = logger

    def keep(self, kept: KeptTable) -> None:
        """See ``TableSink``; the ground truth is part of the predictions, and not logged by itself."""
        if kept.role == "predictions":
            # The published table can still be read when the step ends.
            table = kept.table if kept.version is None else kept.version.table(kept.table_name)
            self._logger.log_table(kept.table_name, table)
            self._logger.log_scalars({f"{kept.table_name}/{name}": value for name, value in kept.metrics.items()})
