"""A lock on a file: one holder at a time, freed when it is let go of, and when its holder is gone."""

import errno
import os
import subprocess
import sys

import pytest

from ml.core.errors import WriteError
from ml.io.lockfile import try_lock
from ml.testing import FaultyDisk

HOLD = "import sys; from pathlib import Path; from ml.io.lockfile import try_lock\n"
HOLD += "lock = try_lock(Path(sys.argv[1])); print(lock is not None, flush=True); sys.stdin.read()"


def test_one_has_the_lock_until_it_is_let_go_of(tmp_path):
    path = tmp_path / "lock"
    lock = try_lock(path)
    assert lock is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert try_lock(path) is None
    lock.release()
    lock.release()

    assert try_lock(path) is not None


def test_a_process_that_is_killed_holds_no_lock(tmp_path):
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "True\n"
    assert try_lock(path) is None
    process.kill()
    process.wait()

    assert try_lock(path) is not None


def test_a_file_that_was_removed_and_made_again_has_a_lock_of_its_own(tmp_path):
    path = tmp_path / "lock"
    first = try_lock(path)
    path.unlink()

    assert try_lock(path) is not None
    first.release()


def test_where_the_directory_is_gone_there_is_no_lock(tmp_path):
    assert try_lock(tmp_path / "gone" / "lock") is None


def test_a_link_is_refused(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(WriteError, match="lock"):
        try_lock(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_no_file_stays_open_where_it_fails(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with FaultyDisk(range(1, 10**9), errno.EIO, calls=("identity",)), pytest.raises(WriteError):
        try_lock(tmp_path / "lock")
    held = try_lock(tmp_path / "lock")
    assert try_lock(tmp_path / "lock") is None
    held.release()

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pipe_in_the_place_of_the_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "lock")

    with pytest.raises(WriteError, match="lock"):
        try_lock(tmp_path / "lock")
