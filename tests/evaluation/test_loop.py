"""What an evaluation leaves as it was."""

import random

import numpy as np
import pytest
import torch

from ml.evaluation.loop import undisturbed


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_what_is_drawn_inside_is_not_drawn():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draws()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with undisturbed(None):
        draws()
        torch.manual_seed(5)

    assert draws() == expected


@pytest.mark.parametrize("fails", [False, True])
def test_every_module_has_its_own_mode_again_also_when_something_fails(fails):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Dropout())
    model[1].eval()  # a frozen one, in the middle of training
    try:
        with undisturbed(model):
            assert not any(module.training for module in model.modules())
            assert not model(torch.ones(3, 2)).requires_grad
            with torch.enable_grad():
                assert model(torch.ones(3, 2)).requires_grad
            assert not fails or (draws() and 1 / 0)
    except ZeroDivisionError:
        assert fails

    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert torch.is_grad_enabled()


def test_statistics_of_a_batch_norm_do_not_move():
    model = torch.nn.BatchNorm1d(2)
    with undisturbed(model):
        model(torch.randn(8, 2))

    assert model.running_mean.tolist() == [0, 0]
    assert model.num_batches_tracked == 0
