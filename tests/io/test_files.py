"""Files under faults: every operation fails once, at every byte and in every process."""

import errno
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import ClosedError, WriteError
from ml.io.atomic import write_all_atomically, write_atomically
from ml.io.fileops import FileOps
from ml.io.files import AppendFile, make_directories
from ml.io.names import safe_segment
from ml.io.torn import set_torn_tail_aside


class FaultyOps(FileOps):
    """Real files; the calls ``first`` to ``last``, counted from 1, fail, and a write takes ``chunk`` bytes at most."""

    def __init__(self, first: int = 0, last: int = 0, *, error: int = errno.ENOSPC, chunk: int = 1 << 30) -> None:
        self.first, self.last, self.error, self.chunk = first, last, error, chunk
        self.calls: list[str] = []

    def _count(self, name: str) -> None:
        self.calls.append(name)
        if self.first <= len(self.calls) <= self.last:
            raise OSError(self.error, os.strerror(self.error))

    @property
    def failed(self) -> bool:
        return len(self.calls) >= self.first

    def open(self, path: Path, flags: int, mode: int) -> int:
        self._count("open")
        return super().open(path, flags, mode)

    def size(self, descriptor: int) -> int:
        self._count("size")
        return super().size(descriptor)

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        self._count("read")
        return super().read(descriptor, size_bytes, offset)

    def write(self, descriptor: int, data: memoryview) -> int:
        self._count("write")
        return super().write(descriptor, data[: self.chunk])

    def sync(self, descriptor: int) -> None:
        self._count("sync")
        super().sync(descriptor)

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        self._count("truncate")
        super().truncate(descriptor, size_bytes)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)  # as in Linux: gone even when it fails
        self._count("close")

    def rename(self, source: Path, target: Path) -> None:
        self._count("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._count("unlink")
        super().unlink(path)

    def make_directory(self, path: Path) -> None:
        self._count("make_directory")
        super().make_directory(path)

    def sync_directory(self, directory: Path) -> None:
        self._count("sync_directory")
        super().sync_directory(directory)


def for_every_fault(tmp_path: Path, check: Callable[[FaultyOps, Path], None], *, length: int = 1) -> int:
    """Lets call 1, then 2, ... and the ``length - 1`` after it fail in ``check``; returns how many calls there are."""
    for number in range(1, 1000):
        directory = tmp_path / f"{length}-{number}"
        directory.mkdir()
        open_before = os.listdir("/dev/fd")
        ops = FaultyOps(number, number + length - 1, chunk=3)
        check(ops, directory)
        assert len(os.listdir("/dev/fd")) == len(open_before), f"call {number} leaked a descriptor"
        if not ops.failed:
            return number - 1
    raise AssertionError("it never ends")


# --- AppendFile -------------------------------------------------------------------------------------------------------


def test_what_was_appended_is_in_the_file_before_it_is_closed(tmp_path):
    with AppendFile(tmp_path / "log") as file:
        file.append(b"one\n")
        file.append(b"two\n")
        assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
        assert file.size_bytes == 8


def test_opening_again_continues_the_file(tmp_path):
    for record in (b"one\n", b"two\n"):
        with AppendFile(tmp_path / "log") as file:
            file.append(record)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_an_exclusive_file_is_never_one_that_was_there(tmp_path):
    (tmp_path / "log").write_bytes(b"theirs")
    with pytest.raises(WriteError, match="File exists") as caught:
        AppendFile(tmp_path / "log", exclusive=True)
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert (tmp_path / "log").read_bytes() == b"theirs"


def test_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "log").symlink_to(tmp_path / "target")
    with pytest.raises(WriteError, match="log"):
        AppendFile(tmp_path / "log")


def test_a_new_file_has_the_mode_that_was_asked_for(tmp_path):
    AppendFile(tmp_path / "log", mode=0o600).close()
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_child_program_does_not_inherit_the_descriptor(tmp_path):
    with AppendFile(tmp_path / "log"):
        command = ["sh", "-c", "ls -l /proc/self/fd"]
        output = subprocess.run(command, close_fds=False, capture_output=True, text=True, check=True).stdout
    assert "->" in output
    assert str(tmp_path) not in output


