"""Calls a function in a process of its own, which nothing that ran before can slow down, or make ready.

    figures = run_alone(measure, {"steps": 1000})

The function is found by its name, takes what JSON can hold, and returns such. Where the system
can (Linux: ``unshare``), the process sees no network but its own loopback: what it measures is offline.
"""

import fcntl
import functools
import importlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_SCRIPTS = Path(__file__).resolve().parents[1]
_UNSHARE = ("unshare", "--map-root-user", "--net")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # the other core is for those who write
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_SHOWN_CHARACTERS = 2000


class AloneError(RuntimeError):
    """The process failed; the text is what it printed last."""


@functools.cache
def is_isolated() -> bool:
    """Whether processes are started without a network."""
    return bool(shutil.which("unshare")) and not subprocess.run([*_UNSHARE, "true"], capture_output=True).returncode


def run_alone(function: Callable[..., object], arguments: Mapping[str, object], *, timeout_s: float = 600) -> object:
    """Calls ``function`` with ``arguments`` in a new process and returns what it returns.

    A process that ends itself by a signal, as one that measures being killed does, returns ``None``.

    Raises:
        AloneError: It raised, or took longer than ``timeout_s``.
    """
    name = _name_of(function)
    with tempfile.TemporaryDirectory() as home, Path(home, "output.txt").open("w+b") as output:
        answer = Path(home, "answer.json")
        command = [sys.executable, "-m", __name__, name, json.dumps(arguments), str(answer)]
        process = subprocess.Popen(
            [*_UNSHARE, *command] if is_isolated() else command,
            env={**os.environ, **_ONE_THREAD, "HOME": home, "PYTHONPATH": str(_SCRIPTS)},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AloneError(f"{name} took more than {timeout_s} s: {_last_of(output)}") from error
        if status < 0:
            return None
        if status:
            raise AloneError(f"{name} ended with status {status}: {_last_of(output)}")
        return json.loads(answer.read_text())


def _name_of(function: Callable[..., object]) -> str:
    module = Path(sys.argv[0]).stem if function.__module__ == "__main__" else function.__module__
    return f"{module}:{function.__name__}"


def _last_of(output: BinaryIO) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")[-_SHOWN_CHARACTERS:]


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, suppress(PermissionError):  # it is up already
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _main() -> None:
    name, arguments, answer = sys.argv[1:]
    if [interface for _, interface in socket.if_nameindex()] == ["lo"]:  # nothing else: this network was made for us
        _bring_loopback_up()
    module, function = name.split(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    Path(answer).write_text(json.dumps(result))


if __name__ == "__main__":
    _main()
