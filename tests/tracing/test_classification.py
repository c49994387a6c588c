"""Classifiers are watched as detectors are: by their logits."""

import numpy as np
import pytest
import torch

from ml.core.errors import ConfigError
from ml.tracing import ClassificationLogger, ClassificationTracer
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from tests.tracing.tiny import CLASSES, TinyClassifier, images


def traced(tmp_path):
    with open_traces(tmp_path / "traces.db") as traces:
        return [found.inference for found in traces.read(Selection("cnn", "v1", n_epoch="all"))]


@pytest.fixture
def where(tmp_path):
    return {"database": tmp_path / "traces.db"}


def test_a_classifier_is_watched_with_and_without_truth(tmp_path, where):
    model = TinyClassifier().eval()
    expected = model(images(4))
    with ClassificationTracer(model, "cnn", "v1", **where) as tracer:
        output = tracer(images(4), torch.tensor([0, 1, 2, 0]), list("abcd"), "a")
    with ClassificationLogger(model, "cnn", "v1", target_layers={"conv": "conv"}, **where) as logger:
        again = logger(images(4), dataset_type="b")
        seen = logger.statistics()

    assert torch.equal(output, expected)
    assert torch.equal(again, expected)
    assert logger.identity[3:] == ("classification", CLASSES)
    kept = traced(tmp_path)
    assert [one.truth for one in kept] == [0, 1, 2, 0, None, None, None, None]
    assert np.array_equal([one.output.logits for one in kept[:4]], expected.detach())
    with open_traces(tmp_path / "traces.db") as traces:
        frame = traces.classifications(Selection("cnn", "v1", "a"))
    assert np.array_equal(np.stack(frame["logits"]), expected.detach())
    assert kept[0].output.image_size == (16, 16)
    assert kept[4].features["conv"].shape == (4,)
    assert seen.detections_per_image == 1
    assert sum(seen.class_mix.values()) == 1


def test_dropout_draws_the_same_numbers(where):
    model = TinyClassifier().train()
    torch.manual_seed(3)
    expected = model(images(4))
    with ClassificationLogger(model, "cnn", "v1", **where) as logger:
        torch.manual_seed(3)
        assert torch.equal(logger(images(4)), expected)


def test_a_class_that_is_none_costs_its_input(tmp_path, where):
    with ClassificationTracer(TinyClassifier(), "cnn", "v1", **where) as tracer:
        tracer(images(3), [np.int64(1), "two", None], input_ids=list("abc"))
        with pytest.raises(ConfigError, match="the class of each of 3 inputs, got 2"):
            tracer(images(3), [1, 2])
        assert tracer.stats().failed == {"truth": 1}

    assert [(one.input_id, one.truth) for one in traced(tmp_path)] == [("a", 1), ("c", None)]


def test_rows_that_are_no_images_have_no_size(tmp_path, where):
    with ClassificationLogger(torch.nn.Linear(5, 3), "cnn", "v1", **where) as logger:
        logger(torch.zeros(2, 5))
    assert traced(tmp_path)[0].output.image_size is None


def test_what_cannot_be_a_classifiers_is_told(where):
    with pytest.raises(ConfigError, match="takes no score_thresh"):
        ClassificationLogger(TinyClassifier(), "cnn", "v1", score_thresh=0.5, **where)
    with pytest.raises(ConfigError, match="Give n_class"):
        ClassificationLogger(torch.nn.Flatten(), "cnn", "v1", **where)
    with ClassificationLogger(torch.nn.Flatten(), "cnn", "v1", n_class=5, **where) as logger:
        logger(torch.zeros(2, 5))
        assert logger.stats().failed == {}
