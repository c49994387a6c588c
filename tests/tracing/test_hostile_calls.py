"""Whatever a call is given, and whoever calls beside it: the model answers, and the numbers add up."""

import logging
import os

import numpy as np
import pytest
import torch

from ml.core.errors import ConfigError
from ml.tracing.failures import Failures
from ml.tracing.features import Reduction, _projection, reduced
from ml.tracing.fields import FieldSpec, columns_of
from ml.tracing.output import NmsConfig
from tests.tracing.test_innocence import same
from tests.tracing.tiny import detector, images, logger_of, traced, tracer_of

LOSSES = ("input", "parse", "truth", "write", "value")


def accounted(stats):
    lost = sum(stats.failed.get(kind, 0) for kind in LOSSES)
    return stats.saved + stats.pending + sum(stats.dropped.values()) + lost


class Mute:
    def __repr__(self):
        raise RuntimeError("no words")


class Unreadable:
    def tolist(self):
        raise RuntimeError("no numbers")


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("kind", ["str", "int", "float", "bool", "json"])
@pytest.mark.parametrize(
    "value",
    [10**5000, nested(100_000), nested(600), Mute(), Unreadable(), torch.zeros(1, device="meta")],
    ids=["thousands-of-digits", "deep", "deeper-than-is-written", "mute", "unreadable", "meta"],
)
def test_a_value_of_any_kind_costs_its_field_alone(kind, value):
    failed, given = [], {"camera": [value, None], "place": ["north", "south"]}
    specs = (FieldSpec("camera", kind), FieldSpec("place", "str"))

    assert columns_of(specs, given, 2, failed.append) == [{"place": "north"}, {"place": "south"}]
    assert len(failed) == 1


@pytest.mark.parametrize("values", [Unreadable(), torch.zeros(1, device="meta")], ids=["unreadable", "meta"])
def test_values_that_cannot_be_read_cost_their_field_alone(tmp_path, values):
    with logger_of(detector(), tmp_path, additional_fields=[{"name": "camera", "type": "int"}]) as logger:
        logger(images(1), camera=values)

    assert (logger.stats().failed, logger.stats().saved) == ({"field": 1}, 1)


def test_a_field_is_not_called_like_what_a_reader_shows_beside_it(tmp_path):
    with pytest.raises(ConfigError, match="'Run'"):
        logger_of(detector(), tmp_path, additional_fields=[{"name": "Run", "type": "str"}])


def test_a_field_is_not_called_like_what_a_server_has_in_every_table(tmp_path):
    with pytest.raises(ConfigError, match="PostgreSQL"):
        logger_of(detector(), tmp_path, additional_fields=[{"name": "XMIN", "type": "int"}])


@pytest.mark.parametrize("name", ["boxes", "labels"])
def test_a_field_of_a_true_box_is_not_called_like_what_a_truth_has(tmp_path, name):
    with pytest.raises(ConfigError, match=f"cannot be called '{name}'"):
        tracer_of(detector(), tmp_path, additional_label_fields=[{"name": name, "type": "str"}])


@pytest.mark.parametrize(
    "arguments",
    [
        {"score_thresh": "0.5"},
        {"iou_thresh": [1]},
        {"max_detections_per_image": "3"},
        {"max_detections_per_image": 2.5},
        {"n_class": 2**70},
        {"n_epoch": 2**63},
        {"target_layers": ["backbone"]},
        {"feature_reductions": 3},
        {"additional_fields": 3},
    ],
    ids=lambda arguments: "-".join(f"{name}={value}" for name, value in arguments.items()),
)
def test_what_no_model_and_no_database_takes_is_told_before_anything_starts(tmp_path, arguments):
    (name,) = arguments
    with pytest.raises(ConfigError, match=name):
        logger_of(detector(), tmp_path, **arguments)
    assert not (tmp_path / "traces.db").exists()


def test_numbers_of_numpy_and_torch_are_thresholds_too():
    config = NmsConfig(np.float32(0.5), torch.tensor(0.5), np.int64(3))
    assert config.checked() is config


