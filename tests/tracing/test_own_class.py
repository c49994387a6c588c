import pytest
import torch
from torch import nn

from ml.core.errors import ConfigError
from ml.tracing import ObjectDetectionLogger, ObjectDetectionTorchLogger, candidates_of


class OneBox(nn.Module):
    def forward(self, images):
        return [(torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[0.3, 0.9]])) for _ in images]


class OneBoxLogger(ObjectDetectionTorchLogger):
    @staticmethod
    def detect(model):
        return isinstance(model, OneBox)

    def _parse_model_output(self, model_output, img_sizes):
        return [candidates_of(*said, size) for said, size in zip(model_output, img_sizes, strict=True)]


def test_a_class_for_a_model_that_no_adapter_knows_needs_no_more_than_what_is_asked_of_it(tmp_path):
    database = tmp_path / "traces.db"

    with ObjectDetectionLogger(OneBox(), "one", "v1", n_class=2, database=database) as logger:
        logger(torch.zeros(3, 3, 8, 8))

    assert type(logger) is OneBoxLogger
    assert logger.stats()[:5] == (1, 3, 3, 0, {})
    assert logger.stats().failed == {}
    assert logger.statistics().class_mix == {1: 0.5, 0: 0.5}


@pytest.mark.parametrize(
    ("arguments", "method"), [({}, "_get_n_class"), ({"n_class": 2, "score_thresh": 0.5}, "_apply_nms_config")]
)
def test_what_it_would_have_to_override_is_named(arguments, method, tmp_path):
    with pytest.raises(ConfigError, match=f"its class has to override {method}"):
        ObjectDetectionLogger(OneBox(), "one", "v1", database=tmp_path / "traces.db", **arguments)
