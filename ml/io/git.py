"""Which code a run was started from: commit, branch, remote, and what was changed since.

git may be missing, or its repository lie on a file system that has stalled; a
run starts all the same, within the limit of time, and knows less.
"""

import os
import selectors
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 2.0
MAX_PATCH_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class GitState:
    """The state of a working tree. What git did not tell in time is ``None``.

    Attributes:
        commit: What is checked out, in full.
        branch: Its branch; ``None`` when none is checked out.
        remote: The address of ``origin``, with whatever credentials are in it.
        patch: The changes of tracked files since the commit, up to the limit of size.
    """

    commit: str
    branch: str | None
    remote: str | None
    patch: bytes | None


def read_git(
    directory: Path, environ: Mapping[str, str] = os.environ, *, timeout_s: float = TIMEOUT_S
) -> GitState | None:
    """Returns the state of the working tree around ``directory``; ``None`` where git knows of no commit.

    Args:
        directory: Any directory.
        environ: The environment of git, which is looked for in its ``PATH``.
        timeout_s: Seconds that all of it may take.
    """
    deadline_s = time.monotonic() + timeout_s
    # Without the locks that git takes to save itself work: somebody may be committing.
    environ = {**environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}

    def ask(*arguments: str) -> bytes | None:
        return _output(["git", *arguments], directory, environ, deadline_s)

    head = ask("rev-parse", "HEAD", "--abbrev-ref", "HEAD")
    if head is None:
        return None
    commit, branch = head.decode().split("\n")[:2]
    remote = ask("config", "--get", "remote.origin.url")
    patch = ask("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv")
    return GitState(
        commit=commit,
        branch=None if branch == "HEAD" else branch,
        remote=None if remote is None else remote.decode(errors="replace").strip(),
        patch=patch,
    )


def _output(command: list[str], directory: Path, environ: Mapping[str, str], deadline_s: float) -> bytes | None:
    """Returns what a command writes, up to the limit of size; ``None`` when it fails or takes too long."""
    try:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    assert process.stdout is not None
    output = b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while len(output) < MAX_PATCH_BYTES:
                if not selector.select(max(0.0, deadline_s - time.monotonic())):
                    return None
                block = os.read(process.stdout.fileno(), _BLOCK_BYTES)
                if not block:
                    return output if process.wait(max(0.0, deadline_s - time.monotonic())) == 0 else None
                output += block
        return output[:MAX_PATCH_BYTES]
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.stdout.close()
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel cannot even be killed
            process.wait(0.1)
