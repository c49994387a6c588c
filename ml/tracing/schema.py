"""The tables of traced inferences, on SQLite and on servers, to be read by hand or with pandas.

::

    models           name, architecture, task, n_class, created
    versions         id, model_name, name, created
    runs             id, uuid, token, version_id, rank, world_size, started, ended, host, pid, argv, lost
    inferences       id, run_id, input_id, dataset_type, epoch, rank, step, time, latency_s, height, width,
                     num_candidates, num_kept, num_visible, score_thresh, iou_thresh, max_detections_per_image,
                     mean_score, max_score, has_truth, truth_label, ... fields
    detections       inference_id, number, candidate, x1, y1, x2, y2, score, label, error_probability
    candidates       inference_id, count, data
    classifications  inference_id, label, probability, error_probability, logits
    features         inference_id, alias, dtype, shape, data
    pictures         inference_id, png
    ground_truths    inference_id, number, x1, y1, x2, y2, label, ... fields
    results          id, version_id, name, method, epoch, created, completed, options, data
    fields           place, name, type

    SELECT input_id, label, score FROM detections JOIN inferences ON inferences.id = inference_id WHERE epoch = 3

``runs`` has a row for each process of a run: its ranks share the uuid. An inference is known by the hash of its run's
uuid, its dataset type, epoch and input id. ``detections`` are what the user saw, by descending score; ``candidates``
all that were kept, packed as ``ml.tracing.packing`` says. ``error_probability`` is NULL where nobody estimated it.
Other numbers follow the rules of ``ml.db``, where NULL may stand for NaN; ``mean_score`` and ``max_score`` say nothing
where ``num_visible`` is 0. ``additional_fields`` are columns of ``inferences``, those of labels columns of
``ground_truths``: ``fields`` has their types. Those of type ``json`` are strict JSON, a NaN of type ``float`` is none.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ml.core.errors import ConfigError, LogValueError
from ml.db import AnyText, Real, UtcTime, migrate, shown
from ml.tracing.fields import FieldSpec

SCHEMA, SCHEMA_VERSION = "tracing", 1

INFERENCES, GROUND_TRUTHS = "inferences", "ground_truths"
"""The tables that have columns of the user's own."""

PARTS: Final = ("detections", "candidates", "classifications", "features", "pictures", GROUND_TRUTHS)
"""The tables whose rows belong to an inference."""

NAME_LENGTH = 255

_SHOWN: Final = {"run"}
"""What a reader's rows have beside the columns."""

_TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "str": AnyText,
    "int": sa.BigInteger,
    "float": sa.Double,
    "bool": sa.Boolean,
    "json": AnyText,
}


class OrderedText(AnyText):
    """Text that every database sorts by its code points."""

    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(sa.Text(collation=collation))


class Tables(NamedTuple):
    """The tables, with the columns of the user's own that whoever made this knows of."""

    metadata: sa.MetaData
    models: sa.Table
    versions: sa.Table
    runs: sa.Table
    inferences: sa.Table
    results: sa.Table
    fields: sa.Table

    def named(self, name: str) -> sa.Table:
        """Returns one by its name."""
        return self.metadata.tables[name]


def make_tables(fields: Sequence[FieldSpec] = (), label_fields: Sequence[FieldSpec] = ()) -> Tables:
    """Returns the tables; nobody may change them, as those with the same fields are made once.

    Args:
        fields: Columns of ``inferences``.
        label_fields: Columns of ``ground_truths``.

    Raises:
        ConfigError: A field is called like a column that is there, or like another one.
    """
    return _made(tuple(fields), tuple(label_fields))


def prepare(
    engine: sa.Engine, tables: Tables, first: Callable[[sa.Connection], None], last: Callable[[sa.Connection], None]
) -> None:
    """Makes the tables, or brings those that are there up to date.

    Args:
        engine: Of ``ml.db.connect``.
        tables: Ours.
        first: Called in the transaction, before.
        last: Called in the transaction, when the tables are there.

    Raises:
        ConfigError: A newer version made them, tables of somebody else have their names, or it is no database.
        WriteError: Not now.
    """
    try:
        migrate(engine, tables.metadata, name=SCHEMA, version=SCHEMA_VERSION, first=first, last=last)
    except ConfigError as error:
        if "cannot be added" not in str(error):
            raise
        raise ConfigError(
            f"{shown(engine.url)} has a table of this name that holds no traces. Name another database: {error}"
        ) from error
    except LogValueError as error:
        raise ConfigError(f"{shown(engine.url)} is no database for traces: {error.problem}.") from error


