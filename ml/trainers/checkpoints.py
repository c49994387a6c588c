"""Checkpoints: whole or not there, the newest few, and nothing in them that could run code."""

import logging
import os
import re
from pathlib import Path
from typing import Any

import torch

from ml.core.errors import FormatError

_NAME = re.compile(r"step-(\d{8,})\.pt")
_log = logging.getLogger("ml")


class Checkpoints:
    """The checkpoints of a run, ``step-<8 digits>.pt`` in one directory.

    Args:
        directory: Made when the first one is saved.
        keep: How many are kept, the newest; at least 1.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        self._directory, self._keep = directory, keep

    def paths(self) -> list[Path]:
        """Returns the checkpoints that are there, oldest first."""
        found = [(_NAME.fullmatch(path.name), path) for path in self._directory.glob("step-*.pt")]
        return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]

    def save(self, num_steps: int, content: dict[str, Any]) -> None:
        """Writes a checkpoint: a crash leaves it whole or absent, never half.

        A full or failing disk is reported and costs this checkpoint; training goes on with the ones before it.

        Args:
            num_steps: Training steps done; a checkpoint of the same step is replaced.
            content: Tensors, numbers, texts and plain containers of them.
        """
        path = self._directory / f"step-{num_steps:08d}.pt"
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(self._directory)
            for old in self.paths()[: -self._keep]:
                old.unlink(missing_ok=True)
        except (OSError, RuntimeError) as error:  # torch.save turns a failed write into a RuntimeError
            temporary.unlink(missing_ok=True)
            _log.error("Cannot save the checkpoint %s: %s. Training goes on without it.", path, error)

    def load_newest(self) -> dict[str, Any] | None:
        """Returns the content of the newest checkpoint, on the CPU, or ``None`` where there is none.

        Raises:
            FormatError: It cannot be read.
        """
        paths = self.paths()
        if not paths:
            return None
        try:
            content = torch.load(paths[-1], map_location="cpu", weights_only=True)
        except Exception as error:
            fix = "Remove it to resume from the one before" if len(paths) > 1 else "Start a new run"
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise FormatError(f"not a checkpoint ({reason}). {fix}.", path=paths[-1]) from error
        assert isinstance(content, dict)
        return content


def _sync_directory(directory: Path) -> None:
    # The new name itself is not durable before its directory is.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
