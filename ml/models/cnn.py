"""A small convolutional network for small images."""

from torch import Tensor, nn

from ml.core.registry import register_model
from ml.models.base import BaseModel, ModelOutput
from ml.models.config import CnnConfig


@register_model("cnn", CnnConfig)
class Cnn(BaseModel[CnnConfig]):
    """Three convolutions with batch normalisation, the mean over all positions, one linear layer."""

    def __init__(self, config: CnnConfig) -> None:
        super().__init__(config)
        width = config.width
        self.body = nn.Sequential(
            _block(config.in_channels, width),
            _block(width, 2 * width),
            nn.MaxPool2d(2),
            _block(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(4 * width, config.num_classes)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Maps images, shape (B, C, H, W), H and W >= 2, to classes."""
        features = self.body(inputs)
        return ModelOutput(self.head(self.dropout(features)), features)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    # Batch normalisation has a bias of its own.
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
