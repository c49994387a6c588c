"""What the tests of the live stream share: small records, and subscribers that have arrived."""

import numpy as np

from ml.predictions.kinds import VisionModelType
from ml.predictions.publishing import StreamSink
from ml.predictions.record import Box, Class, Draft, Record, encode_record
from ml.predictions.subscriber import Subscriber
from tests.stream_peers import attend_until

TIMEOUT_S = 30.0


def record(number: int, error_message: str = "") -> Record:
    """The record of a gray picture and a cat, which tell its number."""
    draft = Draft(
        record_id=f"{number:026d}",
        run_id="run",
        timestamp_ms=1_700_000_000_000 + number,
        logged_at_us=1_700_000_000_000_000 + number,
        model_type=VisionModelType.DETECTION,
        model_name="yolo",
        model_version="1",
        device_name="camera",
        device_group="",
        image=np.full((4, 6, 3), number % 256, np.uint8),
        prediction=None,
        latency_ms=12.5,
        inference_device=None,
        error_message=error_message,
        classification=(),
        detection=(Box(number + 0.5, 2.0, 3.0, 4.0, 0.5, (Class("cat", 0.5),)),),
        codec="png",
    )
    return encode_record(draft, f"{number}.bin")


def subscriber_of(sink: StreamSink, topic: str = "camera", **settings: float) -> Subscriber:
    """A subscriber whose subscription has arrived."""
    before = sink.publisher.subscriptions
    subscriber = Subscriber("127.0.0.1", sink.port, topic, **{"timeout_s": TIMEOUT_S} | settings)
    attend_until(sink.publisher, lambda: sink.publisher.subscriptions > before)
    return subscriber
