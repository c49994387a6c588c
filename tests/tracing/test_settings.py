"""A model of several tracers has one setting at a time, and its own in the end."""

import threading
from contextlib import contextmanager

import pytest

from ml.tracing.settings import SharedContext, Turns, turns_of
from tests.tracing.test_innocence import same
from tests.tracing.tiny import detector, images, logger_of


class Model:
    setting = "own"


def context_of(model, setting, turns, failed=lambda error: None):
    @contextmanager
    def applied():
        before, model.setting = model.setting, setting
        yield
        model.setting = before

    return SharedContext(applied, failed, turns)


def wait_until_somebody_waits(turns):
    while turns.door.acquire(blocking=False):
        turns.door.release()


def test_another_setting_waits_until_the_calls_under_the_first_are_over():
    model, turns, seen = Model(), Turns(), []
    first, second = context_of(model, "first", turns), context_of(model, "second", turns)

    def call():
        with second:
            seen.append(model.setting)

    thread = threading.Thread(target=call)
    with first:
        thread.start()
        wait_until_somebody_waits(turns)
        assert model.setting == "first"
        with first:  # a call inside of a call waits for nobody, though somebody waits
            assert model.setting == "first"
    thread.join()

    assert seen == ["second"]
    assert model.setting == "own"


def test_calls_that_leave_the_model_its_own_setting_are_made_together():
    turns, inside = Turns(), threading.Barrier(2, timeout=10)

    def call():
        with turns.own:
            inside.wait()

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not inside.broken


def test_a_setting_that_cannot_be_made_keeps_nobody_waiting():
    model, turns = Model(), Turns()

    def fail():
        raise RuntimeError("no such setting")

    with pytest.raises(RuntimeError, match="no such setting"), SharedContext(fail, lambda error: None, turns):
        pass
    with context_of(model, "first", turns):
        assert model.setting == "first"
    assert model.setting == "own"


def test_two_tracers_in_two_threads_have_each_its_own_threshold(tmp_path):
    model = detector()
    loggers = [logger_of(model, tmp_path / str(number), score_thresh=0.55 + 0.1 * number) for number in range(2)]
    expected = [logger(images()) for logger in loggers]
    wrong = []

    def call(number):
        wrong.extend(n for n in range(20) if not same(loggers[number](images()), expected[number]))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for logger in loggers:
        logger.close()
        assert logger.stats().disagreements == 0

    assert wrong == []
    assert model.score_thresh == 0.5


def test_a_tracer_that_is_called_inside_of_anothers_call_does_not_wait(tmp_path):
    model = detector()
    outer = logger_of(model, tmp_path / "outer", score_thresh=0.6)
    inner = logger_of(model, tmp_path / "inner", score_thresh=0.7)
    plain = model.forward

    def forward(x):
        model.forward = plain
        seen.append((inner(x), model.score_thresh))
        return plain(x)

    model.forward, seen = forward, []
    outer(images())
    outer.close()
    inner.close()

    assert seen[0][1] == 0.6
    assert (inner.stats().saved, model.score_thresh) == (2, 0.5)


def test_the_turns_of_a_model_are_the_same_for_all_and_go_with_it():
    model = detector()
    assert turns_of(model) is turns_of(model)
    assert turns_of(model) is not turns_of(detector())
