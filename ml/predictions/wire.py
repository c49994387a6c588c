"""The protobuf class of a record, made of the table in ``ml.predictions.schema``: the one module that knows protobuf.

The class lies in a pool of its own, so another program's schema of the same name may be loaded beside it.
"""

from functools import cache
from typing import TYPE_CHECKING, Final, cast

from ml.core.errors import FormatError, LogValueError, missing
from ml.predictions.messages import PredictionMessage
from ml.predictions.schema import ENUMS, MESSAGES, PACKAGE, ROOT, Field

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

_FILE: Final = "babylog_stream.proto"


def new_message() -> PredictionMessage:
    """Returns an empty record.

    Raises:
        ConfigError: protobuf is missing.
    """
    return cast(PredictionMessage, _prediction_class()())


def serialize(message: PredictionMessage) -> bytes:
    """Returns a record as bytes.

    Raises:
        LogValueError: It is larger than protobuf can write, which is 2 GiB.
    """
    from google.protobuf.message import EncodeError

    try:
        return message.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise LogValueError(f"the record cannot be serialized ({error})", "Log less at once.") from error


def parse(data: bytes) -> PredictionMessage:
    """Returns the record that these bytes are. The census must have passed them: protobuf itself allocates at will.

    Raises:
        FormatError: They are none.
        ConfigError: protobuf is missing.
    """
    message = new_message()
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise FormatError(f"this is no record of a prediction ({error})") from error
    return message


@cache
def _prediction_class() -> type:
    try:
        from google.protobuf.descriptor_pb2 import FileDescriptorProto
        from google.protobuf.descriptor_pool import DescriptorPool
        from google.protobuf.message_factory import GetMessageClass
    except ImportError as error:
        raise missing("The prediction logger", "protobuf", "predictions", error) from error
    file = FileDescriptorProto(name=_FILE, package=PACKAGE, syntax="proto3")
    _fill(file)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return cast(type, GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{ROOT}")))


def _fill(file: "FileDescriptorProto") -> None:
    """Adds the enums and messages of the schema to a file."""
    for name, members in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for member in members:
            enum.value.add(name=f"{name}_{member.name}", number=member.value)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, field)


def _add_field(message: "DescriptorProto", field: Field) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Proto

    added = message.field.add(name=field.name, number=field.number)
    added.label = Proto.LABEL_REPEATED if field.label == "repeated" else Proto.LABEL_OPTIONAL
    if field.kind in MESSAGES or field.kind in ENUMS:
        added.type = Proto.TYPE_MESSAGE if field.kind in MESSAGES else Proto.TYPE_ENUM
        added.type_name = f".{PACKAGE}.{field.kind}"
    else:
        added.type = Proto.Type.Value(f"TYPE_{field.kind.upper()}")
    if field.label == "optional":  # how protobuf writes it down: a choice of one
        added.proto3_optional = True
        added.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{field.name}")
