"""Any model is read by a small class that says what its candidates are."""

import numpy as np
import pytest
import torch
from torch import nn

from ml.core.errors import ConfigError, LogValueError
from ml.tracing.adapters.base import ADAPTERS
from ml.tracing.adapters.calling import CallableAdapter, CalledModule, candidates_of
from ml.tracing.output import DetectionOutput, NmsConfig

CLASSES = 3
SETTING = NmsConfig(0.4, 0.5, 4)


class Raw(nn.Module):
    """Returns boxes, (B, 9, 4), and logits, (B, 9, 3), and suppresses nothing."""

    def __init__(self):
        super().__init__()
        self.head = nn.Module()
        self.head.confidence, self.top = 0.25, 6
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.layer = nn.Linear(16, 9 * (4 + CLASSES))

    def forward(self, images):
        raw = self.layer(images.mean(1).flatten(1)).reshape(len(images), 9, 4 + CLASSES)
        near = raw[..., :2].sigmoid()
        return torch.cat([near, near + 1 + raw[..., 2:4].sigmoid()], -1), 4 * raw[..., 4:]


class RawAdapter(CallableAdapter):
    name = "raw detector of a test"
    classes = CLASSES
    setting = SETTING

    @staticmethod
    def detect(model):
        return isinstance(model, Raw)

    def candidates(self, model_output, image_sizes):
        boxes, logits = model_output
        return [
            candidates_of(boxes[number], logits[number].sigmoid(), size, logits=logits[number])
            for number, size in enumerate(image_sizes)
        ]


@pytest.fixture
def model():
    return Raw().eval()


@pytest.fixture
def images():
    return torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(5))


def by_hand(boxes, logits, config):
    """What is seen of one image: index, label and score, the surest first."""
    scores, seen = logits.sigmoid(), []
    for number in scores.flatten().argsort(descending=True, stable=True).tolist():
        index, label = divmod(number, CLASSES)
        if scores[index, label] > config.score_thresh and all(
            label != other or overlap(boxes[index], boxes[at]) <= config.iou_thresh for at, other, _ in seen
        ):
            seen.append((index, label, float(scores[index, label])))
    return seen[: config.max_detections_per_image]


def overlap(a, b):
    shared = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


@pytest.mark.parametrize("config", [SETTING, NmsConfig(0.2, 0.3, 9), NmsConfig(0.0, 1.0, 100)])
def test_what_is_visible_follows_the_setting(model, images, config):
    adapter = RawAdapter()
    with torch.no_grad():
        output = model(images)

    parsed = adapter.parse(model, output, {}, adapter.image_sizes(images), config)

    assert [len(candidates) for candidates in parsed] == [9 * CLASSES] * 2
    for candidates, boxes, logits in zip(parsed, *output, strict=True):
        shown, expected = candidates.shown(), by_hand(boxes, logits, config)
        assert list(zip(shown.candidates, shown.labels, shown.scores, strict=True)) == expected
        np.testing.assert_array_equal(shown.boxes, boxes[shown.candidates])
        np.testing.assert_array_equal(candidates.logits, logits[candidates.candidates])
        assert candidates.image_size == (4, 4)


def test_what_is_reported_is_what_is_visible(model, images):
    adapter, sizes = RawAdapter(), [(4, 4)] * 2
    with torch.no_grad():
        output = model(images)

    parsed = adapter.parse(model, output, {}, sizes, SETTING)
    for shown, candidates in zip(adapter.reported(output, sizes, SETTING), parsed, strict=True):
        np.testing.assert_array_equal(shown.scores, candidates.shown().scores)
        np.testing.assert_array_equal(shown.boxes, candidates.shown().boxes)
        assert shown.logits is None
        assert shown.visible.all()
        assert shown.candidates.tolist() == list(range(len(shown)))


def test_the_model_is_as_it_was_and_returns_what_it_would(model, images):
    adapter, before = RawAdapter(), torch.get_rng_state()
    with torch.no_grad():
        bare = model(images)
        with adapter.applied(model, NmsConfig(0.9, 0.1, 1)):
            output = model(images)
        adapter.parse(model, output, {}, [(4, 4)] * 2, NmsConfig(0.9, 0.1, 1))

    assert all(map(torch.equal, bare, output))
    assert all(map(torch.equal, bare, model(images)))
    assert torch.equal(before, torch.get_rng_state())


def test_the_class_is_found_by_its_model_alone(model):
    assert ADAPTERS.handling(model) is RawAdapter
    assert CallableAdapter not in ADAPTERS.known()
    assert ADAPTERS.handling(nn.Linear(1, 1)) is None


def test_classes_and_setting_are_those_of_the_class(model):
    assert RawAdapter().n_class(model) == CLASSES
    assert RawAdapter().nms_config(model) == SETTING
    assert RawAdapter().modules(model) == {}


def kind_of(**members):
    """A class that no later test finds."""
    return type("Mine", (RawAdapter,), {"detect": staticmethod(lambda model: False), **members})


