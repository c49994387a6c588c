"""SIGTERM: without a handler as sudden as SIGKILL; with the one that a user may ask for, everything is safe first."""

import json
import signal
import textwrap
import threading

import pytest

from ml import start_run
from ml.core.errors import ConfigError
from ml.io.signals import Sigterm

RUN = """
import threading
from ml import session, start_run

def start(*loggers, **settings):
    return start_run(directory / "run", loggers=[json_logger(), *loggers], handle_sigterm=True, **settings)

def train(run, steps):
    for step in range(1, steps + 1):
        run.log({"loss": float(step)})
        run.step()
"""


@pytest.fixture
def run(run_script):
    """Runs a program that may ``start`` a run, and ``train``."""
    return lambda text: run_script(RUN + textwrap.dedent(text))


@pytest.fixture
def steps_of(read_json, tmp_path):
    """Returns the steps whose loss is in the run's log, and how the run says that it ended."""

    def read() -> tuple[list[int], str]:
        lines = read_json("run/json")
        record = json.loads((tmp_path / "run/attempts/1/run.json").read_text())
        return [line["step"] for line in lines if "loss" in line["scalars"]], record["status"]

    return read


def test_without_a_handler_what_flush_acknowledged_survives_sigterm(run, steps_of):
    done = run(
        """
        run = start_run(directory / "run", loggers=[json_logger()])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        train(run, 50)
        assert run.flush()
        os.kill(os.getpid(), signal.SIGTERM)
        """
    )

    assert done.returncode == -signal.SIGTERM, done.stderr
    assert steps_of() == (list(range(1, 51)), "running")


def test_with_the_handler_all_finished_steps_are_written_first_though_a_window_holds_them(run, read_json):
    done = run(
        """
        seldom = JsonLogger(JsonLoggerConfig("json", write_every_n_seconds=1e6))
        run = start_run(directory / "run", loggers=[seldom], handle_sigterm=True)
        for step in range(1, 4):
            run.log({f"rare{step}": float(step)})
            run.log({"sum": 1.0}, reduce="sum")
            run.step()
        run.log({"of an open step": lambda: 1 / 0})
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            signal.pause()
        """
    )

    assert done.returncode == -signal.SIGTERM, done.stderr
    found = [pair for line in read_json("run/json") for pair in line["scalars"].items()]
    assert sorted(found) == [("rare1", 1.0), ("rare2", 2.0), ("rare3", 3.0), ("sum", 1.0), ("sum", 2.0)]
    assert "Error" not in done.stderr


def test_beside_a_backend_that_blocks_the_others_are_complete_and_the_status_is_that_of_a_sigterm(run, steps_of):
    done = run(
        """
        session.SIGTERM_S = 0.5
        run = start(Blocking(threading.Event().wait))
        train(run, 100)
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            signal.pause()
        """
    )

    assert done.returncode == -signal.SIGTERM, done.stderr
    assert steps_of() == (list(range(1, 101)), "interrupted")
    assert "not everything that was logged could be made durable" in done.stderr


def test_a_loop_that_waits_for_room_for_ever_is_no_obstacle(run, steps_of):
    done = run(
        """
        session.SIGTERM_S = 0.5
        class Stuck(MemoryLogger):
            def write(self, state):
                if state.num_steps == 50:
                    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
                    threading.Event().wait()
        stuck = Stuck(BaseLoggerConfig("stuck", write_every_n_seconds=0, max_queue_bytes=1000, on_full="wait"))
        train(start(stuck), 100_000)
        """
    )

    assert done.returncode == -signal.SIGTERM, done.stderr
    steps, status = steps_of()
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 50
    assert status == "interrupted"


def test_a_sigterm_inside_a_callable_inside_a_write_loses_nothing_of_the_steps_before(run, steps_of):
    """The handler runs where the lock of the group is held; the step goes on, and only then the process ends."""
    done = run(
        """
        run = start()
        train(run, 20)
        run.log({"killer": lambda: float(os.kill(os.getpid(), signal.SIGTERM) is None), "loss": 21.0})
        run.step()
        while True:
            signal.pause()
        """
    )

    assert done.returncode == -signal.SIGTERM, done.stderr
    assert steps_of() == (list(range(1, 22)), "interrupted")


def test_the_handler_that_was_there_is_called_and_training_may_go_on(run, steps_of):
    done = run(
        """
        asked = threading.Event()
        signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
        for number in range(2):
            run = start(resume=number > 0, state={"num_steps": 10 * number})
            train(run, 10)
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked.wait(30)
            asked.clear()
            assert len((directory / "run/json/log.jsonl").read_text().splitlines()) == 10 * (number + 1)
            run.close()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.is_set()
        """
    )

    assert done.returncode == 0, done.stderr
    assert steps_of() == (list(range(1, 21)), "finished")


def test_a_second_sigterm_acts_at_once(run):
    done = run(
        """
        session.SIGTERM_S = 1e6
        class Slow(MemoryLogger):
            def flush(self):
                while True:  # one that comes just before the main thread pauses is not heard
                    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
                    time.sleep(0.1)
        train(start(Slow(BaseLoggerConfig("slow"))), 1)
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            signal.pause()
        """
    )

    assert done.returncode == -signal.SIGTERM, done.stderr


def test_a_forked_child_and_a_worker_of_a_data_loader_die_of_a_sigterm_at_once(run, steps_of):
    done = run(
        """
        import multiprocessing
        run = start()
        train(run, 3)
        for _ in range(3):
            worker = multiprocessing.get_context("fork").Process(target=threading.Event().wait)
            worker.start()
            worker.terminate()
            worker.join(30)
            assert worker.exitcode == -signal.SIGTERM
        run.close()
        """
    )

    assert done.returncode == 0, done.stderr
    assert steps_of() == ([1, 2, 3], "finished")


def test_a_sigterm_while_the_run_is_being_closed_waits_for_that(run, steps_of):
    done = run(
        """
        class Closing(MemoryLogger):
            def flush(self):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        run = start(Closing(BaseLoggerConfig("closing")))
        train(run, 10)
        run.close()
        while True:
            signal.pause()
        """
    )

    assert done.returncode == -signal.SIGTERM, done.stderr
    assert steps_of()[0] == list(range(1, 11))


def test_a_handler_is_put_back_unless_another_was_put_there_since(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    try:
        first, second = Sigterm(lambda: None), Sigterm(lambda: None)
        installed = signal.getsignal(signal.SIGTERM)
        first.close()
        assert signal.getsignal(signal.SIGTERM) is installed
        second.close()
        assert signal.getsignal(signal.SIGTERM) not in (before, installed)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_of_the_main_thread_it_is_refused_before_anything_is_made(tmp_path):
    refused = []

    def start() -> None:
        with pytest.raises(ConfigError, match="main thread") as caught:
            start_run(tmp_path / "run", loggers=[], handle_sigterm=True)
        refused.append(caught.value)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    assert refused
    assert not (tmp_path / "run").exists()
