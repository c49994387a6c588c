"""Memory for images that is used again."""

import numpy as np

from ml.predictions.buffers import Buffers
from ml.predictions.kinds import VisionModelType
from ml.predictions.logged import LoggedPrediction


def test_what_is_taken_back_is_lent_again_in_another_shape_and_dtype():
    buffers = Buffers(1000)
    first = buffers.lend((4, 5), np.uint8)
    first[...] = 7
    buffers.take_back(first)

    again = buffers.lend((2, 5), np.uint16)

    assert again.shape == (2, 5)
    assert np.shares_memory(first, again)


def test_what_is_lent_is_lent_once():
    buffers = Buffers(1000)
    buffers.take_back(buffers.lend((10,), np.uint8))

    first, second = buffers.lend((10,), np.uint8), buffers.lend((10,), np.uint8)

    assert not np.shares_memory(first, second)


def test_what_lies_unused_is_bounded():
    buffers = Buffers(100)
    lent = [buffers.lend((30,), np.uint8) for _ in range(10)]
    for array in lent:
        buffers.take_back(array)
    buffers.take_back(buffers.lend((200,), np.uint8))

    again = [buffers.lend((30,), np.uint8) for _ in range(10)]

    assert sum(any(np.shares_memory(array, old) for old in lent) for array in again) <= 3


def test_images_that_follow_each_other_in_the_same_memory_are_kept_each_as_it_was(make_logger):
    predictions = make_logger(codec="png", on_full="wait")

    futures = [
        predictions.log(np.full((32, 32, 3), number, np.uint8), VisionModelType.NONE, "m", "1") for number in range(100)
    ]

    for number, future in enumerate(futures):
        assert (LoggedPrediction.from_path(future.result(20).path).image == number).all()


def test_an_image_that_is_shown_too_is_never_written_over(make_logger):
    from ml.loggers import MultiLogger

    predictions, component = make_logger(on_full="wait"), MultiLogger("detector")
    predictions.log(np.full((32, 32), 5, np.uint8), VisionModelType.NONE, "m", "1", logger=component).result(20)
    for _ in range(20):
        predictions.log(np.zeros((32, 32), np.uint8), VisionModelType.NONE, "m", "1").result(20)

    ((_, shown, *_),) = component.take()
    assert (shown == 5).all()
