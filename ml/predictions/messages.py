"""What the protobuf classes look like to a type checker; ``ml.predictions.schema`` says what the fields hold."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

M_co = TypeVar("M_co", covariant=True)


class Many(Protocol[M_co]):
    """A repeated message."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[M_co]: ...
    def add(self) -> M_co:
        """Appends an empty message and returns it."""
        ...


class Floats(Protocol):
    """A repeated float."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[float]: ...
    def extend(self, values: Iterable[float], /) -> None:
        """Appends numbers, as float32."""
        ...


class _Message(Protocol):
    def HasField(self, field_name: str, /) -> bool: ...  # noqa: N802
    def ClearField(self, field_name: str, /) -> None: ...  # noqa: N802


class ModelMessage(_Message, Protocol):
    """``VisionModel``."""

    type: int
    version: str
    name: str


class DeviceMessage(_Message, Protocol):
    """``DeviceDetails``."""

    device_name: str
    group_name: str


class ImageMessage(_Message, Protocol):
    """``Image``."""

    height: int
    width: int
    channels: int
    image_bytes: bytes
    codec: str
    sha256: bytes
    dtype: str
    is_stacked: bool
    omitted: str


class ClassMessage(_Message, Protocol):
    """``ClassificationResult``."""

    class_name: str
    probability: float


class BoxMessage(_Message, Protocol):
    """``BoundingBox``."""

    x: int
    y: int
    width: int
    height: int
    confidence: float

    @property
    def classification_result(self) -> Many[ClassMessage]:
        """Of the box."""
        ...


class BoxesMessage(_Message, Protocol):
    """``Boxes``."""

    format: str

    @property
    def corners(self) -> Floats:
        """4 of each box."""
        ...


class StatsMessage(_Message, Protocol):
    """``InferenceStats``."""

    latency: int
    inference_device: int
    error_message: str
    latency_ms: float


class PredictionMessage(_Message, Protocol):
    """``ImagePrediction``."""

    timestamp: int
    record_id: str
    schema_version: int
    run_id: str
    logged_at_us: int
    stream_id: int
    stream_sequence: int

    @property
    def device_details(self) -> DeviceMessage:
        """Who ran the model."""
        ...

    @property
    def model(self) -> ModelMessage:
        """What was run."""
        ...

    @property
    def raw_image(self) -> ImageMessage:
        """What it was run on."""
        ...

    @property
    def prediction(self) -> ImageMessage:
        """The annotated picture."""
        ...

    @property
    def inference_stats(self) -> StatsMessage:
        """How the run went."""
        ...

    @property
    def classification_result(self) -> Many[ClassMessage]:
        """Of the whole image."""
        ...

    @property
    def bounding_boxes(self) -> Many[BoxMessage]:
        """What was found, with whole pixels."""
        ...

    @property
    def boxes(self) -> BoxesMessage:
        """The exact corners of the bounding boxes."""
        ...

    def ByteSize(self) -> int: ...  # noqa: N802
    def SerializeToString(self) -> bytes: ...  # noqa: N802
    def ParseFromString(self, data: bytes, /) -> int: ...  # noqa: N802
