"""A rank of torch.distributed that measures: DATABASE, which may hold {rank}."""

import sys

import torch.distributed as dist

from ml.benchmarks import Benchmark

dist.init_process_group("gloo")
with Benchmark(sys.argv[1].format(rank=dist.get_rank()), description="job") as benchmark:
    benchmark.log("rank", "rank", dist.get_rank())
dist.destroy_process_group()
