import random

import numpy as np
import torch

from ml.trainers.randomness import get_random_states, seed_everything, set_random_states

CPU = torch.device("cpu")


def draw():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


def test_states_put_back_give_the_same_numbers_again():
    seed_everything(7)
    random.gauss(0, 1)  # leaves a spare normal behind, as does the next one
    np.random.randn()
    states = get_random_states(CPU)
    first = draw()
    draw()

    set_random_states(states, CPU)

    assert draw() == first


def test_states_without_a_spare_normal_forget_a_later_one():
    seed_everything(7)
    states = get_random_states(CPU)
    first = draw()

    set_random_states(states, CPU)

    assert draw() == first


def test_asking_for_states_moves_nothing():
    seed_everything(7)
    expected = draw()
    seed_everything(7)
    get_random_states(CPU)

    assert draw() == expected


def test_shapes_never_change_so_ranks_can_gather_them():
    seed_everything(7)
    before = {name: tensor.shape for name, tensor in get_random_states(CPU).items()}
    draw()

    assert {name: tensor.shape for name, tensor in get_random_states(CPU).items()} == before
