"""What there is in databases of traces: which models and versions, and of each run how much of what.

The database counts, so no inference is read, and neither pandas nor pyarrow is needed.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ml.core.errors import ConfigError
from ml.tracing.opening import TraceDatabase, opened
from ml.tracing.results import OfVersion

_MAX_NAMED: Final = 20


class TracedVersion(NamedTuple):
    """A version of a model.

    Attributes:
        model_name: Of the architecture.
        version_name: Of the training.
        task: ``"detection"`` or ``"classification"``.
        n_class: How many classes the model knows.
        architecture: Hash of the model's structure.
        created: When it was first traced.
    """

    model_name: str
    version_name: str
    task: str
    n_class: int
    architecture: str
    created: datetime


class Group(NamedTuple):
    """The inferences of one dataset type and epoch in one run.

    Attributes:
        model_name: Whose they are.
        version_name: Of it.
        run: The uuid of the run.
        dataset_type: As the user calls it.
        epoch: How many epochs the model had been trained for.
        num_inferences: How many. One that several databases have counts in each.
        num_labelled: Those whose truth is known.
        num_visible: What the user saw, in all of them.
        mean_latency_s: Seconds of the model, an input; ``None`` where they were not measured.
        first: When the first of them was.
        last: When the last of them was.
    """

    model_name: str
    version_name: str
    run: str
    dataset_type: str
    epoch: int
    num_inferences: int
    num_labelled: int
    num_visible: int
    mean_latency_s: float | None
    first: datetime
    last: datetime


class ResultEntry(NamedTuple):
    """A result of a version, without what was found.

    Attributes:
        name: Of the result.
        method: How: ``"default"``, ``"drift"``.
        epoch: Of which inferences; ``None``: of all.
        created: When it was asked for.
    """

    name: str
    method: str
    epoch: int | None
    created: datetime


class Overview(NamedTuple):
    """What there is.

    Attributes:
        versions: In the order of their names.
        groups: In the order in which their runs began, by dataset type and epoch.
    """

    versions: tuple[TracedVersion, ...]
    groups: tuple[Group, ...]

    def of(self, version: OfVersion) -> tuple[Group, ...]:
        """Returns the groups of a version."""
        return tuple(group for group in self.groups if group[:2] == (version.model_name, version.version_name))


def overview(databases: Sequence[str | Path]) -> Overview:
    """Returns what there is in databases, and beside files in those of other ranks.

    Raises:
        FileNotFoundError: There is no such file.
        FormatError, ConfigError: One is damaged, no database for traces, or does not answer.
    """
    with opened(databases) as found:
        return overview_of(found)


def overview_of(databases: Sequence[TraceDatabase]) -> Overview:
    """Returns what there is in open databases.

    Raises:
        FormatError, ConfigError: One is damaged, or does not answer.
    """
    versions, groups = dict[tuple[str, str], TracedVersion](), dict[tuple[object, ...], Group]()
    for database in databases:
        for row in database.rows(_versions(database)):
            versions.setdefault((row.model_name, row.version_name), TracedVersion._make(row))
        for row in database.rows(_groups(database)):
            latency_s = None if row.mean_latency_s is None else float(row.mean_latency_s)
            group = Group._make(row)._replace(mean_latency_s=latency_s)
            known = groups.get(group[:5])
            groups[group[:5]] = group if known is None else _together(known, group)
    return Overview(tuple(versions[key] for key in sorted(versions)), tuple(groups.values()))


def version_of(there: Overview, model_name: str, version_name: str) -> TracedVersion:
    """Returns a version.

    Args:
        there: What there is.
        model_name: ``""``: the only one.
        version_name: ``""``: the only one of the model.

    Raises:
        ConfigError: There is no such version, or several could be meant.
    """
    models = list(dict.fromkeys(version.model_name for version in there.versions))
    if not models:
        raise ConfigError("There is no model in it: nothing was traced yet.")
    if model_name not in models and (model_name or len(models) > 1):
        problem = f"There is no model {model_name!r:.80}." if model_name else "There are several models: name one."
        raise ConfigError(f"{problem} {there_are(models)}")
    model_name = model_name or models[0]
    versions = {one.version_name: one for one in there.versions if one.model_name == model_name}
    if version_name not in versions and (version_name or len(versions) > 1):
        problem = "There are several versions: name one."
        if version_name:
            problem = f"There is no version {version_name!r:.80} of the model {model_name!r:.80}."
        raise ConfigError(f"{problem} {there_are(list(versions))}")
    return versions[version_name or next(iter(versions))]


def dataset_types_text(groups: Sequence[Group]) -> str:
    """Returns a sentence that lists them: ``There are: val (epochs 0-4), deploying (epochs 0).`` is one."""
    epochs = dict[str, list[int]]()
    for group in groups:
        epochs.setdefault(group.dataset_type, []).append(group.epoch)
    return there_are([f"{name} (epochs {epochs_text(of)})" for name, of in epochs.items()])


def epochs_text(epochs: Sequence[int]) -> str:
    """Returns numbers as ``0-4, 7``."""
    numbers = sorted(set(epochs))
    parts = []
    for _, same in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in same]
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ", ".join(parts)


def there_are(names: Sequence[str]) -> str:
    """Returns a sentence that lists names, or says that there are none."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"There are: {', '.join(name[:80] for name in names[:_MAX_NAMED])}{more}." if names else "There are none."


