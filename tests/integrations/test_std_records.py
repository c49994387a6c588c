"""What a record says, and how often it is kept."""

import logging
import sys
import threading

import pytest

from ml.integrations.std_records import Count, Occurrences, level_of, message_of, trace_of
from ml.testing import FakeClock


def record(message="slow", *args, name="data", level=logging.WARNING, **attributes):
    record = logging.LogRecord(name, level, "/src/loader.py", 42, message, args, None)
    record.__dict__.update(attributes)
    return record


class Bad:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (("slow by %d s", 3), "slow by 3 s"),
        (("100 %",), "100 %"),
        ((ValueError("an error"),), "an error"),
        ((None,), "None"),
        (("%d", "x"), "%d ('x',) (cannot be formatted: %d format: a real number is required, not str)"),
        (("%s %s", 1), "%s %s (1,) (cannot be formatted: not enough arguments for format string)"),
        (("plain", 1), "plain (1,) (cannot be formatted: not all arguments converted during string formatting)"),
        (("%s", Bad()), "%s <tuple> (cannot be formatted: no text)"),
        ((Bad(), 1), "<Bad> (1,) (cannot be formatted: no text)"),
    ],
)
def test_a_message_is_what_was_said_and_where_whatever_it_holds(said, shown):
    assert message_of(record(*said)) == f"{shown} (loader.py:42)"


def test_a_traceback_and_a_stack_are_kept_also_of_an_error_that_has_no_text():
    try:
        raise ValueError(Bad())
    except ValueError:
        trace = trace_of(record(exc_info=sys.exc_info(), stack_info="Stack (most recent call last):\n  here"))

    assert trace.startswith("Traceback (most recent call last):")
    assert "test_std_records.py" in trace
    assert trace.endswith("Stack (most recent call last):\n  here")
    assert trace_of(record(exc_text="Traceback: made elsewhere")) == "Traceback: made elsewhere"


@pytest.mark.parametrize("info", [None, (None, None, None), (), True, 7])
def test_what_is_no_traceback_costs_nothing(info):
    assert isinstance(trace_of(record(exc_info=info)), str)


@pytest.mark.parametrize(
    ("number", "name"),
    [(-5, "DEBUG"), (10, "DEBUG"), (20, "INFO"), (25, "INFO"), (30, "WARNING"), (40, "ERROR"), (10**9, "CRITICAL")],
)
def test_there_are_five_levels_whatever_others_are_called(number, name, monkeypatch):
    monkeypatch.setitem(logging._levelToName, number, "a/b\x1b[31m")

    assert level_of(number) == name


def test_the_first_ten_of_a_kind_are_kept_and_the_tenth_says_so():
    occurrences = Occurrences(FakeClock())
    notes = [occurrences.keep(record("step %d", number)) for number in range(100)]

    assert notes == [""] * 9 + [" (more like this are counted)"] + [None] * 90
    assert occurrences.total() == (10, 90)


@pytest.mark.parametrize("other", [{"name": "other"}, {"level": logging.ERROR}, {"message": "other"}])
def test_another_logger_level_or_text_is_another_kind(other):
    occurrences = Occurrences(FakeClock())
    for _ in range(20):
        occurrences.keep(record())

    assert occurrences.keep(record(**other)) == ""


def test_a_logger_whose_texts_all_differ_keeps_no_other_one_out():
    occurrences = Occurrences(FakeClock())
    kept = sum(occurrences.keep(record(f"text {number}")) is not None for number in range(10_000))

    assert kept == 50
    assert occurrences.keep(record(name="other")) == ""
    assert occurrences.keep(record(level=logging.ERROR)) == ""


def test_what_is_remembered_is_bounded_whatever_comes():
    occurrences = Occurrences(FakeClock())
    for number in range(100_000):
        occurrences.keep(record(f"text {number}", name=f"logger {number % 1000}"))

    assert sum(map(len, occurrences._kinds.values())) <= 102 * 51
    assert sum(occurrences.total()) == 100_000


def test_what_was_only_counted_is_summed_up_once_a_minute_and_adds_up():
    clock = FakeClock()
    occurrences, summaries = Occurrences(clock), []
    for _ in range(130):
        occurrences.keep(record())
        summaries += occurrences.due_summary()
        clock.advance(1)
    summaries += occurrences.sum_up()
    summaries += occurrences.sum_up()

    text = "{} more messages, counted and not kept."
    assert summaries == [("data", "WARNING", text.format(number)) for number in (51, 60, 9)]


def test_every_one_is_counted_whatever_thread_it_comes_from():
    occurrences, counted, interval_s = Occurrences(FakeClock()), Count(), sys.getswitchinterval()

    def say():
        for _ in range(5000):
            occurrences.keep(record())
            counted.add()

    threads = [threading.Thread(target=say) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            occurrences.sum_up()
            counted.total()
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)

    assert occurrences.total() == (10, 19_990)
    assert counted.total() == 20_000
