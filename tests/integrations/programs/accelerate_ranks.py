"""Two processes of Accelerate with one run, which the tracker starts."""

import sys
from functools import partial

import torch
from accelerate import Accelerator

import ml
from ml.integrations.accelerate import AccelerateTracker

tracker = AccelerateTracker(partial(ml.start_run, sys.argv[1], loggers=["json"]))
accelerator = Accelerator(cpu=True, log_with=tracker)
accelerator.init_trackers("demo", config={"learning_rate": 0.1})
for step in (1, 2, 3):
    ranks = accelerator.reduce(torch.tensor(float(accelerator.process_index)), reduction="sum")
    accelerator.log({"ranks": ranks}, step=step)
accelerator.end_training()
