import numpy as np
import pytest

from ml.detection.iou import iou
from tests.digit_scenes import MAX_DIGITS, NOISE, SCENE_PX, scenes


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first[:3], second[:3], strict=True))


def test_a_scene_depends_on_its_seed_its_number_and_its_part_alone():
    np.random.seed(0)
    few = scenes(3, seed=7)
    more = scenes(5, seed=7)

    assert all(same(a, b) for a, b in zip(few, more, strict=False))
    assert not same(more[3], more[4])
    assert not same(few[0], scenes(1, seed=8)[0])
    assert not same(few[0], scenes(1, seed=7, is_validation=True)[0])


def test_every_box_holds_the_ink_of_one_digit_and_no_two_meet():
    made = scenes(60, seed=0)

    for scene in made:
        left, top, right, bottom = scene.xyxy.astype(int).T
        assert (left >= 0).all()
        assert (top >= 0).all()
        assert (right <= SCENE_PX).all()
        assert (bottom <= SCENE_PX).all()
        outside = scene.image.copy()
        for box in zip(left, top, right, bottom, strict=True):
            assert scene.image[box[1] : box[3], box[0] : box[2]].max() > 200
            outside[box[1] : box[3], box[0] : box[2]] = 0
        assert outside.max() <= 2 * NOISE
        np.testing.assert_array_equal(iou(scene.xyxy, scene.xyxy), np.eye(len(scene.labels)))
    assert {len(scene.labels) for scene in made} == set(range(1, MAX_DIGITS + 1))
    assert {int(label) for scene in made for label in scene.labels} == set(range(10))


@pytest.mark.parametrize("is_validation", [False, True])
def test_there_may_be_no_scenes(is_validation):
    assert scenes(0, seed=0, is_validation=is_validation) == []