def test_limits_that_the_model_keeps_are_read_there_and_set_for_the_call_alone(model):
    adapter = kind_of(attributes={"score_thresh": "head.confidence", "max_detections_per_image": "top"})()
    own, seen = NmsConfig(0.25, 0.5, 6), []

    def fails():
        seen.append((model.head.confidence, model.top))
        raise KeyError

    assert adapter.nms_config(model) == own
    with pytest.raises(KeyError), adapter.applied(model, NmsConfig(score_thresh=0.7, iou_thresh=0.1)):
        fails()
    assert seen == [(0.7, 6)]
    assert adapter.nms_config(model) == own
    with adapter.applied(model, NmsConfig(max_detections_per_image=1)):
        assert (model.head.confidence, model.top) == (0.25, 1)
    assert adapter.nms_config(model) == own


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"score_thresh": "head.conf"}, "Mine says that score_thresh is in 'head.conf' of its model: .*'conf'"),
        ({"score_thresh": "neck.conf"}, "'neck.conf' of its model: .*'neck'"),
        ({"score": "head.confidence"}, "there are score_thresh, iou_thresh, max_detections_per_image"),
    ],
    ids=["no attribute", "no part", "no limit"],
)
def test_a_limit_that_is_not_there_is_an_error_that_says_where_it_was_looked_for(model, attributes, message):
    adapter = kind_of(attributes=attributes)()

    with pytest.raises(ConfigError, match=message):
        adapter.nms_config(model)
    with pytest.raises(ConfigError, match=message), adapter.applied(model, SETTING):
        pass


def test_a_class_that_forgot_its_classes_says_so(model):
    with pytest.raises(ConfigError, match="Mine does not say how many classes there are: set classes"):
        kind_of(classes=None)().n_class(model)


def test_one_output_for_each_image_is_asked_for(model, images):
    adapter = kind_of(candidates=lambda self, output, sizes: [])()

    with pytest.raises(LogValueError, match=r"Mine\.candidates returns one output an image, got 0 for 2 images"):
        adapter.parse(model, model(images), {}, [(4, 4)] * 2, SETTING)


def test_what_a_class_decides_itself_is_not_decided_again():
    decided = DetectionOutput(
        boxes=np.zeros((2, 4), np.float32),
        scores=np.array([0.9, 0.1], np.float32),
        labels=np.zeros(2, np.int64),
        logits=None,
        candidates=np.arange(2),
        image_size=(4, 4),
        visible=np.array([False, True]),
    )
    adapter = kind_of(candidates=lambda self, output, sizes: [decided])()

    (output,) = adapter.parse(Raw(), None, {}, [(4, 4)], SETTING)

    assert output is decided


def test_a_function_is_traced_as_a_module():
    def detector(images, *, scale):
        return images * scale

    module = CalledModule(detector)

    assert module(torch.ones(2), scale=3).tolist() == [3, 3]
    assert module.function is detector
    assert not list(module.parameters())


@pytest.mark.parametrize(
    ("model_input", "sizes"),
    [
        (torch.zeros(2, 3, 5, 6), [(5, 6)] * 2),
        (np.zeros((1, 3, 5, 6)), [(5, 6)]),
        ([torch.zeros(3, 5, 6), np.zeros((1, 7, 8))], [(5, 6), (7, 8)]),
        ({"mask": 1, "images": torch.zeros(1, 3, 5, 6)}, [(5, 6)]),
        ({"pixel_values": (torch.zeros(3, 2, 1),)}, [(2, 1)]),
        ([], []),
    ],
    ids=["batch", "array", "list", "mapping", "tuple", "none"],
)
def test_the_size_of_images_is_read_from_every_usual_input(model_input, sizes):
    assert RawAdapter().image_sizes(model_input) == sizes


@pytest.mark.parametrize(
    "model_input", [torch.zeros(3, 5, 6), "images", None, {"words": torch.zeros(1, 3, 5, 6)}, [torch.zeros(5, 6)], {}]
)
def test_another_input_is_refused_with_the_cure(model_input):
    with pytest.raises(LogValueError, match=r"are not known.*Override image_sizes of RawAdapter"):
        RawAdapter().image_sizes(model_input)


def test_candidates_are_the_surest_pairs_of_a_box_and_a_class():
    boxes = torch.tensor([[0.0, 0, 4, 4], [1, 1, 2, 3]], dtype=torch.float64, requires_grad=True)
    scores = np.array([[0.1, 0.9, 0.3], [0.9, 0.2, 0.8]])

    output = candidates_of(boxes, scores, (7, 9), logits=scores * 10, most=4)

    assert list(zip(output.candidates, output.labels, strict=True)) == [(0, 1), (1, 0), (1, 2), (0, 2)]
    assert output.scores.tolist() == np.array([0.9, 0.9, 0.8, 0.3], np.float32).tolist()
    assert output.boxes.tolist() == [[0, 0, 4, 4], [1, 1, 2, 3], [1, 1, 2, 3], [0, 0, 4, 4]]
    assert output.logits.shape == (4, 3)
    assert (output.image_size, output.visible) == ((7, 9), None)
    assert {array.dtype.name for array in (output.boxes, output.scores, output.logits)} == {"float32"}


def test_no_box_is_no_candidate():
    output = candidates_of(torch.zeros(0, 4), torch.zeros(0, 3), (4, 4), logits=torch.zeros(0, 3))

    assert (len(output), output.logits.shape) == (0, (0, 3))


@pytest.mark.parametrize(
    ("boxes", "scores"), [((2, 4), (3, 3)), ((2, 5), (2, 3)), ((1, 2, 4), (1, 2, 3)), ((2, 4), (2,))], ids=str
)
def test_shapes_that_do_not_belong_together_are_refused(boxes, scores):
    with pytest.raises(LogValueError, match=r"boxes \(N, 4\) have scores \(N, C\), got"):
        candidates_of(torch.zeros(boxes), torch.zeros(scores), (4, 4))
