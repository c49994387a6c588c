"""Every family of torchvision's detectors: what its adapter calls visible is what the model shows."""

import copy
import sys
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from ml.core.errors import ConfigError, LogValueError
from ml.detection.iou import iou
from ml.tracing.adapters.base import DetectionAdapter
from ml.tracing.adapters.tensors import KEPT
from ml.tracing.adapters.torchvision_common import best_numbers
from ml.tracing.adapters.torchvision_dense import TorchvisionFcos, TorchvisionRetinaNet, TorchvisionSsd
from ml.tracing.adapters.torchvision_rcnn import TorchvisionRcnn
from ml.tracing.output import NmsConfig
from tests.digit_scenes import scenes
from tests.tracing.torchvision_models import (
    CLASSES,
    FAMILIES,
    ImageList,
    as_images,
    capturing,
    faster_rcnn,
    fcos,
    made,
    pictures,
    retinanet,
    ssd,
    trained_fcos,
)

ADAPTERS = (TorchvisionRcnn(), TorchvisionRetinaNet(), TorchvisionFcos(), TorchvisionSsd())
OWN = NmsConfig()
STRICT = NmsConfig(0.3, 0.2, 3)
FEW = NmsConfig(score_thresh=0.5)
MANY = NmsConfig(0.0, 0.3, 10_000)
IMAGES = pictures((48, 64), (97, 33))
MAIN = ("faster_rcnn", "retinanet", "fcos", "ssd")
"""The others are read by the same code."""


class Run(NamedTuple):
    """One call of a model."""

    adapter: DetectionAdapter
    model: nn.Module
    images: list
    config: NmsConfig
    output: list
    captured: dict

    def parsed(self):
        sizes = self.adapter.image_sizes(self.images)
        with torch.no_grad():
            return self.adapter.parse(self.model, self.output, self.captured, sizes, self.config)

    def reported(self):
        return self.adapter.reported(self.output, self.adapter.image_sizes(self.images), self.config)

    def reaching(self):
        """How many pairs of each image reach the model's own suppression."""
        sizes = self.captured["transform"][0].image_sizes
        with torch.no_grad():
            scored = self.adapter.scored(self.model, self.captured, sizes, self.config)
            return [len(of_image.reaching.numbers) for of_image in scored]


def adapter_of(model):
    (adapter,) = (adapter for adapter in ADAPTERS if adapter.detect(model))
    return adapter


def run(model, applied=OWN, images=IMAGES):
    adapter = adapter_of(model)
    config = adapter.nms_config(model).overridden_by(applied)
    with torch.no_grad(), adapter.applied(model, applied), capturing(adapter.modules(model)) as captured:
        return Run(adapter, model, images, config, model(images), captured)


@cache
def ran(family, applied=OWN):
    return run(made(FAMILIES[family]), applied)


@cache
def parsed(family, applied=OWN):
    return ran(family, applied).parsed()


@pytest.fixture(params=FAMILIES)
def any_family(request):
    return request.param


@pytest.fixture(params=MAIN)
def family(request):
    return request.param


def assert_equal(outputs, others):
    assert len(outputs) == len(others)
    for output, other in zip(outputs, others, strict=True):
        for name in ("scores", "labels", "boxes"):
            np.testing.assert_array_equal(getattr(output, name), getattr(other, name), err_msg=name, strict=True)
        assert output.image_size == other.image_size


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("applied", [OWN, STRICT, FEW, MANY], ids=["own", "strict", "few", "many"])
def test_what_is_visible_is_what_the_model_shows_under_any_setting(any_family, applied):
    called = ran(any_family, applied)

    assert_equal([output.shown() for output in parsed(any_family, applied)], called.reported())
    assert any(len(output) for output in called.reported())


def test_both_ways_in_which_classes_are_kept_apart_are_met(family):
    assert min(ran(family, MANY).reaching()) > 1_000
    assert 0 < min(ran(family, FEW).reaching()) <= 1_000


