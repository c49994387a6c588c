"""Values over all ranks: exact, of one step, never waited for; what is missing is said."""

import math
import os
import statistics

import pytest
import torch
import torch.distributed as dist

from ml.core.run import RunContext
from ml.core.state import State
from ml.io.ranks import Ranks
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.shares import Share, encode, merge
from ml.testing import FakeClock, Gate
from tests.loggers.ranks_job import Job

RANKS = (0, 1, 2)
REDUCTIONS = {"mean": statistics.fmean, "sum": math.fsum, "min": min, "max": max}


@pytest.fixture
def make_job(tmp_path):
    jobs = []

    def make(size=3, **settings):
        jobs.append(Job(tmp_path, size, **settings))
        return jobs[-1]

    yield make
    for job in jobs:
        job.abandon()


def number(rank, step):
    """What a rank logs at a step: every pair has another."""
    return step + rank / 7


def log_loss(component, rank, step):
    component.log_scalar("loss", lambda: number(rank, step), across_ranks="mean")


def assert_exact(stats):
    assert stats.accepted == stats.written + sum(stats.dropped.values()) + sum(stats.failed.values()) + stats.pending
    assert stats.pending == 0


def log_trace(component, rank, step):
    """A number whose sum over ranks says of which it is, and of which step."""
    component.log_scalar("trace", lambda: step * 10 ** (6 * rank), across_ranks="sum")


def ranks_in(step, value):
    """Which ranks are in the sum; each with its number of exactly this step."""
    found = [rank for rank in RANKS if value // 10 ** (6 * rank) % 10**6]
    assert value == sum(step * 10 ** (6 * rank) for rank in found), f"not of step {step}: {value}"
    return found


def all_ranks_in(job, size=3):
    """The steps whose values hold all ranks. On a busy machine one may hear of a step too late, and is left out."""
    return [step for step, value in job.values("trace") if len(ranks_in(step, value)) == size]


# a value over ranks


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_last_step_is_reduced_over_all_ranks(make_job, reduction):
    job = make_job()
    for _ in range(3):
        job.step(lambda component, rank, step: component.log_scalar("loss", number(rank, step), across_ranks=reduction))
    stats = job.close()

    assert job.values()[-1] == (3, pytest.approx(REDUCTIONS[reduction](number(rank, 3) for rank in RANKS)))
    assert job.values("loss.ranks") == []
    assert_exact(stats["memory"])


@pytest.mark.parametrize("steps", [3, 4])
def test_the_last_step_is_whole_although_not_all_have_heard_that_it_was_asked_for(make_job, steps):
    clock = FakeClock()
    job = make_job(clock=clock)
    for _ in range(steps):  # steps so long that the next one is asked for, which these ranks come to at once
        job.step(log_trace)
        clock.advance(1.0)
    job.close()

    step, value = job.values("trace")[-1]
    assert (step, ranks_in(step, value)) == (steps, list(RANKS))


def test_while_training_every_value_is_that_of_exactly_its_step(make_job):
    job = make_job()
    job.train_until(log_trace, lambda: len(all_ranks_in(job)) >= 3)
    job.close()

    steps = [step for step, _ in job.values("trace")]
    assert steps == sorted(set(steps))
    assert steps[-1] == job.num_steps
    told, texts = 3, dict(job.values("trace.ranks"))
    for step, value in job.values("trace"):
        told = int(texts[step].partition("/")[0]) if step in texts else told
        assert len(ranks_in(step, value)) == told


def test_a_mean_is_weighted_over_the_ranks(make_job):
    job = make_job(2)
    weights = (1.0, 3.0)
    job.step(
        lambda component, rank, step: component.log_scalar(
            "loss", float(rank), weight=weights[rank], across_ranks="mean"
        )
    )
    job.close()

    assert job.values() == [(1, 0.75)]


def test_numbers_that_are_not_finite_go_the_same_way(make_job):
    job = make_job(2)

    def log(component, rank, step):
        component.log_scalar("nan", math.nan if rank else 1.0, across_ranks="max")
        component.log_scalar("inf", math.inf if rank else 1.0, across_ranks="sum")
        component.log_scalar("whole", 2**60 + rank, across_ranks="sum")

    job.step(log)
    job.close()

    assert math.isnan(job.values("nan")[0][1])
    assert job.values("inf") == [(1, math.inf)]
    assert job.values("whole") == [(1, 2**61 + 1)]


def test_a_rank_that_hears_late_of_a_step_gives_its_number_of_that_step(tmp_path):
    store, given = dist.HashStore(), []
    primary = Ranks(
        store,
        rank=0,
        primary_rank=0,
        world_size=2,
        settled=lambda name, messages: given.append(messages),
        failed=lambda error: None,
    )
    primary.announce(4)
    primary.send("train/1", lambda: encode({}), wait_s=30.0)
    component = MultiLogger("model")
    with LoggerGroup([], RunContext(tmp_path, rank=1, world_size=2), store=store) as late:
        for step in range(1, 100):  # many may be over before it hears
            log_trace(component, 1, step)
            late.write([component], State(num_steps=step))
        while not given:
            late.write([component], State(num_steps=99))
    primary.stop(0.0)

    (value,) = merge(given[0], 0, lambda: None)
    assert (value.state.num_steps, value.value) == (4, 4 * 10**6)


def test_a_rank_that_gives_at_the_end_what_was_written_without_it_adds_no_point(tmp_path):
    store, clock = dist.HashStore(), FakeClock()
    late = Ranks(store, rank=1, primary_rank=0, world_size=2, settled=lambda *given: None, failed=lambda error: None)
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path, world_size=2, clock=clock), store=store) as primary:
        for step in (1, 2, 3):  # at the end of the second, the third is asked for
            log_trace(component, 0, step)
            primary.write([component], State(num_steps=step))
            clock.advance(1.0)
        while not memory.entries:
            primary.write([component], State(num_steps=4))
        late.send(
            "train/last", lambda: encode({State(num_steps=3): [Share("model", "trace", "sum", 1.0, 3e6)]}), wait_s=0
        )
    late.stop(0.0)

    assert [(entry.step, entry.value) for entry in memory.entries if entry.key == "trace"] == [(3, 3)]


