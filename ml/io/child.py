"""A program that is run as a shell runs one: with this process's files and terminal, and the signals that this gets."""

import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from ml.core.errors import ConfigError


class Child:
    """A program that was started; it has this process's files, terminal and signals of the terminal.

    Attributes:
        pid: Its number.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid

    def wait(self) -> int:
        """Waits until it has ended, and passes on the signals that this process gets meanwhile.

        Call it on the main thread. Ctrl-C reaches the program by itself, from the terminal.

        Returns:
            Its exit status; of one that a signal ended, 128 + the signal, as a shell has it.
        """
        passed_on = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
        before = {number: signal.signal(number, self._pass_on) for number in passed_on}
        before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda number, frame: None)
        try:
            status = self._process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return status if status >= 0 else 128 - status

    def _pass_on(self, number: int, frame: object) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)


def run_child(command: Sequence[str]) -> Child:
    """Starts a program.

    Args:
        command: The program, as the path says or as ``PATH`` has it, and its arguments.

    Raises:
        ConfigError: It cannot be started; the message says why.
    """
    if not command:
        raise ConfigError("There is no command to run.")
    try:
        return Child(subprocess.Popen(list(command)))
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot run {command[0]!r}: {error}.") from error