@pytest.mark.parametrize("make", [faster_rcnn, retinanet, fcos, ssd])
@pytest.mark.parametrize("applied", [OWN, STRICT._replace(score_thresh=0.0)], ids=["own", "strict"])
def test_where_all_scores_are_equal_the_model_and_its_adapter_still_agree(make, applied):
    model = made(make)
    for name, module in model.named_modules():
        is_last = any(
            part in name for part in ("cls_logits", "cls_score", "ctrness", "classification_head.module_list")
        )
        if is_last and hasattr(module, "weight"):
            module.weight.data.zero_()

    called = run(model, applied)

    assert len(np.unique(called.reported()[0].scores)) == 1
    assert_equal([output.shown() for output in called.parsed()], called.reported())


def test_a_model_in_double_precision_is_decided_in_double_precision():
    called = run(made(retinanet).double(), images=[image.double() for image in IMAGES])

    assert_equal([output.shown() for output in called.parsed()], called.reported())


def test_hooks_and_parsing_change_nothing(family):
    model = made(FAMILIES[family])
    with torch.no_grad():
        bare = model(IMAGES)
    weights, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    called = run(model)
    captured = copy.deepcopy(called.captured)

    called.parsed()
    called.reported()

    assert all(result.keys() == other.keys() for result, other in zip(bare, called.output, strict=True))
    for result, other in zip(bare, called.output, strict=True):
        assert all(torch.equal(result[name], other[name]) for name in result)
    assert not model.training
    assert called.adapter.nms_config(model) == called.config
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    torch.testing.assert_close(tensors_of(called.captured), tensors_of(captured), rtol=0, atol=0)


def tensors_of(captured):
    if isinstance(captured, torch.Tensor):
        return [captured]
    parts = captured.values() if isinstance(captured, dict) else captured if isinstance(captured, list | tuple) else []
    return [tensor for part in parts for tensor in tensors_of(part)]


def test_what_is_returned_shares_no_memory_with_what_the_model_returned(family):
    called = ran(family, STRICT)
    called = called._replace(output=copy.deepcopy(called.output), captured=copy.deepcopy(called.captured))
    before = called.parsed(), called.reported()
    expected = copy.deepcopy(before)

    for tensor in (*tensors_of(called.output), *tensors_of(called.captured)):
        tensor.fill_(7)

    for outputs, others in zip(before, expected, strict=True):
        assert_equal(outputs, others)


def test_a_setting_is_restored_whatever_happens(family):
    model, own = ran(family).model, ran(family).adapter.nms_config(ran(family).model)
    adapter = adapter_of(model)

    with adapter.applied(model, STRICT):
        assert adapter.nms_config(model) == STRICT
    assert adapter.nms_config(model) == own
    with pytest.raises(TypeError), adapter.applied(model, STRICT):
        model(None)
    assert adapter.nms_config(model) == own
    with adapter.applied(model, NmsConfig(max_detections_per_image=7)):
        assert adapter.nms_config(model) == own._replace(max_detections_per_image=7)
    assert adapter.nms_config(model) == own


def test_classes_and_setting_are_those_of_the_model(family):
    called = ran(family)

    assert called.adapter.n_class(called.model) == CLASSES == parsed(family)[0].logits.shape[1]
    assert (
        called.adapter.nms_config(called.model)
        == {
            "fcos": NmsConfig(0.2, 0.6, 100),
            "ssd": NmsConfig(0.01, 0.45, 200),
            "retinanet": NmsConfig(0.05, 0.5, 300),
            "faster_rcnn": NmsConfig(0.05, 0.5, 100),
        }[family]
    )


def test_the_score_of_a_candidate_comes_from_its_logits(family):
    called = ran(family)
    for index, output in enumerate(parsed(family)):
        logits = torch.from_numpy(output.logits)
        if isinstance(called.adapter, TorchvisionRcnn | TorchvisionSsd):
            scores = logits.softmax(dim=1)
        else:
            scores = logits.sigmoid()
        if isinstance(called.adapter, TorchvisionFcos):
            scores = (scores * called.captured["head"]["bbox_ctrness"][index][output.candidates].sigmoid()).sqrt()
        rows = np.arange(len(output))

        np.testing.assert_allclose(scores.numpy()[rows, output.labels], output.scores, rtol=1e-6)