def test_a_key_that_is_logged_now_and_then_is_not_missed(make_job):
    job = make_job(2)

    def log(component, rank, step):
        log_loss(component, rank, step)
        if step % 10 == 0:
            log_trace(component, rank, step)

    job.train_until(log, lambda: len(all_ranks_in(job, 2)) >= 2)
    job.close()

    assert all(step % 10 == 0 for step, _ in job.values("trace"))


def test_keys_that_only_some_ranks_log_are_reduced_over_those(make_job):
    job = make_job()

    def log(component, rank, step):
        log_loss(component, rank, step)
        component.log_scalar(f"only/{rank}", number(rank, step), across_ranks="mean")

    job.step(log)
    stats = job.close()

    for rank in RANKS:
        assert job.values(f"only/{rank}") == [(1, number(rank, 1))]
        assert job.values(f"only/{rank}.ranks") == [(1, "1/3 ranks")]
    assert job.values("loss.ranks") == []
    assert_exact(stats["memory"])


def test_a_key_that_the_primary_rank_never_logs_is_asked_for(make_job):
    job = make_job(2)

    def log(component, rank, step):
        if rank == 1:
            log_loss(component, rank, step)
        else:
            component.log_scalar("other", 1.0)

    job.train_until(log, lambda: len(job.values()) >= 2)

    assert all(value == number(1, step) for step, value in job.values())


@pytest.mark.parametrize("primary_rank", [1, -1])
def test_the_primary_rank_may_be_another(make_job, primary_rank):
    job = make_job(primary_rank=primary_rank)
    job.train_until(log_trace, lambda: len(all_ranks_in(job)) >= 2)
    job.close()

    assert job.values("trace")[-1][0] == job.num_steps


def test_tensors_are_reduced_too(make_job):
    job = make_job(2)
    job.step(lambda component, rank, step: component.log_scalar("loss", torch.tensor([rank + 1.0]), across_ranks="sum"))
    job.close()

    assert job.values() == [(1, 3.0)]


# a pass


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_pass_is_reduced_over_its_batches_and_all_ranks(make_job, reduction):
    job = make_job()
    job.step(lambda component, rank, step: None)
    job.validate(
        lambda component, rank, batch: component.log_scalar("loss", number(rank, batch), across_ranks=reduction)
    )
    job.close()

    expected = REDUCTIONS[reduction](number(rank, batch) for rank in RANKS for batch in (1, 2))
    assert job.values(phase="valid") == [(1, pytest.approx(expected))]


def test_a_pass_of_uneven_batches_weighs_every_sample_alike(make_job):
    job = make_job(2)
    samples = {0: [[1.0, 2.0, 3.0], [4.0]], 1: [[10.0], [20.0, 30.0]]}

    def log(component, rank, batch):
        of_batch = samples[rank][batch - 1]
        component.log_scalar("loss", statistics.fmean(of_batch), weight=len(of_batch), across_ranks="mean")

    job.validate(log)
    job.close()

    assert job.values(phase="valid") == [(0, pytest.approx(statistics.fmean([1, 2, 3, 4, 10, 20, 30])))]


