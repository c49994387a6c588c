"""What was logged of a state, as a row of W&B's history: numbers, and the classes of W&B that show everything else."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ml.core.state import State
from ml.integrations.wandb_offline import PHASE, STEP
from ml.integrations.wandb_records import html_of
from ml.io.names import safe_segment
from ml.loggers.kinds import AUDIO, IMAGE, VIDEO, Kind
from ml.loggers.values import series_path
from ml.media.histogram import Histogram

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


@dataclass
class Row:
    """What was logged of one state."""

    state: State
    values: dict[str, Value] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[State, frozenset[str]]:
        """The same for a row that is offered again."""
        return self.state, frozenset(self.values)

    def hand_to(self, run: "wandb.Run", directory: Path) -> None:
        """Logs the row; when this returns, its media are files of the run.

        Args:
            run: To which.
            directory: Where media are kept until then.
        """
        fields: dict[str, Any] = {STEP: self.state.num_steps}
        if self.state.time_s:
            fields["_timestamp"] = self.state.time_s
        if self.state.phase != "train":
            fields[PHASE] = self.state.phase
        fields |= {name: value for name, value in self.values.items() if isinstance(value, int | float)}
        shown = {name: value for name, value in self.values.items() if not isinstance(value, int | float)}
        if not shown:
            run.log(fields)
            return
        with TemporaryDirectory(dir=directory, prefix=".media-") as folder:
            for name, value in shown.items():
                fields[name] = _shown(value, Path(folder))
                if not isinstance(value, Histogram):
                    fields[name].bind_to_run(run, safe_segment(name), run.step)  # else the key is its path
            run.log(fields)


def name_of(namespace: str, key: str, state: State) -> str:
    """Returns what W&B calls a value; names that it has for itself are taken out of its way."""
    name = series_path(namespace, key).encode(errors="replace").decode()
    if state.phase != "train":
        return f"{state.phase}/{name}"
    return f"logged/{name}" if name in ("", STEP, PHASE) or name.startswith("_") else name


def _shown(value: File | Points | Histogram | list[str], folder: Path) -> Any:
    """Returns a value as the class of W&B that shows it."""
    import wandb

    if isinstance(value, Histogram):
        return wandb.Histogram(np_histogram=(value.counts, value.edges))
    if isinstance(value, Points):
        return wandb.Object3D(value.table)
    if isinstance(value, list):
        return wandb.Html(html_of(value), inject=False, data_is_not_path=True)
    path = os.fspath(folder / f"{secrets.token_hex(8)}.{value.form}")  # W&B takes files by their name
    Path(path).write_bytes(value.data)
    classes: dict[Kind, Callable[[str], Any]] = {IMAGE: wandb.Image, AUDIO: wandb.Audio, VIDEO: wandb.Video}
    return classes[value.kind](path)
