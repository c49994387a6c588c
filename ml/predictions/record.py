"""What is logged of a prediction, and how it becomes the bytes of a record."""

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ml.core.errors import LogValueError
from ml.predictions.census import MAX_RECORD_BYTES, MAX_REST_BYTES, check_counts, take_census, varint
from ml.predictions.codecs import DEFAULT_QUALITY, encode_image
from ml.predictions.images import Codec, Picture
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.messages import ClassMessage, ImageMessage, Many, PredictionMessage
from ml.predictions.schema import MESSAGES, ROOT, SCHEMA_VERSION
from ml.predictions.wire import new_message, parse, serialize

BOX_FORMAT: Final = "xyxy"

_INT32: Final = (-(2**31), 2**31 - 1)
_INT64: Final = (-(2**63), 2**63 - 1)
_ROOM_BYTES: Final = 1024
"""Left in the largest record for what is noted of its images, and what a publisher adds."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NUMBERS: Final = {field.name: field.number for field in MESSAGES[ROOT]}
_VARINT, _FIXED64 = 0, 1


class Class(NamedTuple):
    """A class, and how probable it is; float32 in a record."""

    class_name: str
    probability: float


class Box(NamedTuple):
    """An object that was found.

    Attributes:
        x: Of the top left corner, in pixels from the left.
        y: In pixels from the top.
        width: Pixels.
        height: Pixels.
        confidence: float32 in a record.
        classes: What it may be.
    """

    x: float
    y: float
    width: float
    height: float
    confidence: float
    classes: tuple[Class, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A prediction as it was logged, checked and copied, and not yet encoded.

    Attributes:
        record_id: As ``ml.predictions.ids`` makes them.
        run_id: Of the program's run; may be empty.
        timestamp_ms: Since 1970, UTC; what the user gave, or when it was logged.
        logged_at_us: When it was logged, in microseconds since 1970, UTC.
        model_type: What the model tells of an image.
        model_name: Of the model.
        model_version: Of the model.
        device_name: Of the device that ran it.
        device_group: What that belongs to; may be empty.
        image: Shape (H, W) or (H, W, C), uint8 or uint16, RGB or RGBA, as ``images.snapshot`` returns it; ``None``:
            there is none.
        prediction: The annotated picture, alike.
        latency_ms: Of the inference; ``None``: not known.
        inference_device: What the model ran on; ``None``: not known.
        error_message: ``""``: there was no error.
        classification: Classes of the image.
        detection: Boxes in it.
        codec: What the pictures become.
        quality: Of JPEG, 1 to 100.
    """

    record_id: str
    run_id: str
    timestamp_ms: int
    logged_at_us: int
    model_type: VisionModelType
    model_name: str
    model_version: str
    device_name: str
    device_group: str
    image: Picture | None
    prediction: Picture | None
    latency_ms: float | None
    inference_device: InferenceDevice | None
    error_message: str
    classification: tuple[Class, ...]
    detection: tuple[Box, ...]
    codec: Codec = "jpeg"
    quality: int = DEFAULT_QUALITY


@dataclass(frozen=True, slots=True)
class Record:
    """An encoded prediction on its way to the sinks.

    Attributes:
        record_id: Of the draft.
        key: Relative path, or key in an object store.
        data: A serialized ``ImagePrediction``, a little less than ``MAX_RECORD_BYTES`` at most.
        directory: Where its file goes; ``None``: where the logger keeps its records.
    """

    record_id: str
    key: str
    data: bytes
    directory: Path | None = None


def encode_record(draft: Draft, key: str) -> Record:
    """Returns a prediction as the bytes that are kept.

    Floats become float32: numbers beyond are infinite. Lone surrogates in texts, which UTF-8 cannot hold, become
    U+FFFD; NUL and all other characters are kept.

    Raises:
        LogValueError: An image cannot be encoded, there are more boxes or classes than are read, or the record is
            larger.
    """
    problem = check_counts(
        len(draft.detection), len(draft.classification) + sum(len(b.classes) for b in draft.detection)
    )
    if problem:
        raise LogValueError(problem, "Log the most confident ones.")
    message = new_message()
    _describe(message, draft)
    _add_results(message, draft)
    rest_bytes = message.ByteSize()
    if rest_bytes > MAX_REST_BYTES - _ROOM_BYTES:
        problem = f"a record has at most {MAX_REST_BYTES} bytes beside images, got {rest_bytes}"
        raise LogValueError(problem, "Log fewer results, or shorter texts.")
    if draft.image is not None:
        _fill_image(message.raw_image, draft.image, draft)
    if draft.prediction is not None:
        _fill_image(message.prediction, draft.prediction, draft)
    data = serialize(message)
    if len(data) > MAX_RECORD_BYTES - _ROOM_BYTES:
        problem = f"a record has at most {MAX_RECORD_BYTES} bytes, got {len(data)}"
        raise LogValueError(problem, "Log a smaller image, or choose codec='jpeg'.")
    return Record(draft.record_id, key, data)