@pytest.mark.parametrize("length", [1, 2, 3, 1000])
def test_append_is_all_or_nothing_whatever_call_fails(tmp_path, length):
    """Also when the cut back after a failed write fails: then the next append cuts first."""
    records = [b"first record\n", b"second\n", b"third, the last\n"]

    def check(ops: FaultyOps, directory: Path) -> None:
        try:
            file = AppendFile(directory / "log", ops=ops)
        except WriteError:
            return
        kept = b""
        for record in records:
            try:
                file.append(record)
            except WriteError:
                pass
            else:
                kept += record
                assert (directory / "log").read_bytes() == kept
            assert file.size_bytes == len(kept)
        try:
            file.close()
        except WriteError:
            assert (directory / "log").read_bytes().startswith(kept)
        else:
            assert (directory / "log").read_bytes() == kept

    assert for_every_fault(tmp_path, check, length=length) > 15


def test_after_a_failed_cut_nothing_is_appended_until_the_cut_succeeds(tmp_path):
    ops = FaultyOps(chunk=3)
    file = AppendFile(tmp_path / "log", ops=ops)
    file.append(b"kept\n")
    ops.first = len(ops.calls) + 3  # the second write of the next append, which first looks how large the file is
    ops.last = ops.first + 2  # the cut after it, and the cut before the append after that
    for _ in range(2):
        with pytest.raises(WriteError):
            file.append(b"torn record\n")
    assert (tmp_path / "log").read_bytes() == b"kept\ntor"
    file.append(b"whole\n")
    assert (tmp_path / "log").read_bytes() == b"kept\nwhole\n"


def test_an_interrupted_or_short_write_goes_on(tmp_path):
    ops = FaultyOps(error=errno.EINTR, chunk=2)
    with AppendFile(tmp_path / "log", ops=ops) as file:
        ops.first, ops.last = len(ops.calls) + 2, len(ops.calls) + 4
        file.append(b"a whole record\n")
    assert (tmp_path / "log").read_bytes() == b"a whole record\n"


