import torch
from hypothesis import given
from hypothesis import strategies as st

from ml.tasks.metrics import class_colors, confusion_image, confusion_matrix, describe_mistakes, project

CONFUSION = torch.tensor([[4, 0, 0], [1, 1, 2], [0, 0, 0]])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))))
def test_a_confusion_matrix_counts_each_pair(pairs):
    targets, guesses = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
    confusion = confusion_matrix(guesses, targets, 4)

    assert confusion.tolist() == [[pairs.count((target, guess)) for guess in range(4)] for target in range(4)]


def test_the_picture_of_a_confusion_matrix_is_darker_where_more_of_a_target_went():
    image = confusion_image(CONFUSION)

    assert image.shape == (3, 255, 255)
    assert image.min() >= 0
    assert image.max() == 1
    cells = image.mean(dim=0)[42::85, 42::85]
    assert cells[0, 0] < cells[1, 2] < cells[1, 0] == cells[1, 1] < 1
    assert (cells[2] == 1).all()


def test_more_classes_than_pixels_have_one_each():
    assert confusion_image(torch.eye(300)).shape == (3, 300, 300)


def test_the_worst_mistakes_are_named_first():
    assert describe_mistakes(CONFUSION, "abc") == "3 of 8 wrong: b as c (2), b as a (1)"
    assert describe_mistakes(torch.eye(3, dtype=torch.int64), "abc") == "0 of 3 wrong"


def test_a_projection_is_the_same_at_every_step_and_draws_no_global_numbers():
    features = torch.randn(20, 7)
    before = torch.get_rng_state()

    assert torch.equal(project(features), project(features))
    assert project(features).shape == (20, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_that_do_not_differ_are_projected_to_the_origin():
    assert torch.equal(project(torch.ones(4, 5)), torch.zeros(4, 3))


def test_every_class_has_a_colour_of_its_own():
    assert len({tuple(color) for color in class_colors(10).tolist()}) == 10
    assert class_colors(10).dtype == torch.uint8
