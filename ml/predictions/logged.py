"""Reads a record back: what was predicted at once, the pictures when they are asked for."""

from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt

from ml.core.errors import FormatError
from ml.io.regular import open_regular
from ml.predictions.census import MAX_RECORD_BYTES, locate_damage, take_census
from ml.predictions.codecs import MAX_PIXELS
from ml.predictions.images import Picture
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.messages import PredictionMessage
from ml.predictions.parts import (
    BoxDict,
    ClassDict,
    DeviceDict,
    ModelDict,
    StatsDict,
    class_dicts,
    kind_name,
    most_probable,
)
from ml.predictions.record import BOX_FORMAT
from ml.predictions.stored_image import StoredImage
from ml.predictions.wire import parse

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LoggedPrediction:
    """A prediction that was logged.

    Its bytes are looked through before anything is allocated for what they claim, and may come from anyone: whatever
    is wrong with them is a ``FormatError``. Pictures are decoded when they are asked for, every time.

    Args:
        data: A serialized ``ImagePrediction``, of this package or of its ancestor.
        path: Of the file, for errors.
        max_pixels: The largest height times width of a picture that is decoded.

    Raises:
        FormatError: This is no record, or a limit of ``ml.predictions.census`` is exceeded.
        ConfigError: protobuf is missing.
    """

    def __init__(self, data: bytes, *, path: str | Path = "", max_pixels: int = MAX_PIXELS) -> None:
        self.path = str(path)
        self._data, self._max_pixels = data, max_pixels
        try:
            census = take_census(data)
            self._message = _parsed(data, census.rest)
        except FormatError as error:
            raise self._located(error) from error
        self._image = StoredImage(self._message.raw_image, data, census.raw_image)
        self._prediction = StoredImage(self._message.prediction, data, census.prediction)
        boxes, corners = len(self._message.bounding_boxes), len(self._message.boxes.corners)
        if self._has_exact_boxes and corners != 4 * boxes:
            raise FormatError(f"{boxes} boxes have 4 corners each, got {corners} in all", path=self.path)

    @classmethod
    def from_path(cls, filepath: str | Path, *, max_pixels: int = MAX_PIXELS) -> "LoggedPrediction":
        """Reads a file.

        Raises:
            OSError: It cannot be read.
            FormatError: It is no record, or no regular file.
        """
        with open_regular(Path(filepath)) as file:
            data = file.read(MAX_RECORD_BYTES + 1)
        return cls(data, path=filepath, max_pixels=max_pixels)

    @classmethod
    def from_bytes(cls, binary_: bytes, *, max_pixels: int = MAX_PIXELS) -> "LoggedPrediction":
        """Reads bytes.

        Raises:
            FormatError: They are no record.
        """
        return cls(bytes(binary_), max_pixels=max_pixels)

    @classmethod
    def from_uri(cls, uri: str, *, max_pixels: int = MAX_PIXELS) -> "LoggedPrediction":
        """Reads an object of a store, or a file.

        Args:
            uri: ``s3://bucket/key`` and the like, as ``ml.io.store.open_store`` takes them; ``file:///path``; a path.
            max_pixels: As for ``from_path``.

        Raises:
            OSError: It is not there, or cannot be read.
            WriteError: The store does not answer.
            FormatError: It is no record.
            ConfigError: The store is not known, or its library is missing.
        """
        scheme, separator, rest = uri.partition("://")
        if not separator:
            return cls.from_path(uri, max_pixels=max_pixels)
        if scheme == "file":
            return cls.from_path(unquote(urlsplit(uri).path), max_pixels=max_pixels)
        from ml.io.store import open_store

        bucket, _, key = rest.partition("/")
        data = open_store(f"{scheme}://{bucket}").get(key, max_bytes=MAX_RECORD_BYTES)
        return cls(data, path=uri, max_pixels=max_pixels)

    @property
    def model(self) -> ModelDict:
        """What was run."""
        model = self._message.model
        return {"type": kind_name(VisionModelType, model.type), "name": model.name, "version": model.version}

    @property
    def inference_stats(self) -> StatsDict:
        """How the run went. The ancestor's latency of 0 is none."""
        stats = self._message.inference_stats
        exact = stats.latency_ms if stats.HasField("latency_ms") else None
        has_latency = exact is not None or stats.latency != 0
        return {
            "latency": stats.latency if has_latency else None,
            "latency_ms": exact if exact is not None or not has_latency else float(stats.latency),
            "inference_device": kind_name(InferenceDevice, stats.inference_device),
            "error_message": stats.error_message,
        }

    @property
    def device_details(self) -> DeviceDict:
        """Who ran the model."""
        device = self._message.device_details
        return {"device_name": device.device_name, "group_name": device.group_name}

    @property
    def classification(self) -> list[ClassDict]:
        """The classes of the image, in the order they were logged."""
        return class_dicts(self._message.classification_result)

    @property
    def detection(self) -> list[BoxDict]:
        """The boxes, in the order they were logged: exact ones where there are some, else whole pixels."""
        return [
            {
                "x": left,
                "y": top,
                "width": right - left,
                "height": bottom - top,
                "confidence": box.confidence,
                "classification": class_dicts(box.classification_result),
            }
            for (left, top, right, bottom), box in zip(
                self.boxes.astype(np.float64).tolist(), self._message.bounding_boxes, strict=True
            )
        ]

    @property
    def boxes(self) -> npt.NDArray[np.float32]:
        """The boxes, shape (N, 4): left, top, right, bottom, in pixels."""
        message = self._message
        if self._has_exact_boxes:
            return np.fromiter(message.boxes.corners, np.float32).reshape(-1, 4)
        sides = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in message.bounding_boxes]
        return np.array(sides, np.float32).reshape(-1, 4)

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """The confidence of every box, shape (N,)."""
        return np.array([box.confidence for box in self._message.bounding_boxes], np.float32)

    @property
    def labels(self) -> list[str]:
        """The most probable class of every box, ``""`` of one without classes."""
        best = (most_probable(box.classification_result) for box in self._message.bounding_boxes)
        return ["" if one is None else one.class_name for one in best]

    @property
    def timestamp(self) -> int:
        """Of the prediction, in ms since 1970, UTC."""
        return self._message.timestamp

    @property
    def time(self) -> datetime:
        """Of the prediction, UTC.

        Raises:
            FormatError: It lies beyond the years 1 to 9999.
        """
        time = _time_of_us(self.timestamp * 1000)
        if time is None:
            raise FormatError(f"a timestamp of {self.timestamp} ms is no time", path=self.path)
        return time

    @property
    def logged_at(self) -> datetime | None:
        """When it was logged, UTC; ``None`` of the ancestor's records, and where it is no time."""
        return _time_of_us(self._message.logged_at_us) if self._message.logged_at_us else None

    @property
    def record_id(self) -> str:
        """Of the record, ``""`` of the ancestor's."""
        return self._message.record_id

    @property
    def run_id(self) -> str:
        """Of the program's run."""
        return self._message.run_id

    @property
    def schema_version(self) -> int:
        """0 of the ancestor's."""
        return self._message.schema_version

    @property
    def error_message(self) -> str:
        """What went wrong in the inference; ``""``: nothing."""
        return self._message.inference_stats.error_message

    @property
    def is_error(self) -> bool:
        """Whether something went wrong in the inference."""
        return bool(self.error_message)

    @property
    def stream_id(self) -> int | None:
        """Of the publisher that sent it; ``None`` of a file."""
        return self._message.stream_id if self._message.HasField("stream_id") else None

    @property
    def stream_sequence(self) -> int | None:
        """Which of the publisher's records it is, from 0; ``None`` of a file."""
        return self._message.stream_sequence if self._message.HasField("stream_sequence") else None

    @property
    def image(self) -> Picture | None:
        """The image, shape (H, W) or (H, W, C), RGB or RGBA; ``None`` if there is none, or it was omitted.

        Raises:
            FormatError: It is damaged, or has too many pixels.
        """
        return self._decoded(self._image)

    @property
    def prediction(self) -> Picture | None:
        """The annotated picture, like ``image``.

        Raises:
            FormatError: It is damaged, or has too many pixels.
        """
        return self._decoded(self._prediction)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """The shape of ``image``, also of one that was omitted; ``None``: there never was one. Nothing is decoded.

        Raises:
            FormatError: There is no such picture.
        """
        if not self._message.HasField("raw_image"):
            return None
        try:
            return self._image.layout().shape
        except FormatError as error:
            raise self._located(error) from error

    @property
    def image_bytes(self) -> bytes:
        """The file that holds the image; empty where there is none."""
        return self._image.file

    @property
    def prediction_bytes(self) -> bytes:
        """The file that holds the annotated picture; empty where there is none."""
        return self._prediction.file

    @property
    def codec(self) -> str:
        """What ``image_bytes`` is: ``"jpeg"``, ``"png"`` or ``"webp"``; ``""``: there is no image."""
        return self._image.codec if self._message.HasField("raw_image") else ""

    @property
    def omitted(self) -> str:
        """Why the image is not in the record: ``"local_budget"``, ``"disk_low"``, ``"spool_budget"``; or ``""``."""
        return self._message.raw_image.omitted

    def verify(self) -> None:
        """Compares the image files with the hashes that were taken of them. The ancestor took none.

        Raises:
            FormatError: One is not the same.
        """
        for image in (self._image, self._prediction):
            try:
                image.verify(may_lack_hash=self.schema_version == 0)
            except FormatError as error:
                raise self._located(error) from error

    def as_dict(self) -> dict[str, object]:
        """Returns everything but pixels, as JSON has it; numbers may be NaN and infinite."""
        return {
            "record_id": self.record_id,
            "run_id": self.run_id,
            "schema_version": self.schema_version,
            "timestamp": self.timestamp,
            "time": _text(_time_of_us(self.timestamp * 1000)),
            "logged_at": _text(self.logged_at),
            "model": self.model,
            "device_details": self.device_details,
            "inference_stats": self.inference_stats,
            "classification": self.classification,
            "detection": self.detection,
            "image": self._image.as_dict(),
            "prediction": self._prediction.as_dict(),
            "stream_id": self.stream_id,
            "stream_sequence": self.stream_sequence,
        }

    @cached_property
    def _has_exact_boxes(self) -> bool:
        return self._message.boxes.format == BOX_FORMAT

    def __repr__(self) -> str:
        model = self.model
        return f"<LoggedPrediction {self.record_id or self.timestamp} of {model['name']!r} {model['version']!r}>"

    def _decoded(self, image: StoredImage) -> Picture | None:
        try:
            return image.decoded(max_pixels=self._max_pixels)
        except FormatError as error:
            raise self._located(error) from error

    def _located(self, error: FormatError) -> FormatError:
        """Returns the same error with the path of the record."""
        return FormatError(error.message, path=self.path, offset=error.offset)


def _parsed(data: bytes, rest: bytes) -> PredictionMessage:
    try:
        return parse(rest)
    except FormatError:
        locate_damage(data)
        raise


def _time_of_us(microseconds: int) -> datetime | None:
    """Returns a time, or ``None`` beyond the years that Python knows."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def _text(time: datetime | None) -> str | None:
    return time.isoformat(timespec="milliseconds") if time is not None else None
