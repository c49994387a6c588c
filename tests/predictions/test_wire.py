"""Laws of the wire: the numbers are those of the schema that was there before."""

import subprocess
import sys

import pytest

from ml.core.errors import FormatError
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.record import encode_record
from ml.predictions.schema import MESSAGES
from ml.predictions.wire import parse, serialize
from tests.predictions.fuzzing import draft, pictures

# Of the published schema: message, field, number, wire type, as it has been since its first version.
ANCESTOR = {
    "VisionModel": {"type": 1, "version": 2, "name": 3},
    "DeviceDetails": {"device_name": 1, "group_name": 2},
    "Image": {"height": 1, "width": 2, "channels": 3, "image_bytes": 4},
    "ClassificationResult": {"class_name": 1, "probability": 2},
    "BoundingBox": {"x": 1, "y": 2, "width": 3, "height": 4, "confidence": 5, "classification_result": 6},
    "InferenceStats": {"latency": 1, "inference_device": 2, "error_message": 3},
    "ImagePrediction": {
        "timestamp": 1,
        "device_details": 2,
        "model": 3,
        "raw_image": 4,
        "prediction": 5,
        "inference_stats": 6,
        "classification_result": 7,
        "bounding_boxes": 8,
    },
}
TYPES = {
    **dict.fromkeys(("height", "width", "channels", "x", "y", "latency"), "TYPE_INT32"),
    **dict.fromkeys(("version", "name", "device_name", "group_name", "class_name", "error_message"), "TYPE_STRING"),
    **dict.fromkeys(("probability", "confidence"), "TYPE_FLOAT"),
    "timestamp": "TYPE_INT64",
    "image_bytes": "TYPE_BYTES",
    "type": "TYPE_INT32",  # an enum is one on the wire
    "inference_device": "TYPE_INT32",
}
MESSAGE_OF = {
    "model": "VisionModel",
    "device_details": "DeviceDetails",
    "raw_image": "Image",
    "prediction": "Image",
    "inference_stats": "InferenceStats",
    "classification_result": "ClassificationResult",
    "bounding_boxes": "BoundingBox",
}


def ancestor_class():
    """The class that the published package has, from its numbers, in a pool of its own."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    file = FileDescriptorProto(name="babylog_stream.proto", package="babylog_stream", syntax="proto3")
    for name, fields in ANCESTOR.items():
        message = file.message_type.add(name=name)
        for field, number in fields.items():
            is_width = name == "BoundingBox" and field in ("width", "height")
            is_submessage = field in MESSAGE_OF and not is_width
            is_repeated = field in ("classification_result", "bounding_boxes")
            message.field.add(
                name=field,
                number=number,
                label=FieldDescriptorProto.LABEL_REPEATED if is_repeated else FieldDescriptorProto.LABEL_OPTIONAL,
                type=FieldDescriptorProto.Type.Value("TYPE_MESSAGE" if is_submessage else TYPES[field]),
                type_name=f".babylog_stream.{MESSAGE_OF[field]}" if is_submessage else None,
            )
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("babylog_stream.ImagePrediction"))


def test_no_number_of_the_ancestor_was_changed_and_ours_begin_at_100():
    for message, numbers in ANCESTOR.items():
        ours = {field.name: field.number for field in MESSAGES[message]}
        assert {name: ours[name] for name in numbers} == numbers
        assert all(number >= 100 for name, number in ours.items() if name not in numbers)


def test_the_ancestor_reads_our_records():
    record = encode_record(
        draft(image=pictures()["rgb"], prediction=pictures()["gray"], codec="jpeg", error_message="too hot"), "key"
    )
    theirs = ancestor_class()()
    theirs.ParseFromString(record.data)

    assert theirs.timestamp == 1_700_000_000_123
    assert (theirs.model.type, theirs.model.name, theirs.model.version) == (VisionModelType.DETECTION, "yolo", "1.0")
    assert (theirs.device_details.device_name, theirs.device_details.group_name) == ("camera", "factory")
    assert (theirs.raw_image.height, theirs.raw_image.width, theirs.raw_image.channels) == (24, 32, 3)
    assert theirs.raw_image.image_bytes.startswith(b"\xff\xd8")
    assert theirs.prediction.image_bytes.endswith(b"\xff\xd9")
    stats = theirs.inference_stats
    assert (stats.latency, stats.inference_device, stats.error_message) == (7, InferenceDevice.CUDA, "too hot")
    assert [(one.class_name, one.probability) for one in theirs.classification_result] == [("indoors", 0.875)]
    (box,) = theirs.bounding_boxes
    assert (box.x, box.y, box.width, box.height, box.confidence) == (8, 4, 20, 30, 0.5)
    assert [(one.class_name, one.probability) for one in box.classification_result] == [("cat", 0.75), ("dog", 0.25)]


def test_our_class_lies_beside_one_of_the_same_name_in_the_default_pool():
    program = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
file = descriptor_pb2.FileDescriptorProto(name="babylog_stream.proto", package="babylog_stream", syntax="proto3")
file.message_type.add(name="ImagePrediction").field.add(name="timestamp", number=1, type=3, label=1)
for use in (lambda: descriptor_pool.Default().AddSerializedFile(file.SerializeToString()),
            lambda: __import__("ml.predictions.wire", fromlist=["x"]).new_message()) [::ORDER]:
    use()
"""
    for order in ("1", "-1"):
        subprocess.run([sys.executable, "-c", program.replace("ORDER", order)], check=True)


def test_a_field_that_is_not_known_survives():
    message = parse(b"\x08\x05" + b"\xc2\x3e\x03abc")
    assert b"\xc2\x3e\x03abc" in serialize(message)


def test_bytes_that_are_no_record_are_a_format_error():
    for data in (b"\x0a", b"\x12\x03\x0a\x01\xff", b"\xb2\x06\x01\xff"):
        with pytest.raises(FormatError, match="no record"):
            parse(data)