def results_of(databases: Sequence[str | Path], of: OfVersion) -> list[ResultEntry]:
    """Returns the results of a version, the oldest first; of one name that of the first database.

    Raises:
        FileNotFoundError, FormatError, ConfigError: As ``overview``.
    """
    entries = dict[str, ResultEntry]()
    with opened(databases) as found:
        for database in found:
            results, versions = database.table("results"), database.table("versions")
            query = sa.select(*(results.c[name] for name in ResultEntry._fields))
            query = query.join(versions, versions.c.id == results.c.version_id)
            query = query.where(versions.c.model_name == of.model_name, versions.c.name == of.version_name)
            for row in database.rows(query):
                entries.setdefault(row.name, ResultEntry._make(row))
    return sorted(entries.values(), key=lambda entry: (entry.created, entry.name))


def _versions(database: TraceDatabase) -> "sa.Select[Any]":
    models, versions = database.table("models"), database.table("versions")
    columns = (models.c.task, models.c.n_class, models.c.architecture, versions.c.created)
    query = sa.select(versions.c.model_name, versions.c.name.label("version_name"), *columns)
    return query.join(models, models.c.name == versions.c.model_name)


def _groups(database: TraceDatabase) -> "sa.Select[Any]":
    versions, runs, inferences = (database.table(name) for name in ("versions", "runs", "inferences"))
    keys = (
        versions.c.model_name,
        versions.c.name.label("version_name"),
        runs.c.uuid.label("run"),
        inferences.c.dataset_type,
        inferences.c.epoch,
    )
    query = sa.select(
        *keys,
        sa.func.count().label("num_inferences"),
        sa.func.sum(sa.case((inferences.c.has_truth, 1), else_=0)).label("num_labelled"),
        sa.cast(sa.func.sum(inferences.c.num_visible), sa.BigInteger).label("num_visible"),  # PostgreSQL has a Decimal
        sa.func.avg(inferences.c.latency_s).label("mean_latency_s"),
        sa.func.min(inferences.c.time).label("first"),
        sa.func.max(inferences.c.time).label("last"),
    )
    query = query.select_from(inferences).join(runs, runs.c.id == inferences.c.run_id)
    query = query.join(versions, versions.c.id == runs.c.version_id).group_by(*keys)
    return query.order_by(sa.func.min(runs.c.id), inferences.c.dataset_type, inferences.c.epoch)


def _together(one: Group, other: Group) -> Group:
    """Returns the same group of two databases as one."""
    measured = [group for group in (one, other) if group.mean_latency_s is not None]
    weight = sum(group.num_inferences for group in measured)
    total_s = sum((group.mean_latency_s or 0.0) * group.num_inferences for group in measured)
    return one._replace(
        num_inferences=one.num_inferences + other.num_inferences,
        num_labelled=one.num_labelled + other.num_labelled,
        num_visible=one.num_visible + other.num_visible,
        mean_latency_s=total_s / weight if weight else None,
        first=min(one.first, other.first),
        last=max(one.last, other.last),
    )
