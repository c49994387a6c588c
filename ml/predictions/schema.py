"""The fields of a record on the wire: one table, of which the protobuf classes are made and the census reads.

The numbers below 100 are those of the schema ``babylog_stream`` that came before this package, so records of
either are read by the other; what this package adds has numbers from 100 on. Numbers are never given anew.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from ml.predictions.kinds import InferenceDevice, VisionModelType

PACKAGE: Final = "babylog_stream"
SCHEMA_VERSION: Final = 1
ROOT: Final = "ImagePrediction"


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: On the wire.
        name: In code.
        kind: A scalar type of protobuf, or the name of an enum or a message in this file.
        label: ``""``; ``"optional"``: a scalar whose absence differs from zero; ``"repeated"``.
    """

    number: int
    name: str
    kind: str
    label: str = ""


ENUMS: Final[dict[str, type[IntEnum]]] = {"VisionModelType": VisionModelType, "InferenceDevice": InferenceDevice}

MESSAGES: Final[dict[str, tuple[Field, ...]]] = {
    "VisionModel": (
        Field(1, "type", "VisionModelType"),
        Field(2, "version", "string"),
        Field(3, "name", "string"),
    ),
    "DeviceDetails": (
        Field(1, "device_name", "string"),
        Field(2, "group_name", "string", "optional"),
    ),
    "Image": (
        Field(1, "height", "int32"),  # pixels
        Field(2, "width", "int32"),
        Field(3, "channels", "int32", "optional"),  # 1, 3 or 4; absent of shape (H, W)
        Field(4, "image_bytes", "bytes"),  # the encoded file
        Field(100, "codec", "string"),  # "jpeg", "png" or "webp"; empty: JPEG, of the schema before
        Field(101, "sha256", "bytes"),  # of image_bytes, 32 bytes
        Field(102, "dtype", "string"),  # "uint8" or "uint16", of the decoded pixels
        Field(103, "is_stacked", "bool"),  # the channels lie below each other in one gray picture
        Field(104, "omitted", "string"),  # why image_bytes is empty
    ),
    "ClassificationResult": (
        Field(1, "class_name", "string"),
        Field(2, "probability", "float"),
    ),
    "BoundingBox": (
        Field(1, "x", "int32"),  # top left corner, pixels, rounded
        Field(2, "y", "int32"),
        Field(3, "width", "int32"),
        Field(4, "height", "int32"),
        Field(5, "confidence", "float"),
        Field(6, "classification_result", "ClassificationResult", "repeated"),
    ),
    "Boxes": (
        Field(1, "format", "string"),  # "xyxy": left, top, right, bottom, in pixels
        Field(2, "corners", "float", "repeated"),  # 4 of each bounding box, in their order
    ),
    "InferenceStats": (
        Field(1, "latency", "int32"),  # ms, rounded
        Field(2, "inference_device", "InferenceDevice"),
        Field(3, "error_message", "string", "optional"),
        Field(100, "latency_ms", "double", "optional"),
    ),
    ROOT: (
        Field(1, "timestamp", "int64"),  # ms since 1970, UTC
        Field(2, "device_details", "DeviceDetails"),
        Field(3, "model", "VisionModel"),
        Field(4, "raw_image", "Image"),
        Field(5, "prediction", "Image"),
        Field(6, "inference_stats", "InferenceStats"),
        Field(7, "classification_result", "ClassificationResult", "repeated"),
        Field(8, "bounding_boxes", "BoundingBox", "repeated"),
        Field(100, "record_id", "string"),  # a ULID
        Field(101, "schema_version", "uint32"),
        Field(102, "run_id", "string"),
        Field(103, "logged_at_us", "int64"),  # microseconds since 1970, UTC
        Field(104, "boxes", "Boxes"),
        Field(110, "stream_id", "fixed64", "optional"),  # appended by a publisher, absent in files
        Field(111, "stream_sequence", "uint64", "optional"),
    ),
}
