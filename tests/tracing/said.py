"""What no model said: boxes that a test writes down, and inferences of them in a database."""

import numpy as np

from ml.tracing.output import ClassificationOutput, DetectionOutput
from ml.tracing.reading import Traced
from ml.tracing.record import Identity, Inference, Truth
from ml.tracing.writing import TraceWriter

DETECTOR = Identity("fcos", "v1", "a" * 64, "detection", 10)
CLASSIFIER = Identity("cnn", "v1", "b" * 64, "classification", 3)
SIZE = (100, 200)


def said(boxes=(), labels=None, scores=None, *, logits=None, visible=None):
    """Detections, by default of class 0, with descending scores, all of them visible."""
    count = len(boxes)
    return DetectionOutput(
        np.array(boxes, np.float32).reshape(count, 4),
        np.array(np.linspace(0.9, 0.1, count) if scores is None else scores, np.float32),
        np.array(np.zeros(count) if labels is None else labels, np.int64),
        None if logits is None else np.array(logits, np.float32),
        np.arange(count),
        SIZE,
        np.ones(count, bool) if visible is None else np.array(visible, bool),
    )


def there(boxes=(), labels=None):
    """The truth, by default of class 0."""
    count = len(boxes)
    return Truth(
        np.array(boxes, np.float32).reshape(count, 4), np.array([0] * count if labels is None else labels, np.int64)
    )


def answered(*logits):
    return ClassificationOutput(np.array(logits, np.float32), (8, 8))


def inference(output, truth=None, *, input_id="a", dataset_type="val", epoch=0, **columns):
    return Inference(input_id, dataset_type, epoch, 1, 1e9, 0.01, output, 9, truth, **columns)


def traced(output, truth=None, **columns):
    return Traced("0" * 32, "run", 0, inference(output, truth, **columns))


def keep(file, inferences, identity=DETECTOR, **options):
    """Writes inferences to a database, as a tracer does."""
    writer = TraceWriter(file, identity, **options)
    writer.submit(inferences)
    writer.close()
    assert writer.stats().written == len(inferences)
