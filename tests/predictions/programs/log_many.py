"""Logs predictions from several threads: ``log_many.py DIRECTORY STORE_URL COUNT THREADS``; prints what was kept."""

import json
import sys
import threading

import numpy as np

from ml.predictions import (
    CloudConfig,
    LocalConfig,
    PredictionLogger,
    PredictionLoggerConfig,
    StoreConfig,
    VisionModelType,
)

directory, url, count, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
image = np.zeros((16, 16, 3), np.uint8)
config = PredictionLoggerConfig(
    device_name="camera",
    on_full="wait",
    min_free_bytes=0,
    close_timeout_s=600.0,
    local=LocalConfig(directory),
    cloud=CloudConfig(StoreConfig(url)),
)


def log() -> None:
    for _ in range(count // threads):
        # All of one millisecond: names must not depend on the clock.
        predictions.log(image, VisionModelType.CLASSIFICATION, "m", "1", timestamp=0, classification={"cat": 0.5})


with PredictionLogger(config) as predictions:
    started = [threading.Thread(target=log) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    is_flushed = False
    while not is_flushed:
        is_flushed = predictions.flush()
    print(json.dumps({name: stats.written for name, stats in predictions.stats().items()}))
