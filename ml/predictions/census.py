"""Looks through the bytes of a record before protobuf does, and counts what it would allocate.

Protobuf makes an object of every box and class, of two bytes each: 16 MiB of them become gigabytes. Here fields are
stepped over, not kept. On the way the image files are found, so that nothing has to copy them. Messages that are too
small to hold more than is allowed are not looked into, which keeps usual records cheap; what else may be wrong with
them is for protobuf to say.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from ml.core.errors import FormatError
from ml.predictions.schema import MESSAGES, ROOT

MAX_RECORD_BYTES: Final = 64 * 2**20
MAX_REST_BYTES: Final = 16 * 2**20  # of a record without its image files
MAX_BOXES: Final = 10_000
MAX_CLASSES: Final = 100_000  # of an image and of all its boxes together
MAX_FIELDS: Final = 400_000

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)
_LIMITS: Final = dict.fromkeys(MESSAGES, 16) | {"BoundingBox": MAX_BOXES, "ClassificationResult": MAX_CLASSES}
"""Of each kind of message. Those that a record has once may be there several times, which protobuf merges."""
_LOOK_FROM_BYTES: Final = 64 * 1024
"""Messages with fewer bytes in all hold fewer than ``MAX_CLASSES``: one takes two bytes."""
_MAX_CORNER_BYTES: Final = MAX_BOXES * 4 * 5 + 1024  # 5: of a corner with a tag of its own

_MESSAGES_IN: Final = {
    message: {field.number: field for field in fields if field.kind in MESSAGES} for message, fields in MESSAGES.items()
}
_FILE_NUMBER: Final = next(field.number for field in MESSAGES["Image"] if field.name == "image_bytes")


class Span(NamedTuple):
    """Where bytes lie: from ``start`` up to ``end``."""

    start: int
    end: int


class Census(NamedTuple):
    """What the bytes of a record hold.

    Attributes:
        rest: The record without the files of its images, for protobuf to parse.
        raw_image: Where the file of the image lies; ``None``: there is none.
        prediction: Where that of the annotated picture lies.
    """

    rest: bytes
    raw_image: Span | None
    prediction: Span | None


def take_census(data: bytes) -> Census:
    """Looks through the bytes of a record.

    Raises:
        FormatError: They are none, or hold more than ``MAX_RECORD_BYTES``, ``MAX_REST_BYTES``, ``MAX_BOXES``,
            ``MAX_CLASSES`` or ``MAX_FIELDS``, or a group, which is what protobuf nests at will.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise FormatError(f"a record has at most {MAX_RECORD_BYTES} bytes, got {len(data)}")
    return _Scanner(data).take(_LOOK_FROM_BYTES)


def locate_damage(data: bytes) -> None:
    """Looks into every message of a record that passed the census, and that protobuf refused.

    Raises:
        FormatError: This is where it is damaged.
    """
    _Scanner(data).take(0)


def check_counts(boxes: int, classes: int) -> str:
    """Returns what is wrong with a record of so many boxes, and classes of them and of the image; ``""``: nothing."""
    if boxes > MAX_BOXES:
        return f"a record has at most {MAX_BOXES} boxes, got {boxes}"
    return f"a record has at most {MAX_CLASSES} classes, got {classes}" if classes > MAX_CLASSES else ""


