"""Where a tracer's inferences go: into the database, and from there into files and to an endpoint."""

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml.core.errors import ConfigError
from ml.db.files import sqlite_file
from ml.loggers.stats import LoggerStats
from ml.tracing.destination import ENDPOINT_VARIABLE
from ml.tracing.fields import FieldSpec
from ml.tracing.options import Options
from ml.tracing.ranks import RUNS
from ml.tracing.record import Identity, Inference
from ml.tracing.selection import Selection
from ml.tracing.writing import TraceWriter

if TYPE_CHECKING:
    from ml.tracing.reading import Traces
    from ml.tracing.upload import Uploader, UploadReport

_log = logging.getLogger("ml")

_FLUSH_TIMEOUT_S, _SEND_TIMEOUT_S = 30.0, 600.0
_SPOOL, _SPOOL_SUFFIX = "traces.spool", ".spool"


class Saver:
    """The inferences of one tracer, on their way.

    Args:
        options: Of the tracer.
        identity: Of its model.
        fields: Columns of inferences.
        label_fields: Columns of true boxes.
        rank: Of this process.
        world_size: Of how many.
        is_primary: Whether this one sends what all ranks have saved.

    Raises:
        ConfigError: The database is none for traces, or knows the model or a field otherwise.
    """

    def __init__(
        self,
        options: Options,
        identity: Identity,
        fields: Sequence[FieldSpec],
        label_fields: Sequence[FieldSpec],
        *,
        rank: int,
        world_size: int,
        is_primary: bool,
    ) -> None:
        self._options, self._identity = options, identity
        self._writer = TraceWriter(
            options.database,
            identity,
            fields=fields,
            label_fields=label_fields,
            recreate=options.force_table_recreate,
            rank=rank,
            world_size=world_size,
            run=RUNS.begin(rank, world_size, f"{identity.model_name}\n{identity.version_name}"),
            max_queue_bytes=options.max_queue_bytes,
            wall_clock=options.wall_clock,
        )
        self._uploader: Uploader | None = None
        if options.auto_sync and options.api_endpoint and is_primary:
            try:
                self._uploader = self._make_uploader()
            except BaseException:
                self._writer.close(0.0)
                raise

    def epoch(self) -> int:
        """Returns the epoch of the model that is watched: as it was chosen, else the latest that is in the database."""
        chosen = self._options.n_epoch
        return (self._writer.latest_epoch() or 0) if isinstance(chosen, str) else chosen

    def submit(self, inferences: Sequence[Inference]) -> None:
        """Hands inferences on; never waits, and never raises."""
        self._writer.submit(inferences)
        if self._uploader is not None:
            self._uploader.wake()

    def selection(self) -> Selection:
        """Returns the inferences of this version, of the epochs that were chosen."""
        return Selection(self._identity.model_name, self._identity.version_name, n_epoch=self._options.n_epoch)

    def stats(self) -> LoggerStats:
        """Returns what became of the inferences."""
        return self._writer.stats()

    def wait(self, interval_s: float, timeout_s: float | None) -> bool:
        """Waits until all is saved, and sent if it is sent by itself; warns every ``interval_s`` of what it waits for.

        Raises:
            ConfigError: The interval is none.
        """
        if not interval_s > 0:
            raise ConfigError(f"interval is the seconds between warnings, above 0, got {interval_s!r}.")
        end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not (is_saved := self._writer.flush(min(interval_s, max(0.0, end_s - time.monotonic())))):
            pending = self._writer.stats().pending
            if not pending or time.monotonic() >= end_s:
                break
            _log.warning("Waiting for the database to take %d inferences of %s.", pending, self._identity.model_name)
        if self._uploader is None or not is_saved:
            return is_saved
        while not (is_sent := self._uploader.flush(min(interval_s, max(0.0, end_s - time.monotonic())))):
            if time.monotonic() >= end_s:
                break
            _log.warning(
                "Waiting for the endpoint to take the inferences of %s: %s",
                self._identity.model_name,
                self._uploader.report.problem or "they are being sent",
            )
        return is_sent

    def export(self, output_path: str | Path | None) -> Path:
        """Writes the selection to a file; see ``ModelTracer.export``."""
        from ml.tracing.export import export

        self._flush()
        with self._traces() as traces:
            return export(traces, self.selection(), output_path)

    def endpoint(self) -> str:
        """Returns the endpoint.

        Raises:
            ConfigError: There is none.
        """
        if not self._options.api_endpoint:
            raise ConfigError(f"There is no endpoint to upload to. Give api_endpoint, or set {ENDPOINT_VARIABLE}.")
        return self._options.api_endpoint

    def upload(self) -> "UploadReport":
        """Sends the selection; see ``ModelTracer.upload``."""
        from ml.tracing.upload import TIMEOUT_S, upload

        endpoint = self.endpoint()
        self._flush()
        if self._uploader is not None:  # which has the spool
            self._uploader.flush(TIMEOUT_S)
            return self._uploader.report
        with self._traces() as traces:
            return upload(
                traces, self.selection(), endpoint=endpoint, api_key=self._options.api_key, spool=self._spool()
            )

    def close(self, timeout_s: float | None) -> None:
        """Saves what waits, and sends it if it is sent by itself; again does nothing."""
        end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        uploader, self._uploader = self._uploader, None
        if uploader is not None:
            self._writer.flush(timeout_s)
            uploader.close(_SEND_TIMEOUT_S if timeout_s is None else max(0.0, end_s - time.monotonic()))
        self._writer.close(None if timeout_s is None else max(0.0, end_s - time.monotonic()))

    def _make_uploader(self) -> "Uploader":
        from ml.tracing.destination import destination_of
        from ml.tracing.upload import Uploader

        destination = destination_of(self.endpoint(), self._options.api_key)
        # All epochs of this run: of an earlier one that is not the latest any more, some may still be on the way.
        own = self.selection()._replace(n_epoch="all", run=self._writer.run)
        return Uploader(self._traces, own, destination, self._spool())

    def _traces(self) -> "Traces":
        from ml.tracing.reading import open_traces

        return open_traces(self._options.database)

    def _spool(self) -> Path:
        """Returns the directory that remembers what was sent: beside the database, or in the working directory."""
        file = sqlite_file(self._options.database)
        return Path(_SPOOL) if file is None else file.with_suffix(_SPOOL_SUFFIX)

    def _flush(self) -> None:
        if not self._writer.flush(_FLUSH_TIMEOUT_S) and self._writer.stats().pending:
            _log.warning(
                "%d inferences of %s are not in the database yet, and are left out.",
                self._writer.stats().pending,
                self._identity.model_name,
            )
