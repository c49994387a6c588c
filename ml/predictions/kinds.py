"""The kinds of model and of device that a record names; numbers as on the wire."""

from enum import IntEnum


class VisionModelType(IntEnum):
    """What a model tells of an image."""

    NONE = 0
    CLASSIFICATION = 1
    DETECTION = 2


class InferenceDevice(IntEnum):
    """What a model ran on."""

    DEFAULT = 0
    CPU = 1
    GPU = 2
    CUDA = 3
    MPS = 4
    TPU = 5
