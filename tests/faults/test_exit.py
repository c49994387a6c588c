"""A program that just ends: what is queued is written, and its exit status is its own."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from tests.faults.conftest import LIMIT_S, PRELUDE

ENDINGS = {
    "the script ends": ("", 0),
    "sys.exit(3)": ("sys.exit(3)", 3),
    "an exception that no one catches": ("raise ValueError('of the user')", 1),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_exit_without_close_writes_everything_and_keeps_the_status_though_backends_block_for_ever(
    run_script, read_json, ending
):
    code, status = ENDINGS[ending]
    done = run_script(
        f"""
        never, (pipe, _) = threading.Event(), os.pipe()
        in_python = Blocking(never.wait, id="in python")
        in_c = Blocking(lambda: os.read(pipe, 1), id="in C")
        logs = LoggerGroup([in_python, json_logger(), in_c], RunContext(directory), close_timeout_s=0.3)
        model = MultiLogger("model")
        for step in range(1, 101):
            model.log_scalar("loss", step / 2)
            logs.write([model], State(num_steps=step))
        model.log_scalar("after the last step", 1.0)
        {code}
        """
    )

    assert done.returncode == status, done.stderr
    lines = read_json()
    assert [line["scalars"]["model/loss"] for line in lines if "model/loss" in line["scalars"]] == [
        step / 2 for step in range(1, 101)
    ]
    assert lines[-1]["scalars"]["model/after the last step"] == 1.0
    assert "'in python' did not write" in done.stderr
    assert "'in C' did not write" in done.stderr
    assert ("of the user" in done.stderr) is (status == 1)
    assert "Fatal Python error" not in done.stderr


def test_an_exit_beside_a_backend_that_spins_keeps_what_the_others_hold(run_script, read_json):
    done = run_script(
        """
        def spin():
            while True:
                pass
        logs = LoggerGroup([Blocking(spin), json_logger()], RunContext(directory), close_timeout_s=0.5)
        model = MultiLogger("model")
        for step in range(1, 11):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))
        sys.exit(3)
        """
    )

    assert done.returncode == 3, done.stderr
    assert [line["step"] for line in read_json()] == list(range(1, 11))
    assert "Fatal Python error" not in done.stderr


def test_a_group_that_a_function_left_open_is_closed_at_exit(run_script, read_json):
    done = run_script(
        """
        def main():
            logs = LoggerGroup([json_logger()], RunContext(directory))
            model = MultiLogger("model")
            model.log_scalar("loss", 1.0)
            logs.write([model], State(num_steps=1))
            model.log_scalar("loss", lambda: 2.0)
        main()
        gc.collect()
        """
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert [line["scalars"] for line in read_json()] == [{"model/loss": 1.0}, {"model/loss": 2.0}]


def test_a_group_that_was_closed_is_not_kept_alive_for_the_exit(run_script):
    done = run_script(
        """
        import weakref
        with LoggerGroup([json_logger()], RunContext(directory)) as logs:
            logs.write([], State(num_steps=1))
        gone = weakref.ref(logs)
        del logs
        gc.collect()
        assert gone() is None
        """
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_queue_that_waits_for_room_does_not_hold_up_the_exit(run_script):
    """A backend that blocks for ever, and a queue that may not drop: closing gives up at its deadline."""
    done = run_script(
        """
        blocking = Blocking(threading.Event().wait, max_queue_bytes=1000, on_full="wait")
        logs = LoggerGroup([blocking], RunContext(directory), close_timeout_s=0.3)
        model = MultiLogger("model")
        model.log_scalar("loss", 1.0)
        logs.write([model], State(num_steps=1))
        model.log_string("text", "x" * 1000)
        """
    )

    assert done.returncode == 0, done.stderr


def test_a_retry_is_made_at_exit_though_another_backend_uses_up_the_deadline(run_script, read_json):
    done = run_script(
        """
        class Recovering(JsonLogger):
            broken = True
            def write(self, state):
                if self.broken:
                    self._lines.clear()
                    failed.set()
                    raise OSError(28, "disk full")
                super().write(state)
        failed = threading.Event()
        blocking, recovering = Blocking(threading.Event().wait), Recovering(JsonLoggerConfig("json"))
        logs = LoggerGroup([blocking, recovering], RunContext(directory), close_timeout_s=0.3)
        model = MultiLogger("model")
        model.log_scalar("loss", 1.0)
        logs.write([model], State(num_steps=1))
        assert failed.wait(30)
        recovering.broken = False
        """
    )

    assert done.returncode == 0, done.stderr
    assert [line["scalars"] for line in read_json()] == [{"model/loss": 1.0}]


def test_an_error_that_is_to_be_raised_does_not_change_the_exit_status(run_script):
    done = run_script(
        """
        logs = LoggerGroup([json_logger()], RunContext(directory), on_error="raise")
        model = MultiLogger("model")
        model.log_scalar("loss", "no number")
        logs.write([model], State(num_steps=1))
        """
    )

    assert done.returncode == 0
    assert "no number" in done.stderr


def test_a_second_ctrl_c_at_the_terminal_ends_closing_at_once_and_says_what_is_lost(tmp_path, read_json):
    """The first ends training; closing then waits for a backend that blocks, until the second."""
    program = """
from ml import start_run

class Telling(JsonLogger):
    def close(self):
        super().close()
        os.write(1, b"[closing]")

blocking, telling = Blocking(threading.Event().wait), Telling(JsonLoggerConfig("json", write_every_n_seconds=0))
with start_run(directory / "run", loggers=[blocking, telling], close_timeout_s=1e6) as run:
    for step in range(1, 11):
        run.log({"loss": step})
        run.step()
    os.write(1, b"[training]")
    while True:
        time.sleep(1)
"""
    terminal, its_end = pty.openpty()
    own_terminal = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); exec(sys.argv.pop())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", own_terminal, str(tmp_path), PRELUDE + program],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
    )
    os.close(its_end)
    said = b""
    try:
        for mark in (b"[training]", b"[closing]"):
            while mark not in said:
                said += os.read(terminal, 4096)
            os.write(terminal, b"\x03")
        status = process.wait(LIMIT_S)
        said += _rest_of(terminal)
    finally:
        process.kill()
        os.close(terminal)

    assert status == -signal.SIGINT, said.decode()
    assert b"'blocking' did not write 10 values" in said, said.decode()
    assert [line["step"] for line in read_json("run/json")] == list(range(1, 11))


def _rest_of(terminal: int) -> bytes:
    said = b""
    while True:
        try:
            said += os.read(terminal, 4096)
        except OSError:  # nobody holds its other end any more
            return said
