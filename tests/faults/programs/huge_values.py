"""Logs values that are too large, where no copy of them has room: the address space is full but for 160 MiB."""

import resource
import sys
from pathlib import Path

import numpy as np
import torch

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig

ROOM = 160 * 2**20


def main(directory: Path) -> None:
    block = np.zeros(2**28, np.float32)  # 1 GiB, of which no page is touched
    half = torch.zeros(2**29, dtype=torch.bfloat16)
    text = "x" * (65 * 2**20)
    component = MultiLogger("model")
    every_step = JsonLoggerConfig("json", write_every_n_seconds=0, write_media_every_n_seconds=0)
    with LoggerGroup([JsonLogger(every_step)], RunContext(directory)) as group:
        component.log_image("first", np.zeros((8, 8)))  # what is imported for a picture is imported
        component.log_histogram("first", np.zeros(8))
        group.write([component], State(num_steps=1))
        assert group.flush(30)
        used_pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = used_pages * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        component.log_image("image", block.reshape(2**14, 2**14))
        component.log_image("broad", np.broadcast_to(np.float32(0), (50_000, 50_000)))
        component.log_images("batch", block.reshape(64, 2**11, 2**11))
        component.log_images("many", block.reshape(2**18, 32, 32), max_images=4)
        component.log_video("video", torch.zeros(1).expand(10 * 3600 * 25, 1080, 1920))
        component.log_audio("audio", torch.zeros(1).expand(10 * 3600 * 44100))
        component.log_point_cloud("points", np.broadcast_to(np.float32(0), (10**6, 3)))
        component.log_histogram("contiguous", block)
        component.log_histogram("transposed", block.reshape(2**13, 2**15).T)
        component.log_histogram("expanded", torch.zeros(1).expand(2**30))
        component.log_histogram("half", half)
        component.log_histogram("half_transposed", half.reshape(2**14, 2**15).T)
        component.log_string("text", text)
        component.log_scalar("shape", block)
        component.log_scalar("good", 0.5)
        group.write([component], State(num_steps=2))
        assert group.flush(60)
    stats = group.stats()["json"]
    print(stats.written, stats.failed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
