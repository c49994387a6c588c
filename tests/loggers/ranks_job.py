"""Several ranks in one process: a group each, over one store. Steps are ended rank by rank."""

import time
from contextlib import suppress

import torch.distributed as dist

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.testing.fakes import WAIT_S


class Job:
    """The ranks of a job.

    Args:
        directory: The run's.
        size: How many ranks.
        primary_rank: Which of them has the backend.
        store: What they share.
        clock: Of all ranks.
        others: Settings of further backends, by id.
    """

    def __init__(self, directory, size, *, primary_rank=0, store=None, clock=time.monotonic, **others):
        self.size, self.primary_rank = size, primary_rank % size
        self.memory = MemoryLogger(BaseLoggerConfig("memory"))
        self.others = {name: MemoryLogger(BaseLoggerConfig("memory", id=name, **of)) for name, of in others.items()}
        self.components = [MultiLogger("model") for _ in range(size)]
        store = store or dist.HashStore()
        self.groups = [
            LoggerGroup(
                [self.memory, *self.others.values()] if rank == self.primary_rank else [],
                RunContext(directory, rank=rank, world_size=size, primary_rank=primary_rank, clock=clock),
                store=store,
            )
            for rank in range(size)
        ]
        self.num_steps = 0

    @property
    def primary(self):
        return self.groups[self.primary_rank]

    def step(self, log, *, ranks=None):
        """Ends a step of every rank: ``log(component, rank, step)`` logs it."""
        self.num_steps += 1
        for rank in range(self.size) if ranks is None else ranks:
            log(self.components[rank], rank, self.num_steps)
            self.groups[rank].write([self.components[rank]], State(num_steps=self.num_steps))

    def validate(self, log, *, batches=2, ranks=None, phase="valid"):
        """Has every rank do a validation or test pass, the primary one last."""
        ranks = range(self.size) if ranks is None else ranks
        for rank in sorted(ranks, key=lambda rank: rank == self.primary_rank):
            for batch in range(1, batches + 1):
                log(self.components[rank], rank, batch)
                state = State(phase, num_steps=self.num_steps, num_valid_steps=batch)
                self.groups[rank].write([self.components[rank]], state)
            self.groups[rank].end_pass()

    def train_until(self, log, is_enough, *, ranks=None):
        """Trains until ``is_enough()``; that it takes for ever fails the test."""
        deadline_s = time.monotonic() + WAIT_S
        while not is_enough():
            assert time.monotonic() < deadline_s, "it did not come"
            self.step(log, ranks=ranks)

    def close(self, *, ranks=None):
        """Closes the ranks, the primary one last, so that it finds what the others left; returns its counts."""
        ranks = range(self.size) if ranks is None else ranks
        for rank in ranks:
            if rank != self.primary_rank:
                self.groups[rank].close()
        return self.primary.close()

    def abandon(self):
        """Closes what a test left open."""
        for group in self.groups:
            with suppress(Exception):
                group.close(0.0)

    def values(self, key="loss", phase="train"):
        """What was written: ``(step, value)``."""
        return [(entry.step, entry.value) for entry in self.memory.entries if (entry.phase, entry.key) == (phase, key)]