def test_candidates_below_the_threshold_are_kept_the_surest_first_and_are_the_same_under_every_setting(family):
    for output, whole in zip(parsed(family, STRICT), parsed(family, MANY), strict=True):
        places = {pair: place for place, pair in enumerate(zip(whole.candidates, whole.labels, strict=True))}
        pairs = list(zip(output.candidates, output.labels, strict=True))

        assert len(output) == KEPT == len(set(pairs))
        assert (np.diff(output.scores) <= 0).all()
        assert output.visible.sum() == 3
        at = [places[pair] for pair in pairs]
        np.testing.assert_array_equal(whole.scores[at], output.scores)
        np.testing.assert_allclose(whole.boxes[at], output.boxes, rtol=1e-5, atol=1e-4)


def test_boxes_lie_within_the_image_as_it_was_given(family):
    for output, image in zip(parsed(family), IMAGES, strict=True):
        height, width = image.shape[1:]

        assert output.image_size == (height, width)
        assert (output.boxes >= 0).all()
        assert (output.boxes[:, 2:] <= np.array([width, height]) * (1 + 1e-6)).all()
        assert output.boxes[:, 2:].max() > min(height, width) / 2


def test_an_image_in_which_nothing_is_seen_has_the_surest_candidates_and_never_the_background(family):
    called = ran(family, NmsConfig(score_thresh=1.0))

    for index, output in enumerate(called.parsed()):
        surest = scores_of(called, index).flatten().topk(KEPT).values
        np.testing.assert_allclose(output.scores, surest.numpy(), rtol=1e-6)
    assert [len(output) for output in called.reported()] == [0, 0]
    assert [(len(output), output.visible.sum()) for output in called.parsed()] == [(KEPT, 0)] * 2


@pytest.mark.parametrize("first_label", [0, 1])
def test_of_more_candidates_than_are_kept_the_surest_pairs_are_found(first_label):
    scores = torch.rand(3 * KEPT, 4, generator=torch.Generator().manual_seed(0))

    numbers = best_numbers(scores, first_label)

    expected = scores[:, first_label:].flatten().topk(KEPT).values
    assert torch.equal(scores.flatten()[numbers], expected)
    assert (numbers % 4 >= first_label).all()


def scores_of(called, index):
    """What an image's candidates have for a score, of every class but the background."""
    if isinstance(called.adapter, TorchvisionRcnn):
        counts = [len(of_image) for of_image in called.captured["rpn"][0]]
        return called.captured["box_predictor"][0].split(counts)[index].softmax(dim=1)[:, 1:]
    head = {name: tensor[index] for name, tensor in called.captured["head"].items()}
    if isinstance(called.adapter, TorchvisionSsd):
        return head["cls_logits"].softmax(dim=1)[:, 1:]
    return called.adapter.scores(head)


@pytest.mark.parametrize("count", [300, 600], ids=["shifted", "class-by-class"])
def test_boxes_whose_overlap_is_within_rounding_of_the_threshold_are_decided_as_the_model_does(count):
    """Moved by its class, a box is rounded: up to 1,000 boxes the model decides about those, beyond about others."""
    model = made(faster_rcnn)
    random = np.random.default_rng(0)
    place = np.stack(np.divmod(np.arange(count), 25), axis=1) * 5
    near, sides = place + random.uniform(0, 1, (count, 2)), random.uniform(1.5, 3.5, (count, 2))
    halves = sides * np.stack([np.ones(count), 0.5 + random.uniform(-3e-6, 3e-6, count)], axis=1)
    boxes = np.concatenate([np.concatenate([near, near + size], axis=1) for size in (sides, halves)])
    proposals = [torch.from_numpy(boxes).float()]
    logits = torch.zeros(2 * count, CLASSES)
    logits[:, CLASSES - 1] = torch.linspace(9, 5, 2 * count)
    codes, shapes = torch.zeros(2 * count, 4 * CLASSES), [(128, 128)]
    config = NmsConfig(0.5, 0.5, 10_000)

    with TorchvisionRcnn().applied(model, config):
        found = model.roi_heads.postprocess_detections(logits, codes, proposals, shapes)
    output = [dict(zip(("boxes", "scores", "labels"), (part[0] for part in found), strict=True))]
    captured = {
        "transform": (ImageList(torch.zeros(1, 3, 128, 128), shapes), None),
        "rpn": (proposals, {}),
        "box_predictor": (logits, codes),
    }
    called = Run(TorchvisionRcnn(), model, [torch.zeros(3, 128, 128)], config, output, captured)

    assert called.reaching() == [2 * count]
    assert count < len(output[0]["boxes"]) < 2 * count
    assert_equal([output.shown() for output in called.parsed()], called.reported())


