"""Run once for each rank: what ranks have in their hands is logged on one rank alone, and no rank waits for another.

What would need a collective would hang here: the other rank never calls one.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.tensor import DeviceMesh, DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig


def log_shards(component: MultiLogger, mesh: DeviceMesh) -> None:
    """Logs distributed tensors of every placement, with selection, held and from callables."""
    rows = distribute_tensor(torch.arange(8.0).reshape(8, 1), mesh, [Shard(0)])
    pictures = distribute_tensor(torch.ones(12, 8, 8), mesh, [Shard(0)])
    whole = distribute_tensor(torch.tensor(3.0), mesh, [Replicate()])
    component.log_scalar("whole", whole)
    component.log_scalar("part", lambda: DTensor.from_local(torch.tensor(2.0), mesh, [Partial()]))
    component.log_histogram("rows", rows)
    component.log_images("pictures", lambda: pictures, max_images=2)
    component.log_labeled_images("labelled", (pictures, [str(index) for index in range(6)]), max_images=2)
    component.log_scalar("shape", rows)


def main(directory: Path) -> None:
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", init_method=f"file://{directory}-rendezvous", rank=rank, world_size=2)
    component = MultiLogger("model")
    model = DistributedDataParallel(torch.nn.Linear(4, 1, bias=False))

    def hook(state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        component.log_scalar("bucket", bucket.buffer().norm())
        future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
        return future.then(lambda done: done.value()[0] / 2)

    model.register_comm_hook(None, hook)
    mesh = DeviceMesh("cpu", [0, 1])
    context = RunContext(directory, rank=rank, world_size=2)
    every_step = JsonLoggerConfig("json", write_every_n_seconds=0, write_media_every_n_seconds=0)
    with LoggerGroup([JsonLogger(every_step)], context) as group:
        for step in (1, 2, 3):
            model.zero_grad()
            model(torch.full((2, 4), float(rank + step))).sum().backward()
            log_shards(component, mesh)
            group.write([component], State(num_steps=step))
    dist.barrier()
    print(f"rank {rank} done", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