def without_images(data: bytes, reason: str) -> bytes:
    """Returns a record without the files of its images; their size, codec and hash stay.

    Args:
        data: The record.
        reason: Why, for its readers: ``"local_budget"``, ``"disk_low"``, ``"spool_budget"``.

    Raises:
        FormatError: This is no record.
    """
    census = take_census(data)
    message = parse(census.rest)
    if census.raw_image is not None:
        message.raw_image.omitted = reason
    if census.prediction is not None:
        message.prediction.omitted = reason
    return serialize(message)


def numbered(data: bytes, stream_id: int, sequence: int) -> bytes:
    """Returns a record with the number that it has in a stream; protobuf takes what is appended as more fields.

    Args:
        data: The record.
        stream_id: Of the publisher, 64 bits.
        sequence: Of the record among those of the publisher, from 0.
    """
    return b"".join(
        (
            data,
            varint(_NUMBERS["stream_id"] << 3 | _FIXED64),
            stream_id.to_bytes(8, "little"),
            varint(_NUMBERS["stream_sequence"] << 3 | _VARINT),
            varint(sequence),
        )
    )


def _describe(message: PredictionMessage, draft: Draft) -> None:
    """Fills in everything but results and pictures."""
    message.timestamp = _within(draft.timestamp_ms, _INT64)
    message.logged_at_us = _within(draft.logged_at_us, _INT64)
    message.record_id, message.run_id = draft.record_id, _text(draft.run_id)
    message.schema_version = SCHEMA_VERSION
    message.model.type = draft.model_type
    message.model.name, message.model.version = _text(draft.model_name), _text(draft.model_version)
    message.device_details.device_name = _text(draft.device_name)
    message.device_details.group_name = _text(draft.device_group)
    if draft.latency_ms is not None:
        message.inference_stats.latency_ms = draft.latency_ms
        message.inference_stats.latency = _whole(draft.latency_ms)
    if draft.inference_device is not None:
        message.inference_stats.inference_device = draft.inference_device
    if draft.error_message:
        message.inference_stats.error_message = _text(draft.error_message)


def _add_results(message: PredictionMessage, draft: Draft) -> None:
    _add_classes(message.classification_result, draft.classification)
    if not draft.detection:
        return
    message.boxes.format = BOX_FORMAT
    corners = message.boxes.corners
    for box in draft.detection:
        added = message.bounding_boxes.add()
        added.x, added.y = _whole(box.x), _whole(box.y)
        added.width, added.height = _whole(box.width), _whole(box.height)
        added.confidence = box.confidence
        _add_classes(added.classification_result, box.classes)
        corners.extend((box.x, box.y, box.x + box.width, box.y + box.height))


def _add_classes(target: Many[ClassMessage], classes: tuple[Class, ...]) -> None:
    for one in classes:
        added = target.add()
        added.class_name, added.probability = _text(one.class_name), one.probability


def _fill_image(message: ImageMessage, image: Picture, draft: Draft) -> None:
    file, layout = encode_image(image, draft.codec, draft.quality)
    message.height, message.width = layout.height, layout.width
    if layout.channels is not None:
        message.channels = layout.channels
    message.codec, message.dtype, message.is_stacked = layout.codec, f"uint{layout.bits}", layout.is_stacked
    message.image_bytes, message.sha256 = file, hashlib.sha256(file).digest()


def _whole(number: float) -> int:
    """Returns the nearest whole number of 32 bits; 0 for NaN."""
    if math.isnan(number):
        return 0
    return round(min(max(number, _INT32[0]), _INT32[1]))


def _within(number: int, limits: tuple[int, int]) -> int:
    return min(max(number, limits[0]), limits[1])


def _text(text: str) -> str:
    """Returns a text that UTF-8 can hold."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
