"""Records of every kind, ways to damage them, and a reader that asks a record for everything."""

import random
from collections.abc import Callable

import numpy as np

from ml.core.errors import FormatError
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.logged import LoggedPrediction
from ml.predictions.record import Box, Class, Draft, encode_record, numbered, without_images

RECORD_ID = "01HF7YAT3C0123456789ABCDEF"


def draft(**changes: object) -> Draft:
    """Returns a prediction with every field, some of them changed."""
    fields: dict[str, object] = {
        "record_id": RECORD_ID,
        "run_id": "run",
        "timestamp_ms": 1_700_000_000_123,
        "logged_at_us": 1_700_000_000_123_456,
        "model_type": VisionModelType.DETECTION,
        "model_name": "yolo",
        "model_version": "1.0",
        "device_name": "camera",
        "device_group": "factory",
        "image": None,
        "prediction": None,
        "latency_ms": 7.25,
        "inference_device": InferenceDevice.CUDA,
        "error_message": "",
        "classification": (Class("indoors", 0.875),),
        "detection": (Box(8.25, 4.5, 20.5, 30.0, 0.5, (Class("cat", 0.75), Class("dog", 0.25))),),
        "codec": "png",
    }
    return Draft(**(fields | changes))  # type: ignore[arg-type]


def pictures() -> dict[str, np.ndarray]:
    """Returns small pictures of every shape and dtype, with gradients, edges and noise in them."""
    y, x = np.mgrid[:24, :32]
    noise = np.random.default_rng(0).integers(0, 64, (24, 32, 4))
    colors = np.stack([x * 5, y * 7, (x // 8 + y // 8) % 2 * 150, 255 - x * 4], axis=2) + noise
    pixels = np.clip(colors, 0, 255).astype(np.uint8)
    return {
        "gray": pixels[..., 0],
        "gray with an axis": pixels[..., :1],
        "rgb": pixels[..., :3],
        "rgba": pixels,
        "gray 16": pixels[..., 0].astype(np.uint16) * 257 + 3,
        "rgb 16": pixels[..., :3].astype(np.uint16) * 255,
        "rgba 16": pixels.astype(np.uint16) * 251,
    }


def corpus() -> list[bytes]:
    """Returns small records of every codec and kind of picture, with and without results."""
    drafts = [draft(image=picture) for picture in pictures().values()]
    for name in ("gray", "rgb", "rgba"):
        drafts.append(draft(image=pictures()[name], codec="webp", prediction=pictures()["rgb"], detection=()))
        drafts.append(draft(image=pictures()[name], codec="jpeg", prediction=pictures()["gray"], classification=()))
    drafts.append(draft(image=pictures()["rgb"], codec="jpeg", quality=100, detection=()))
    drafts.append(draft(error_message="no camera", latency_ms=None, inference_device=None, detection=()))
    records = [encode_record(one, "key").data for one in drafts]
    return [*records, without_images(records[0], "disk_low"), numbered(records[2], 7, 2**40)]


def read_all(data: bytes) -> None:
    """Asks a record for everything; ``FormatError`` is the one error that it may raise."""
    record = LoggedPrediction.from_bytes(data)
    errors = []
    for ask in (
        record.as_dict,
        record.verify,
        lambda: (record.boxes, record.scores, record.labels),
        lambda: (record.model, record.inference_stats, record.device_details, record.is_error, record.codec),
        lambda: record.image_shape,
        lambda: record.time,
        lambda: record.logged_at,
        lambda: record.image,
        lambda: record.prediction,
    ):
        try:
            ask()
        except FormatError as error:  # one damage must not hide the next
            errors.append(error)
    if errors:
        raise errors[0]


def mutant(records: list[bytes], seed: int) -> bytes:
    """Returns a damaged record: always the same of a seed.

    Args:
        records: Of which one, or parts of two, are taken.
        seed: Any number.
    """
    draw = random.Random(seed)
    data = bytearray(draw.choice(records))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        draw.choice(_DAMAGES)(data, draw, records)
    return bytes(data)


def _place(data: bytearray, draw: random.Random) -> int:
    """Returns a place in the data; half of the time near the start or the end, where headers are."""
    size = len(data)
    edge = min(64, size)
    return draw.choice((draw.randrange(size + 1), draw.randrange(edge + 1), size - draw.randrange(edge + 1)))


def _flip(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    for _ in range(draw.choice((1, 1, 4, 32))):
        if data:
            data[min(_place(data, draw), len(data) - 1)] ^= 1 << draw.randrange(8)


def _overwrite(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    start = _place(data, draw)
    data[start : start + draw.choice((1, 2, 4, 8))] = draw.choice(
        (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", draw.randbytes(4))
    )


def _cut(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    del data[_place(data, draw) :]


def _remove(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    start = _place(data, draw)
    del data[start : start + draw.randrange(1, 40)]


def _splice(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    other = draw.choice(records)
    start = draw.randrange(len(other))
    data[_place(data, draw) :] = other[start:]


def _insert(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    other = draw.choice(records)
    start = draw.randrange(len(other))
    place = _place(data, draw)
    data[place:place] = other[start : start + draw.choice((2, 8, 64, 512))]


def _repeat(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    """Fields of the whole record again: protobuf merges them."""
    data += draw.choice(records) if draw.randrange(2) else bytes(data) * draw.randrange(1, 4)


def _many(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    data += draw.choice((b"\x42\x00", b"\x3a\x00", b"\x22\x00", b"\x43", b"\x42\x02\x32\x00", b"\x08\x01")) * 200


def _resize(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    """The size in front of a message or text becomes another one."""
    places = [place for place in range(len(data) - 1) if data[place] & 7 == 2 and data[place] < 0x90]
    if places:
        place = draw.choice(places[:40] if draw.randrange(2) else places) + 1
        data[place : place + 1] = draw.choice(
            (b"\0", b"\x7f", b"\x80\x01", b"\xff\xff\x03", b"\xff\xff\xff\xff\x07", b"\xff" * 9 + b"\x01", b"\xff" * 11)
        )


def _edit_image(data: bytearray, draw: random.Random, records: list[bytes]) -> None:
    """A byte behind one of the marks in image files, where sizes and kinds stand."""
    mark = draw.choice(
        (b"IHDR", b"IDAT", b"IEND", b"RIFF", b"VP8L", b"\xff\xc0", b"\xff\xda", b"\xff\xc4", b"\xff\xdb")
    )
    start = data.find(mark)
    if start >= 0:
        place = min(start + draw.randrange(24), len(data) - 1)
        data[place] = draw.choice((0, 1, 3, 8, 16, 0x7F, 0x80, 0xFF, draw.randrange(256)))


_DAMAGES: tuple[Callable[[bytearray, random.Random, list[bytes]], None], ...] = (
    _flip,
    _flip,
    _overwrite,
    _cut,
    _remove,
    _splice,
    _insert,
    _repeat,
    _many,
    _resize,
    _edit_image,
    _edit_image,
)
