"""Disks that are full, fail, stall, vanish or lose power: training goes on, and nothing is lost silently."""

import errno
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from ml.core.errors import WriteError
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.segments import segments, whole_lines
from ml.loggers import LoggerGroup, MultiLogger, event_files
from ml.loggers.history import read_values
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.kinds import SCALAR
from ml.loggers.stdout import StdoutLogger, StdoutLoggerConfig
from ml.reading import open_run
from ml.testing import FaultyDisk, Gate, PowerCut
from tests.faults.disks import BACKENDS, Backend, adds_up, all_of, event_prefix, log, start
from tests.loggers.tensorboard_reader import accumulated

LIMIT_S = 20.0
NOBODY = 65534


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


# --- rows 16, 17 and 18: calls that fail ------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "length"), [(errno.EDQUOT, 1), (errno.EIO, 1), (errno.EIO, 4)])
def test_whatever_call_fails_training_goes_on_and_everything_is_written_once(tmp_path, backend, error, length):
    """And ``flush`` says True only when everything until then can be read back."""
    for call in count(1):
        directory = tmp_path / str(call)
        with FaultyDisk(range(call, call + length), error) as disk:
            try:
                logs = start(backend, directory)
            except WriteError:  # the user is told, and there is no run yet that could lose something
                continue
            for step in (1, 2, 3):
                log(logs, step)
                if step > 1 and logs.flush():
                    found = backend.read(directory / backend.name)
                    assert sorted(found) == all_of(*range(1, step + 1))
        assert logs.flush() is True
        stats = logs.close()[backend.name]

        assert adds_up(stats)
        assert stats.written == stats.accepted == 9
        assert sorted(backend.read(directory / backend.name)) == all_of(1, 2, 3), f"call {call}"
        if not disk.failures:
            break
    assert call > {"json": 30, "tensorboard": 12, "journal": 10}[backend.name]


def test_short_and_interrupted_writes_go_on(tmp_path, backend):
    for error, failing in ((errno.EINTR, range(2, 10**9, 2)), (errno.EIO, ())):
        with FaultyDisk(failing, error, calls=("write",), max_write_bytes=7):
            logs = start(backend, tmp_path / str(error))
            log(logs, 1)
            logs.close()
        assert sorted(backend.read(tmp_path / str(error) / backend.name)) == all_of(1)


def test_after_a_failed_sync_flush_is_true_only_when_all_is_in_a_file_that_was_synced(tmp_path, backend):
    with FaultyDisk(range(1, 10**9), errno.EIO, calls=("sync", "sync_directory")) as disk:
        disk.__exit__(None, None, None)
        logs = start(backend, tmp_path)
        model = MultiLogger("model")
        model.log_scalar("number", 1)
        logs.write([model], State(num_steps=1), force=True)
        with disk:
            assert logs.flush() is False
            assert logs.flush() is False
    assert logs.flush() is True
    stats = logs.close()[backend.name]
    assert stats.written == 1
    assert backend.read(tmp_path / backend.name) == [(1, "number")]


def test_what_was_written_again_after_a_failed_sync_is_one_series_to_every_reader(tmp_path):
    for backend in BACKENDS[:2]:
        logs = start(backend, tmp_path)
        for step in range(1, 7):
            log(logs, step)
            with FaultyDisk({1} if step in (3, 5) else (), errno.EIO, calls=("sync",)):
                assert step == 1 or logs.flush() is True
        logs.close()

    assert list(open_run(tmp_path).scalars()["step"]) == [1, 2, 3, 4, 5, 6]
    assert len(list((tmp_path / "json").glob("log*.jsonl"))) == 3
    shown = accumulated(tmp_path / "tensorboard" / "train")
    assert [point.step for point in shown.Scalars("model/number")] == [1, 2, 3, 4, 5, 6]
    assert [point.step for point in shown.Images("model/picture")] == [1, 2, 3, 4, 5, 6]