def varint(number: int) -> bytes:
    """Returns a number, 0 or more, as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


class _Scanner:
    def __init__(self, data: bytes) -> None:
        self._data, self._fields_left = data, MAX_FIELDS
        self._left = dict(_LIMITS)
        self._files: dict[str, Span] = {}

    def take(self, look_from_bytes: int) -> Census:
        """Looks through all; into messages other than images if they have so many bytes together."""
        rest = self._root(look_from_bytes)
        return Census(rest, self._files.get("raw_image"), self._files.get("prediction"))

    def _root(self, look_from_bytes: int) -> bytes:
        data, parts, copied = self._data, [], 0
        messages: list[tuple[str, int, int]] = []
        size_bytes = corner_bytes = 0
        for number, wire_type, begin, start, end in self._fields(0, len(data)):
            field = _MESSAGES_IN[ROOT].get(number)
            if field is None:
                continue
            if wire_type != _BYTES:
                raise FormatError(f"field {field.name} is a message, got wire type {wire_type}", offset=begin)
            self._enter(field.kind, begin)
            if field.kind == "Image":
                fields = self._image(field.name, start, end)
                parts += [data[copied:begin], bytes([number << 3 | _BYTES]), varint(len(fields)), fields]
                copied = end
                continue
            messages.append((field.kind, start, end))
            size_bytes += end - start
            corner_bytes += end - start if field.kind == "Boxes" else 0
        parts.append(data[copied:])
        rest_bytes = sum(map(len, parts))
        if rest_bytes > MAX_REST_BYTES or corner_bytes > _MAX_CORNER_BYTES:
            raise FormatError(
                f"a record has at most {MAX_REST_BYTES} bytes beside images, and {_MAX_CORNER_BYTES} of corners, "
                f"got {rest_bytes} and {corner_bytes}"
            )
        if size_bytes >= look_from_bytes:
            for kind, start, end in messages:
                self._look_into(kind, start, end)
        return b"".join(parts)

    def _image(self, name: str, start: int, end: int) -> bytes:
        """Notes where the file of an image lies; returns the bytes of its other fields."""
        parts, copied = [], start
        for number, wire_type, begin, value, after in self._fields(start, end):
            if number == _FILE_NUMBER:
                if wire_type != _BYTES:
                    raise FormatError(f"an image file is bytes, got wire type {wire_type}", offset=begin)
                self._files[name] = Span(value, after)  # of several the last counts, as protobuf has it
                parts.append(self._data[copied:begin])
                copied = after
        parts.append(self._data[copied:end])
        return b"".join(parts)

    def _look_into(self, kind: str, position: int, until: int) -> None:
        """Counts the messages in a message. How deep they nest is bounded by the schema."""
        known = _MESSAGES_IN[kind]
        for number, wire_type, begin, start, end in self._fields(position, until):
            field = known.get(number)
            if field is not None and wire_type == _BYTES:
                self._enter(field.kind, begin)
                self._look_into(field.kind, start, end)

    def _enter(self, kind: str, begin: int) -> None:
        self._left[kind] -= 1
        if self._left[kind] < 0:
            raise FormatError(f"a record has at most {_LIMITS[kind]} fields of {kind}", offset=begin)

    def _fields(self, position: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yields the fields of a message: number, wire type, where it, its value and the next one begin."""
        data = self._data
        while position < end:
            begin = position
            tag = data[position]
            position += 1
            if tag > 0x7F:
                tag, position = self._varint(begin, end)
            wire_type = tag & 7
            start = position
            if wire_type == _BYTES:
                if position < end and data[position] < 0x80:
                    start = position + 1
                    position = start + data[position]
                else:
                    size, start = self._varint(position, end)
                    position = start + size
            elif wire_type == _VARINT:
                if position < end and data[position] < 0x80:
                    position += 1
                else:
                    _, position = self._varint(position, end)
            elif wire_type == _FIXED32:
                position += 4
            elif wire_type == _FIXED64:
                position += 8
            else:
                what = "a group" if wire_type in (_GROUP, _GROUP_END) else f"wire type {wire_type}"
                raise FormatError(f"{what} is no part of a record", offset=begin)
            self._fields_left -= 1
            if position > end or tag < 8 or tag >> 32 or self._fields_left < 0:
                raise self._broken(begin, tag, position, end)
            yield tag >> 3, wire_type, begin, start, position

    def _broken(self, begin: int, tag: int, position: int, end: int) -> FormatError:
        """Returns what is wrong with a field."""
        if position > end:
            return FormatError(f"field {tag >> 3} ends {position - end} bytes behind its message", offset=begin)
        if self._fields_left < 0:
            return FormatError(f"a record has at most {MAX_FIELDS} fields", offset=begin)
        return FormatError(f"{tag >> 3} is no number of a field", offset=begin)

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Returns a number, and where the next byte is."""
        number = 0
        for index in range(position, min(position + 10, end)):
            byte = self._data[index]
            number |= (byte & 0x7F) << 7 * (index - position)
            if byte < 0x80:
                return number, index + 1
        raise FormatError("a number of at most 10 bytes was expected", offset=position)
