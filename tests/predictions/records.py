"""Records for tests: written as the logger writes them, without a logger."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ml.predictions.kinds import VisionModelType
from ml.predictions.layout import key_of
from ml.predictions.record import Box, Class, Draft, encode_record, without_images

NOON = int(datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp() * 1000)
"""2026-01-02 12:00 UTC, as a time stamp in ms."""

GRAY = np.full((40, 60), 99, np.uint8)
HOSTILE = '"><img src=x onerror=alert(1)></script>\x1b[2J\u202e'


def box(name="face", confidence=0.9, x=10.0, y=5.0, width=20.0, height=15.0):
    """A box of one class."""
    return Box(x, y, width, height, confidence, (Class(name, confidence),) if name else ())


class Records:
    """Writes records below a directory, each with an id of its own, and returns their keys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._count = 0

    def detection(self, ms=0, *boxes, **fields):
        """A record of a detector, ``ms`` after noon."""
        return self.write(ms, detection=boxes, **fields)

    def classification(self, ms=0, **fields):
        """A record of a classifier: a cat, most likely."""
        classes = fields.pop("classes", {"dog": 0.25, "cat": 0.75})
        fields = {"model_name": "resnet", "model_type": VisionModelType.CLASSIFICATION} | fields
        return self.write(ms, classification=classes.items(), **fields)

    def write(self, ms=0, *, omitted="", key="", **fields):
        """A record of anything; ``key`` lays it elsewhere, ``omitted`` leaves its picture out."""
        self._count += 1
        draft = Draft(
            **{
                "record_id": f"01KDX0Q2Q6W3H5T9V8N4M2{self._count:04d}",
                "run_id": "run",
                "timestamp_ms": NOON + ms,
                "logged_at_us": (NOON + ms) * 1000,
                "model_type": VisionModelType.DETECTION,
                "model_name": "yolo",
                "model_version": "1.0",
                "device_name": "camera",
                "device_group": "factory",
                "image": GRAY,
                "prediction": None,
                "latency_ms": 12.5,
                "inference_device": None,
                "error_message": "",
                "detection": (),
                "codec": "png",
            }
            | fields
            | {"classification": tuple(Class(*pair) for pair in fields.get("classification", ()))}
        )
        key = key or key_of(
            draft.model_type.name,
            draft.model_name,
            draft.model_version,
            draft.device_group,
            draft.device_name,
            draft.timestamp_ms,
            draft.record_id,
        )
        data = encode_record(draft, key).data
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(without_images(data, omitted) if omitted else data)
        return key

    def damage(self, key):
        """Has a file hold no record."""
        (self.root / key).write_bytes(b"no record")
