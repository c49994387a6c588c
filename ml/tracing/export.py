"""Writes chosen inferences to one file that is whole or not there: ``fcos_v1_all_latest.zip``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ml.core.errors import ConfigError
from ml.io.names import readable_segment
from ml.io.replacing import replacing
from ml.tracing.archive import TraceTables, require_pyarrow, write_archive

if TYPE_CHECKING:
    from ml.tracing.selection import Selection

_SUFFIX = ".zip"
_PART_CHARACTERS = 60


def export(traces: TraceTables, selection: "Selection", output_path: str | Path | None = None) -> Path:
    """Writes an archive (``ml.tracing.archive``) of the chosen inferences, and returns where it lies.

    The same inferences make the same bytes. A file that is there is replaced when the new one is whole and on the
    disk; a process that is killed before that leaves it as it was.

    Args:
        traces: Where the inferences come from.
        selection: Which.
        output_path: The file, if its name ends in ``.zip``; else a directory, which is made, for a file with the
            default name. ``None``: the working directory.

    Raises:
        ConfigError: pyarrow is not installed, or the path cannot be that of a file.
        WriteError: It cannot be written now.
    """
    require_pyarrow()
    path = archive_path(selection, output_path)
    with replacing(path) as file:
        write_archive(file, traces, selection)
    return path


def archive_path(selection: "Selection", output_path: str | Path | None = None) -> Path:
    """Returns where an export is written; see ``export``.

    Raises:
        ConfigError: A directory is meant, and there is something else.
    """
    path = Path("." if output_path is None else os.fspath(output_path))
    if path.suffix.lower() == _SUFFIX and not path.is_dir():
        return path
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is no directory. Name one, or a file that ends in {_SUFFIX}.")
    return path / default_name(selection)


def default_name(selection: "Selection") -> str:
    """Returns ``<model>_<version>_<dataset type or all>_<epoch>.zip``; what no file can be called is escaped."""
    parts = (
        selection.model_name,
        selection.version_name,
        selection.dataset_type or "all",
        str(selection.n_epoch),
    )
    return "_".join(readable_segment(part[:_PART_CHARACTERS]) for part in parts) + _SUFFIX
