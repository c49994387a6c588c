"""A tracer whose database is a server: everything that a file keeps is there too, also what numbers cannot say."""

import math

import numpy as np
import pytest
import torch

from ml.tracing import ObjectDetectionTracer
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from tests.tracing.tiny import detector, images

FIELDS = [
    {"name": name, "type": kind}
    for name, kind in [("camera", "str"), ("take", "int"), ("lux", "float"), ("night", "bool"), ("lens", "json")]
]
LABEL_FIELDS = [{"name": "track", "type": "int"}, {"name": "note", "type": "str"}]
ALL = Selection("tiny", "v1", n_epoch="all")


def tracer_of(model, where, **arguments):
    return ObjectDetectionTracer(model, "tiny", "v1", database=where, **arguments)


def truth(*notes):
    boxes = [[4 * number, 0, 4 * number + 4, 8] for number in range(len(notes))]
    return {"boxes": boxes, "labels": [1] * len(notes), "track": [2**62] * len(notes), "note": list(notes)}


def kept(where):
    with open_traces(where) as traces:
        return [found.inference for found in traces.read(ALL)]


def test_fields_of_inputs_and_of_true_boxes_come_back(where):
    values = {"camera": ["ü\x00", None], "take": [2**62, 0], "lux": [0.1, -math.inf], "night": [True, False]}
    with tracer_of(detector(), where, additional_fields=FIELDS, additional_label_fields=LABEL_FIELDS) as tracer:
        tracer(images(), [truth("a", "b"), truth()], ["one", "two"], **values, lens=[{"mm": [35, None]}, []])
        assert tracer.wait_for_save()
        assert tracer.stats().failed == {}

    one, two = kept(where)
    assert one.fields == {"camera": "ü\x00", "take": 2**62, "lux": 0.1, "night": True, "lens": {"mm": [35, None]}}
    assert two.fields == {"take": 0, "lux": -math.inf, "night": False, "lens": []}
    assert [dict(row) for row in one.truth.fields] == [{"track": 2**62, "note": note} for note in "ab"]
    assert len(two.truth.labels) == 0


def test_an_input_that_comes_again_replaces_the_one_before_with_all_that_belongs_to_it(where):
    model = detector()
    layers = {"target_layers": {"layer": "backbone"}, "additional_label_fields": LABEL_FIELDS}
    with tracer_of(model, where, **layers) as tracer:
        tracer(images(), [truth("a", "b"), truth("c")], ["one", "two"])
        assert tracer.wait_for_save()
        model.score_thresh = 0.99
        tracer(images(1, seed=5), [truth("d")], ["one"])
        assert tracer.wait_for_save()

    two, one = kept(where)  # by the number of the call
    assert (two.input_id, one.input_id) == ("two", "one")
    assert [row["note"] for row in one.truth.fields] == ["d"]
    assert (one.output.visible.sum(), len(one.output), one.features["layer"].shape) == (0, 16, (8,))
    assert two.output.visible.any()
    with open_traces(where) as traces:
        assert set(traces.detections(ALL)["inference_id"]) <= set(traces.inferences(ALL)["id"])
        assert len(traces.detections(ALL)) == two.output.visible.sum()


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=["nan", "inf"])
def test_boxes_that_are_no_numbers_come_back_as_they_are(where, bad):
    model = detector(max_detections=1)  # of several such boxes it is no matter of course which suppress another
    with torch.no_grad():
        model.head.bias[0] = bad
        expected = model(images(1))[0]["boxes"].numpy()
    with tracer_of(model, where) as tracer:
        tracer(images(1), [None])
        assert tracer.wait_for_save()
        assert (tracer.stats().failed, tracer.stats().disagreements) == ({}, 0)

    (inference,) = kept(where)
    assert not np.isfinite(expected).all()
    np.testing.assert_array_equal(inference.output.shown().boxes, expected)
    with open_traces(where) as traces:
        frame = traces.detections(ALL)
    np.testing.assert_array_equal(frame[["x1", "y1", "x2", "y2"]].to_numpy(np.float32), expected)
