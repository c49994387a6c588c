"""What Python's ``logging`` and ``warnings`` say, in a run: read back from its JSON log and ``errors.jsonl``."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from contextlib import contextmanager
from itertools import count

import pytest

import ml
from ml import ConfigError, logging_handler, namespace_context, start_run
from ml.loggers import BaseLoggerConfig
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.testing import BlockingLogger

log = logging.getLogger("data.loader")
quiet = logging.getLogger("data.quiet")
LIMIT_S = 20.0


@pytest.fixture
def run(tmp_path):
    with start_run(tmp_path / "run", loggers=["json"]) as run:
        yield run


@contextmanager
def alone(run):
    """Gives what ``quiet`` says to a run, and to no handler of pytest's, which fails at what cannot be formatted."""
    handler = logging_handler(run)
    quiet.propagate = False
    quiet.addHandler(handler)
    try:
        yield handler
    finally:
        quiet.removeHandler(handler)
        quiet.propagate = True
        handler.close()


def states_of(run):
    run.close()
    return [json.loads(line) for line in (run.path / "json/log.jsonl").read_text().splitlines()]


def texts_of(run):
    """Returns ``(phase, step, key, text)`` of every text in the JSON log."""
    return [
        (state["phase"], state["step"], key, text)
        for state in states_of(run)
        for key, said in state.get("strings", {}).items()
        for text in ([said] if isinstance(said, str) else said)
    ]


def errors_of(run):
    run.close()
    path = run.path / "errors.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def here():
    """Returns the place of the line before the caller's."""
    return f"test_std_logging.py:{sys._getframe(1).f_lineno - 1}"


# what is kept


def test_a_warning_and_an_error_are_texts_of_their_step_and_lines_of_errors_jsonl(run):
    with logging_handler(run):
        run.step()
        log.warning("loader is slow: %d s", 3)
        place = here()
        run.step()
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("cannot go on")
        log.info("not asked for")
        run.step()

    warning, error = errors_of(run)
    assert warning.pop("time")
    assert warning == {
        "source": "logging",
        "level": "WARNING",
        "about": "data.loader",
        "message": f"loader is slow: 3 s ({place})",
        "traceback": "",
    }
    assert (error["level"], error["about"]) == ("ERROR", "data.loader")
    assert error["traceback"].startswith("Traceback")
    assert error["traceback"].endswith("ValueError: broken")
    assert texts_of(run) == [
        ("train", 2, "logging/warning", f"data.loader: loader is slow: 3 s ({place})"),
        ("train", 3, "logging/error", f"data.loader: {error['message']}\n{error['traceback']}"),
    ]


def test_a_warning_of_warnings_is_kept_and_shown_as_before(run):
    with warnings.catch_warnings(record=True) as shown, logging_handler(run):
        warnings.simplefilter("always")
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
        place = here()
        run.step()

    assert [str(warning.message) for warning in shown] == ["careful"]
    assert texts_of(run) == [("train", 1, "logging/warning", f"py.warnings: RuntimeWarning: careful ({place})")]
    assert len(errors_of(run)) == 1


@pytest.mark.parametrize("captured", ["before", "inside"])
def test_a_warning_that_goes_to_logging_too_is_kept_once(run, captured):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(captured == "before")
        try:
            with logging_handler(run):
                logging.captureWarnings(True)
                warnings.warn("careful", RuntimeWarning, stacklevel=1)
        finally:
            logging.captureWarnings(False)

    (text,) = texts_of(run)
    assert "RuntimeWarning: careful" in text[-1]


@pytest.mark.parametrize(("level", "kept"), [(logging.ERROR, 1), ("ERROR", 1), ("WARNING", 3), (logging.CRITICAL, 0)])
def test_the_least_level_is_chosen_for_warnings_too(run, level, kept):
    with warnings.catch_warnings(), logging_handler(run, level):
        warnings.simplefilter("always")
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
        log.warning("careful")
        log.error("broken")

    assert len(errors_of(run)) == kept


@pytest.mark.parametrize("level", ["LOUD", 1.5, None])
def test_a_level_that_there_is_not_is_refused(run, level):
    with pytest.raises(ConfigError, match="level"):
        logging_handler(run, level)


def test_it_may_be_added_to_a_single_logger_as_any_handler(run):
    handler = logging_handler(run)
    log.addHandler(handler)
    try:
        log.warning("mine")
        logging.getLogger("other").warning("not mine")
    finally:
        log.removeHandler(handler)
        handler.close()

    assert [error["about"] for error in errors_of(run)] == ["data.loader"]


def test_a_filter_leaves_loggers_out_and_warnings_too(run):
    with logging_handler(run) as handler, warnings.catch_warnings():
        warnings.simplefilter("always")
        handler.addFilter(lambda record: record.name != "py.warnings")
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
        log.warning("kept")

    assert [error["about"] for error in errors_of(run)] == ["data.loader"]


