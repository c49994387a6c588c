"""What the system says of processes; every reading here is of real ones."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from ml.io.process import (
    Family,
    ThisProcess,
    now_s,
    own_io_bytes,
    system_cpu_s,
    system_io_bytes,
    system_memory_bytes,
    system_network_bytes,
    waited_for_cpu_s,
)

MIB = 2**20
LIMIT_S = 60.0
# Says that it is there, and then waits until its input is closed.
WAITING = "import sys; print('here', flush=True); sys.stdin.read()"


def started(*arguments: str) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == b"here"
    return child


def ended(child: "subprocess.Popen[bytes]") -> None:
    child.communicate(timeout=LIMIT_S)


def burn(seconds: float) -> None:
    end_s = time.process_time() + seconds
    while time.process_time() < end_s:
        pass


def test_the_memory_of_this_process_is_what_psutil_says():
    assert ThisProcess().rss_bytes() == pytest.approx(psutil.Process().memory_info().rss, abs=4 * MIB)


def test_the_peak_remembers_what_was_freed():
    process = ThisProcess()
    before = process.peak_rss_bytes()
    size = before - process.rss_bytes() + 64 * MIB  # above any earlier peak
    block = bytearray(size)
    held = process.rss_bytes()
    del block

    assert process.peak_rss_bytes() >= held - MIB
    assert process.peak_rss_bytes() > before + 32 * MIB
    assert process.rss_bytes() < held - size / 2


def test_the_peak_is_not_that_of_the_program_that_started_it():
    block = bytearray(300 * MIB)
    code = "from ml.io.process import ThisProcess as T; p = T(); p.peak_rss_bytes(); print(p.peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert int(done.stdout) < len(block) / 2


def test_what_others_share_is_left_out_or_divided():
    process = ThisProcess()

    assert process.memory_bytes("rss") == pytest.approx(process.rss_bytes(), abs=4 * MIB)
    assert 0 < process.memory_bytes("uss") <= process.memory_bytes("pss") <= process.memory_bytes("rss") + 4 * MIB


def test_a_forked_child_reads_itself_and_not_its_parent():
    process = ThisProcess()
    process.rss_bytes()
    if (pid := os.fork()) == 0:
        block = bytearray(100 * MIB)
        grown = process.rss_bytes() - ThisProcess().rss_bytes()
        os._exit(0 if block and abs(grown) < 4 * MIB else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_cpu_time_is_that_of_all_threads_and_children_come_with_being_waited_for():
    before_s, waited_s = ThisProcess.cpu_s(), waited_for_cpu_s()
    burn(0.02)
    assert ThisProcess.cpu_s() - before_s >= 0.02

    subprocess.run([sys.executable, "-c", "sum(range(2_000_000))"], check=True)
    assert waited_for_cpu_s() > waited_s


def test_a_family_has_children_and_theirs_and_not_its_head():
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITING!r}])"
    child = started(sys.executable, "-c", inner)
    try:
        family = Family()
        assert len(family) == 0
        family.find()

        pids = [member.pid for member in family.members()]
        assert child.pid in pids
        assert {process.pid for process in psutil.Process(child.pid).children()} <= set(pids)
        assert os.getpid() not in pids
        assert family.memory_bytes("rss") > MIB
        assert len([member.pid for member in _found(Family(child.pid)).members()]) == 1
    finally:
        ended(child)


def _found(family: Family) -> Family:
    family.find()
    return family


def test_who_was_started_first_can_be_told():
    before_s = now_s()
    child = started(sys.executable, "-c", WAITING)
    after_s = now_s()
    (member,) = [member for member in _found(Family()).members() if member.pid == child.pid]
    ended(child)

    assert before_s - 0.01 <= member.started_s <= after_s
    assert 0 <= member.cpu_s < 5


def test_a_member_that_has_ended_is_left_out():
    child = started(sys.executable, "-c", WAITING)
    family = _found(Family())
    assert child.pid in {member.pid for member in family.members()}
    ended(child)

    assert child.pid not in {member.pid for member in family.members()}
    family.find()
    assert child.pid not in {member.pid for member in family.members()}
    assert family.memory_bytes("rss") >= 0


def test_a_member_is_kept_that_lost_its_parent():
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITING!r}])"
    child = started(sys.executable, "-c", inner)
    family = _found(Family())
    grandchild = next(m.pid for m in family.members() if psutil.Process(m.pid).ppid() == child.pid)
    child.kill()
    child.wait(LIMIT_S)  # the other one goes on, with the input that we hold
    try:
        family.find()
        assert grandchild in {member.pid for member in family.members()}
    finally:
        ended(child)


def test_the_system_is_read():
    assert system_cpu_s() >= ThisProcess.cpu_s()
    assert 0 < system_memory_bytes() < psutil.virtual_memory().total
    for read in (own_io_bytes, system_io_bytes, system_network_bytes, Family().io_bytes):
        assert all(count >= 0 for count in read())