def test_a_signal_in_the_middle_of_an_append_leaves_no_half_record(tmp_path):
    class Interrupted(FileOps):
        def write(self, descriptor: int, data: memoryview) -> int:
            super().write(descriptor, data[:4])
            raise KeyboardInterrupt

    file = AppendFile(tmp_path / "log", ops=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        file.append(b"record\n")
    assert (tmp_path / "log").read_bytes() == b""
    file.close()


def test_a_device_that_takes_nothing_is_an_error_and_no_endless_loop(tmp_path):
    with AppendFile(tmp_path / "log", ops=FaultyOps(chunk=0)) as file, pytest.raises(WriteError):
        file.append(b"record\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_a_write_error_with_its_cause():
    file = AppendFile("/dev/full")
    with pytest.raises(WriteError, match="Cannot append to /dev/full: No space left on device") as caught:
        file.append(b"record\n")
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(WriteError):
        file.close()


def test_a_file_past_the_limit_of_its_size_is_cut_back_and_goes_on_when_there_is_room(tmp_path):
    """The kernel itself takes half a record here, as it does on a disk that fills up."""
    script = """
import resource, signal, sys
from ml.core.errors import WriteError
from ml.io.files import AppendFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with AppendFile(sys.argv[1]) as file:
    file.append(b"x" * 99 + b"\\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, resource.RLIM_INFINITY))
    try:
        file.append(b"y" * 99 + b"\\n")
    except WriteError:
        print(file.size_bytes)
    file.append(b"z" * 49 + b"\\n")
"""
    output = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")], capture_output=True, text=True, check=True
    )
    assert output.stdout == "100\n"
    assert (tmp_path / "log").read_bytes() == b"x" * 99 + b"\n" + b"z" * 49 + b"\n"


def test_once_a_sync_failed_no_later_one_promises_anything(tmp_path):
    ops = FaultyOps(error=errno.EIO)
    file = AppendFile(tmp_path / "log", ops=ops)
    file.append(b"lost?\n")
    ops.first = ops.last = len(ops.calls) + 1
    for _ in range(2):
        with pytest.raises(WriteError, match="Input/output error"):
            file.sync()
    file.append(b"more\n")
    with pytest.raises(WriteError):
        file.close()
    assert (tmp_path / "log").read_bytes() == b"lost?\nmore\n"


def test_closing_twice_is_closing_once_and_nothing_is_written_after(tmp_path):
    ops = FaultyOps()
    file = AppendFile(tmp_path / "log", ops=ops)
    file.close()
    file.close()
    assert ops.calls[-2:] == ["sync", "close"]
    with pytest.raises(ClosedError, match="is closed"):
        file.append(b"late\n")
    with pytest.raises(ClosedError, match="is closed"):
        file.sync()


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(WriteError, match=r"Cannot open .*absent/log: No such file"):
        AppendFile(tmp_path / "absent" / "log")


def test_a_forked_child_cannot_write_and_its_exit_adds_nothing(tmp_path):
    file = AppendFile(tmp_path / "log")
    file.append(b"parent\n")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            file.append(b"child\n")
        except ClosedError as error:
            os.write(writer, str(error).encode())
        file.close()
        os._exit(0)
    os.waitpid(child, 0)
    message = os.read(reader, 1000).decode()
    os.close(reader)
    os.close(writer)
    assert f"belongs to process {os.getpid()}; a forked child cannot write" in message
    file.append(b"parent again\n")
    file.close()
    assert (tmp_path / "log").read_bytes() == b"parent\nparent again\n"


def _append_until_killed(path: str, appended: "multiprocessing.sharedctypes.Synchronized[int]") -> None:
    with AppendFile(path) as file:
        while True:
            file.append(b"%09d\n" % appended.value)
            appended.value += 1


def test_what_append_returned_from_survives_a_kill(tmp_path):
    """And at most the one record that was under way lies behind it."""
    context = multiprocessing.get_context("fork")
    for number in range(5):
        appended = context.Value("q", 0, lock=False)
        child = context.Process(target=_append_until_killed, args=(str(tmp_path / f"log-{number}"), appended))
        child.start()
        while appended.value < 200 * (number + 1):
            pass
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        lines = (tmp_path / f"log-{number}").read_bytes().splitlines()
        assert lines == [b"%09d" % index for index in range(len(lines))]
        assert appended.value <= len(lines) <= appended.value + 1


# --- write_atomically -------------------------------------------------------------------------------------------------


def test_writing_atomically_replaces_the_content_and_leaves_nothing_else(tmp_path):
    write_atomically(tmp_path / "file", b"old")
    write_atomically(tmp_path / "file", b"new content", mode=0o600)
    assert (tmp_path / "file").read_bytes() == b"new content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_name_as_long_as_names_can_be_is_written_atomically(tmp_path):
    write_atomically(tmp_path / ("n" * 255), b"content")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"content"


def test_the_content_is_on_the_disk_before_the_name_points_to_it(tmp_path):
    ops = FaultyOps()
    write_atomically(tmp_path / "file", b"content", ops=ops)
    assert ops.calls == ["open", "write", "sync", "close", "rename", "sync_directory"]


@pytest.mark.parametrize("length", [1, 2])
def test_a_file_written_atomically_is_old_or_new_whatever_call_fails(tmp_path, length):
    def check(ops: FaultyOps, directory: Path) -> None:
        (directory / "file").write_bytes(b"old content")
        try:
            write_atomically(directory / "file", b"new content", ops=ops)
        except WriteError:
            assert (directory / "file").read_bytes() in (b"old content", b"new content")
            if length == 1:  # else the removal of the temporary file may be the call that fails
                assert os.listdir(directory) == ["file"]
        else:
            assert (directory / "file").read_bytes() == b"new content"

    assert for_every_fault(tmp_path, check, length=length) >= 6


def test_many_files_are_written_together_and_a_directory_is_synced_once(tmp_path):
    (tmp_path / "other").mkdir()
    contents = {tmp_path / ("other" if number % 2 else "") / str(number): b"%d" % number for number in range(20)}
    ops = FaultyOps()
    write_all_atomically(contents, mode=0o600, ops=ops)

    assert {path: path.read_bytes() for path in contents} == contents
    assert ops.calls[:9] == ["open", "write"] * 4 + ["open"], "written before the first is synced"
    assert ops.calls[16] == "sync"
    assert ops.calls.count("sync") == 20, "each file"
    assert ops.calls[-2:] == ["sync_directory"] * 2
    assert ops.calls.count("sync_directory") == 2
    assert sorted(os.listdir(tmp_path)) == sorted([*map(str, range(0, 20, 2)), "other"])


def test_of_many_files_each_is_old_or_new_whatever_call_fails(tmp_path):
    def check(ops: FaultyOps, directory: Path) -> None:
        contents = {directory / str(number): b"content" for number in range(10)}
        (directory / "3").write_bytes(b"old")
        try:
            write_all_atomically(contents, ops=ops)
        except WriteError:
            found = {path.name: path.read_bytes() for path in directory.iterdir()}
            assert set(found.values()) <= {b"content", b"old"}
            assert found.pop("3") in (b"content", b"old")
            assert set(found) <= {str(number) for number in range(10)}, "no temporary file is left"
        else:
            assert all(path.read_bytes() == b"content" for path in contents)

    assert for_every_fault(tmp_path, check) > 50


# --- make_directories -------------------------------------------------------------------------------------------------


def test_directories_are_made_and_their_names_synced_from_the_top(tmp_path):
    synced: list[Path] = []

    class Listening(FileOps):
        def sync_directory(self, directory: Path) -> None:
            super().sync_directory(directory)
            synced.append(directory)

    make_directories(tmp_path / "a" / "b" / "c", ops=Listening())
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    make_directories(tmp_path / "a" / "b" / "c", ops=Listening())
    assert len(synced) == 3, "what is there costs nothing"


def test_a_directory_whose_name_could_not_be_synced_is_made_again(tmp_path):
    def check(ops: FaultyOps, directory: Path) -> None:
        with suppress(WriteError):
            make_directories(directory / "a" / "b", ops=ops)
            return
        before = len(ops.calls)
        make_directories(directory / "a" / "b", ops=ops)
        assert ops.calls[before:].count("sync_directory") >= 1
        assert (directory / "a" / "b").is_dir()

    assert for_every_fault(tmp_path, check) == 4


def test_a_file_in_the_way_of_a_directory_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"a file")
    with pytest.raises(WriteError, match=r"Cannot make .*/a: File exists"):
        make_directories(tmp_path / "a" / "b")