def _can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_trace(), reason="no program can be traced here")
def test_when_the_kernel_fails_a_sync_the_file_is_left_and_its_values_are_written_again(run_script, tmp_path):
    done = run_script(
        """
        logs = LoggerGroup([json_logger()], RunContext(directory))
        model = MultiLogger("model")
        for step in range(1, 7):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))
            assert logs.flush()
        os._exit(0)
        """,
        command=("strace", "-f", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=3"),
    )
    assert done.returncode == 0, done.stderr
    assert "Input/output error" in done.stderr
    log_file = tmp_path / "json" / "log.jsonl"
    assert [segment.size_bytes is None for segment in segments(log_file)] == [False, True]
    assert [json.loads(line)["step"] for line in whole_lines(log_file)] == [1, 2, 3, 4, 5, 6]


def test_a_file_at_the_limit_of_its_size_is_left_for_the_next_one(run_script, tmp_path):
    """The kernel takes half a record here, as it does on a disk that fills up; more room never comes."""
    done = run_script(
        """
        import dataclasses, resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        logs = LoggerGroup([json_logger()], RunContext(directory))
        model = MultiLogger("model")
        for step in range(1, 61):
            model.log_scalar("loss", step)
            model.log_string("text", "x" * 100)
            logs.write([model], State(num_steps=step))
            if step % 10 == 0:
                while not logs.flush():
                    pass
        print(json.dumps(dataclasses.asdict(logs.close()["json"])))
        """
    )
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout)
    log_file = tmp_path / "json" / "log.jsonl"
    assert [json.loads(line)["step"] for line in whole_lines(log_file)] == list(range(1, 61))
    assert len(segments(log_file)) > 1
    assert stats["written"] == stats["accepted"] == 120
    assert "File too large" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_that_is_always_full_takes_nothing_and_every_value_is_counted(tmp_path, caplog):
    class Full(JsonLogger):
        def initialize(self, context: RunContext) -> None:
            super().initialize(context)
            os.dup2(full, self._file._file._descriptor)

    full = os.open("/dev/full", os.O_WRONLY)
    model = MultiLogger("model")
    logs = LoggerGroup([Full(JsonLoggerConfig("json", write_every_n_seconds=0))], RunContext(tmp_path))
    os.close(full)
    for step in range(1, 11):
        model.log_scalar("loss", step)
        logs.write([model], State(num_steps=step))
    assert logs.flush(0.2) is False
    stats = logs.close(0.2)["json"]

    assert adds_up(stats)
    assert stats.dropped == {"deadline": 10}
    assert "No space left on device" in caplog.text


# --- row 27: the power goes -------------------------------------------------------------------------------------------


