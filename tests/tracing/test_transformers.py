"""What is called visible of a detector of transformers is what the library itself makes of the model's output."""

import copy
import sys
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BatchFeature
from transformers.modeling_outputs import ModelOutput
from transformers.models.conditional_detr.image_processing_pil_conditional_detr import ConditionalDetrImageProcessorPil
from transformers.models.deformable_detr.image_processing_pil_deformable_detr import DeformableDetrImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from ml.core.errors import LogValueError
from ml.tracing import ObjectDetectionLogger
from ml.tracing.adapters.base import ADAPTERS, DetectionAdapter
from ml.tracing.adapters.tensors import KEPT
from ml.tracing.output import NmsConfig
from tests.digit_scenes import SCENE_PX, scenes
from tests.torchvision_cpu import nms
from tests.tracing.transformers_models import CLASSES, FAMILIES, QUERIES, fresh, made

PROCESSORS = {
    "detr": DetrImageProcessorPil(),
    "conditional_detr": ConditionalDetrImageProcessorPil(),
    "deformable_detr": DeformableDetrImageProcessorPil(),
    "yolos": YolosImageProcessorPil(),
    "rt_detr": RTDetrImageProcessorPil(),
    "rt_detr_v2": RTDetrImageProcessorPil(),
    "d_fine": RTDetrImageProcessorPil(),
}
SOFTMAX, MASKED = ("detr", "yolos"), ("detr", "conditional_detr", "deformable_detr")
FOCAL = ("rt_detr", "rt_detr_v2", "d_fine")
"""Of which the processor takes as many as there are queries."""

OWN = NmsConfig()
LOW = NmsConfig(score_thresh=0.3)
EVERYTHING = NmsConfig(score_thresh=0.0)
SIZES = [(32, 64), (64, 32), (64, 64)]


def pictures():
    """Scenes, each the whole or a corner of a padded picture, with a mask that says so."""
    pixels, mask = torch.zeros(3, 3, 64, 64), torch.zeros(3, 64, 64, dtype=torch.int64)
    for number, (scene, (height, width)) in enumerate(zip(scenes(3, seed=5), SIZES, strict=True)):
        pixels[number, :, :height, :width] = torch.from_numpy(scene.image[:height, :width]).float() / 255
        mask[number, :height, :width] = 1
    return {"pixel_values": pixels, "pixel_mask": mask}


INPUT = pictures()


class Run(NamedTuple):
    """One call of a model."""

    family: str
    adapter: DetectionAdapter
    model: nn.Module
    config: NmsConfig
    output: ModelOutput
    sizes: list

    def parsed(self):
        with torch.no_grad():
            return self.adapter.parse(self.model, self.output, {}, self.sizes, self.config)

    def reported(self):
        return self.adapter.reported(self.output, self.sizes, self.config)

    def processed(self):
        """What the library's processor says, in its order."""
        takes_limit = self.family in ("conditional_detr", "deformable_detr")
        limit = {"top_k": self.config.max_detections_per_image} if takes_limit else {}
        return processed_by(PROCESSORS[self.family], self, **limit)


def processed_by(processor, called, **limit):
    threshold = called.config.score_thresh
    results = processor.post_process_object_detection(
        called.output, threshold=threshold, target_sizes=called.sizes, **limit
    )
    return [{name: tensor.double().numpy() for name, tensor in result.items()} for result in results]


def any_number(called, most):
    """What the processor says that takes another limit: all families with a sigmoid choose from the same scores."""
    if called.family in SOFTMAX:
        return called.processed()
    return processed_by(PROCESSORS["conditional_detr"], called, top_k=most)


def adapter_of(model):
    kind = ADAPTERS.handling(model)
    assert kind is not None
    return kind()


def run(family, applied=OWN, model=None, inputs=INPUT):
    model = made(family) if model is None else model
    adapter = adapter_of(model)
    config = adapter.nms_config(model).overridden_by(applied)
    with torch.no_grad(), adapter.applied(model, applied):
        output = model(**inputs)
    return Run(family, adapter, model, config, output, adapter.image_sizes(inputs))


@cache
def ran(family, applied=OWN):
    return run(family, applied)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_equal(outputs, results):
    assert len(outputs) == len(results)
    for output, result in zip(outputs, results, strict=True):
        for name, array in result.items():
            mine = getattr(output, name)
            np.testing.assert_array_equal(mine, array.astype(mine.dtype), err_msg=name)


def ordered(results, most=None):
    """Results by descending score, at most so many."""
    orders = [np.argsort(-result["scores"], kind="stable")[:most] for result in results]
    return [
        {name: array[order] for name, array in result.items()} for result, order in zip(results, orders, strict=True)
    ]