def test_of_many_that_make_one_directory_at_once_none_fails(tmp_path):
    class Racing(FileOps):
        def make_directory(self, path: Path) -> None:
            os.mkdir(path)
            super().make_directory(path)

    make_directories(tmp_path / "a", ops=Racing())
    assert (tmp_path / "a").is_dir()


# --- set_torn_tail_aside ----------------------------------------------------------------------------------------------


def test_a_file_cut_at_any_byte_keeps_its_whole_lines_and_its_tail_lies_beside_it(tmp_path):
    whole = b'{"step": 1}\n{"step": 22}\n{"step": 333}\n'
    for size_bytes in range(len(whole) + 1):
        path = tmp_path / f"{size_bytes}.jsonl"
        path.write_bytes(whole[:size_bytes])
        aside = set_torn_tail_aside(path)
        lines, tail = path.read_bytes(), aside.read_bytes() if aside else b""
        assert lines + tail == whole[:size_bytes]
        assert lines == b"" or lines.endswith(b"\n")
        assert b"\n" not in tail
        assert aside is None or (aside.name == f"{size_bytes}.jsonl.torn-1" and tail)


@pytest.mark.parametrize("lines", [b"", b"one\ntwo\n"])
@pytest.mark.parametrize("tail", [b"\0" * 5000, b'{"st\0\0\0', b"x" * (3 << 20)])
def test_zeros_and_tails_longer_than_a_block_are_moved_whole(tmp_path, lines, tail):
    (tmp_path / "log").write_bytes(lines + tail)
    aside = set_torn_tail_aside(tmp_path / "log")
    assert aside is not None
    assert aside.read_bytes() == tail
    assert (tmp_path / "log").read_bytes() == lines


