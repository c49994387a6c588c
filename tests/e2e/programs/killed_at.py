"""Logs a loop to a run; kills itself at a step, as a cluster does: DIRECTORY FIRST_STEP LAST_STEP [KILL_AT]."""

import os
import signal
import sys

from ml import State, start_run

directory, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kill_at = int(sys.argv[4]) if len(sys.argv) > 4 else None

resumed = first > 1
state = State(num_steps=first - 1) if resumed else None
with start_run(directory, loggers=["json", "tensorboard"], resume=resumed, state=state) as run:
    for step in range(first, last + 1):
        run.log({"task/loss": 1000.0 * run.context.attempt + step})
        run.step()
        if step == kill_at:
            assert run.flush()
            os.kill(os.getpid(), signal.SIGKILL)
