"""Which of the inferences in some databases are meant.

Epochs are counted by the run, which counts from where it began: the same number in two runs is not the same model. So
``"latest"`` and a number each mean one run: that which was registered last of those that have such inferences. A run is
all of its ranks. No clock is asked, and a run that was begun again with fewer epochs is the newest all the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from ml.core.errors import ConfigError
from ml.tracing.opening import TraceDatabase, opened

Epochs = Literal["latest", "all"] | int


class Selection(NamedTuple):
    """Inferences of one version of a model.

    Attributes:
        model_name: Of the model.
        version_name: Of the training.
        dataset_type: Only of this one; ``None``: of all.
        n_epoch: ``"latest"``: the highest epoch of the newest run that has such inferences; a number: that epoch of
            the newest run that has it; ``"all"``: every epoch of every run.
        run: Only of the run with this uuid.
    """

    model_name: str
    version_name: str
    dataset_type: str | None = None
    n_epoch: Epochs = "latest"
    run: str | None = None

    def checked(self) -> "Selection":
        """Returns this.

        Raises:
            ConfigError: ``n_epoch`` is something else.
        """
        is_number = isinstance(self.n_epoch, int) and not isinstance(self.n_epoch, bool)
        if not is_number and self.n_epoch not in ("latest", "all"):
            raise ConfigError(f"n_epoch is 'latest', 'all' or a whole number, got {self.n_epoch!r:.80}.")
        return self


class Chosen(NamedTuple):
    """What a selection means in some databases. ``None``: any."""

    run: str | None
    epoch: int | None


def chosen(databases: Sequence[TraceDatabase], selection: Selection) -> Chosen | None:
    """Returns what a selection means; ``None``: there are no such inferences.

    Args:
        databases: Of several, the newest run is that of the first one that has any.
        selection: Which inferences.

    Raises:
        ConfigError: ``n_epoch`` is wrong, or a database cannot be read.
        FormatError: One is damaged.
    """
    epoch = selection.checked().n_epoch
    if epoch == "all":
        return Chosen(selection.run, None)
    number = None if epoch == "latest" else int(epoch)
    for database in databases:
        run = database.scalar(_newest_run(database, selection, number))
        if run is not None:
            break
    else:
        return None
    if number is None:
        epochs = [database.scalar(_highest_epoch(database, selection, run)) for database in databases]
        number = max(epoch for epoch in epochs if epoch is not None)
    return Chosen(run, number)


def newest(where: str | Path, selection: Selection) -> int | None:
    """Returns the epoch that a selection of the latest means in a database; ``None``: there are no inferences.

    Raises:
        FileNotFoundError: There is no such file.
        FormatError, ConfigError: It is damaged, no database for traces, or cannot be read.
    """
    with opened([where]) as databases:
        found = chosen(databases, selection._replace(n_epoch="latest"))
    return None if found is None else found.epoch


def runs_of(database: TraceDatabase, selection: Selection, run: str | None) -> "sa.Select[Any]":
    """Returns what selects the ids of the processes of a version's runs, in the order in which they registered."""
    runs, versions = database.table("runs"), database.table("versions")
    of_version = sa.and_(versions.c.model_name == selection.model_name, versions.c.name == selection.version_name)
    query = sa.select(runs.c.id).join(versions, versions.c.id == runs.c.version_id).where(of_version)
    return (query if run is None else query.where(runs.c.uuid == run)).order_by(runs.c.id)


def _newest_run(database: TraceDatabase, selection: Selection, epoch: int | None) -> "sa.Select[Any]":
    runs, inferences = database.table("runs"), database.table("inferences")
    wanted = [inferences.c.run_id == runs.c.id]
    if selection.dataset_type is not None:
        wanted.append(inferences.c.dataset_type == selection.dataset_type)
    if epoch is not None:
        wanted.append(inferences.c.epoch == epoch)
    has_some = sa.exists(sa.select(sa.literal(1)).where(*wanted))
    query = runs_of(database, selection, selection.run).with_only_columns(runs.c.uuid)
    return query.where(has_some).order_by(None).order_by(runs.c.id.desc()).limit(1)


def _highest_epoch(database: TraceDatabase, selection: Selection, run: str) -> "sa.Select[Any]":
    inferences = database.table("inferences")
    query = sa.select(sa.func.max(inferences.c.epoch)).where(
        inferences.c.run_id.in_(runs_of(database, selection, run).order_by(None))
    )
    return query if selection.dataset_type is None else query.where(inferences.c.dataset_type == selection.dataset_type)
