"""Inferences that no model made."""

import numpy as np

from ml.tracing.output import ClassificationOutput, DetectionOutput, NmsConfig
from ml.tracing.record import Identity, Inference, Truth

IDENTITY = Identity("fcos", "v1", "a" * 64, "detection", 10)
SETTING = NmsConfig(0.25, None, 300)


def output(count=5, visible=3, classes=4, seed=0):
    """Candidates by descending score, of which the first are visible."""
    rng = np.random.default_rng(seed)
    corners = rng.random((count, 2), dtype=np.float32) * 32
    return DetectionOutput(
        np.concatenate([corners, corners + 16], 1),
        np.sort(rng.random(count, dtype=np.float32))[::-1].copy(),
        rng.integers(0, classes, count),
        rng.standard_normal((count, classes)).astype(np.float16).astype(np.float32),
        rng.permutation(1000)[:count],
        (48, 64),
        np.arange(count) < visible,
    )


def detected(input_id="a", *, dataset_type="val", epoch=0, step=1, candidates=None, **columns):
    candidates = output() if candidates is None else candidates
    given = {"time_s": 1_767_323_045.678901, "latency_s": 0.25, "num_candidates": 1000, "setting": SETTING} | columns
    return Inference(input_id, dataset_type, epoch, step, output=candidates, **given)


def classified(input_id="a", logits=(0.5, 2.0, -1.0), **columns):
    said = ClassificationOutput(np.array(logits, np.float32), (8, 8))
    return Inference(input_id, "val", 0, 1, 1_767_323_045.5, 0.25, said, num_candidates=1, **columns)


def truth(count=2, fields=()):
    xyxy = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    return Truth(xyxy, np.arange(count, dtype=np.int64), fields)


def same(one, other):
    """Returns whether two inferences, or parts of them, are the same, number by number."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, Inference | DetectionOutput | ClassificationOutput):
        return type(one) is type(other) and same(vars(one), vars(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)
