"""What the arguments of loggers and tracers mean, and what comes of wrong ones before a model is called."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ml.core.errors import ConfigError, LogValueError
from ml.core.run import RunContext
from ml.core.state import State
from ml.detection.boxes import Detections
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.testing import FakeClock
from ml.tracing import ObjectDetectionLogger, ObjectDetectionTorchLogger
from ml.tracing.features import Reduction
from tests.tracing.tiny import TinyAdapter, detector, images, logger_of, traced, tracer_of

CAMERA = [{"name": "camera", "type": "str"}]


@pytest.fixture
def model():
    return detector()


def test_a_given_threshold_holds_for_the_call_alone_and_decides_what_is_visible(tmp_path, model):
    bare = [len(shown["boxes"]) for shown in model(images())]
    with logger_of(model, tmp_path, score_thresh=0.6, max_detections_per_image=3) as logger:
        output = logger(images())
        stats = logger.stats()

    assert [len(shown["boxes"]) for shown in output] != bare
    assert (model.score_thresh, model.max_detections) == (0.5, 5)
    assert all((shown["scores"] > 0.6).all() for shown in output)
    assert stats.disagreements == 0
    for kept, shown in zip(traced(tmp_path), output, strict=True):
        assert kept.output.shown().scores.tolist() == shown["scores"].tolist()
        assert len(kept.output) == kept.num_candidates == 16


def test_without_thresholds_the_model_is_not_touched_and_its_own_setting_is_followed(tmp_path, model):
    touched = []
    kind = type(model)
    watching = type("Watched", (kind,), {"__setattr__": lambda self, name, value: touched.append(name)})
    model.__class__ = watching
    with logger_of(model, tmp_path) as logger:
        logger(images())
        assert not touched
        object.__setattr__(model, "__class__", kind)
        model.score_thresh = 0.62
        output = logger(images(seed=1))

    assert [kept.output.visible.sum() for kept in traced(tmp_path)][2:] == [len(shown["boxes"]) for shown in output]
    assert all((shown["scores"] > 0.62).all() for shown in output)
    assert [kept.setting.score_thresh for kept in traced(tmp_path)] == [0.5, 0.5, 0.62, 0.62]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score_thresh": 1.5}, "score_thresh is between 0 and 1, got 1.5"),
        ({"n_epoch": "newest"}, "n_epoch is 'latest', 'all' or a number from 0 on, got 'newest'"),
        ({"n_epoch": True}, "n_epoch is"),
        (
            {"target_layers": {"a": "backbon"}},
            "no layer 'backbon', which target_layers calls 'a'. Did you mean 'backbone",
        ),
        ({"target_layers": {"": "head"}}, "target_layers maps"),
        ({"feature_reductions": {"b": Reduction()}}, "feature_reductions names 'b'"),
        (
            {"target_layers": {"a": "backbone"}, "feature_reductions": {"a": "mean"}},
            "has a Reduction for each alias, and 'mean' for 'a'",
        ),
        ({"additional_fields": [{"name": "camera"}]}, "additional_fields lists a name and a type"),
        ({"additional_fields": [{"name": "camera", "type": "text"}]}, "there are str, int, float, bool, json"),
        ({"additional_fields": [{"name": "input_ids", "type": "str"}]}, "it is an argument of the call"),
        ({"additional_fields": [{"name": "step", "type": "int"}]}, "'inferences' has such a column"),
        ({"additional_fields": [*CAMERA, {"name": "Camera", "type": "str"}]}, "twice"),
        ({"n_class": 0}, "n_class is a whole number from 1 on"),
        ({"max_candidates": True}, "max_candidates is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_argument_is_told_before_anything_starts(tmp_path, model, arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        logger_of(model, tmp_path, **arguments)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"camera": ["a"]}, "'camera' takes a list of one value for each of 2 inputs, got 1"),
        ({"camera": "ab"}, "got 'ab'"),
        ({"site": ["a", "b"]}, "'site' is no argument of this call, and no field. The fields are camera."),
        ({"input_ids": ["a"]}, "input_ids has one name for each input: 2, got 1"),
        ({"input_ids": "ab"}, "input_ids is a list"),
        ({"input_ids": ["a", 2]}, "input_ids are names, got 2"),
        ({"dataset_type": ""}, "dataset_type is a name"),
    ],
    ids=str,
)
def test_a_wrong_call_is_told_before_the_model_is_called(tmp_path, model, arguments, message):
    with logger_of(model, tmp_path, additional_fields=CAMERA) as logger:
        model.forward = pytest.fail
        with pytest.raises(ConfigError, match=re.escape(message)):
            logger(images(), **arguments)


def test_values_of_fields_stand_beside_their_input(tmp_path, model, caplog):
    fields = [{"name": kind, "type": kind} for kind in ("int", "float", "bool", "json")] + CAMERA
    with logger_of(model, tmp_path, additional_fields=fields) as logger:
        logger(
            images(),
            camera=("north", None),
            int=np.array([1, 2]),
            float=torch.tensor([0.5, 1.0]),
            bool=[True, 1],
            json=[{"a": [1, None]}, np.arange(2)],
        )
        assert logger.stats().failed == {"field": 1}

    assert [kept.fields for kept in traced(tmp_path)] == [
        {"camera": "north", "int": 1, "float": 0.5, "bool": True, "json": {"a": [1, None]}},
        {"int": 2, "float": 1.0, "json": [0, 1]},
    ]
    assert "the field 'bool' takes a bool, got 1" in caplog.text


def test_an_input_has_the_id_that_it_was_given_or_that_of_its_content(tmp_path, model):
    first, second = images()
    with logger_of(model, tmp_path) as logger:
        logger(images(), input_ids=["a", "b"])
        logger(torch.stack([first, second]))
        logger([second] and torch.stack([second]))  # the same image, in another batch
        logger({"images": torch.stack([first])})

    kept = traced(tmp_path)
    ids = [inference.input_id for inference in kept]
    assert ids[:2] == ["a", "b"]
    assert len(set(ids)) == 5  # of a mapping, the names are content too
    assert [inference.step for inference in kept] == [1, 1, 2, 3, 4]


def test_a_model_is_called_with_the_arguments_in_a_mapping(tmp_path, model):
    with logger_of(model, tmp_path) as logger:
        assert len(logger({"images": images(3)})) == 3
    assert len(traced(tmp_path)) == 3


def test_an_input_that_nobody_can_read_is_the_models_own_matter(tmp_path, model):
    with logger_of(model, tmp_path) as logger:
        with pytest.raises(TypeError):  # of the model
            logger(None)
        model.forward = lambda x: "fine"
        assert logger(3) == "fine"
        assert logger.stats().failed == {"input": 2}


def test_time_and_latency_come_from_the_clocks(tmp_path, model):
    clock, wall_clock = FakeClock(), FakeClock(1_000.0)
    handle = model.head.register_forward_hook(lambda *_: clock.advance(0.5))
    with logger_of(model, tmp_path, clock=clock, wall_clock=wall_clock) as logger:
        logger(images())
        assert logger.statistics().mean_latency_s == 0.25
    handle.remove()

    assert [(kept.time_s, kept.latency_s) for kept in traced(tmp_path)] == [(1_000.0, 0.25)] * 2


def test_only_so_many_candidates_are_kept_and_all_visible_ones(tmp_path, model):
    with logger_of(model, tmp_path, max_candidates=2) as logger:
        output = logger(images())

    for kept, shown in zip(traced(tmp_path), output, strict=True):
        assert kept.num_candidates == 16
        assert len(kept.output) == len(shown["boxes"]) > 2
        assert kept.output.visible.all()


def test_layers_are_reduced_as_it_was_chosen(tmp_path, model):
    layers = {"features": "backbone", "own": "head", "roi": "backbone"}
    reductions = {"own": Reduction("none", "float32"), "roi": Reduction("roi")}
    features = model.backbone(images()).detach()
    with logger_of(model, tmp_path, target_layers=layers, feature_reductions=reductions) as logger:
        output = logger(images())
        assert torch.equal(logger.get_hooked_features("features"), features)
        with pytest.raises(KeyError, match="Their aliases: 'features', 'own', 'roi'"):
            logger.get_hooked_features("backbone")

    for number, kept in enumerate(traced(tmp_path)):
        assert kept.features["features"].tolist() == features[number].mean((1, 2)).half().tolist()
        assert np.array_equal(kept.features["own"], model.head(features)[number].detach())
        assert kept.features["roi"].shape == (len(output[number]["boxes"]), 8)


def test_a_layer_without_a_row_for_each_input_costs_its_feature_alone(tmp_path, model, caplog):
    model.backbone.append(torch.nn.Identity())
    model.backbone[3].forward = lambda x: x
    model.head_bias = torch.nn.Identity()
    plain = model.forward
    model.forward = lambda x: (model.head_bias(torch.zeros(5, 7)), plain(x))[1]
    with logger_of(model, tmp_path, target_layers={"odd": "head_bias", "features": "backbone"}) as logger:
        logger(images())
        assert logger.stats().failed == {"feature": 2}

    assert [list(kept.features) for kept in traced(tmp_path)] == [["features"]] * 2
    assert "'odd' has shape (5, 7)" in caplog.text


def test_pictures_are_small_and_only_kept_on_demand(tmp_path, model):
    with logger_of(model, tmp_path) as logger:
        logger(images(1))
    with logger_of(model, tmp_path, thumbnail_px=8) as logger:
        logger(images(1, seed=1))

    without, picture = (kept.picture for kept in traced(tmp_path))
    assert without is None
    assert Image.open(io.BytesIO(picture)).size == (8, 8)


def test_a_logger_records_the_epoch_that_its_version_has_reached(tmp_path, model):
    with tracer_of(model, tmp_path) as tracer:
        for epoch in (3, 7):
            tracer(images(), [None, None], n_epoch=epoch)
        tracer(images(seed=1), [None, None])  # as before
    assert [kept.epoch for kept in traced(tmp_path, dataset_type="train")] == [3, 3, 7, 7, 7, 7]
    for n_epoch, dataset_type, expected in (("latest", "a", 7), (5, "b", 5), ("all", "c", 5)):
        with logger_of(model, tmp_path, n_epoch=n_epoch) as logger:
            logger(images(1), dataset_type=dataset_type)
        assert [kept.epoch for kept in traced(tmp_path, dataset_type=dataset_type)] == [expected]


def test_true_boxes_are_kept_in_every_form(tmp_path, model, caplog):
    fields = [{"name": "occluded", "type": "bool"}]
    box = [[1.0, 2.0, 3.0, 4.0]]
    truths = [
        {"boxes": torch.tensor(box), "labels": torch.tensor([2]), "occluded": [True]},
        Detections(box, [1]),
        {"boxes": [], "labels": []},
        None,
        {"boxes": box, "labels": [1, 2]},
        {"labels": [1]},
    ]
    with tracer_of(model, tmp_path, additional_label_fields=fields) as tracer:
        tracer(images(6), truths, input_ids=list("abcdef"), dataset_type="val")
        assert tracer.stats().failed == {"truth": 2}

    kept = traced(tmp_path)
    assert [inference.input_id for inference in kept] == list("abcd")
    assert kept[0].truth.xyxy.tolist() == box
    assert kept[0].truth.labels.tolist() == [2]
    assert kept[0].truth.fields == ({"occluded": True},)
    assert kept[1].truth.labels.tolist() == [1]
    assert len(kept[2].truth.labels) == 0
    assert kept[3].truth is None


@pytest.mark.parametrize("truth", [[], [None], {"boxes": []}, "ab"], ids=repr)
def test_truths_that_are_not_one_for_each_image_are_told_before_the_model_is_called(tmp_path, model, truth):
    with tracer_of(model, tmp_path) as tracer:
        model.forward = pytest.fail
        with pytest.raises(ConfigError, match="one for each of 2 images"):
            tracer(images(), truth)
        with pytest.raises(ConfigError, match="n_epoch of a call"):
            tracer(images(), [None, None], n_epoch=-1)


def test_statistics_are_kept_and_logged_without_any_truth(tmp_path, model):
    component = MultiLogger("deployment")
    memory = MemoryLogger(BaseLoggerConfig("memory"))
    with logger_of(model, tmp_path, logger=component) as logger:
        assert logger.statistics() == (0, 0.0, 0.0, {}, {})
        output = logger(images())
        found = logger.statistics()
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        logs.write([component], State(num_steps=1))

    scores = torch.cat([shown["scores"] for shown in output])
    labels = torch.cat([shown["labels"] for shown in output]).tolist()
    assert found.num_inferences == 2
    assert found.detections_per_image == len(scores) / 2
    assert found.class_mix == {label: labels.count(label) / len(labels) for label in set(labels)}
    assert abs(found.score_quantiles[0.5] - scores.median().item()) < 0.01
    logged = {entry.key: entry.value for entry in memory.entries}
    assert logged["detections_per_image"] == found.detections_per_image
    assert set(logged) == {"latency_s", "detections_per_image", "median_score"}


def test_a_failing_listener_costs_itself_alone(tmp_path, model):
    heard = []
    with logger_of(model, tmp_path) as logger:
        logger.listen(lambda inferences: 1 / 0)
        logger.listen(heard.extend)
        logger(images())
        assert logger.stats().failed == {"listener": 1}

    assert [one.input_id for one in heard] == [one.input_id for one in traced(tmp_path)]


def test_without_the_evaluation_that_is_asked_for_there_is_no_logger(tmp_path, model):
    with pytest.raises(ConfigError, match="There is no evaluation 'val_v1' of tiny v1"):
        logger_of(model, tmp_path, result_name="val_v1")
    assert not any(module._forward_hooks for module in model.modules())


def test_a_failing_estimate_costs_itself_alone(tmp_path, model):
    with logger_of(model, tmp_path) as logger:
        logger._maker.estimate = lambda output, features: np.ones(99)
        logger(images())
        logger._maker.estimate = lambda output, features: output.shown().scores
        logger(images(seed=1))
        assert logger.stats().failed == {"estimate": 2}

    kept = traced(tmp_path)
    assert kept[0].error_probability is None
    assert np.array_equal(kept[2].error_probability, kept[2].output.shown().scores)


def test_another_architecture_under_a_known_name_is_told(tmp_path, model):
    logger_of(model, tmp_path).close()
    logger_of(model.half(), tmp_path).close()  # the same one, in another precision
    model.head = torch.nn.Conv2d(8, 9, 1)
    with pytest.raises(ConfigError, match="architecture"):
        logger_of(model, tmp_path)


def test_a_class_of_ones_own_is_found_by_its_model_and_may_override_everything(tmp_path, model, caplog):
    class Mine(type(model)):
        pass

    class MineLogger(ObjectDetectionTorchLogger):
        """Overrides what the seed lets it override; its hook is registered by hand, and fails once."""

        @staticmethod
        def detect(model):
            return isinstance(model, Mine)

        def _get_n_class(self, model):
            return 77

        def _register_model_hooks(self, model):
            self.raw = []
            model.head.register_forward_hook(self.keep)

        def keep(self, module, inputs, output):
            self.raw.append(output.detach())
            if len(self.raw) == 1:
                raise LogValueError("the first one fails")
            return output * 0  # which a hook of ours may not do

        def _parse_model_output(self, model_output, img_sizes):
            assert not torch.is_grad_enabled()
            return self._task._adapter.parse(None, None, {"head": self.raw[-1]}, img_sizes, self.call.config)

    model.__class__ = Mine
    expected = model(images())
    logger = ObjectDetectionLogger(model, "mine", "v1", database=tmp_path / "traces.db")
    with logger:
        assert type(logger) is MineLogger
        output = logger(images())
        model(images(seed=1))  # untraced calls are not its business
        assert len(logger.raw) == 1
        assert logger.stats().failed == {"hook": 1}
        logger(images())
        assert logger.stats().disagreements == 0
    assert logger.identity.n_class == 77
    assert all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(output, expected, strict=True))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_that_nobody_knows_is_told_with_the_adapters_and_an_example():
    with pytest.raises(ConfigError) as raised:
        ObjectDetectionLogger(torch.nn.Linear(1, 1), "linear", "v1")

    assert "No adapter knows a Linear. There are: " in str(raised.value)
    assert "tiny" in str(raised.value)
    assert "class MyAdapter(CallableAdapter):" in str(raised.value)
    with pytest.raises(ConfigError, match=r"model is a torch.nn.Module, got 3"):
        ObjectDetectionLogger(3, "linear", "v1")


def test_what_an_adapter_leaves_undecided_is_decided_by_the_setting(tmp_path, model, monkeypatch):
    plain = TinyAdapter.parse
    undecided = lambda *arguments: [replace(output, visible=None) for output in plain(*arguments)]  # noqa: E731
    monkeypatch.setattr(TinyAdapter, "parse", undecided)
    with logger_of(model, tmp_path, score_thresh=0.55) as logger:
        output = logger(images())
        assert logger.stats().disagreements == 0

    kept = traced(tmp_path)
    assert [one.output.visible.sum() for one in kept] == [len(shown["boxes"]) for shown in output]


def test_a_failing_comparison_costs_itself_alone(tmp_path, model, monkeypatch):
    monkeypatch.setattr(TinyAdapter, "reported", lambda *_: 1 / 0)
    with logger_of(model, tmp_path) as logger:
        logger(images())
        assert logger.stats().failed == {"compare": 1}

    assert len(traced(tmp_path)) == 2