@lru_cache(maxsize=32)
def _made(fields: tuple[FieldSpec, ...], label_fields: tuple[FieldSpec, ...]) -> Tables:
    metadata = sa.MetaData()
    models = sa.Table(
        "models",
        metadata,
        sa.Column("name", AnyText(NAME_LENGTH), primary_key=True),
        sa.Column("architecture", sa.String(64), nullable=False),
        sa.Column("task", sa.String(32), nullable=False),
        sa.Column("n_class", sa.BigInteger, nullable=False),
        sa.Column("created", UtcTime, nullable=False),
    )
    versions = sa.Table(
        "versions",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_name", sa.ForeignKey(models.c.name), nullable=False),
        sa.Column("name", AnyText(NAME_LENGTH), nullable=False),
        sa.Column("created", UtcTime, nullable=False),
        sa.UniqueConstraint("model_name", "name"),
    )
    runs = sa.Table(
        "runs",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("uuid", sa.String(64), nullable=False),
        sa.Column("token", sa.String(32), nullable=False, unique=True),
        sa.Column("version_id", sa.ForeignKey(versions.c.id), nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("world_size", sa.Integer, nullable=False),
        sa.Column("started", UtcTime, nullable=False),
        sa.Column("ended", UtcTime),
        sa.Column("host", AnyText, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("argv", AnyText, nullable=False),
        sa.Column("lost", sa.BigInteger, nullable=False),
    )
    inferences = sa.Table(
        INFERENCES,
        metadata,
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("run_id", sa.ForeignKey(runs.c.id), nullable=False),
        sa.Column("input_id", OrderedText, nullable=False),
        sa.Column("dataset_type", OrderedText, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("time", UtcTime, nullable=False),
        sa.Column("latency_s", Real),
        sa.Column("height", sa.BigInteger),
        sa.Column("width", sa.BigInteger),
        sa.Column("num_candidates", sa.BigInteger, nullable=False),
        sa.Column("num_kept", sa.BigInteger, nullable=False),
        sa.Column("num_visible", sa.BigInteger, nullable=False),
        sa.Column("score_thresh", sa.Double),
        sa.Column("iou_thresh", sa.Double),
        sa.Column("max_detections_per_image", sa.BigInteger),
        sa.Column("mean_score", Real),
        sa.Column("max_score", Real),
        sa.Column("has_truth", sa.Boolean, nullable=False),
        sa.Column("truth_label", sa.BigInteger),
    )
    # Named, since an index that is renamed with its table has to make room for the next one.
    sa.Index("ix_inferences_order", *(inferences.c[name] for name in ("run_id", "dataset_type", "epoch", "step")))
    sa.Table(
        "detections",
        metadata,
        *_keyed(),
        sa.Column("candidate", sa.BigInteger, nullable=False),
        *_box(),
        *_judged("score"),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "candidates",
        metadata,
        sa.Column("inference_id", sa.String(32), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    sa.Table(
        "classifications",
        metadata,
        sa.Column("inference_id", sa.String(32), primary_key=True),
        *_judged("probability"),
        sa.Column("logits", sa.LargeBinary, nullable=False),
    )
    sa.Table(
        "features",
        metadata,
        sa.Column("inference_id", sa.String(32), primary_key=True),
        sa.Column("alias", AnyText(NAME_LENGTH), primary_key=True),
        sa.Column("dtype", sa.String(16), nullable=False),
        sa.Column("shape", sa.String(255), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    sa.Table(
        "pictures",
        metadata,
        sa.Column("inference_id", sa.String(32), primary_key=True),
        sa.Column("png", sa.LargeBinary, nullable=False),
    )
    truths = sa.Table(
        GROUND_TRUTHS,
        metadata,
        *_keyed(),
        *_box(),
        sa.Column("label", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    results = sa.Table(
        "results",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version_id", sa.ForeignKey(versions.c.id), nullable=False),
        sa.Column("name", AnyText(NAME_LENGTH), nullable=False),
        sa.Column("method", AnyText, nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("created", UtcTime, nullable=False),
        sa.Column("completed", UtcTime),
        sa.Column("options", AnyText, nullable=False),
        sa.Column("data", AnyText, nullable=False),
        sa.UniqueConstraint("version_id", "name"),
    )
    kinds = sa.Table(
        "fields",
        metadata,
        sa.Column("place", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("type", sa.String(16), nullable=False),
    )
    for table, specs in ((inferences, fields), (truths, label_fields)):
        _add_fields(table, specs)
    return Tables(metadata, models, versions, runs, inferences, results, kinds)


def _keyed() -> list[sa.Column[Any]]:
    return [
        sa.Column("inference_id", sa.String(32), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    ]


def _box() -> list[sa.Column[Any]]:
    return [sa.Column(name, Real) for name in ("x1", "y1", "x2", "y2")]


def _judged(score: str) -> list[sa.Column[Any]]:
    return [
        sa.Column(score, Real),
        sa.Column("label", sa.BigInteger, nullable=False),
        sa.Column("error_probability", sa.Double),
    ]


def _add_fields(table: sa.Table, specs: Sequence[FieldSpec]) -> None:
    taken = {column.name.lower() for column in table.columns} | _SHOWN
    for spec in specs:
        if spec.name.lower() in taken:
            raise ConfigError(f"A field cannot be called {spec.name!r}: '{table.name}' has such a column. Rename it.")
        taken.add(spec.name.lower())
        table.append_column(sa.Column(spec.name, _TYPES[spec.type]()))
