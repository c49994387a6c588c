"""A rank of torch.distributed that traces a model in DDP, once for each DATABASE; says what was exported, and kept."""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from ml.tracing import ObjectDetectionTracer
from tests.tracing.tiny import detector, images

COUNT = 21
"""Not a multiple of the ranks: the sampler gives one image to both, so that they have as many."""

dist.init_process_group("gloo")
rank = dist.get_rank()
model = DistributedDataParallel(detector())
pictures = images(COUNT)
said = []
for number, database in enumerate(sys.argv[1:]):
    with ObjectDetectionTracer(model, "tiny", "v1", database=database) as tracer:
        sampler = DistributedSampler(range(COUNT), shuffle=False)
        for index in sampler:
            tracer(pictures[index : index + 1], [None], [f"image {index:02d}"], "val", 1)
        assert tracer.wait_for_save(timeout_s=60)
        dist.barrier()
        exported = tracer.export(Path(sys.argv[1]).parent / f"{number}.zip")
        said.append({"exported": exported and str(exported), "saved": tracer.stats().saved})
Path(sys.argv[1]).with_name(f"said.{rank}").write_text(json.dumps(said))
dist.destroy_process_group()
