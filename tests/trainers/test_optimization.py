import pytest
import torch
from torch import nn

from ml.trainers.optimization import Optimization, scheduled_learning_rate
from tests.trainers.tiny import tiny_config

CPU = torch.device("cpu")


def stepped(**settings) -> tuple[nn.Linear, Optimization]:
    """One step on a layer whose gradient has the length 5: (3, 4) for the weights, 0 for the bias."""
    model = nn.Linear(2, 1)
    optimization = Optimization(tiny_config(**settings), model, CPU, total_steps=10)
    optimization.backward((model.weight * torch.tensor([3.0, 4.0])).sum() + 0 * model.bias.sum())
    optimization.step(1)
    return model, optimization


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(("limit", "length"), [(1.0, 1.0), (10.0, 5.0), (None, 5.0)])
def test_gradients_are_cut_to_a_length_and_logged_as_they_were(limit, length, precision):
    model, optimization = stepped(clip_grad_norm=limit, precision=precision)

    assert model.weight.grad.norm().item() == pytest.approx(length, rel=1e-4)
    assert optimization.grad_norm().item() == pytest.approx(5.0)


def test_biases_do_not_decay():
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.bias.fill_(1.0)
        model.weight.fill_(1.0)
    optimization = Optimization(tiny_config(weight_decay=0.5, schedule="constant"), model, CPU, total_steps=10)
    optimization.backward(0 * (model.weight.sum() + model.bias.sum()))
    optimization.step(5)

    assert model.bias.item() == 1.0
    assert model.weight.max().item() < 1.0


def test_a_step_whose_half_precision_gradients_overflow_is_left_out():
    model = nn.Linear(2, 1)
    before = model.weight.clone()
    optimization = Optimization(tiny_config(precision="float16"), model, CPU, total_steps=10)
    optimization.backward((model.weight * float("inf")).sum())
    optimization.step(5)

    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_runs_matrix_products_in_half(precision):
    optimization = Optimization(tiny_config(precision=precision), nn.Linear(2, 1), CPU, total_steps=10)
    with optimization.autocast():
        assert nn.Linear(2, 1)(torch.ones(1, 2)).dtype == getattr(torch, precision)


def test_the_learning_rate_rises_to_its_highest_value_and_falls_to_almost_nothing():
    config = tiny_config(learning_rate=1.0, warmup_steps=4)
    rates = [scheduled_learning_rate(step, 20, config) for step in range(1, 21)]

    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.02


def test_a_constant_learning_rate_stays_and_a_single_step_has_no_warmup():
    config = tiny_config(learning_rate=1.0, warmup_steps=4, schedule="constant")

    assert [scheduled_learning_rate(step, 20, config) for step in (4, 5, 20)] == [1.0, 1.0, 1.0]
    assert scheduled_learning_rate(1, 1, config) == 1.0
