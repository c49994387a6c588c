"""Which inferences are on their way to an endpoint, or have arrived: a small database beside the spool.

An inference is *sealed* into one batch, before the batch is in the spool; it is not sealed again, unless it was traced
anew since. A batch is ``sealed``, then ``spooled``, then ``arrived``, or ``refused`` for good. Between the first two
the process may die: then the batch is made again from the same inferences, and if it is not the same any more it is
forgotten, and what the spool may hold of it is not sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import sqlalchemy as sa

from ml.db import connect, migrate, transact, upsert

State: TypeAlias = Literal["sealed", "spooled", "arrived", "refused"]

_IDS_AT_ONCE: Final = 500
_METADATA = sa.MetaData()
_BATCHES = sa.Table(
    "batches",
    _METADATA,
    sa.Column("key", sa.String(1024), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("inferences", sa.Integer, nullable=False),
)
_RECORDS = sa.Table(
    "records",
    _METADATA,
    sa.Column("inference_id", sa.String(32), primary_key=True),
    sa.Column("digest", sa.String(32), nullable=False),
    sa.Column("batch", sa.String(1024), nullable=False, index=True),
)


class Known(NamedTuple):
    """What is known of an inference: its digest when it was sealed, and the state of its batch."""

    digest: str
    state: State


class Ledger:
    """Remembers what was sealed. Used by one process and one thread at a time.

    Args:
        path: Of the database, made if need be.

    Raises:
        ConfigError: It is a database of a newer version, or none.
        WriteError: It cannot be opened now; so does every method.
    """

    def __init__(self, path: Path) -> None:
        self._engine = connect(path)
        migrate(self._engine, _METADATA, name="tracing-ledger", version=1)

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """Returns what is known of inferences; those that never were sealed are left out."""
        found: dict[str, Known] = {}
        for start in range(0, len(ids), _IDS_AT_ONCE):
            some = ids[start : start + _IDS_AT_ONCE]
            query = (
                sa.select(_RECORDS.c.inference_id, _RECORDS.c.digest, _BATCHES.c.state)
                .join(_BATCHES, _BATCHES.c.key == _RECORDS.c.batch)
                .where(_RECORDS.c.inference_id.in_(some))
            )
            found |= {row.inference_id: Known(row.digest, row.state) for row in self._rows(query)}
        return found

    def seal(self, key: str, digests: Mapping[str, str], state: State = "sealed") -> None:
        """Notes that inferences are in a batch, from now on in no other one.

        Args:
            key: Of the batch.
            digests: Of each inference, by its id.
            state: Of the batch.
        """
        batch = {"key": key, "state": state, "inferences": len(digests)}
        records = [{"inference_id": one, "digest": digest, "batch": key} for one, digest in digests.items()]

        def work(connection: sa.Connection) -> None:
            upsert(connection, _BATCHES, [batch])
            upsert(connection, _RECORDS, records)

        transact(self._engine, work)

    def move(self, key: str, state: State) -> int:
        """Notes what became of a batch. Returns how many inferences it has; 0: that was known."""

        def work(connection: sa.Connection) -> int:
            changed = connection.execute(
                _BATCHES.update().where(_BATCHES.c.key == key, _BATCHES.c.state != state).values(state=state)
            )
            if not changed.rowcount:
                return 0
            return int(connection.scalar(sa.select(_BATCHES.c.inferences).where(_BATCHES.c.key == key)) or 0)

        return transact(self._engine, work)

    def forget(self, keys: Iterable[str]) -> None:
        """Forgets batches: their inferences are sealed anew."""

        def work(connection: sa.Connection) -> None:
            for key in list(keys):
                connection.execute(_RECORDS.delete().where(_RECORDS.c.batch == key))
                connection.execute(_BATCHES.delete().where(_BATCHES.c.key == key))

        transact(self._engine, work)

    def state_of(self, key: str) -> State | None:
        """Returns the state of a batch; ``None``: it is not known."""
        rows = self._rows(sa.select(_BATCHES.c.state).where(_BATCHES.c.key == key))
        return rows[0][0] if rows else None

    def batches(self, state: State) -> list[str]:
        """Returns the keys of the batches that are in a state."""
        query = sa.select(_BATCHES.c.key).where(_BATCHES.c.state == state).order_by(_BATCHES.c.key)
        return [row.key for row in self._rows(query)]

    def waiting(self) -> int:
        """Returns how many inferences are in batches that have not arrived."""
        query = sa.select(sa.func.sum(_BATCHES.c.inferences)).where(_BATCHES.c.state.in_(("sealed", "spooled")))
        return int(self._rows(query)[0][0] or 0)

    def digests(self, key: str) -> dict[str, str]:
        """Returns the inferences of a batch, by id, in the order of their ids, with their digests."""
        query = (
            sa.select(_RECORDS.c.inference_id, _RECORDS.c.digest)
            .where(_RECORDS.c.batch == key)
            .order_by(_RECORDS.c.inference_id)
        )
        return {row.inference_id: row.digest for row in self._rows(query)}

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()

    def _rows(self, query: "sa.Select[Any]") -> "list[sa.Row[Any]]":
        return transact(self._engine, lambda connection: list(connection.execute(query)))
