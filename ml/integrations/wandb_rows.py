"""What was logged of a state, as a row of W&B's history: numbers, and the classes of W&B that show everything else."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ml.integrations.wandb_names import PHASE, STEP
from ml.integrations.wandb_records import html_of
from ml.io.names import safe_segment
from ml.loggers.kinds import AUDIO, IMAGE, VIDEO, Kind
from ml.loggers.wide_rows import WideRow
from ml.media.histogram import Histogram, coarsened

if TYPE_CHECKING:
    import wandb


class File(NamedTuple):
    """An encoded medium."""

    kind: Kind
    form: str
    data: bytes


class Points(NamedTuple):
    """Points, shape (N, 3), or with colours (N, 6)."""

    table: np.ndarray


Value = int | float | File | Points | Histogram | list[str]
"""A value as it waits; texts are a list, as a key may have several at a step."""


def hand_over(row: WideRow[Value], run: "wandb.Run", directory: Path) -> None:
    """Logs a row; when this returns, its media are files of the run.

    Args:
        row: What was logged of a state.
        run: To which.
        directory: Where media are kept until then.
    """
    fields: dict[str, Any] = {STEP: row.state.num_steps}
    if row.state.time_s:
        fields["_timestamp"] = row.state.time_s
    if row.state.phase != "train":
        fields[PHASE] = row.state.phase
    fields |= {name: value for name, value in row.values.items() if isinstance(value, int | float)}
    shown = {name: value for name, value in row.values.items() if not isinstance(value, int | float)}
    if not shown:
        run.log(fields)
        return
    with TemporaryDirectory(dir=directory, prefix=".media-") as folder:
        for name, value in shown.items():
            fields[name] = _shown(value, Path(folder))
            if not isinstance(value, Histogram):
                fields[name].bind_to_run(run, safe_segment(name), run.step)  # else the key is its path
        run.log(fields)


def _shown(value: File | Points | Histogram | list[str], folder: Path) -> Any:
    """Returns a value as the class of W&B that shows it."""
    import wandb

    if isinstance(value, Histogram):
        return wandb.Histogram(np_histogram=coarsened(value.counts, value.edges, wandb.Histogram.MAX_LENGTH))
    if isinstance(value, Points):
        return wandb.Object3D(value.table)
    if isinstance(value, list):
        return wandb.Html(html_of(value), inject=False, data_is_not_path=True)
    path = os.fspath(folder / f"{secrets.token_hex(8)}.{value.form}")  # W&B takes files by their name
    Path(path).write_bytes(value.data)
    classes: dict[Kind, Callable[[str], Any]] = {IMAGE: wandb.Image, AUDIO: wandb.Audio, VIDEO: wandb.Video}
    return classes[value.kind](path)
