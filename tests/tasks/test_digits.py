import pytest
import torch
from sklearn.datasets import load_digits

from ml.core.errors import ConfigError
from ml.core.state import PHASES, State
from ml.tasks.base import Batch
from ml.tasks.config import DigitsConfig
from ml.tasks.digits import DigitsTask, _load, shift
from ml.tasks.randomness import private_generator


def images_of(task, phase):
    return task.dataset(phase).tensors[0]


def test_every_image_is_in_exactly_one_split():
    task = DigitsTask(DigitsConfig("digits"))
    sizes = [len(images_of(task, phase)) for phase in PHASES]
    everything = torch.cat([images_of(task, phase).flatten(1) for phase in PHASES])

    assert sizes == [1257, 180, 360]
    # The data hold no image twice, so neither may the splits.
    assert len(everything.unique(dim=0)) == 1797
    assert everything.min() == 0
    assert everything.max() == 1


def test_the_images_and_digits_are_those_of_scikit_learn():
    images, digits = _load()
    given = load_digits()

    assert torch.equal(images, torch.tensor(given.images, dtype=torch.float32).unsqueeze(1) / 16)
    assert torch.equal(digits, torch.tensor(given.target, dtype=torch.int64))


def test_the_split_depends_on_the_seed_alone():
    first, again, other = (DigitsTask(DigitsConfig("digits", seed=seed)) for seed in (0, 0, 1))

    assert torch.equal(images_of(first, "test"), images_of(again, "test"))
    assert not torch.equal(images_of(first, "test"), images_of(other, "test"))


def test_a_split_without_training_images_is_refused():
    with pytest.raises(ConfigError, match="leave some of the 1797 images"):
        DigitsTask(DigitsConfig("digits", num_valid=1000, num_test=797))


def test_a_shift_moves_the_whole_image_and_fills_with_background():
    images = torch.rand(200, 2, 4, 5) + 0.1
    shifted = shift(images, 1, private_generator(0))
    seen = set()
    for image, moved in zip(images, shifted, strict=True):
        padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
        offsets = [(y, x) for y in range(3) for x in range(3) if torch.equal(moved, padded[:, y : y + 4, x : x + 5])]
        assert len(offsets) == 1
        seen.update(offsets)

    assert len(seen) == 9
    assert torch.equal(shift(images, 0, private_generator(0)), images)


def test_a_step_is_augmented_alike_each_time_and_unlike_the_next():
    task = DigitsTask(DigitsConfig("digits"))
    batch = Batch(images_of(task, "train")[:32], torch.zeros(32, dtype=torch.int64))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (task.augment(batch, State(num_steps=step)).inputs for step in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_neighbouring_streams_are_independent():
    first = torch.stack([torch.rand(3, generator=private_generator(0, step)) for step in range(50)])

    assert len(first.unique(dim=0)) == 50
    assert abs(torch.corrcoef(torch.stack([first[:-1, 0], first[1:, 0]]))[0, 1]) < 0.5