def test_what_is_said_in_a_pass_belongs_to_it_and_no_namespace_of_a_component_moves_it(run):
    with logging_handler(run):
        run.step()
        with run.phase("valid"), namespace_context("generator"):
            log.warning("odd")
            run.step()

    assert [text[:3] for text in texts_of(run)] == [("valid", 1, "logging/warning")]


def test_what_is_said_after_the_last_step_makes_no_step_more(run):
    with logging_handler(run):
        run.step()
        log.warning("the end")

    assert [text[:3] for text in texts_of(run)] == [("train", 1, "logging/warning")]
    assert run.state.num_steps == 1


def test_secrets_are_taken_out_of_message_traceback_and_name(tmp_path, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "canary-0123456789")
    with start_run(tmp_path / "run", loggers=["json"]) as run, logging_handler(run):
        try:
            raise ValueError("refused canary-0123456789")
        except ValueError:
            logging.getLogger("to canary-0123456789").exception("at https://me:%s@host", "canary-0123456789")

    written = b"".join(path.read_bytes() for path in run.path.rglob("*") if path.is_file())
    assert b"refused ***" in written
    assert b"canary" not in written


def test_long_and_hostile_messages_are_bounded_and_cost_nothing_else(run):
    class Bad:
        def __str__(self):
            raise RuntimeError("no text")

    with alone(run) as handler:
        quiet.warning("x" * 10_000_000)
        quiet.warning("%d things", "seven")
        quiet.warning("%s", Bad())
        quiet.warning("half a \ud800 pair \x00 \x1b[31m")
        quiet.error(Bad())
        quiet.error("odd error", exc_info=ValueError("y" * 10_000_000))
        quiet.handle(logging.makeLogRecord({"levelno": 40, "exc_info": 7}))
        quiet.handle(logging.makeLogRecord({"levelno": 99, "name": "a/b\n" * 100_000, "msg": "odd name"}))

    errors = errors_of(run)
    assert len(errors) == 8 == handler.counts.kept
    assert max(len(json.dumps(error)) for error in errors) < 200_000
    assert len(texts_of(run)) == 8
    assert max(len(text[-1]) for text in texts_of(run)) < 200_000


def test_of_a_flood_the_first_ones_are_kept_and_all_are_counted(run):
    with alone(run) as handler:
        for number in range(100_000):
            quiet.warning("loss is %f", number)
            if number % 1000 == 0:
                run.step()

    messages = [error["message"].partition(" (")[0] for error in errors_of(run)]
    assert messages[:10] == [f"loss is {number}.000000" for number in range(10)]
    assert handler.counts == (10, 99_990, 0, 0)
    told = [int(message.split()[0]) for message in messages[10:]]
    assert sum(told) == 99_990
    assert len(told) < 5
    assert len(texts_of(run)) == len(messages)


# what must not come back


def test_what_our_own_loggers_say_does_not_come_in(run):
    with logging_handler(run):
        logging.getLogger("ml").error("ours")
        logging.getLogger("ml.session").error("ours")
        logging.getLogger("mlops").error("of another one")
        run.log({"loss": object()})  # is no number, which our own logger says
        run.step()

    sources = [(error["source"], error["about"]) for error in errors_of(run)]
    assert sources.count(("logging", "mlops")) == 1
    assert {source for source, _ in sources if source != "logging"} == {"values"}
    assert len(texts_of(run)) == 1


class Talking(MemoryLogger):
    """A backend that says something wherever it can, by ``logging`` and by ``warnings``."""

    def say(self, what):
        log.error("%s", f"{what} says something")
        warnings.warn(f"{what} is odd", RuntimeWarning, stacklevel=1)

    def log_scalar(self, key, value, state, namespace):
        self.say("log_scalar")
        super().log_scalar(key, value, state, namespace)

    def log_string(self, key, value, state, namespace):
        self.say("log_string")
        super().log_string(key, value, state, namespace)

    def write(self, state):
        self.say("write")
        super().write(state)

    def flush(self):
        self.say("flush")