def test_an_image_without_proposals_has_no_candidate():
    model = made(faster_rcnn)
    model.rpn.score_thresh = 2.0

    called = run(model)

    assert [len(output) for output in called.parsed()] == [0, 0]
    assert called.parsed()[0].logits.shape == (0, CLASSES)
    assert_equal([output.shown() for output in called.parsed()], called.reported())


def test_no_image_is_no_output(family):
    called = ran(family)

    assert called.adapter.image_sizes([]) == []
    assert called.adapter.reported([], [], called.config) == []


def test_numbers_that_are_not_finite_cost_their_candidates_alone(family):
    model = made(FAMILIES[family])
    with torch.no_grad():
        expected = model(IMAGES[:1])
    called = run(model, images=[IMAGES[0], IMAGES[1] * torch.nan])

    outputs = called.parsed()

    assert len(outputs[0].shown()) == len(expected[0]["scores"])
    assert_equal([output.shown() for output in outputs], called.reported())


def test_losses_are_no_detections(family):
    called = ran(family)

    with pytest.raises(LogValueError, match=r"got dict.*model\.eval"):
        called._replace(output={"loss": torch.zeros(())}).parsed()
    with pytest.raises(LogValueError, match="given 2 images, and returned 1 results"):
        called._replace(output=called.output[:1]).reported()


def test_the_size_of_images_is_read_from_every_input_that_a_model_takes():
    (adapter, *_) = ADAPTERS

    assert adapter.image_sizes(IMAGES) == [(48, 64), (97, 33)]
    assert adapter.image_sizes(torch.zeros(2, 3, 8, 9)) == [(8, 9), (8, 9)]
    assert adapter.image_sizes({"images": IMAGES[:1]}) == [(48, 64)]
    for wrong in (torch.zeros(3, 8, 9), "image", None, [np.zeros((3, 8, 9))], {"pixels": IMAGES}):
        with pytest.raises(LogValueError, match="takes a list of images"):
            adapter.image_sizes(wrong)


def test_a_model_of_another_kind_is_none_of_them():
    model = made(faster_rcnn)
    model.roi_heads = nn.Identity()

    assert not any(adapter.detect(nn.Linear(1, 1)) or adapter.detect(model) for adapter in ADAPTERS)


def test_nothing_is_detected_where_torchvision_is_not_imported(monkeypatch):
    model = made(retinanet)
    monkeypatch.delitem(sys.modules, "torchvision.models.detection.retinanet")

    assert not TorchvisionRetinaNet.detect(model)


def test_a_predictor_that_does_not_say_its_classes_is_refused():
    model = made(faster_rcnn)
    model.roi_heads.box_predictor = nn.Identity()

    with pytest.raises(ConfigError, match=r"Identity does not say how many classes.*n_class"):
        TorchvisionRcnn().n_class(model)


def test_a_trained_model_shows_on_real_scenes_what_is_called_visible():
    model = trained_fcos(scenes(64, seed=1), steps=60)
    validation = scenes(24, seed=2, is_validation=True)

    called = run(model, images=as_images(validation))
    outputs = called.parsed()

    assert_equal([output.shown() for output in outputs], called.reported())
    overlaps = [iou(output.shown().boxes, scene.xyxy) for output, scene in zip(outputs, validation, strict=True)]
    assert sum((of_scene > 0.5).any() for of_scene in overlaps if of_scene.size) >= 6