def test_in_a_pass_reduce_says_what_a_rank_makes_of_its_batches(make_job):
    job = make_job(2)
    job.validate(
        lambda component, rank, batch: component.log_scalar("loss", batch + 10 * rank, reduce="sum", across_ranks="max")
    )
    job.close()

    assert job.values(phase="valid") == [(0, 23.0)]


def test_two_passes_at_one_step_stay_apart(make_job):
    job = make_job(2)
    for offset in (0, 100):
        job.validate(
            lambda component, rank, batch, offset=offset: component.log_scalar(
                "loss", float(offset + rank), across_ranks="sum"
            ),
            batches=1,
        )
    job.close()

    assert job.values(phase="valid") == [(0, 1.0), (0, 201.0)]


@pytest.mark.parametrize("between", [("test", 8), ("valid", 4)], ids=["another phase", "an earlier step"])
def test_a_pass_holds_nothing_of_an_earlier_one_at_its_step_whatever_came_between(make_job, between):
    job = make_job(2)
    for value, (phase, job.num_steps), ranks in (
        (1.0, ("valid", 8), None),
        (10.0, between, None),
        (100.0, ("valid", 8), [0]),
    ):
        job.validate(
            lambda component, rank, batch, value=value: component.log_scalar("loss", value, across_ranks="sum"),
            batches=1,
            ranks=ranks,
            phase=phase,
        )
    job.close()

    assert [value for step, value in job.values(phase="valid") if step == 8] == [2.0, 100.0]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_number_that_a_pass_cannot_come_to_costs_itself_alone_and_the_loop_goes_on(make_job, caplog, reduction):
    job = make_job(2)

    def log(component, rank, batch):
        component.log_scalar("huge", 10**200, weight=10**200, reduce="mean", across_ranks=reduction)
        component.log_scalar("loss", 1.0, across_ranks="sum")

    job.validate(log)
    job.step(log_loss)
    stats = job.close()

    assert job.values(phase="valid") == [(0, 4.0)]
    assert job.values() == [(1, number(0.5, 1))]
    assert "Cannot give this rank's part of 'model/huge'" in caplog.text
    assert_exact(stats["memory"])


def test_a_pass_that_was_not_finished_comes_to_nothing(make_job):
    job = make_job(2)
    job.validate(log_loss, ranks=[1])
    log_loss(job.components[0], 0, 1)
    job.primary.write([job.components[0]], State("valid"))
    job.primary.discard_pass()
    job.close()

    assert job.values(phase="valid") == []


def test_a_key_that_is_reduced_in_two_ways_in_a_pass_fails_the_second(make_job):
    job = make_job(2)
    job.validate(
        lambda component, rank, batch: component.log_scalar("loss", 1.0, across_ranks=("sum", "max")[batch - 1]),
    )
    stats = job.close()

    assert job.values(phase="valid") == [(0, 2.0)]
    assert stats["memory"].failed == {"value": 1}


# who computes what


def test_every_rank_computes_its_part_once_a_step_and_nothing_else(make_job):
    job = make_job(2)
    computed = []

    def log(component, rank, step):
        component.log_scalar("loss", lambda: computed.append((rank, step)) or 1.0, across_ranks="mean")
        component.log_scalar("own", lambda: computed.append((rank, "own")) or 1.0)

    for _ in range(3):
        job.step(log)
    job.close()

    assert computed == [(0, 1), (0, "own"), (1, 1), (0, 2), (0, "own"), (1, 2), (0, 3), (0, "own"), (1, 3)]


def test_a_backend_that_writes_seldom_gets_one_value_a_window_and_the_last(make_job):
    job = make_job(2, seldom={"write_every_n_steps": 10**9})

    def log(component, rank, step):
        log_loss(component, rank, step)
        component.log_scalar("own", 1.0)

    job.train_until(log, lambda: len(job.values()) >= 4)
    last = job.num_steps
    stats = job.close()

    first = job.values()[0][0]
    assert [entry.step for entry in job.others["seldom"].entries if entry.key == "loss"] == [first, last]
    assert stats["seldom"].skipped["rate_limited"] >= 3
    for of_backend in stats.values():
        assert_exact(of_backend)


def test_a_failing_callable_costs_its_own_part_alone(make_job, caplog):
    job = make_job(2)

    def log(component, rank, step):
        component.log_scalar("loss", lambda: 1 / (1 - rank), across_ranks="mean")
        component.log_scalar("other", 1.0, across_ranks="sum")

    job.step(log)
    stats = job.close()

    assert job.values() == [(1, 1.0)]
    assert job.values("loss.ranks") == [(1, "1/2 ranks")]
    assert job.values("other") == [(1, 2.0)]
    assert caplog.text.count("Cannot log 'model/loss': its value raised ZeroDivisionError") == 1
    assert_exact(stats["memory"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"across_ranks": "avg"}, "across_ranks is one of mean, sum, min, max, got 'avg'"),
        ({"across_ranks": "mean", "reduce": "sum"}, "got reduce='sum' and across_ranks='mean'. Leave one of them out"),
    ],
)
def test_options_that_cannot_be_are_refused_with_the_cure(make_job, caplog, options, problem):
    job = make_job(1)
    job.step(lambda component, rank, step: component.log_scalar("loss", lambda: pytest.fail("computed"), **options))
    stats = job.close()

    assert stats["memory"].failed == {"value": 1}
    assert problem in caplog.text