def test_fault_14_a_backend_that_logs_gives_itself_nothing_to_write(tmp_path):
    """Depth-limited: its messages go to ``errors.jsonl`` alone. Counted: there are ten of a kind, then a number."""
    talking = Talking(BaseLoggerConfig("talking"))
    json_log = JsonLogger(JsonLoggerConfig("json"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with start_run(tmp_path / "run", loggers=[talking, json_log]) as run, logging_handler(run) as handler:
            for step in range(1, 201):
                run.log({"loss": step})
                run.step(force=True)
                run.flush(LIMIT_S)
    stats, errors = run.stats()["talking"], errors_of(run)

    assert stats.accepted == stats.written
    assert [entry.value for entry in talking.entries if entry.key == "loss"] == list(range(1, 201))
    # Of all that it said, what it was given back is the summary, once.
    given_back = [entry for entry in talking.entries if entry.namespace == "logging"]
    assert {entry.value.split(": ", 1)[1] for entry in given_back} <= {
        error["message"] for error in errors if "counted and not kept" in error["message"]
    }
    assert len(given_back) <= 4
    assert handler.counts.kept + handler.counts.counted >= 2 * 3 * 200
    assert len(errors) <= 4 * 20 + 8


def test_fault_14_a_loop_through_a_thread_that_nobody_knows_ends_by_itself(tmp_path):
    """A library's own thread, which cannot be told from any other: the messages come back ten times."""

    class Threaded(MemoryLogger):
        def write(self, state):
            thread = threading.Thread(target=log.error, args=("sent %d", state.num_steps))
            thread.start()
            thread.join()
            super().write(state)

    threaded = Threaded(BaseLoggerConfig("threaded"))
    with start_run(tmp_path / "run", loggers=[threaded]) as run, logging_handler(run) as handler:
        for _ in range(100):
            run.log({"loss": 1.0})
            run.step(force=True)
            run.flush(LIMIT_S)

    said = [entry.value for entry in threaded.entries if entry.namespace == "logging"]
    assert len(said) <= 12
    assert handler.counts.kept == 10
    assert handler.counts.counted >= 90


def test_fault_14_a_logged_callable_that_logs_is_heard_in_the_next_step(run):
    def loss():
        log.warning("computed")
        return 1.0

    with logging_handler(run) as handler:
        for _ in range(100):
            run.log({"loss": loss})
            run.step(force=True)

    steps = [step for _, step, _, text in texts_of(run) if "computed" in text]
    assert steps == list(range(2, 12))
    assert handler.counts == (10, 90, 0, 0)


def test_fault_14_a_text_that_logs_itself_is_taken_to_a_depth_and_counted(run):
    class Recursive:
        def __str__(self):
            quiet.error("I am %s", self)
            return "myself"

    with alone(run) as handler:
        quiet.error("I am %s", Recursive())

    assert handler.counts == (3, 0, 1, 0)
    assert len(errors_of(run)) == 3


def test_fault_14_a_signal_handler_that_logs_neither_waits_nor_loses(run):
    numbers = count()

    def say(*_):
        log.error("at number %d", next(numbers))

    before = signal.signal(signal.SIGALRM, say)
    try:
        with logging_handler(run) as handler:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            said = 0
            while (said := said + 1) < 20_000:
                log.warning("said %d", said)
                if said % 100 == 0:
                    run.step()
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    counts = handler.counts

    assert counts.kept + counts.counted + counts.nested == said - 1 + next(numbers)
    assert counts.kept <= 20


def test_a_backend_that_blocks_holds_up_no_one_who_logs(tmp_path):
    blocking = BlockingLogger(BaseLoggerConfig("blocking"))
    with start_run(tmp_path / "run", loggers=[blocking]) as run, logging_handler(run) as handler:
        run.log({"loss": 1.0})
        run.step(force=True)
        blocking.gate.wait_for_arrival()
        for number in range(100):
            log.warning("still here %d", number)
        assert handler.counts[:2] == (10, 90)
        blocking.gate.open()

    assert len(errors_of(run)) == 11


# beginning and end


def test_detaching_restores_everything_and_twice_is_once(run):
    root = logging.getLogger()
    before = (list(root.handlers), warnings.showwarning)
    handler = logging_handler(run)
    handler.attach()
    handler.attach()
    log.warning("heard once")
    handler.detach()
    handler.detach()
    log.warning("not heard")
    handler.close()

    assert (root.handlers, warnings.showwarning) == before
    assert len(errors_of(run)) == 1


def test_a_hook_that_came_later_is_left_alone_and_ours_only_passes_on(run, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # and restored, whatever happens here
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda *warning: shown.append(warning[0]))
    with logging_handler(run):
        ours = warnings.showwarning
        monkeypatch.setattr(warnings, "showwarning", lambda *warning: ours(*warning))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("later", RuntimeWarning, stacklevel=1)

    assert [str(warning) for warning in shown] == ["later"]
    assert errors_of(run) == []


def test_two_runs_hear_everything_once_each_whichever_ends_first(tmp_path):
    with (
        warnings.catch_warnings(record=True) as shown,
        start_run(tmp_path / "a", loggers=["json"]) as a,
        start_run(tmp_path / "b", loggers=["json"]) as b,
    ):
        warnings.simplefilter("always")
        first, second = logging_handler(a), logging_handler(b)
        first.attach()
        second.attach()
        log.warning("to both")
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
        first.detach()
        warnings.warn("to the second", RuntimeWarning, stacklevel=1)
        second.detach()

    assert [str(warning.message) for warning in shown] == ["careful", "to the second"]
    assert (len(errors_of(a)), len(errors_of(b))) == (2, 3)


def test_what_comes_after_the_run_was_closed_is_counted_and_raises_nothing(run):
    handler = logging_handler(run)
    handler.attach()
    log.warning("in time")
    run.close()
    log.warning("late")
    warnings.warn("late", RuntimeWarning, stacklevel=1)
    handler.detach()

    assert handler.counts == (1, 0, 0, 2)
    assert len(errors_of(run)) == 1


def script(tmp_path, text):
    """Runs a program that says things; returns its exit status and what it wrote to standard error."""
    program = "import logging, os, sys, warnings, atexit\nfrom ml import start_run, logging_handler\n"
    program += f"directory = {str(tmp_path / 'run')!r}\nlog = logging.getLogger('data.loader')\n" + textwrap.dedent(
        text
    )
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("configured", ["", "logging.basicConfig(format='%(name)s %(message)s')"])
def test_the_terminal_shows_what_it_showed_before_and_not_twice(tmp_path, configured):
    said = """
        log.warning("slow")
        log.info("quiet")
        logging.getLogger("ml").warning("ours")
        logging.getLogger("silent").addHandler(logging.NullHandler())
        logging.getLogger("silent").error("of a library that has a handler")
        warnings.warn("careful", RuntimeWarning)
    """
    before, first, second = (tmp_path / name for name in ("before", "first", "second"))
    for directory in (before, first, second):
        directory.mkdir()
    begin = f"{configured}\nrun = start_run(directory, loggers=['json'])\n"
    plain = script(before, begin + textwrap.dedent(said) + "run.close()")
    handled = script(first, begin + "with logging_handler(run):\n" + textwrap.indent(textwrap.dedent(said), "    "))
    twice = script(
        second,
        begin
        + "with logging_handler(run), logging_handler(run, 'CRITICAL'):\n"
        + textwrap.indent(textwrap.dedent(said), "    "),
    )

    def shown(done):
        return done[0], [line.partition("RuntimeWarning")[2] or line.strip() for line in done[1].splitlines()]

    assert "slow" in plain[1]
    assert "ours" in plain[1]
    assert "careful" in plain[1]
    assert shown(handled) == shown(twice) == shown(plain)
    assert len(lines(first / "run/errors.jsonl")) == 3


def test_a_program_that_just_ends_has_everything_and_its_status(tmp_path):
    status, shown = script(
        tmp_path,
        """
        run = start_run(directory, loggers=["json"])
        logging_handler(run).attach()
        atexit.register(log.warning, "at exit")
        logging.getLogger().addHandler(logging.NullHandler())
        run.step()
        for number in range(1000):
            log.warning("again %d", number)
        sys.exit(3)
        """,
    )
    errors = lines(tmp_path / "run/errors.jsonl")

    assert (status, shown) == (3, "")
    assert [error["message"].split(" (")[0] for error in errors[-2:]] == [
        "at exit",
        "990 more messages, counted and not kept.",
    ]
    (state,) = lines(tmp_path / "run/json/log.jsonl")
    assert state["step"] == 1
    assert len(state["strings"]["logging/warning"]) == len(errors) == 12


def test_what_is_said_after_everything_has_ended_goes_nowhere_and_harms_nothing(tmp_path):
    status, shown = script(
        tmp_path,
        """
        class Last:
            def __del__(self):
                log.error("from a finalizer")

        run = start_run(directory, loggers=["json"])
        handler = logging_handler(run)
        logging.getLogger().addHandler(handler)
        last = Last()
        run.close()
        log.error("late")
        """,
    )

    assert (status, shown) == (0, "")
    assert not (tmp_path / "run/errors.jsonl").exists()


def test_a_forked_child_leaves_the_run_to_its_parent(tmp_path):
    status, shown = script(
        tmp_path,
        """
        run = start_run(directory, loggers=["json"])
        with run, logging_handler(run) as handler:
            log.error("before")
            run.flush()
            pid = os.fork()
            if pid == 0:
                log.error("in the child")
                warnings.warn("in the child", RuntimeWarning)
                handler.detach()
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            log.error("after")
        """,
    )
    messages = [error["message"].split(" (")[0] for error in lines(tmp_path / "run/errors.jsonl")]

    assert status == 0
    assert messages == ["before", "after"]
    assert shown.splitlines()[:2] == ["before", "in the child"]
    assert "discards" not in shown


def test_asking_for_it_loads_no_heavy_library():
    program = "import sys, json; from ml import logging_handler; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)

    assert not {"torch", "tensorboard", "pandas", "keras", "rich"} & set(loaded)
    assert "logging_handler" in ml.__all__
    assert os.path.exists(ml.__file__)