def test_a_second_tail_never_overwrites_the_first(tmp_path):
    for tail in (b"first", b"second"):
        with AppendFile(tmp_path / "log") as file:
            file.append(b"line\n" + tail)
        set_torn_tail_aside(tmp_path / "log")
    assert (tmp_path / "log.torn-1").read_bytes() == b"first"
    assert (tmp_path / "log.torn-2").read_bytes() == b"second"
    assert (tmp_path / "log").read_bytes() == b"line\nline\n"


def test_whole_empty_and_missing_files_are_left_alone(tmp_path):
    (tmp_path / "whole").write_bytes(b"line\n")
    (tmp_path / "empty").write_bytes(b"")
    assert [set_torn_tail_aside(tmp_path / name) for name in ("whole", "empty", "missing")] == [None, None, None]
    assert sorted(os.listdir(tmp_path)) == ["empty", "whole"]


@pytest.mark.parametrize("length", [1, 2, 1000])
def test_no_byte_of_a_torn_file_is_lost_whatever_call_fails(tmp_path, length):
    whole, tail = b"one\ntwo\n", b"a torn tail"

    def check(ops: FaultyOps, directory: Path) -> None:
        (directory / "log").write_bytes(whole + tail)
        for attempt in (ops, FileOps()):  # the second is the next start
            with suppress(WriteError):
                set_torn_tail_aside(directory / "log", ops=attempt)
            kept = (directory / "log").read_bytes()
            asides = [path.read_bytes() for path in directory.glob("log.torn-*")]
            assert kept == whole + tail or (kept == whole and tail in asides)
        assert kept == whole

    assert for_every_fault(tmp_path, check, length=length) >= 10


def test_the_tail_is_on_the_disk_beside_before_it_is_cut_off(tmp_path):
    (tmp_path / "log").write_bytes(b"one\ntail")
    ops = FaultyOps()
    set_torn_tail_aside(tmp_path / "log", ops=ops)
    order = [call for call in ops.calls if call in ("write", "sync", "sync_directory", "truncate")]
    assert order == ["write", "sync", "sync_directory", "truncate", "sync"]


# --- safe_segment -----------------------------------------------------------------------------------------------------

NAMES = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="aA./%~\\ -_:é\u0301e\ud800\0", max_size=8),
    st.text(alphabet="aB%", min_size=50, max_size=300),
)


@given(NAMES, NAMES)
def test_different_names_are_different_segments_also_where_case_is_ignored(first, second):
    same = safe_segment(first).casefold() == safe_segment(second).casefold()
    assert same == (first == second)


@given(NAMES)
def test_a_segment_is_short_plain_and_stays_in_its_directory(name):
    segment = safe_segment(name)
    assert 1 <= len(segment) <= 120
    assert segment.isascii()
    assert set(segment) <= set("abcdefghijklmnopqrstuvwxyzABCDEF0123456789_.-%~")
    assert not segment.startswith(".")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10))
def test_a_short_segment_can_be_read_back(name):
    assert unquote(safe_segment(name)) == name


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("loss", "loss"),
        ("top-5_acc.mean", "top-5_acc.mean"),
        ("mAP", "m%41%50"),
        ("..", "%2E."),
        ("a/b", "a%2Fb"),
        ("", "%"),
        ("é", "%C3%A9"),
        ("n" * 120, "n" * 120),
    ],
)
def test_segments_are_readable(name, segment):
    assert safe_segment(name) == segment


def test_names_that_differ_only_past_the_cut_are_different_segments():
    segments = {safe_segment("n" * 200 + tail).casefold() for tail in ("", "a", "A", "b")}
    assert len(segments) == 4
    assert all(segment.startswith("n" * 87 + "~") for segment in segments)
