"""Reductions of features: equal to what NumPy makes of the same numbers, and nothing else is touched."""

import numpy as np
import pytest
import torch

from ml.core.errors import ConfigError, LogValueError
from ml.tracing.features import Reduction, reduced


def layer(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 6), (4, 2, 3, 2)], ids=str)
@pytest.mark.parametrize("kind", ["mean", "max", "std", "none"])
def test_pooling_is_over_all_but_the_channels(kind, shape):
    output = layer(*shape)
    flat = output.numpy().astype(np.float64).reshape(4, -1)
    expected = {"mean": flat.mean(1), "max": flat.max(1), "std": flat.std(1), "none": output.numpy()}[kind]

    kept = reduced(output, Reduction(kind, "float32"))
    assert kept.dtype == np.float32
    np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(reduced(output, Reduction(kind)), kept.astype(np.float16))


def test_the_largest_values_come_in_order():
    output = layer(2, 3)
    expected = np.sort(output.numpy().reshape(-1))[::-1]

    np.testing.assert_array_equal(reduced(output, Reduction("topk", "float32", k=4)), expected[:4])
    np.testing.assert_array_equal(reduced(output, Reduction("topk", "float32", k=99)), expected)


def test_a_projection_is_the_same_every_time_and_about_keeps_distances():
    one, other = layer(8, 10, 10), layer(8, 10, 10) * 0.5 + 1
    how = Reduction("random_projection", "float32", dim=512)
    projected = [reduced(output, how) for output in (one, other)]

    np.testing.assert_array_equal(projected[0], reduced(one, how))
    ratio = np.linalg.norm(projected[0] - projected[1]) / np.linalg.norm(one - other)
    assert 0.9 < ratio < 1.1
    with pytest.raises(LogValueError, match="MiB"):
        reduced(torch.zeros(1 << 20), Reduction("random_projection", dim=1 << 10))


def test_a_box_has_the_mean_of_the_cells_that_it_touches():
    output = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(2, 4, 4)
    boxes = np.array(
        [[0, 0, 8, 8], [9, 17, 24, 31], [3, 3, 3, 3], [-50, -50, 900, 900], [99, 99, 120, 120]], np.float32
    )
    array = output.numpy()
    expected = [
        array[:, 0:1, 0:1].mean((1, 2)),
        array[:, 2:4, 1:3].mean((1, 2)),
        array[:, 0, 0],
        array.mean((1, 2)),
        array[:, 3, 3],
    ]

    how = Reduction("roi", "float32")
    np.testing.assert_allclose(reduced(output, how, boxes=boxes, image_size=(32, 32)), expected)
    assert reduced(output, how, boxes=np.zeros((0, 4), np.float32), image_size=(32, 32)).shape == (0, 2)
    strange = np.array([[np.nan, -np.inf, np.inf, np.nan]], np.float32)
    assert reduced(output, how, boxes=strange, image_size=(32, 32)).shape == (1, 2)
    with pytest.raises(LogValueError, match="needs the boxes"):
        reduced(output, how)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool], ids=str)
def test_any_real_dtype_is_taken(dtype):
    output = (layer(3, 4) * 10).to(dtype)

    np.testing.assert_allclose(
        reduced(output, Reduction(dtype="float32")), output.double().mean(1), rtol=1e-2, atol=0.1
    )


@pytest.mark.parametrize("kind", ["none", "mean", "max", "std", "topk", "random_projection", "roi"])
def test_nothing_else_is_touched(kind):
    output = layer(3, 4, 4).requires_grad_()
    before, state, grad = output.detach().clone(), torch.get_rng_state(), torch.is_grad_enabled()
    box = np.array([[0, 0, 4, 4]], np.float32)
    kept = reduced(output, Reduction(kind, "float32", dim=3), boxes=box, image_size=(4, 4))
    kept[...] = -1

    assert torch.equal(output, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled() == grad
    assert output.grad is None


def test_what_is_beyond_16_bits_is_their_largest_number():
    output = torch.tensor([1e9, float("inf"), float("nan")])

    np.testing.assert_array_equal(reduced(output, Reduction()), np.array([65504, np.inf, np.nan], np.float16))


@pytest.mark.parametrize("wrong", [{"kind": "median"}, {"dtype": "int8"}, {"k": 0}, {"dim": 0}], ids=str)
def test_a_reduction_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError):
        Reduction(**wrong)


@pytest.mark.parametrize("output", [torch.zeros(3, 0), torch.zeros(2, dtype=torch.complex64)], ids=["empty", "complex"])
def test_an_output_without_numbers_is_refused(output):
    with pytest.raises(LogValueError):
        reduced(output, Reduction())