def assert_agrees(called):
    """What is visible, what is reported, and what the library says are the same."""
    for outputs in (called.reported(), called.parsed()):
        assert_equal([output.shown() for output in outputs], ordered(called.processed()))


def arrays_of(output):
    return {name: value for name, value in vars(output).items() if isinstance(value, np.ndarray)}


def answering(called, logits, boxes=None):
    return called._replace(
        output=ModelOutput(logits=logits, pred_boxes=called.output.pred_boxes if boxes is None else boxes)
    )


@pytest.mark.parametrize("applied", [OWN, LOW, EVERYTHING], ids=["own", "low", "everything"])
def test_what_is_visible_is_what_the_processor_shows_under_any_threshold(family, applied):
    called = ran(family, applied)

    assert_agrees(called)
    assert all(len(output) for output in called.reported())


def test_without_a_threshold_that_matters_as_much_is_visible_as_the_processor_takes(family):
    most = {"conditional_detr": 100, "deformable_detr": 100}.get(family, QUERIES)

    assert [len(output) for output in ran(family, EVERYTHING).reported()] == [most] * 3
    assert min(len(output) for output in ran(family).reported()) < most or family in FOCAL


def test_a_limit_leaves_the_surest(family):
    called = run(family, NmsConfig(score_thresh=0.0, max_detections_per_image=7))

    expected = ordered(any_number(called, 7), 7)

    assert_equal([output.shown() for output in called.parsed()], expected)
    assert_equal([output.shown() for output in called.reported()], expected)


@pytest.mark.parametrize("limit", [None, 5])
def test_with_an_iou_threshold_what_is_sure_enough_is_suppressed_class_by_class(family, limit):
    called = run(family, NmsConfig(0.4, 0.3, limit))
    most = called.config.max_detections_per_image
    results = any_number(called, 10_000)

    expected = []
    for result in results:
        boxes, scores, labels = (torch.from_numpy(result[name]) for name in ("boxes", "scores", "labels"))
        boxes = boxes.float()
        kept = [
            index
            for label in labels.unique()
            for index in torch.nonzero(labels == label)[:, 0][nms(boxes[labels == label], scores[labels == label], 0.3)]
        ]
        order = torch.stack(sorted(kept)).numpy()
        expected.append({name: array[order] for name, array in result.items()})

    assert sum(map(len, (result["scores"] for result in results))) > sum(len(result["scores"]) for result in expected)
    for outputs in (called.parsed(), called.reported()):
        assert_equal([output.shown() for output in outputs], ordered(expected, most))


def test_an_output_is_read_as_an_object_a_dictionary_and_a_tuple(family):
    called = ran(family)
    labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.3]])}] * 3
    with torch.no_grad():
        plain = called.model(**INPUT, return_dict=False)
        with_loss = called.model(**INPUT, labels=labels, return_dict=False)

    assert isinstance(plain, tuple)
    assert with_loss[0].ndim == 0
    expected = called.parsed()
    for output in (dict(called.output), plain, with_loss):
        for mine, other in zip(called._replace(output=output).parsed(), expected, strict=True):
            assert_equal([mine], [arrays_of(other)])


def test_a_padded_image_is_as_large_as_its_mask_where_the_model_looks_at_it(family):
    called = ran(family)
    whole = run(family, inputs={"pixel_values": INPUT["pixel_values"]})

    looks = not torch.equal(called.output.logits, whole.output.logits)

    assert looks == called.adapter.looks_at_mask == (family in MASKED)
    assert called.sizes == (SIZES if looks else [(64, 64)] * 3)
    assert whole.sizes == [(64, 64)] * 3


def test_calling_and_reading_change_nothing(family):
    model = made(family)
    with torch.no_grad():
        bare = model(**INPUT)
    before = copy.deepcopy((model.state_dict(), model.config.to_dict(), torch.get_rng_state(), model.training))
    called = run(family, NmsConfig(0.1, 0.5, 3), model)
    output = copy.deepcopy(called.output)

    called.parsed()
    called.reported()

    assert bare.keys() == called.output.keys() == output.keys()
    for name in bare:
        torch.testing.assert_close(called.output[name], bare[name], rtol=0, atol=0)
        torch.testing.assert_close(called.output[name], output[name], rtol=0, atol=0)
    assert all(torch.equal(tensor, before[0][name]) for name, tensor in model.state_dict().items())
    assert model.config.to_dict() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert model.training == before[3]
    assert called.adapter.modules(model) == {}


def test_what_is_returned_shares_no_memory_with_what_the_model_returned(family):
    called = run(family)
    reported, parsed = called.reported(), called.parsed()
    expected = copy.deepcopy((reported, parsed))

    called.output.logits.zero_()
    called.output.pred_boxes.zero_()

    for outputs, copied in zip((reported, parsed), expected, strict=True):
        assert_equal(outputs, [arrays_of(output) for output in copied])


