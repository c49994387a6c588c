"""What failed, said once."""

import json
import logging
import os
import threading

import pytest

from ml.core.errors import LogValueError, WriteError
from ml.core.redact import Redactor
from ml.core.run import RunContext
from ml.loggers.report import Reporter
from ml.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def make(tmp_path, clock):
    reporters = []

    def make(on_error="warn", directory=tmp_path):
        context = RunContext(directory, clock=clock, wall_clock=clock)
        reporters.append(Reporter(context, Redactor({"API_TOKEN": "canary-0123456789"}), on_error))
        return reporters[-1]

    yield make
    for reporter in reporters:
        reporter.close(10)


def lines(directory):
    return [json.loads(line) for line in (directory / "errors.jsonl").read_text().splitlines()]


def test_the_first_of_its_kind_is_told_and_the_others_are_counted(make, caplog, tmp_path):
    reporter = make()
    for number in range(5):
        reporter.report("json", f"cannot write {number}", OSError("disk full"))
    reporter.close(10)

    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "cannot write 0" in caplog.text
    assert "json: 4 more failures like those reported above." in caplog.text
    assert [line["message"] for line in lines(tmp_path)] == ["cannot write 0"]


@pytest.mark.parametrize(
    "other",
    [
        {"source": "tensorboard", "error": OSError("x"), "about": "a/b"},
        {"source": "json", "error": KeyError("x"), "about": "a/b"},
        {"source": "json", "error": OSError("x"), "about": "a/c"},
    ],
    ids=["source", "type", "key"],
)
def test_another_source_type_or_key_is_another_kind(make, caplog, other):
    reporter = make()
    reporter.report("json", "first", OSError("x"), about="a/b")
    reporter.report(other["source"], "second", other["error"], about=other["about"])

    assert "second" in caplog.text


def test_a_summary_comes_when_a_minute_has_passed(make, caplog, clock):
    reporter = make()
    for _ in range(130):
        reporter.report("json", "cannot write", OSError("disk full"))
        clock.advance(1)

    summaries = [record.getMessage() for record in caplog.records if "more failures" in record.getMessage()]
    assert summaries == ["json: 60 more failures like those reported above."] * 2


def test_no_summary_comes_where_nothing_was_repeated(make, caplog):
    reporter = make()
    reporter.report("json", "cannot write", OSError("disk full"))
    reporter.close(10)

    assert len(caplog.records) == 1


def test_kinds_are_bounded(make, caplog):
    reporter = make()
    for number in range(1000):
        reporter.report("values", f"bad {number}", ValueError("x"), about=f"key{number}")
    reporter.close(10)

    assert 40 <= len([record for record in caplog.records if record.levelno == logging.ERROR]) <= 60
    assert "more failures" in caplog.text


def test_a_line_is_strict_json_with_time_source_key_message_and_traceback(make, tmp_path, clock):
    clock.advance(86400)
    reporter = make()
    try:
        raise ValueError("half a \ud800 pair\n\x1b[31m")
    except ValueError as error:
        reporter.report("values", str(error), error, about="a/b")
    reporter.close(10)
    (line,) = lines(tmp_path)

    assert set(line) == {"time", "source", "about", "message", "traceback"}
    assert (line["time"], line["source"], line["about"]) == ("1970-01-02T00:00:00+00:00", "values", "a/b")
    assert "test_report.py" in line["traceback"]


def test_an_error_that_says_it_all_has_no_traceback(make, tmp_path, caplog):
    reporter = make()
    reporter.report("values", "Cannot log 'a/b'", LogValueError("it is complex"))
    reporter.close(10)

    assert lines(tmp_path)[0]["traceback"] == ""
    assert "Traceback" not in caplog.text


def test_secrets_are_taken_out_of_message_and_traceback(make, tmp_path, caplog):
    reporter = make()
    try:
        raise ValueError("refused canary-0123456789")
    except ValueError as error:
        reporter.report("db", "at https://me:canary-0123456789@host", error)
    reporter.notice("db", "with canary-0123456789")
    reporter.close(10)

    assert "refused ***" in (tmp_path / "errors.jsonl").read_text()
    assert "canary" not in (tmp_path / "errors.jsonl").read_text() + caplog.text


def test_a_notice_is_given_once_and_is_no_failure(make, caplog):
    reporter = make("raise")
    for _ in range(3):
        reporter.notice("json", "media stop here")
    reporter.raise_first()

    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_only_the_first_failure_is_raised_and_once(make):
    reporter = make("raise")
    reporter.report("json", "first", KeyError("first"))
    reporter.report("json", "second", ValueError("second"))

    with pytest.raises(KeyError):
        reporter.raise_first()
    reporter.raise_first()
    reporter.report("json", "without an error")
    with pytest.raises(WriteError, match="without an error"):
        reporter.raise_first()


def test_nothing_is_raised_where_failures_are_only_told(make):
    reporter = make("warn")
    reporter.report("json", "first", KeyError("first"))

    reporter.raise_first()


def test_what_other_code_has_said_is_kept_and_neither_said_again_counted_nor_raised(make, tmp_path, caplog):
    reporter = make("raise")
    shown = [reporter.keep("logging", "ERROR", "a.b", "with canary-0123456789", "Traceback") for _ in range(2)]
    reporter.raise_first()
    reporter.close(10)

    assert shown == ["a.b: with ***\nTraceback"] * 2
    assert [line["level"] for line in lines(tmp_path)] == ["ERROR"] * 2
    assert caplog.records == []
    assert reporter.keep("logging", "ERROR", "a.b", "late", "") is None


