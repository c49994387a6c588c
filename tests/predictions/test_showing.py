"""Predictions among the values that a component logs."""

import numpy as np

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import LoggerGroup, MultiLogger
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.predictions.kinds import VisionModelType

BOX = {"x": 10, "y": 20, "width": 30, "height": 40, "confidence": 0.5, "classification": {"cat": 0.5}}


def test_a_prediction_appears_in_tensorboard_with_its_boxes_and_its_latency(make_logger, photograph, tmp_path):
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    predictions, component = make_logger(), MultiLogger("detector")
    tensorboard = TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", write_every_n_seconds=0))

    with LoggerGroup([tensorboard], RunContext(tmp_path / "run")) as group:
        predictions.log(
            photograph, VisionModelType.DETECTION, "yolo", "1", detection=[BOX], latency=12.5, logger=component
        )
        group.write([component], State(num_steps=1))
        predictions.log(
            photograph[:64, :64, 0],
            VisionModelType.CLASSIFICATION,
            "net",
            "1",
            classification={"cat": 1},
            logger=component,
        )
        group.write([component], State(num_steps=2), force=True)

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "train"))
    events.Reload()
    assert sorted(events.Tags()["images"]) == ["detector/net", "detector/yolo"]
    assert [(point.step, point.value) for point in events.Scalars("detector/yolo/latency(ms)")] == [(1, 12.5)]
    (shown,) = events.Images("detector/yolo")
    import io

    pixels = np.asarray(Image.open(io.BytesIO(shown.encoded_image_string)))
    assert pixels.shape == (512, 512, 3)
    assert not np.array_equal(pixels[20, 10:40], photograph[20, 10:40])  # the line of the box
    assert np.array_equal(pixels[100:], photograph[100:])


def test_a_probability_that_is_no_number_is_never_the_best(make_logger, photograph, tmp_path):
    predictions = make_logger()
    shown = []
    for classes in ({"nan": float("nan"), "cat": 0.5}, {"cat": 0.5}):
        component = MultiLogger("detector")
        predictions.log(photograph, VisionModelType.NONE, "m", "1", classification=classes, logger=component)
        shown.append(component.take())

    assert repr(shown[0]) == repr(shown[1])


def test_a_prediction_inside_of_the_interval_is_not_shown_either(make_logger):
    predictions, component = make_logger(interval_ms=10**9), MultiLogger("detector")
    image = np.zeros((8, 8, 3), np.uint8)

    for _ in range(3):
        predictions.log(image, VisionModelType.NONE, "m", "1", latency=1.0, logger=component)

    assert len(component.take()) == 2
