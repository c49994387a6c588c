"""Forks trainers and kills them at random moments: DIRECTORY BACKEND KILLS SEED LONGEST_S.

Of each, ``DIRECTORY/<number>`` is what it logged and ``<number>.notes`` what it noted in memory that is shared
with this process, as ``tests.faults.killing`` reads it: when each step ended, and what ``flush`` acknowledged.
"""

import mmap
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from ml.core.registry import LOGGERS
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import LoggerGroup, MultiLogger

HEAD, NOTE = struct.Struct("qq"), struct.Struct("qqq")
MAX_STEPS = 20_000
AT_ONCE = 3
LONG_STEP_S, SHORT_TEXT, LONG_TEXT = 0.002, 600, 200_000

directory, backend = Path(sys.argv[1]), sys.argv[2]
kills, chance, longest_s = int(sys.argv[3]), random.Random(int(sys.argv[4])), float(sys.argv[5])


def start(place: Path) -> LoggerGroup:
    logger = LOGGERS.build({"name": backend, "write_every_n_seconds": 1e6})  # what is not forced waits in a window
    return LoggerGroup([logger], RunContext(place))


def train(place: Path, notes: mmap.mmap, chance: random.Random, parent: int) -> None:
    logs, model = start(place), MultiLogger("model")
    write_every, flush_every = chance.choice((1, 1, 10)), chance.choice((7, 100))
    step = handed_over = acknowledged = 0
    while step < MAX_STEPS and os.getppid() == parent:
        step += 1
        length = chance.randrange(LONG_TEXT if chance.random() < 0.01 else SHORT_TEXT)
        model.log_scalar(f"step_{step}", step)
        model.log_string("text", f"{step} {'x' * length}")
        is_due = step == 1 or step % write_every == 0
        logs.write([model], State(num_steps=step), force=is_due)
        handed_over = step if is_due else handed_over
        NOTE.pack_into(notes, HEAD.size + (step - 1) * NOTE.size, time.monotonic_ns(), handed_over, pending(logs))
        HEAD.pack_into(notes, 0, step, acknowledged)
        if step % flush_every == 0 and logs.flush():
            handed_over = acknowledged = step
            HEAD.pack_into(notes, 0, step, acknowledged)
        time.sleep(chance.random() * LONG_STEP_S)  # what a step of training takes


def pending(logs: LoggerGroup) -> int:
    return logs.stats()[backend].pending


class Trainer:
    """A forked child that trains until its time has come."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.notes = mmap.mmap(-1, HEAD.size + MAX_STEPS * NOTE.size)
        self.kill_s = time.monotonic() + chance.random() * longest_s
        seed, parent = chance.random(), os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            train(directory / str(number), self.notes, random.Random(seed), parent)
            os._exit(1)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        killed_ns = time.monotonic_ns()
        status = os.waitpid(self.pid, 0)[1]
        assert os.WIFSIGNALED(status), f"trainer {self.number} ended by itself"
        steps, acknowledged = HEAD.unpack_from(self.notes)
        noted = self.notes[HEAD.size : HEAD.size + steps * NOTE.size]
        (directory / f"{self.number}.notes").write_bytes(struct.pack("qq", killed_ns, acknowledged) + noted)
        self.notes.close()


with start(directory / "warm") as logs:  # what is imported now need not be imported by every child
    logs.write([MultiLogger("model")], State(num_steps=1), force=True)
trainers: list[Trainer] = []
for number in range(kills):
    if len(trainers) == AT_ONCE:
        next_one = min(trainers, key=lambda trainer: trainer.kill_s)
        time.sleep(max(0.0, next_one.kill_s - time.monotonic()))
        next_one.kill()
        trainers.remove(next_one)
    trainers.append(Trainer(number))
for trainer in sorted(trainers, key=lambda trainer: trainer.kill_s):
    time.sleep(max(0.0, trainer.kill_s - time.monotonic()))
    trainer.kill()