def crashes(disk: PowerCut, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Yields, for every moment of a cut, what may be found then, and the last step that ``flush`` acknowledged."""
    for call in disk.calls():
        for seed in (None, call):
            into = tmp_path / "found" / f"{call}-{seed}"
            notes = disk.crash(call, into, None if seed is None else random.Random(seed))
            yield into, max(map(int, notes), default=0)
            shutil.rmtree(into)


def train(backend: Backend, disk: PowerCut, directory: Path) -> None:
    with disk:
        logs = start(backend, directory)
        for step in range(1, 5):
            log(logs, step)
            if step % 2 == 0 and logs.flush():
                disk.note(str(step))
        logs.close()


def check(backend: Backend, found: Path, acknowledged: int) -> None:
    """What was acknowledged is there, nothing is there twice, and a resumed run goes on from it."""
    values = backend.read(found / "run" / backend.name)
    assert set(all_of(*range(1, acknowledged + 1))) <= set(values)
    assert len(set(values)) == len(values)
    with PowerCut(found):  # which takes less time than a disk
        logs = start(backend, found / "run", attempt=2)
        log(logs, 7)
        assert logs.flush() is True
        logs.close()
    again = backend.read(found / "run" / backend.name)
    assert set(again) >= set(values) | set(all_of(7))
    assert len(set(again)) == len(again)


def test_after_a_power_cut_at_any_moment_all_that_flush_acknowledged_is_there(tmp_path, backend):
    (tmp_path / "disk").mkdir()
    disk = PowerCut(tmp_path / "disk")
    train(backend, disk, tmp_path / "disk" / "run")
    acknowledged = set()
    for found, step in crashes(disk, tmp_path):
        check(backend, found, step)
        acknowledged.add(step)
    assert acknowledged == {0, 2, 4}


def test_after_failed_syncs_and_a_power_cut_all_that_flush_acknowledged_is_there(tmp_path, backend):
    """What a failed sync should have written is gone for good, and the next sync of the same file succeeds."""
    for number in count(1):
        root = tmp_path / str(number)
        root.mkdir()
        disk = PowerCut(root, failing_syncs={number})
        train(backend, disk, root / "run")
        found = tmp_path / f"found-{number}"
        notes = disk.crash(disk.calls()[-1], found)
        assert notes[-1:] == ["4"]
        check(backend, found, 4)
        if number >= next(disk._syncs):
            break
    assert number > 2


# --- row 22: the directory goes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_run_whose_directory_goes_is_continued_in_a_new_one_and_the_gap_is_told(tmp_path, backend, how, caplog):
    run = tmp_path / "run"
    logs = start(backend, run)
    for step in range(1, 7):
        log(logs, step)
        if step == 2:
            assert logs.flush()
        if step == 4 and how == "removed":
            shutil.rmtree(run)
        elif step == 4:
            run.rename(tmp_path / "moved")
    assert logs.flush() is True
    stats = logs.close()[backend.name]

    assert stats.written == stats.accepted == 18
    assert "was removed or renamed while in use" in caplog.text
    numbers_found = [step for step, key in read_unchecked(backend, run / backend.name) if key == "number"]
    assert numbers_found == [3, 4, 5, 6], "what was not on the disk in the directory that went is written again"
    if how == "renamed":
        assert sorted(backend.read(tmp_path / "moved" / backend.name)) == all_of(1, 2, 3, 4)


def read_unchecked(backend: Backend, directory: Path) -> list[tuple[int, str]]:
    """Reads a run without looking at pictures, which went with their directory."""
    if backend.name == "json":
        return [(value.step, value.key.removeprefix("model/")) for value in read_log_of(directory)]
    return backend.read(directory)


def read_log_of(directory: Path):
    return read_values(directory / "log.jsonl", SCALAR)


def test_a_stale_file_handle_costs_nothing(tmp_path, backend):
    for failing in range(1, 12):
        directory = tmp_path / str(failing)
        logs = start(backend, directory)
        with FaultyDisk({failing}, errno.ESTALE, calls=("write", "sync", "identity")):
            for step in (1, 2, 3):
                log(logs, step)
        assert logs.flush() is True
        assert logs.close()[backend.name].written == 9
        assert sorted(backend.read(directory / backend.name)) == all_of(1, 2, 3)


def test_the_terminals_log_goes_on_in_a_new_file_too(tmp_path):
    logger = StdoutLogger(StdoutLoggerConfig("stdout", write_every_n_seconds=0))
    logger.initialize(RunContext(tmp_path / "run"))
    logs = LoggerGroup.in_place([logger])
    log(logs, 1)
    shutil.rmtree(tmp_path / "run")
    log(logs, 2)
    logs.close()
    assert [line.split()[2] for line in (tmp_path / "run" / "stdout.log").read_text().splitlines()] == ["1", "2"]


# --- row 19: one disk stalls ------------------------------------------------------------------------------------------


def test_a_disk_that_stalls_holds_up_neither_training_nor_the_backends_on_another_one(tmp_path):
    class Stalled(FaultyDisk):
        """The descriptors of one directory stand still until the gate is opened."""

        def __init__(self):
            super().__init__(())
            self.gate, self.slow = Gate(), set()

        def open(self, path, flags, mode):
            descriptor = super().open(path, flags, mode)
            (self.slow.add if "slow" in path.parts else self.slow.discard)(descriptor)
            return descriptor

        def write(self, descriptor, data):
            if descriptor in self.slow:
                self.gate.wait()
            return super().write(descriptor, data)

    backends = [JsonLogger(JsonLoggerConfig("json", id=name, write_every_n_seconds=0)) for name in ("slow", "fast")]
    model = MultiLogger("model")
    with Stalled() as disk:
        logs = LoggerGroup(backends, RunContext(tmp_path))
        for step in range(1, 101):
            model.log_scalar("loss", step)
            logs.write([model], State(num_steps=step))
        disk.gate.wait_for_arrival()
        assert logs.flush(0.01) is False
        while logs.stats()["fast"].written < 100:
            logs.flush(0.01)
        assert [value.step for value in read_log_of(tmp_path / "fast")] == list(range(1, 101)), "at its pace"
        assert list(whole_lines(tmp_path / "slow" / "log.jsonl")) == []
        assert logs.stats()["slow"].pending == 100
        disk.gate.open()
        assert logs.flush(LIMIT_S) is True
        assert logs.close()["slow"].written == 100


# --- rows 1, 2, 25 and 28: cut off, read while it grows ---------------------------------------------------------------


def test_a_kill_inside_one_large_write_tears_that_record_and_no_other(tmp_path):
    place = tmp_path / "run"
    for trial in range(2):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                logs = start(BACKENDS[0], place, attempt=trial + 1)
                model = MultiLogger("model")
                for step in count(1):
                    model.log_string("text", str(step) * 4_000_000)
                    os.write(writer, b"x")
                    logs.write([model], State(num_steps=step))
            os._exit(0)
        os.read(reader, trial + 1)
        log_file = place / "json" / "log.jsonl"
        before = log_file.stat().st_size if log_file.exists() else 0
        while (log_file.stat().st_size if log_file.exists() else 0) == before:
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    logs = start(BACKENDS[0], place, attempt=9)
    log(logs, 99)
    logs.close()
    lines = [json.loads(line) for line in (place / "json" / "log.jsonl").read_bytes().splitlines()]
    assert lines[-1]["attempt"] == 9
    assert all(re.fullmatch(r"(\d+)(\1)*", line["strings"]["model/text"][0]) for line in lines[:-1])


def written(tmp_path: Path, backend: Backend, steps: int) -> Path:
    """Returns the one file that a run of some steps has written, without pictures."""
    logs = start(backend, tmp_path / "whole")
    model = MultiLogger("model")
    for step in range(1, steps + 1):
        model.log_scalar("number", step)
        logs.write([model], State(num_steps=step))
    logs.close()
    return next(path for path in (tmp_path / "whole").rglob("*") if path.is_file())


@pytest.mark.parametrize("backend", BACKENDS[:2], ids=lambda backend: backend.name)
def test_a_file_cut_at_any_byte_of_its_last_record_is_resumed_and_loses_no_other(tmp_path, backend):
    whole = written(tmp_path, backend, 2)
    data, inside = whole.read_bytes(), whole.relative_to(tmp_path / "whole")
    ends = []
    for size_bytes in range(data.rindex(b"model") - 40, len(data) + 1):
        place = tmp_path / "cut" / inside
        place.parent.mkdir(parents=True)
        place.write_bytes(data[:size_bytes])
        before = backend.read(tmp_path / "cut" / backend.name)
        assert before == [(step, "number") for step in range(1, len(before) + 1)], "no half record is taken for one"
        ends.append(len(before))
        with PowerCut(tmp_path / "cut"):  # which takes less time than a disk
            logs = start(backend, tmp_path / "cut", attempt=2)
            model = MultiLogger("model")
            model.log_scalar("number", 9)
            logs.write([model], State(num_steps=9))
            logs.close()
        assert backend.read(tmp_path / "cut" / backend.name) == [*before, (9, "number")]
        shutil.rmtree(tmp_path / "cut")
    assert ends == sorted(ends)
    assert ends[-1] == 2


def test_a_reader_of_a_log_that_grows_byte_by_byte_sees_whole_lines_and_no_damage(tmp_path, caplog):
    whole = written(tmp_path, BACKENDS[0], 4)
    growing = tmp_path / "log.jsonl"
    seen = []
    with growing.open("wb", buffering=0) as file:
        for byte in whole.read_bytes():
            file.write(bytes([byte]))
            seen.append([value.step for value in read_values(growing, SCALAR)])
    assert seen == sorted(seen)
    assert seen[-1] == [1, 2, 3, 4]
    assert not caplog.records


def test_a_reader_of_an_event_file_that_grows_byte_by_byte_waits_for_the_rest_of_a_record(tmp_path):
    whole = written(tmp_path, BACKENDS[1], 3)
    directory = tmp_path / "growing"
    directory.mkdir()
    seen = []
    with (directory / whole.name).open("wb", buffering=0) as file:
        reader = accumulated(directory)
        for byte in whole.read_bytes():
            file.write(bytes([byte]))
            reader.Reload()
            seen.append([point.step for point in reader.Scalars("model/number")] if reader.Tags()["scalars"] else [])
    assert seen == sorted(seen)
    assert seen[-1] == [1, 2, 3]


# --- row 26: damage in an event file ----------------------------------------------------------------------------------


def test_a_damaged_record_of_an_event_file_costs_what_follows_in_that_file_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(event_files, "MAX_FILE_BYTES", 400)
    logs = start(BACKENDS[1], tmp_path)
    model = MultiLogger("model")
    for step in range(1, 41):
        model.log_scalar("number", step)
        logs.write([model], State(num_steps=step))
    logs.close()
    files = sorted((tmp_path / "tensorboard" / "train").iterdir())
    assert len(files) > 3
    kept = [[event.step for event in event_prefix(path) if event.summary.value] for path in files]
    assert [step for steps in kept for step in steps] == list(range(1, 41))
    assert [point.step for point in accumulated(files[0].parent).Scalars("model/number")] == list(range(1, 41))

    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 1
    files[1].write_bytes(data)
    left = [event.step for path in files for event in event_prefix(path) if event.summary.value]
    lost = set(range(1, 41)) - set(left)
    assert 0 < len(lost) < len(kept[1])
    assert lost <= set(kept[1])


# --- rows 20 and 83: directories that are not ours --------------------------------------------------------------------


@pytest.fixture
def shared() -> Iterator[Path]:
    """Returns a directory that everybody can write to, as /tmp is."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o1777)
        yield Path(directory)


def as_nobody(function: Callable[[], str]) -> str:
    """Returns what a function gives in a process that is not root's."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                text = function()
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
            os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text


def test_a_directory_that_cannot_be_written_to_is_said_at_the_start(shared, backend):
    (shared / "theirs").mkdir(mode=0o755)
    said = as_nobody(lambda: str(start(backend, shared / "theirs" / "run")))
    assert said.startswith("WriteError: Cannot make ")
    assert said.endswith("Permission denied.")
    assert os.listdir(shared / "theirs") == []


def test_a_file_in_the_way_of_a_run_is_said_at_the_start(tmp_path, backend):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(WriteError, match=rf"Cannot make {tmp_path}/run: .*"):
        start(backend, tmp_path / "run")


def test_a_directory_that_becomes_read_only_is_written_to_when_it_can_be_again(shared):
    def nobody() -> str:
        logs = start(BACKENDS[0], shared / "run")
        log(logs, 1)
        shutil.rmtree(shared / "run" / "json" / "media")  # so that the next picture needs a new directory
        os.chmod(shared / "run" / "json", 0o500)
        log(logs, 2)
        refused = logs.flush()
        os.chmod(shared / "run" / "json", 0o700)
        again = logs.flush()
        stats = logs.close()["json"]
        return f"{refused} {again} {stats.written} {stats.accepted}"

    os.chmod(shared, 0o777)
    assert as_nobody(nobody) == "False True 6 6"


def test_a_planted_symbolic_link_is_not_written_through(shared, backend):
    target = shared / "target"
    target.write_text("theirs")
    os.chmod(target, 0o666)

    def plant_and_start() -> str:
        logs = start(backend, shared / "run")
        log(logs, 1)
        logs.close()
        (made,) = [
            path for path in sorted((shared / "run").rglob("*")) if path.is_file() and "media" not in path.parts
        ][:1]
        made.unlink()
        made.symlink_to(target)
        try:
            logs = start(backend, shared / "run")
            log(logs, 2)
            logs.close()
        except WriteError as error:
            return str(error)
        return "made a file of its own"

    said = as_nobody(plant_and_start)
    assert said == "made a file of its own" if backend.name != "json" else "Too many levels of symbolic links" in said
    assert target.read_text() == "theirs"


def test_what_a_run_writes_is_for_its_owner_alone(tmp_path, backend):
    logs = start(backend, tmp_path)
    log(logs, 1)
    logs.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