def test_gradients_flow_through_an_output_that_was_read(family):
    called = ran(family)
    called = called._replace(output=called.model(**INPUT))

    called.adapter.reported(called.output, called.sizes, called.config)
    called.parsed()

    assert called.output.logits.requires_grad
    torch.autograd.grad(called.output.logits.sum(), called.output.logits)


def test_candidates_are_the_same_under_every_setting_the_surest_first(family):
    called, other = ran(family, NmsConfig(0.6, 0.2, 3)), ran(family, EVERYTHING)
    for output, whole in zip(called.parsed(), other.parsed(), strict=True):
        pairs, others = (set(zip(of.candidates, of.labels, strict=True)) for of in (output, whole))

        assert pairs == others
        assert len(pairs) == len(output) == (QUERIES if family in SOFTMAX else QUERIES * CLASSES)
        assert (np.diff(output.scores) <= 0).all()
        np.testing.assert_array_equal(output.scores, whole.scores)


def test_a_candidate_is_a_query_with_its_logits_and_box(family):
    called = ran(family)
    for output, logits, boxes in zip(called.parsed(), called.output.logits, called.output.pred_boxes, strict=True):
        scores = logits.softmax(-1) if family in SOFTMAX else logits.sigmoid()
        height, width = output.image_size
        x1, y1, x2, y2 = output.boxes.T / np.array([[width], [height], [width], [height]])

        np.testing.assert_array_equal(output.logits, logits[output.candidates])
        np.testing.assert_allclose(output.scores, scores[output.candidates, output.labels], rtol=1e-6)
        centred = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
        np.testing.assert_allclose(centred, boxes[output.candidates], atol=1e-5)


def test_classes_and_setting_are_those_of_the_model_and_the_processor(family):
    called = ran(family)
    setting = {"conditional_detr": 100, "deformable_detr": 100, "detr": None, "yolos": None}.get(family, QUERIES)

    assert called.adapter.n_class(called.model) == CLASSES
    assert called.adapter.nms_config(called.model) == NmsConfig(0.5, None, setting)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_another_precision_is_decided_in_that_precision(family, precision):
    called = ran(family, LOW)
    called = answering(called, called.output.logits.to(precision), called.output.pred_boxes.to(precision))

    expected = called.processed()
    if family in FOCAL and precision != torch.float64:
        for output, result in zip(called.reported(), expected, strict=True):
            np.testing.assert_allclose(output.boxes, result.pop("boxes"), rtol=0.01, atol=0.25)
        assert_equal(called.reported(), ordered(expected))
        assert_equal([output.shown() for output in called.parsed()], ordered(expected))
    else:
        assert_agrees(called)


def test_a_score_that_equals_the_threshold_is_not_visible(family):
    called = ran(family)
    logits = torch.zeros_like(called.output.logits)
    if family in SOFTMAX:
        logits[..., 2:] = -torch.inf

    called = answering(called, logits)

    assert_agrees(called)
    assert [output.visible.sum() for output in called.parsed()] == [0, 0, 0]
    assert {float(score) for output in called.parsed() for score in output.scores} <= {0.0, 0.5}


def test_of_equal_scores_those_are_visible_that_the_processor_takes(family):
    called = ran(family, LOW)

    called = answering(called, torch.full_like(called.output.logits, 3.0), called.output.pred_boxes)
    if family in SOFTMAX:
        called.output.logits[..., 1:] = 0

    assert_agrees(called)
    assert all(len(output) for output in called.reported())


def test_numbers_that_are_not_finite_cost_their_candidates_alone(family):
    called = ran(family)
    logits, boxes = called.output.logits.clone(), called.output.pred_boxes.clone()
    logits[0, 3], boxes[1, 5], logits[2, 7] = torch.nan, torch.nan, torch.inf

    called = answering(called, logits, boxes)

    assert_agrees(called)
    assert all(len(output) for output in called.reported())


def test_no_image_is_no_output(family):
    called = ran(family)
    empty = called._replace(sizes=[])

    assert answering(empty, torch.zeros(0, QUERIES, CLASSES), torch.zeros(0, QUERIES, 4)).parsed() == []


def test_of_many_pairs_the_surest_are_kept_and_all_that_are_visible():
    called = ran("conditional_detr")
    random = torch.Generator().manual_seed(2)
    logits, boxes = (torch.randn(3, 300, size, generator=random) for size in (8, 4))
    called = answering(called, logits, boxes.sigmoid())

    few, many = called.parsed(), called._replace(config=NmsConfig(0.0, None, 2 * KEPT)).parsed()

    for output, whole, of_image in zip(few, many, logits, strict=True):
        surest = of_image.sigmoid().flatten().sort(descending=True).values
        np.testing.assert_array_equal(output.scores, surest[:KEPT])
        np.testing.assert_array_equal(whole.scores, surest[: 2 * KEPT])
        assert (output.visible.sum(), whole.visible.sum()) == (100, 2 * KEPT)
        assert len(set(zip(whole.candidates, whole.labels, strict=True))) == 2 * KEPT


