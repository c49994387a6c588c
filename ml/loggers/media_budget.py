"""Keeps media from filling a disk: what a run may spend on them, and what the disk must have left."""

import shutil
from typing import Literal

from ml.loggers.base import AnyLogger
from ml.loggers.report import Reporter, text_of

CHECK_DISK_EVERY_S = 5.0


class MediaBudget:
    """What one backend has written on media, earlier attempts included. All of it runs on the backend's own thread.

    Args:
        backend: The backend, initialized.
        reporter: Told when media stop.

    Attributes:
        refusal: Why media are not taken any more, or not now; ``None``: they are.
    """

    def __init__(self, backend: AnyLogger, reporter: Reporter) -> None:
        self._backend, self._reporter = backend, reporter
        self._clock = backend.context.clock
        self._written_bytes: int | None = None
        self._checked_s = -CHECK_DISK_EVERY_S
        self.refusal: Literal["media_budget", "disk_low"] | None = None

    def begin(self) -> None:
        """Counts what earlier attempts left, before the first media of this one are written; again does nothing."""
        if self._written_bytes is None:
            self._written_bytes = self._of_earlier_attempts()

    def count(self, size_bytes: int) -> None:
        """Adds what was written, and sees whether there may be more."""
        assert self._written_bytes is not None, "it was asked for before the first media were written"
        self._written_bytes += size_bytes
        budget = self._backend.config.max_media_bytes
        if self._written_bytes >= budget and self.refusal != "media_budget":
            self.refusal = "media_budget"
            self._reporter.notice(
                self._backend.id,
                f"'{self._backend.id}' has written {self._written_bytes} bytes of media, max_media_bytes is {budget}: "
                "media stop here, scalars go on.",
            )
        elif self._clock() - self._checked_s >= CHECK_DISK_EVERY_S:
            self.check_disk()

    def check_disk(self) -> None:
        """Sees whether the disk has room for media."""
        self._checked_s = self._clock()
        least = self._backend.config.min_free_bytes
        if self.refusal == "media_budget":
            return
        try:
            free = shutil.disk_usage(self._backend.log_directory).free
        except OSError:  # nothing was made there yet, or the disk is away, which writing will say
            return
        if free >= least:
            self.refusal = None
        elif self.refusal is None:
            self.refusal = "disk_low"
            self._reporter.notice(
                self._backend.id,
                f"'{self._backend.id}' sees {free} bytes free, min_free_bytes is {least}: media wait, scalars go on.",
            )

    def _of_earlier_attempts(self) -> int:
        if self._backend.context.attempt == 1:
            return 0
        try:
            return self._backend.media_bytes_on_disk()
        except Exception as error:
            self._reporter.report(
                self._backend.id, f"'{self._backend.id}' cannot count the media on disk: {text_of(error)}", error
            )
            return 0