def test_every_input_is_saved_pending_dropped_or_failed(tmp_path):
    model = detector()
    with logger_of(model, tmp_path) as logger:
        logger(images(3))
        with pytest.raises(ConfigError):
            logger(images(2), input_ids=["one"])
        with pytest.raises(RuntimeError):
            logger(images(2).half())  # the model itself refuses
        with pytest.raises(TypeError):
            logger(None)  # nobody knows how many
        logger(images(2), dataset_type="x" * 300)
        model.forward = lambda images: None
        logger(images(4))

    stats = logger.stats()
    assert stats.calls == 5, "the model was not called where an argument was wrong"
    assert stats.inputs == accounted(stats) == 3 + 1 + 2 + 4
    assert len(traced(tmp_path)) == 3


def test_a_tracer_may_be_closed_in_the_middle_of_a_call(tmp_path):
    class Closing(logging.Handler):
        """Closes the tracer while the outputs of its layers are collected, as another thread may."""

        def emit(self, record):
            logger.close()

    model = detector()
    model.unused = torch.nn.Identity()
    logger = logger_of(model, tmp_path, target_layers={"unused": "unused", "features": "backbone"})
    handler = Closing(logging.WARNING)
    logging.getLogger("ml").addHandler(handler)
    try:
        output = logger(images())
    finally:
        logging.getLogger("ml").removeHandler(handler)

    assert same(output, model(images()))
    assert logger.stats().inputs == accounted(logger.stats()) == 2


def test_a_forked_childs_copy_keeps_the_thresholds(tmp_path):
    model = detector()
    with logger_of(model, tmp_path, score_thresh=0.6) as logger:
        expected = logger(images())
        assert not same(model(images()), expected)
        logger.wait_for_save()
        pid = os.fork()
        if not pid:
            is_right = same(logger(images()), expected) and model.score_thresh == 0.5
            os._exit(0 if is_right else 1)
        assert os.waitpid(pid, 0)[1] == 0


def test_a_child_that_is_forked_while_another_thread_is_inside_has_the_models_own_setting(tmp_path):
    model = detector()
    with logger_of(model, tmp_path, score_thresh=0.6) as logger:
        with logger._watcher._applied:  # as a thread that is inside of the model has it
            pid = os.fork()
            if not pid:
                is_own = model.score_thresh == 0.5
                logger(images())
                os._exit(0 if is_own and model.score_thresh == 0.5 else 1)
            assert os.waitpid(pid, 0)[1] == 0
        assert model.score_thresh == 0.5


def test_an_error_without_words_is_counted_too(caplog):
    class WordlessError(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    failures = Failures("The tracer of tiny")
    failures.add("parse", WordlessError(), 2)

    assert failures.counts() == {"parse": 2}
    assert "WordlessError" in caplog.text


def test_a_projection_is_the_same_whatever_device_is_the_default():
    output, reduction = torch.arange(1237.0), Reduction("random_projection", dim=3)
    with torch.device("meta"):
        elsewhere = reduced(output, reduction)
    _projection.cache_clear()
    assert np.array_equal(elsewhere, reduced(output, reduction))


def test_what_ctrl_c_costs_is_counted_and_the_next_call_is_kept(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with logger_of(detector(), tmp_path, score_thresh=0.6) as logger:
        with monkeypatch.context() as patch:
            patch.setattr(logger, "_parse_model_output", interrupted)
            with pytest.raises(KeyboardInterrupt):
                logger(images())
        logger(images(seed=1))

    stats = logger.stats()
    assert stats.inputs == accounted(stats) == 4
    assert stats.saved == 2


def test_a_picture_shows_what_the_model_was_given_whatever_it_makes_of_it(tmp_path):
    model = detector()
    plain = model.forward

    def forward(x):
        output = plain(x.clone())
        x.zero_()
        return output

    with logger_of(model, tmp_path / "bare", thumbnail_px=8) as logger:
        logger(images())
    model.forward = forward
    with logger_of(model, tmp_path / "changing", thumbnail_px=8) as logger:
        logger(images())

    bare, changing = (traced(tmp_path / name) for name in ("bare", "changing"))
    assert [kept.picture for kept in bare] == [kept.picture for kept in changing]
