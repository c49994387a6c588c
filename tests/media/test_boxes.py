import numpy as np
import pytest

from ml.core.errors import LogValueError
from ml.media.boxes import MAX_BOXES, draw_boxes

BLACK = np.zeros((3, 100, 200), np.uint8)


def drawn(boxes, image=BLACK, *, source_size_px=None, **others):
    return draw_boxes(image, boxes, source_size_px=source_size_px or image.shape[1:], **others)


def extent(image):
    """First and last row and column that are not black."""
    rows, columns = np.nonzero(image.any(axis=0))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_a_box_encloses_its_pixels_and_not_one_more():
    image = drawn([[20, 10, 60, 50]])
    assert extent(image) == (10, 49, 20, 59)
    assert not image[:, 11:49, 21:59].any()


def test_a_box_is_moved_as_the_picture_was_resized():
    image = drawn([[200, 50, 600, 250]], source_size_px=(500, 2000))
    assert extent(image) == (10, 49, 20, 59)


def test_lines_have_one_colour_and_no_soft_edges():
    image = drawn([[20.3, 10.7, 60.2, 50.9]])
    assert len(np.unique(image.reshape(3, -1), axis=1).T) == 2


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([-50, -50, 20, 20], (0, 19, 0, 19)),
        ([150, 80, 900, 900], (80, 99, 150, 199)),
        ([-np.inf, 10, np.inf, 20], (10, 19, 0, 199)),
        ([60, 50, 20, 10], (10, 49, 20, 59)),  # swapped corners
        ([30, 40, 30, 40], (40, 40, 30, 30)),  # a point
        ([30, 10, 30, 60], (10, 59, 30, 30)),  # a line
        ([200, 100, 200, 100], None),
        ([300, 10, 400, 20], None),
        ([-20, 10, -10, 20], None),
        ([10, np.nan, 20, 20], None),
        ([1e300, 1e300, 1e301, 1e301], None),
    ],
)
def test_every_box_has_a_defined_place(box, expected):
    image = drawn([box])
    assert not image.any() if expected is None else extent(image) == expected


@pytest.mark.parametrize("boxes", [[], np.empty((0, 4)), np.empty((0,))])
def test_without_boxes_the_picture_stays(boxes):
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    np.testing.assert_array_equal(drawn(boxes, image), image)


@pytest.mark.parametrize(("channels", "expected"), [(1, 3), (3, 3), (4, 4)])
def test_a_gray_picture_becomes_rgb_also_without_boxes(channels, expected):
    image = np.zeros((channels, 64, 64), np.uint8)
    assert drawn([], image).shape == drawn([[1, 1, 9, 9]], image).shape == (expected, 64, 64)


def test_the_input_is_not_changed():
    image, boxes = BLACK.copy(), np.array([[60.0, 50, 20, 10]])
    drawn(boxes, image)
    assert not image.any()
    assert boxes.tolist() == [[60, 50, 20, 10]]


@pytest.mark.parametrize("boxes", [np.zeros(4), np.zeros((2, 5)), np.zeros((3, 0)), np.zeros((1, 2, 4))])
def test_another_shape_of_boxes_is_refused(boxes):
    with pytest.raises(LogValueError, match=r"\(N, 4\), got shape"):
        drawn(boxes)


def test_more_or_fewer_labels_or_scores_than_boxes_are_refused():
    boxes = np.ones((2, 4))
    with pytest.raises(LogValueError, match="1 labels for 2 boxes"):
        drawn(boxes, labels=["cat"])
    with pytest.raises(LogValueError, match=r"got shape \(3,\)"):
        drawn(boxes, scores=[0.1, 0.2, 0.3])


def test_equal_labels_have_one_colour_and_others_another():
    boxes = [[10, 30, 50, 90], [60, 30, 90, 90], [100, 30, 150, 90]]
    image = drawn(boxes, labels=["cat", "cat", "dog"])
    first, second, third = (tuple(image[:, 89, x]) for x in (30, 70, 120))
    assert first == second != third


def test_label_and_score_are_written_above_their_box():
    bare, labeled, scored = (
        drawn([[20, 40, 90, 90]], labels=labels, scores=scores)
        for labels, scores in ((None, None), (["cat"], None), (["cat"], [0.5]))
    )
    assert not bare[:, :40].any()
    text, longer = extent(labeled[:, :40]), extent(scored[:, :40])
    assert text[0] > 20
    assert text[1] == 39
    assert longer[3] > text[3]  # the score takes its place


def test_a_label_stays_inside_the_picture():
    image = drawn([[190, 0, 200, 10]], labels=["a long label"])
    top, _, left, right = extent(image)
    assert top == 0
    assert left < 150
    assert right == 199


def test_different_text_looks_different_in_any_script():
    images = [drawn([[20, 40, 90, 90]], labels=[label]) for label in ("é", "ж", "中", "日", "x\n", "x\x1b")]
    assert len({image[:, :40].tobytes() for image in images}) == len(images)


def test_higher_scores_are_drawn_over_lower_ones():
    boxes = [[20, 10, 60, 50]] * 3
    alone = drawn(boxes[:1], labels=["best"])
    image = drawn(boxes, labels=["low", "best", "none"], scores=[0.1, 0.9, np.nan])
    np.testing.assert_array_equal(image[:, 49, 20:60], alone[:, 49, 20:60])


def test_beyond_the_limit_the_lowest_scores_are_left_out():
    low = np.tile([[0, 0, 50, 50]], (MAX_BOXES, 1))
    image = drawn([*low, [100, 60, 150, 90]], scores=np.arange(MAX_BOXES + 1)[::-1])
    assert not image[:, 60:90, 100:150].any()


def test_boxes_look_as_they_did(golden_pixels):
    gray = np.full((1, 80, 120), 60, np.uint8)
    boxes = [[10, 10, 50, 60], [30, 20, 110, 75], [-5, 50, 20, 200]]
    np.testing.assert_array_equal(drawn(boxes, gray), golden_pixels("boxes.png"))
