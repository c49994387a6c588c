"""Gives the tables of an evaluation to Weights & Biases too: ``EvalCallback(..., sinks=[WandbTables(wandb.init())])``.

It works online and offline, as it asks the server for nothing. A run gets the ground truth once, under the name of its
table, and the predictions at each evaluation, with their metrics::

    val_data            idx  image  label
    eval_data           epoch  idx  image            label  pred
                        0      0    val_data#0       cat    dog
    eval_data/accuracy  0.75

W&B copies every medium that a table holds. What the ground truth has already is therefore not given again:
``val_data#0`` says in which row it is. A picture with other boxes, masks or caption is another one, and is given.

Offline, W&B keeps media outside of the run's folder until ``wandb sync``, below ``WANDB_DATA_DIR``.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ml.core.errors import LogValueError, missing
from ml.evaluation.blobs import MediaFile
from ml.evaluation.sinks import KeptTable
from ml.evaluation.values import Audio, Boxes, Image, Masks

if TYPE_CHECKING:
    import wandb

MAX_ROWS = 200_000
"""W&B leaves out further rows of a table, so such a table is refused."""

_PREDICTIONS = "boxes"
_LABELS = "masks"


class WandbTables:
    """Logs every table of an evaluation to a run of W&B.

    Args:
        run: As ``wandb.init`` gives it; it stays open.

    Raises:
        ConfigError: W&B is not installed.
    """

    def __init__(self, run: "wandb.Run") -> None:
        try:
            import wandb  # noqa: F401
        except ImportError as error:
            raise missing("WandbTables", "W&B", "wandb", error) from error
        self._run = run
        self._row_of: dict[Image | Audio, str] = {}

    def keep(self, kept: KeptTable) -> None:
        """Logs a table, and the metrics and the epoch of predictions.

        Raises:
            LogValueError: It has more than ``MAX_ROWS`` rows.
        """
        import wandb

        if len(kept.table) > MAX_ROWS:
            raise LogValueError(f"W&B takes {MAX_ROWS} rows of a table, got {len(kept.table)}", "Set max_samples.")
        if kept.role == "data":
            self._row_of = {}
        with TemporaryDirectory() as directory:
            table = wandb.Table(columns=[str(name) for name in kept.table.column_names], allow_mixed_types=True)
            for _, row in kept.table.iterrows():
                table.add_data(*(self._cell(value, Path(directory)) for value in row))
            epoch = {} if kept.epoch is None else {"epoch": kept.epoch}
            metrics = {f"{kept.table_name}/{name}": value for name, value in kept.metrics.items()}
            self._run.log({kept.table_name: table, **epoch, **metrics})
        if kept.role == "data":
            for number, row in kept.table.iterrows():
                for value in row:
                    if isinstance(value, Image | Audio):
                        self._row_of.setdefault(value, f"{kept.table_name}#{int(number)}")

    def _cell(self, value: object, directory: Path) -> object:
        if isinstance(value, Image | Audio) and value in self._row_of:
            return self._row_of[value]
        if isinstance(value, Image):
            return _image(value, directory)
        if isinstance(value, Audio):
            return _audio(value, directory)
        if isinstance(value, Masks):
            return _image(Image.stored(value.file, value.height, value.width, None, None, ""), directory)
        if isinstance(value, Boxes):
            return {"xyxy": value.xyxy.tolist(), "labels": value.labels, "scores": _plain(value.scores)}
        return _plain(value)


def _image(image: Image, directory: Path) -> object:
    import wandb

    boxes = None if image.boxes is None else {_PREDICTIONS: _boxes(image.boxes)}
    masks = None if image.masks is None else {_LABELS: _masks(image.masks)}
    path = _written(image.file, directory)
    return wandb.Image(path, caption=image.caption or None, boxes=boxes, masks=masks)


def _audio(audio: Audio, directory: Path) -> object:
    import wandb

    return wandb.Audio(_written(audio.file, directory))


def _written(file: MediaFile, directory: Path) -> str:
    path = directory / f"{file.ref.sha256}.{file.ref.ext}"
    if not path.exists():
        path.write_bytes(file.read())
    return str(path)


def _boxes(boxes: Boxes) -> dict[str, object]:
    """Returns boxes as W&B has them; it cannot draw one that is not finite."""
    names: Mapping[object, int] = {label: number for number, label in enumerate(dict.fromkeys(boxes.labels or ()))}
    data = []
    for index, corners in enumerate(boxes.xyxy.tolist()):
        if not all(map(math.isfinite, corners)):
            continue
        left, top, right, bottom = corners
        label = None if boxes.labels is None else boxes.labels[index]
        box = {
            "position": {"minX": left, "maxX": right, "minY": top, "maxY": bottom},
            "domain": "pixel",
            "class_id": 0 if label is None else names[label],
            "box_caption": "" if label is None else str(label),
        }
        if boxes.scores is not None:
            box["scores"] = {"score": float(boxes.scores[index])}
        data.append(box)
    return {"box_data": data, "class_labels": {number: str(label) for label, number in names.items()}}


def _masks(masks: Masks) -> dict[str, object]:
    return {"mask_data": masks.array(), "class_labels": dict(masks.labels)}


def _plain(value: object) -> object:
    """Returns what W&B takes as it is; an array as lists, anything else, such as a reference, as its text."""
    if isinstance(value, bool | int | float | str | datetime | None):
        return value
    return value.tolist() if isinstance(value, np.ndarray) else str(value)
