"""A database of traces in which there is something to see: errors of every type, a shift, and texts that mean harm."""

from dataclasses import replace

import numpy as np

from ml.media.image import encode_png
from ml.tracing.evaluator import Evaluator
from ml.tracing.fields import FieldSpec
from ml.tracing.output import NmsConfig
from ml.tracing.record import Identity, Inference
from tests.tracing.said import keep, said, there

HOSTILE = "<img src=x onerror=\"document.title = 'owned'\">\u202e\x1b"
IDENTITY = Identity("fcos", "v1", "a" * 64, "detection", 4)
CAMERA = (FieldSpec("camera", "str"),)
LABELLED, WATCHED, WINDOW = 84, 100, 50
NOW_S = 1_767_355_200.0  # 2026-01-02 12:00:00
PICTURE = encode_png(np.full((1, 20, 40), 128, np.uint8))

_PLACES = np.array([[10, 10, 50, 50], [60, 10, 100, 50], [110, 10, 150, 50], [10, 55, 50, 95]], np.float32)


def labelled(number, *, dataset_type="val", epoch=0, has_picture=True):
    """An inference of four truths: of some the class is wrong, the place, or both; one may be missed or doubled."""
    random = np.random.default_rng(number)
    truth = there(_PLACES, random.integers(0, 4, 4))
    boxes, labels, scores = _PLACES + random.normal(0, 1, (4, 4)), truth.labels.copy(), random.uniform(0.6, 1, 4)
    case = number % 7
    if case == 1:
        labels[0] = (labels[0] + 1) % 4
    elif case == 2:
        boxes[1] += 18
    elif case == 3:
        boxes[2], labels[2] = boxes[2] + 18, (labels[2] + 1) % 4
    elif case == 4:
        boxes[3] = [160, 60, 190, 90]
    elif case == 5:
        boxes[1], labels[1] = boxes[0] + 1, labels[0]
    scores[case % 4 if case else 0] -= 0.4 if case else 0
    boxes = np.concatenate([boxes, boxes + 2])  # behind each a less sure one, suppressed
    scores = np.concatenate([scores, scores * 0.5])
    order = np.argsort(-scores)
    visible = (np.arange(8) < 4)[order]
    output = said(boxes[order], np.tile(labels, 2)[order], scores[order], visible=visible)
    return _inference(number, output, truth, dataset_type, epoch, has_picture)


def watched(number, *, has_picture=True):
    """An inference without a truth; in the second window all of it is small, unsure and of one class."""
    usual = labelled(1000 + number).output
    if number < WINDOW:
        return _inference(number, usual, None, "deploying", 0, has_picture)
    boxes = np.concatenate([usual.boxes[:, :2], usual.boxes[:, :2] + 15], axis=1)
    output = said(boxes, np.full(8, 3), usual.scores * 0.4, visible=usual.visible)
    return _inference(number, output, None, "deploying", 0, has_picture)


def make(file, *, model=IDENTITY, has_picture=True, name=""):
    """Makes the database, with an evaluation and a baseline. ``name`` is what some inputs and a camera are called."""
    inferences = [[labelled(n, has_picture=has_picture) for n in range(LABELLED)]]
    inferences.append([watched(n, has_picture=has_picture) for n in range(WATCHED)])
    for number, some in enumerate(inferences):
        if name:
            some = [_called(inference, name) for inference in some]
        keep(file, some, model, fields=CAMERA, run=f"{number + 1}" * 32)
    evaluator = Evaluator(model.model_name, model.version_name, database=file, wall_clock=lambda: NOW_S)
    evaluator.request_evaluation("default", f"judged{name}")
    evaluator.request_evaluation("drift", f"usual{name}")
    return file


def _inference(number, output, truth, dataset_type, epoch, has_picture):
    return Inference(
        f"{dataset_type}-{number}",
        dataset_type,
        epoch,
        number + 1,
        NOW_S + 10 * number,
        0.005 + 0.001 * (number % 5),
        output,
        len(output),
        truth,
        fields={"camera": "left" if number % 2 else "right"},
        picture=PICTURE if has_picture else None,
        setting=NmsConfig(0.1, 0.5),
    )


def _called(inference, name):
    return replace(inference, input_id=f"{inference.input_id}{name}", fields={"camera": f"left{name}"})
