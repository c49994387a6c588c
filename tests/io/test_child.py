"""A program that is run as a shell runs one; every one here is real."""

import os
import signal
import subprocess
import sys

import pytest

from ml.core.errors import ConfigError
from ml.io.child import run_child
from ml.io.process import Family

LIMIT_S = 60.0


@pytest.mark.parametrize(
    ("code", "status"),
    [("pass", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 128 + 9)],
)
def test_a_child_has_the_status_of_a_shell(code, status):
    child = run_child([sys.executable, "-c", code])
    assert child.pid != os.getpid()
    assert child.wait() == status


@pytest.mark.parametrize("command", [[], ["no-such-program-anywhere"], ["/"], ["a\0b"]])
def test_a_program_that_cannot_be_run_is_named(command):
    with pytest.raises(ConfigError) as caught:
        run_child(command)
    assert not command or repr(command[0]) in str(caught.value)


def test_a_child_has_our_input_and_output():
    program = "from ml.io.child import run_child; raise SystemExit(run_child(['cat']).wait())"
    done = subprocess.run([sys.executable, "-c", program], input=b"through", capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (0, b"through")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_goes_on_to_the_child_and_the_handlers_are_put_back(number):
    child_code = (
        "import os, signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(5))\n"
        "print('here', flush=True)\n"
        "while True: signal.pause()"
    )
    program = (
        "import signal, sys\nfrom ml.io.child import run_child\n"
        f"before = signal.getsignal({int(number)})\n"
        f"status = run_child([sys.executable, '-c', {child_code!r}]).wait()\n"
        f"assert signal.getsignal({int(number)}) is before\n"
        "sys.exit(status)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"here\n"
    family = Family(parent.pid)
    while not len(family):
        family.find()
    while not _catches(parent.pid, number):
        pass
    parent.send_signal(number)

    assert parent.wait(LIMIT_S) == 5


def _catches(pid: int, number: int) -> bool:
    """Whether a process has set its handler, as the kernel has it."""
    with open(f"/proc/{pid}/status") as file:
        mask = next(line.split()[1] for line in file if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)
