"""A rank that logs values across ranks: DIRECTORY STEPS PRIMARY_RANK [FATE ...].

A fate is RANK:SIGNAL:STEP, e.g. 2:KILL:100: what the rank sends itself then; EXIT ends it with status 1. It comes in
the job's first start only. Where somebody has a fate, ranks train on their own: nobody could wait for the others.
Where nobody has, steps are synchronous, as those of DDP.
"""

import os
import signal
import sys

import torch
import torch.distributed

from ml import start_run

directory, steps, primary_rank, fates = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
mine = {} if restarted else {int(f.split(":")[2]): f.split(":")[1] for f in fates if int(f.split(":")[0]) == rank}
weights = torch.randn(128, 128)

with start_run(directory, loggers=["json"], primary_rank=primary_rank) as run:
    for step in range(1, steps + 1):
        for _ in range(20):  # what training does: about a millisecond
            weights = torch.tanh(weights @ weights)
        if not fates:
            torch.distributed.all_reduce(torch.ones(1))
        run.log({"task/trace": lambda step=step: step * 10 ** (6 * rank)}, across_ranks="sum")
        run.log({"task/mean": torch.tensor(step + rank / 7)}, across_ranks="mean")
        run.log({f"task/only/{rank}": float(step)}, across_ranks="max")
        run.step()
        if step == steps // 2:
            with run.phase("valid"):
                for batch in range(rank + 1):
                    run.log({"task/loss": float(batch + rank)}, weight=rank + 1.0, across_ranks="mean")
                    run.step()
        if step in mine:
            if mine[step] == "EXIT":
                os._exit(1)
            os.kill(os.getpid(), signal.Signals[f"SIG{mine[step]}"])
torch.distributed.destroy_process_group()