def test_a_key_is_reduced_over_ranks_or_not(make_job, caplog):
    job = make_job(2)
    job.step(log_loss)
    job.step(lambda component, rank, step: component.log_scalar("loss", 1.0))
    stats = job.close()

    assert stats["memory"].failed == {"value": 1}
    assert "Use one key for each." in caplog.text


# one rank alone


@pytest.mark.parametrize("world_size", [1, 2])
def test_without_others_a_value_is_that_of_this_rank_and_says_so_once(tmp_path, caplog, world_size):
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path, world_size=world_size)) as group:
        component.log_scalar("loss", lambda: 3.0, across_ranks="sum")
        group.write([component], State(num_steps=1))
        for number in (1.0, 2.0):
            component.log_scalar("loss", number, across_ranks="sum")
            group.write([component], State("valid", num_steps=1))

    numbers = [entry for entry in memory.entries if entry.key == "loss"]
    assert [(entry.phase, entry.value) for entry in numbers] == [("train", 3.0), ("valid", 3.0)]
    told = [(entry.phase, entry.step, entry.value) for entry in memory.entries if entry.key == "loss.ranks"]
    assert told == ([] if world_size == 1 else [("train", 1, "1/2 ranks")])
    assert caplog.text.count("init_process_group before") == world_size - 1


# ranks and stores that fail


def test_a_rank_that_never_answers_is_left_out_and_said(make_job, caplog):
    job = make_job(3)
    job.train_until(log_trace, lambda: len(all_ranks_in(job, 2)) >= 3, ranks=(0, 1))
    job.close(ranks=(0, 1))

    assert all(2 not in ranks_in(step, value) for step, value in job.values("trace"))
    assert "2/3 ranks" in [text for _, text in job.values("trace.ranks")]
    assert caplog.text.count("did not answer in time") == 1


class HangingStore:
    """A store whose host is stopped: over a connection of one's own, nothing returns."""

    def __init__(self):
        self.gate = Gate()

    def add(self, key, amount):
        return 1

    def clone(self):
        self.gate.wait()
        raise ConnectionError("the host is gone")


class DeadStore(HangingStore):
    """A store whose host is gone."""

    def clone(self):
        raise ConnectionError("the host is gone")


def test_a_store_that_is_gone_is_said_once_and_leaves_the_primary_rank_its_own_values(make_job, caplog):
    job = make_job(2, store=DeadStore())
    job.train_until(log_loss, lambda: len(job.values()) >= 2, ranks=(0,))
    stats = job.close()

    assert all(value == number(0, step) for step, value in job.values())
    assert job.values("loss.ranks")[0][1] == "1/2 ranks"
    assert caplog.text.count("The store of the process group does not answer") <= 2  # each rank says it for itself
    assert_exact(stats["memory"])


def test_a_store_that_hangs_holds_up_neither_training_nor_closing(make_job):
    store = HangingStore()
    job = make_job(2, store=store)
    try:
        for _ in range(5):
            job.step(log_loss)
        stats = job.close()
    finally:
        store.gate.open()

    assert job.values()[-1] == (5, number(0, 5))
    assert [text for _, text in job.values("loss.ranks")] == ["1/2 ranks"]
    assert_exact(stats["memory"])


def test_a_restarted_job_and_a_second_group_do_not_see_the_messages_of_the_first(make_job, monkeypatch):
    store = dist.HashStore()
    for number_of_job in range(2):
        job = make_job(2, store=store)
        job.step(lambda component, rank, step, n=number_of_job: component.log_scalar("loss", n, across_ranks="sum"))
        job.close()
        assert job.values() == [(1, 2 * number_of_job)]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    job = make_job(2, store=store)
    job.step(lambda component, rank, step: component.log_scalar("loss", 7, across_ranks="sum"))
    job.close()
    assert job.values() == [(1, 14)]


def test_a_forked_child_leaves_the_store_to_its_parent(make_job):
    job = make_job(2)
    job.step(log_loss)
    child = os.fork()
    if child == 0:
        job.step(log_loss)
        for group in job.groups:
            group.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    job.step(log_loss)
    job.close()

    assert job.values()[-1] == (2, pytest.approx(number(0.5, 2)))
