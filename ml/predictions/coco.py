"""Records as COCO JSON, which ``pycocotools`` and most tools for detections read.

::

    OUT/annotations.json    {"images": [...], "annotations": [...], "categories": [...]}: COCO(file) loads it
    OUT/results.json        [{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}]: loadRes
    OUT/images/000000000001.jpg ...    with images: as they were logged

Images are numbered in the order of the records, categories in the order in which their names come up, both from 1, so
the same records give the same files. A record that says nothing of boxes, because its model does not or because it
failed, is left out: COCO would take it for an image that was looked at and has no object. Everything is written as it
is read; what is held are the names of the classes.
"""

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple, TextIO

import numpy as np

from ml.core.errors import FormatError
from ml.loggers.csv_rows import timestamp
from ml.loggers.strict_json import Json
from ml.media.image import encode_png, to_uint8
from ml.predictions.headers import read_header
from ml.predictions.layout import moment_of
from ml.predictions.logged import LoggedPrediction
from ml.predictions.reading import Found
from ml.predictions.results import model_text_of, size_of

ANNOTATIONS, RESULTS, IMAGES = "annotations.json", "results.json", "images"

_ENDINGS = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


class CocoCounts(NamedTuple):
    """What was written.

    Attributes:
        images: Records.
        annotations: Boxes.
        left_out: Records without a word of boxes.
        without_picture: Images whose picture is not there, or is damaged; 0 where none was asked for.
    """

    images: int
    annotations: int
    left_out: int
    without_picture: int


def write_coco(directory: Path, found: Iterable[Found], *, has_images: bool = False) -> CocoCounts:
    """Writes records as COCO JSON.

    Args:
        directory: Where to; it is there, and empty.
        found: The records.
        has_images: Whether the pictures are written too.

    Raises:
        OSError: A file cannot be written.
    """
    writer = _Writer(directory, has_images=has_images)
    with (
        open(directory / ANNOTATIONS, "w", encoding="utf-8") as file,
        open(directory / RESULTS, "w", encoding="utf-8") as results,
        TemporaryFile("w+", encoding="utf-8", dir=directory) as annotations,
    ):
        writer.write(found, _List(file, '{"images": '), _List(annotations), _List(results))
        file.write(',\n"annotations": ')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        categories = [{"id": number, "name": name} for name, number in writer.categories.items()]
        file.write(f',\n"categories": {json.dumps(categories)}}}\n')
    return writer.counts


class _List:
    """A JSON array, written item by item."""

    def __init__(self, file: TextIO, before: str = "") -> None:
        self._file, self._separator = file, f"{before}[\n"

    def add(self, item: Json) -> None:
        self._file.write(self._separator + json.dumps(item, allow_nan=False))
        self._separator = ",\n"

    def end(self) -> None:
        self._file.write("\n]" if self._separator == ",\n" else self._separator + "]")


class _Writer:
    """Numbers what is written, and counts it."""

    def __init__(self, directory: Path, *, has_images: bool) -> None:
        self._images = directory / IMAGES if has_images else None
        self.categories: dict[str, int] = {}
        self.counts = CocoCounts(0, 0, 0, 0)
        if self._images is not None:
            self._images.mkdir()

    def write(self, found: Iterable[Found], images: _List, annotations: _List, results: _List) -> None:
        for key, prediction in found:
            if not _tells_of_boxes(prediction):
                self.counts = self.counts._replace(left_out=self.counts.left_out + 1)
                continue
            self.counts = self.counts._replace(images=self.counts.images + 1)
            images.add(self._image(key, prediction))
            for annotation in self._annotations(prediction):
                annotations.add(annotation)
                results.add({name: annotation[name] for name in ("image_id", "category_id", "bbox", "score")})
        for one in (images, annotations, results):
            one.end()

    def _image(self, key: str, prediction: LoggedPrediction) -> dict[str, Json]:
        name, data = _file_of(prediction, self.counts.images)
        if self._images is not None:
            if data:
                (self._images / name).write_bytes(data)
            else:
                self.counts = self.counts._replace(without_picture=self.counts.without_picture + 1)
        height, width = size_of(prediction) or (0, 0)
        return {
            "id": self.counts.images,
            "file_name": name,
            "width": width,
            "height": height,
            "date_captured": timestamp(moment_of(prediction.timestamp)),
            "key": key,
            "record_id": prediction.record_id,
            "model": model_text_of(prediction),
        }

    def _annotations(self, prediction: LoggedPrediction) -> Iterable[dict[str, Json]]:
        boxes = zip(prediction.boxes.tolist(), prediction.labels, prediction.scores.tolist(), strict=True)
        for (left, top, right, bottom), label, score in boxes:
            width, height = right - left, bottom - top
            if not all(map(math.isfinite, (left, top, width, height, score))):
                continue  # no JSON can hold it
            self.counts = self.counts._replace(annotations=self.counts.annotations + 1)
            yield {
                "id": self.counts.annotations,
                "image_id": self.counts.images,
                "category_id": self.categories.setdefault(label, len(self.categories) + 1),
                "bbox": [left, top, width, height],
                "area": width * height,
                "iscrowd": 0,
                "score": score,
            }


def _tells_of_boxes(prediction: LoggedPrediction) -> bool:
    if len(prediction.boxes):
        return True
    return prediction.model["type"] == "DETECTION" and not prediction.is_error


def _file_of(prediction: LoggedPrediction, number: int) -> tuple[str, bytes]:
    """Returns the name of a picture's file, and its content: as it was logged, where others can read that."""
    name, data = f"{number:012d}", prediction.image_bytes
    size_px = size_of(prediction)
    if not data or size_px is None or prediction.codec != "png":
        return name + _ENDINGS.get(prediction.codec, ".jpg"), data
    try:
        is_plain = read_header(data, "png").height == size_px[0]
        return f"{name}.png", data if is_plain else _encoded_again(prediction)
    except FormatError:
        return f"{name}.png", b""


def _encoded_again(prediction: LoggedPrediction) -> bytes:
    """Returns a picture of 16 bits, whose channels lie below each other in its file, as one of 8 bits."""
    image = prediction.image
    return b"" if image is None else encode_png(to_uint8(np.moveaxis(image, 2, 0)))