def test_without_a_directory_there_is_no_file(make, tmp_path, caplog):
    reporter = make(directory=tmp_path / "none")
    reporter.report("json", "cannot write", OSError("disk full"))
    reporter.close(10)

    assert "cannot write" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_kept_is_told_and_costs_nothing(make, tmp_path, caplog):
    (tmp_path / "errors.jsonl").mkdir()
    reporter = make()
    reporter.report("json", "cannot write", OSError("disk full"))
    reporter.close(10)

    assert "errors.jsonl cannot be written, and may lack 1 of the reports above: Cannot" in caplog.text


def test_a_handler_of_logging_that_raises_costs_neither_the_loop_nor_the_file(make, tmp_path, monkeypatch):
    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("the hook is down")

    monkeypatch.setattr(logging.getLogger("ml"), "handlers", [Broken()])
    reporter = make()
    for _ in range(2):
        reporter.report("json", "cannot write", OSError("disk full"))
    reporter.notice("json", "odd")
    reporter.sum_up()
    reporter.close(10)

    assert [line["message"] for line in lines(tmp_path)] == ["cannot write"]


def test_whoever_reports_does_not_look_at_the_disk_of_the_run(make, tmp_path, monkeypatch):
    """One that is away would hold up training."""
    asked_by, stat = [], os.stat

    def watched(path, **options):
        if str(path).startswith(str(tmp_path)):
            asked_by.append(threading.current_thread().name)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", watched)
    reporter = make()
    reporter.report("json", "cannot write", OSError("disk full"))
    reporter.close(10)

    assert set(asked_by) == {"ml-errors"}


def test_what_is_remembered_is_bounded_whatever_comes(make, clock):
    reporter = make()
    for number in range(300):  # the first of each are told; what is told is not what is counted here
        reporter.report("values", "bad", ValueError("x"), about=f"key{number}")
        reporter.notice(f"key{number}", f"odd {number}")
    before = sizes(reporter)
    for number in range(100_000):
        reporter.report("values", "bad", ValueError("x"), about=f"other{number}")
        reporter.notice(f"other{number}", f"odd {number}")

    assert sizes(reporter) == before


def sizes(reporter):
    """Returns how many things each attribute of a reporter holds, at any depth."""

    def count(held):
        children = held.values() if isinstance(held, dict) else held
        return sum(count(child) if isinstance(child, dict | set | list) else 1 for child in children)

    return {name: count(held) for name, held in vars(reporter).items() if isinstance(held, dict | set | list)}


def test_notices_beyond_a_number_are_counted_and_summed_up_once_a_minute(make, caplog, clock):
    reporter = make()
    for number in range(1000):
        reporter.notice("json", f"odd {number}")
        clock.advance(0.1)
    reporter.close(10)

    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if line.startswith("odd")]) == 200
    counted = [int(line.split()[0]) for line in said if "more notices" in line]
    assert sum(counted) == 800
    assert len(counted) == 2, "after a minute, and at the end"


def test_a_message_as_long_as_an_array_is_cut(make, tmp_path, caplog):
    reporter = make()
    reporter.report("json", "x" * 10_000_000, ValueError("y" * 10_000_000))
    reporter.notice("json", "z" * 10_000_000)
    reporter.close(10)

    assert len(caplog.text) < 300_000
    (line,) = lines(tmp_path)
    assert line["message"].startswith("xxx")
    assert line["message"].endswith("… (10000000 characters)")


@pytest.mark.parametrize("offset", range(18))
def test_nothing_of_a_secret_is_left_where_a_message_full_of_them_is_cut(make, tmp_path, offset):
    """Masked, twice the length that is looked through is short enough to be shown whole."""
    reporter = make()
    reporter.report("json", "x" * offset + "canary-0123456789 " * 10_000)
    reporter.close(10)

    assert "c" not in lines(tmp_path)[0]["message"].replace("characters", "")


@pytest.mark.parametrize("offset", [-20, -9, 0, 9])
def test_a_secret_where_a_message_is_cut_is_taken_out(make, tmp_path, offset):
    reporter = make()
    reporter.report("json", "x" * (2**16 + offset) + "canary-0123456789" + "x" * 2**17)
    reporter.close(10)

    assert "cana" not in lines(tmp_path)[0]["message"]


def test_a_secret_in_a_cause_a_note_a_line_of_source_and_a_key_is_taken_out(make, tmp_path, caplog):
    reporter = make()
    try:
        try:
            raise OSError("password='canary-cause'")
        except OSError as cause:
            cause.add_note("with canary-0123456789")
            error = ValueError("x")
            raise error from cause
    except ValueError as error:
        reporter.report("values", "bad", error, about="model/canary-0123456789")
    reporter.close(10)

    (line,) = lines(tmp_path)
    assert line["about"] == "model/***"
    assert "The above exception was the direct cause" in line["traceback"]
    assert "canary" not in (tmp_path / "errors.jsonl").read_text() + caplog.text


def test_only_the_owner_may_read_the_errors(make, tmp_path):
    reporter = make()
    reporter.report("json", "first")
    reporter.close(10)

    assert (tmp_path / "errors.jsonl").stat().st_mode & 0o777 == 0o600
