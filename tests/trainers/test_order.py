from itertools import chain, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import ConfigError
from ml.trainers.order import TrainingOrder, steps_per_epoch


def order(num_samples, batch_size, *, seed=0, epoch=0, step=0, rank=0, world_size=1):
    return iter(
        TrainingOrder(num_samples, batch_size, seed=seed, epoch=epoch, step=step, rank=rank, world_size=world_size)
    )


@given(st.integers(2, 40), st.data())
def test_an_epoch_sees_no_sample_twice_and_leaves_less_than_a_batch(num_samples, data):
    batch_size = data.draw(st.integers(1, num_samples))
    steps = steps_per_epoch(num_samples, batch_size)
    epoch = [sample for batch in islice(order(num_samples, batch_size), steps) for sample in batch]

    assert len(epoch) == len(set(epoch)) == steps * batch_size > num_samples - batch_size
    assert set(epoch) <= set(range(num_samples))


@given(st.integers(0, 30))
def test_a_resumed_order_goes_on_where_the_whole_one_would(num_steps):
    whole = list(islice(order(23, 5), num_steps + 6))

    assert list(islice(order(23, 5, epoch=num_steps // 4, step=num_steps % 4), 6)) == whole[num_steps:]


@given(st.sampled_from([1, 2, 3, 4, 6]))
def test_a_step_has_the_same_samples_whatever_the_number_of_ranks(world_size):
    alone = list(islice(order(30, 12), 5))
    ranks = [list(islice(order(30, 12, rank=rank, world_size=world_size), 5)) for rank in range(world_size)]

    assert [sorted(batch) for batch in alone] == [sorted(chain(*shares)) for shares in zip(*ranks, strict=True)]
    assert {len(share) for shares in ranks for share in shares} == {12 // world_size}


def test_epochs_and_seeds_differ():
    epochs = [tuple(next(order(50, 50, epoch=epoch, seed=seed))) for epoch in range(3) for seed in range(3)]

    assert len(set(epochs)) == 9


def test_too_few_samples_for_a_step_are_refused():
    with pytest.raises(ConfigError, match=r"batch_size=8 must lie in 1 ... 7"):
        steps_per_epoch(7, 8)