@pytest.mark.parametrize(("family", "is_named"), [*((name, True) for name in FOCAL), ("rt_detr", False)])
def test_queries_that_were_given_the_truth_are_no_candidates(family, is_named):
    model = fresh(family).train()
    labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.3]])}] * 3
    output = model(**INPUT, labels=labels, return_dict=is_named)
    logits = (
        output.logits if is_named else next(part for part in output if part.__class__ is not dict and part.ndim == 3)
    )
    called = ran(family)._replace(model=model, output=output)

    assert logits.shape[1] > QUERIES
    for read, of_image in zip(called.parsed(), logits.detach(), strict=True):
        np.testing.assert_array_equal(read.logits, of_image[-QUERIES:][read.candidates])
        assert read.candidates.max() == QUERIES - 1


def test_what_is_no_output_of_queries_is_refused(family):
    called = ran(family)
    wrong = ([], {"loss": torch.zeros(())}, (torch.zeros(3, 8, 4),), (torch.zeros(3, 8, 4), torch.zeros(3, 9, 4)), None)
    for output in wrong:
        with pytest.raises(LogValueError, match=r"returns logits \(B, Q, C\) and pred_boxes"):
            called._replace(output=output).parsed()
    with pytest.raises(LogValueError, match="given 2 images, and answered for 3"):
        called._replace(sizes=SIZES[:2]).reported()


def test_what_is_no_batch_of_images_is_refused(family):
    adapter = ran(family).adapter

    assert adapter.image_sizes(torch.zeros(2, 3, 8, 9)) == [(8, 9), (8, 9)]
    for wrong in (torch.zeros(3, 8, 9), [torch.zeros(3, 8, 9)], {"images": torch.zeros(1, 3, 8, 9)}, None):
        with pytest.raises(LogValueError, match="one tensor of shape"):
            adapter.image_sizes(wrong)


def test_each_family_is_known_by_one_adapter_and_a_derived_model_too(family):
    model = made(family)
    kind = type("Mine", (type(model),), {})
    derived = kind.__new__(kind)
    found = [kind for kind in ADAPTERS.known() if kind.detect(model)]

    assert len(found) == 1
    assert found[0].detect(derived)
    assert not any(kind.detect(model.model if hasattr(model, "model") else model.vit) for kind in ADAPTERS.known())


def test_nothing_is_detected_where_a_family_is_not_imported(family, monkeypatch):
    monkeypatch.delitem(sys.modules, f"transformers.models.{family}.modeling_{family}")

    assert not any(kind.detect(made(family)) for kind in ADAPTERS.known())


def test_a_logger_returns_the_output_of_the_bare_model_and_finds_no_disagreement(family, tmp_path):
    model = made(family)
    with torch.no_grad(), ObjectDetectionLogger(model, family, "v1", database=tmp_path / "traces.db") as logger:
        bare, output = model(**INPUT), logger(BatchFeature(INPUT))
        assert logger.wait_for_save()
        stats = logger.stats()

    assert type(output) is type(bare)
    for name in bare:
        torch.testing.assert_close(output[name], bare[name], rtol=0, atol=0)
    assert (stats.saved, stats.disagreements, dict(stats.failed)) == (3, 0, {})


def test_a_trained_model_shows_on_real_scenes_what_is_called_visible():
    model = fresh("yolos").train()
    learned, labels = batch_of(scenes(12, seed=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = last = None
    for _ in range(12):
        last = model(**learned, labels=labels).loss
        first = last.item() if first is None else first
        optimizer.zero_grad()
        last.backward()
        optimizer.step()
    inputs, _ = batch_of(scenes(12, seed=2, is_validation=True))

    called = run("yolos", NmsConfig(score_thresh=0.25), model.eval(), inputs)

    assert last.item() < first / 2
    assert_agrees(called)
    counts = [len(output) for output in called.reported()]
    assert 0 < sum(counts) < len(counts) * QUERIES


def batch_of(batch):
    """Scenes as a model takes them, and their truth as it learns from it."""
    pixels = torch.stack([torch.from_numpy(scene.image).float() / 255 for scene in batch])
    labels = []
    for scene in batch:
        near, far = torch.from_numpy(scene.xyxy / SCENE_PX).float().split(2, dim=1)
        boxes = torch.cat([(near + far) / 2, far - near], dim=1)
        labels.append({"class_labels": torch.from_numpy(scene.labels) % CLASSES, "boxes": boxes})
    return {"pixel_values": pixels[:, None].expand(-1, 3, -1, -1)}, labels
