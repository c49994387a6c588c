"""A model is known by its structure, an input by its content."""

import numpy as np
import pytest
import torch
from torch import nn

from ml.core.errors import LogValueError
from ml.tracing.identity import architecture_of, input_ids_of
from tests.tracing.tiny import TinyDetector, detector, images


def test_the_architecture_is_that_of_the_structure_alone():
    model = detector()
    expected = architecture_of(model)

    assert architecture_of(TinyDetector(score_thresh=0.1)) == expected  # other weights, another setting
    assert architecture_of(detector().half()) == expected
    assert architecture_of(torch.compile(model, backend="eager")) == expected
    assert architecture_of(nn.DataParallel(model)) == expected
    model.register_buffer("cache", torch.zeros(3), persistent=False)
    assert architecture_of(model) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "head", nn.Conv2d(8, 8, 1)),
        lambda model: setattr(model, "other", nn.Identity()),
        lambda model: model.backbone.__setitem__(2, nn.GELU()),
        lambda model: model.register_buffer("kept", torch.zeros(3)),
        lambda model: setattr(model, "head", nn.Conv2d(8, 7, 1, bias=False)),
    ],
    ids=["shape", "module", "class", "buffer", "parameter"],
)
def test_another_structure_is_another_architecture(change):
    model = detector()
    change(model)
    assert architecture_of(model) != architecture_of(detector())


def test_a_lazy_layer_and_a_shared_one_have_a_structure():
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 3))
    model.append(model[1])
    assert len(architecture_of(model)) == 64


def test_an_input_has_one_id_wherever_it_lies():
    batch = images(2)
    ids = input_ids_of(batch, 2)

    assert len(set(ids)) == 2
    assert input_ids_of(list(batch), 2) == ids
    assert input_ids_of(batch.numpy(), 2) == ids
    assert input_ids_of(batch.transpose(2, 3).contiguous().transpose(2, 3), 2) == ids
    assert input_ids_of(batch[:1], 1) == ids[:1]
    assert input_ids_of({"x": batch, "scale": 2}, 2) == input_ids_of({"scale": 2, "x": list(batch)}, 2)
    assert input_ids_of(batch[0], 1) == ids[:1]


@pytest.mark.parametrize(
    "other",
    [
        lambda image: image + 1e-7,
        lambda image: image.double(),
        lambda image: image.reshape(3, 8, 32),
        lambda image: image.flip(0),
        lambda image: [image, image],
        lambda image: {"image": image},
        lambda image: None,
    ],
    ids=["value", "dtype", "shape", "order", "two", "name", "nothing"],
)
def test_other_content_has_another_id(other):
    image = images(1)[0]
    assert input_ids_of([other(image)], 1) != input_ids_of([image], 1)


def test_texts_numbers_pictures_and_bfloat16_have_ids():
    from PIL import Image

    inputs = ["a", b"a", 1, 1.5, True, np.float32(2), Image.new("RGB", (3, 3)), torch.zeros(2, dtype=torch.bfloat16)]
    inputs += [torch.zeros(0), np.zeros(0), torch.tensor(3), "\ud800"]
    assert len(set(input_ids_of(inputs, len(inputs)))) == len(inputs)


def test_what_has_no_content_is_told():
    with pytest.raises(LogValueError, match="Give input_ids"):
        input_ids_of([object()], 1)
    with pytest.raises(LogValueError, match="3 inputs cannot be told apart"):
        input_ids_of(images(2), 3)
