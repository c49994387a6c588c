import pytest
import torch

from ml.models.cnn import Cnn
from ml.models.config import CnnConfig


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 32, 20), (1, 2, 3)])
def test_images_of_any_size_get_a_prediction_and_features(channels, height, width):
    model = Cnn(CnnConfig("cnn", in_channels=channels, num_classes=7, width=4))
    prediction, features = model(torch.rand(5, channels, height, width))

    assert prediction.shape == (5, 7)
    assert features.shape == (5, 16)


def test_the_prediction_is_linear_in_the_features():
    model = Cnn(CnnConfig("cnn", width=4)).eval()
    prediction, features = model(torch.rand(5, 1, 8, 8))

    assert torch.equal(prediction, model.head(features))


def test_without_gradients_only_weights_are_logged():
    model = Cnn(CnnConfig("cnn", width=4))
    model.log_histograms()
    assert len(model.logger.take()) == len(list(model.parameters()))

    model(torch.rand(2, 1, 8, 8)).prediction.sum().backward()
    model.log_histograms()
    assert len(model.logger.take()) == 2 * len(list(model.parameters()))
