"""A rank that starts at a time of its own, logs three steps to a run and prints where: DIRECTORY MAX_SKEW_S SEED."""

import os
import random
import sys
import time

import torch.distributed

from ml import start_run

directory, max_skew_s, seed = sys.argv[1], float(sys.argv[2]), sys.argv[3]
chance = random.Random(f"{seed}-{os.environ['RANK']}")
time.sleep(chance.uniform(0, max_skew_s))  # the skew is what is tested
torch.distributed.init_process_group("gloo")
time.sleep(chance.uniform(0, max_skew_s))
with start_run(directory, loggers=["json"]) as run:
    for step in range(3):
        run.log({"task/loss": step})
        run.step()
    print(f"rank {run.context.rank} in {run.path}", flush=True)
torch.distributed.destroy_process_group()
