"""The published ``babylog`` 0.0.3, as ``benchmarking.predictions_work`` uses it, with two lines that let it work.

It cannot be told another S3 server than Amazon's, so ``boto3.resource`` is given the endpoint here. It streams at
``tcp://address:address``, which is none, so its ``Publisher`` is given the port here. Nothing else is changed.
"""

import functools
import json
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import babylog.babylog
import boto3
import numpy as np
from babylog import Babylog
from babylog.protobuf import VisionModelType
from babylog.pubsub import Publisher, Subscriber

from benchmarking.predictions_work import SILENCE_S, Received, Spec


class Peer:
    """The published logger, which writes to one place, and so does its working directory."""

    def __init__(self, spec: Spec) -> None:
        url, endpoint, key, secret = spec.store
        boto3.resource = functools.partial(boto3.resource, endpoint_url=endpoint)
        babylog.babylog.Publisher = lambda address, _, topic: Publisher(address, spec.port, topic)
        os.chdir(spec.directory)
        storage = {
            "aws_access_key_id": key,
            "aws_secret_access_key": secret,
            "bucket_name": url.removeprefix("s3://"),
            "bucket_region": "us-east-1",
        }
        config = {
            "device": {"ip": "127.0.0.1", "port": spec.port, "name": "camera", "group": "bench"},
            "data": {"interval": 0, "max_workers": spec.workers},
            "S3_storage": storage,
        }
        Path("config.yaml").write_text(json.dumps(config))
        self.port = spec.port
        self._home = f"{spec.directory}/"
        place = spec.place
        self._logger = Babylog("config.yaml", place == "disk", place == "s3", place == "stream")

    def log(self, image: np.ndarray, detection: list[dict[str, object]], version: str) -> "Future[object] | None":
        return self._logger.log(
            image, VisionModelType.DETECTION, "detector", version, home_dir=self._home, detection=detection
        )

    def settle(self) -> None:
        """Nothing to do: a future of it has its result once the record is written."""

    def close(self) -> None:
        self._logger.shutdown()


def open_side(spec: Spec) -> Peer:
    return Peer(spec)


def receiver(spec: Spec) -> Callable[[], "Received | None"]:
    """Returns what returns the next record; ``None`` after a silence."""
    subscriber = Subscriber("127.0.0.1", spec.port, "camera")
    silence = range(round(SILENCE_S))  # it waits a second at a time
    return lambda: next((record for _ in silence if (record := subscriber.logged_data) is not None), None)
