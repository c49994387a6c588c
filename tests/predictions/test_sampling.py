"""Which predictions are kept."""

import math
import os
import signal
import sys
import threading

import pytest

from ml.predictions.kinds import VisionModelType
from ml.predictions.sampling import Model, Sampler
from ml.testing import FakeClock

CAT, DOG = (Model(VisionModelType.CLASSIFICATION, name, "1") for name in ("cat", "dog"))


def sampler(clock: FakeClock, **settings: object) -> Sampler:
    return Sampler(**{"interval_s": 1.0, "keep_errors": True, "keep_below_confidence": None} | settings, clock=clock)


def takes(chosen: Sampler, model: Model = CAT, *, is_error: bool = False, confidence: float | None = 0.9) -> bool:
    return chosen.takes(model, is_error=is_error, confidence=confidence)


def test_of_a_burst_the_first_one_of_each_interval_is_kept():
    clock = FakeClock()
    chosen = sampler(clock)
    kept = []
    for _ in range(30):
        kept.append(takes(chosen))
        clock.advance(0.125)

    assert [n for n, is_kept in enumerate(kept) if is_kept] == [0, 8, 16, 24]


def test_each_model_has_an_interval_of_its_own():
    chosen = sampler(FakeClock())

    assert takes(chosen, CAT)
    assert takes(chosen, DOG)
    assert takes(chosen, CAT._replace(version="2"))
    assert not takes(chosen, CAT)


def test_errors_are_kept_beside_the_interval_and_begin_none():
    clock = FakeClock()
    chosen = sampler(clock)
    assert takes(chosen)
    clock.advance(0.9)
    assert takes(chosen, is_error=True)
    clock.advance(0.1)

    assert takes(chosen)


def test_errors_inside_of_the_interval_are_not_kept_unless_that_is_asked_for():
    chosen = sampler(FakeClock(), keep_errors=False)
    takes(chosen)

    assert not takes(chosen, is_error=True)


def test_results_of_low_confidence_are_kept_nan_among_them_and_none_is_no_result():
    chosen = sampler(FakeClock(), keep_below_confidence=0.5)
    takes(chosen)

    assert takes(chosen, confidence=0.49)
    assert takes(chosen, confidence=math.nan)
    assert not takes(chosen, confidence=0.5)
    assert not takes(chosen, confidence=None)


def test_of_a_burst_from_many_threads_one_is_kept():
    clock = FakeClock()
    chosen, kept = sampler(clock), []
    barrier = threading.Barrier(8, action=lambda: clock.advance(1.0))

    def burst() -> None:
        for _ in range(200):
            barrier.wait(20.0)
            kept.extend(takes(chosen) for _ in range(3))

    threads = [threading.Thread(target=burst) for _ in range(8)]
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch_s)

    assert sum(kept) == 200


def test_a_forked_child_does_not_wait_for_a_thread_that_is_not_there():
    chosen = sampler(FakeClock())
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with chosen._lock:
            is_held.set()
            is_over.wait(20.0)

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait(20.0)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that waits
        os._exit(0 if takes(chosen) else 1)
    is_over.set()
    holder.join()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("interval_s", [0.0, 1.0])
def test_models_whose_interval_is_over_are_forgotten(interval_s):
    clock = FakeClock()
    chosen = sampler(clock, interval_s=interval_s)

    for number in range(100):
        assert takes(chosen, CAT._replace(version=str(number)))
        clock.advance(0.5)

    assert len(chosen._kept_s) <= 2


def test_without_an_interval_all_are_kept():
    chosen = sampler(FakeClock(), interval_s=0.0)

    assert all(takes(chosen) for _ in range(5))
