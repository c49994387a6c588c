"""A spool: what was taken is handed out in order, by this process or by one that comes after it, and then forgotten."""

import errno
import os
import signal
import subprocess
import sys
import tracemalloc
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from random import Random

import pytest

from ml.core.errors import ClosedError, LogValueError, WriteError
from ml.io.frame_reader import FrameReader
from ml.io.frames import Frame, Head, encode_frame, encode_head
from ml.io.spool import LOOK_EVERY_S, Spool
from ml.io.spool_queue import decode_entry, encode_entry
from ml.io.store import MAX_KEY_BYTES
from ml.testing import FakeClock, FaultyDisk, PowerCut

PROGRAM = Path(__file__).parent / "programs" / "spooling.py"


def entries(*numbers, size_bytes=10):
    return [(f"key/{number}", b"%d " % number * size_bytes) for number in numbers]


def drain(spool):
    """Takes what the spool has, and marks it done: the numbers of the records, each of which must be whole."""
    numbers = []
    while (spooled := spool.next()) is not None:
        number = int(spooled.key.removeprefix("key/"))
        assert spooled.data.startswith(b"%d " % number)
        assert set(spooled.data.split()) == {b"%d" % number}
        numbers.append(number)
        spool.done(spooled)
    return numbers


def queues_in(directory):
    return sorted(path for path in directory.iterdir() if path.name != "damaged")


def segments_in(directory):
    return sorted(directory.glob("*/*.journal"))


def leave(directory, *numbers, **settings):
    """Leaves records in a queue of their own, as a process does that ends before they are sent."""
    with closing(Spool(directory, **settings)) as spool:
        for number in numbers:
            spool.append(entries(number))


def test_records_are_handed_out_in_order_also_while_more_are_appended(tmp_path):
    with closing(Spool(tmp_path)) as spool:
        taken = []
        for number in range(0, 40, 2):
            spool.append(entries(number, number + 1))
            spooled = spool.next()
            taken.append(spooled.key)
            spool.done(spooled)
        assert spool.pending == 20

        assert taken + [f"key/{number}" for number in drain(spool)] == [f"key/{number}" for number in range(40)]
        assert spool.pending == spool.pending_bytes == spool.damaged == 0


def test_data_and_keys_come_back_as_they_were(tmp_path):
    given = [("ä/☃", bytes(range(256)) * 100), ("k" * MAX_KEY_BYTES, b""), ("", b"no key")]
    with closing(Spool(tmp_path)) as spool:
        spool.append(given)

        assert [(spooled.key, spooled.data) for spooled in iter(spool.next, None)] == given


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x05\x00four", b"\xff\xff" + bytes(70_000), b"\x01\x00\xff"])
def test_what_is_no_entry_is_seen_to_be_none(payload):
    assert decode_entry(payload) is None


def test_a_key_that_is_too_long_is_refused_and_its_neighbours_are_not_appended(tmp_path):
    with closing(Spool(tmp_path)) as spool:
        with pytest.raises(LogValueError, match=f"{MAX_KEY_BYTES}.*{MAX_KEY_BYTES + 1}"):
            spool.append([*entries(1), ("k" * (MAX_KEY_BYTES + 1), b"")])

        assert spool.pending == 0
        assert spool.next() is None


def test_a_spool_that_is_not_used_leaves_nothing(tmp_path):
    Spool(tmp_path / "spool").close()

    assert list((tmp_path / "spool").iterdir()) == []


def test_a_segment_is_removed_when_all_of_it_is_done(tmp_path):
    with closing(Spool(tmp_path, segment_bytes=1000)) as spool:
        for number in range(100):
            spool.append(entries(number, size_bytes=100))
        many = len(segments_in(tmp_path))
        assert many > 10
        assert drain(spool) == list(range(100))

        assert len(segments_in(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_segment_stays_while_one_of_its_records_is_not_done(tmp_path):
    with closing(Spool(tmp_path, segment_bytes=1000)) as spool:
        for number in range(30):
            spool.append(entries(number, size_bytes=100))
        first, *others = iter(spool.next, None)
        before = segments_in(tmp_path)
        for spooled in others:
            spool.done(spooled)
        assert segments_in(tmp_path) == before
        spool.done(first)

        assert segments_in(tmp_path) == before[-1:]


def test_a_segment_stays_while_a_later_record_in_it_is_not_done(tmp_path):
    with closing(Spool(tmp_path, segment_bytes=1000)) as spool:
        for number in range(30):
            spool.append(entries(number, size_bytes=100))
        first, *_ = iter(spool.next, None)
        before = segments_in(tmp_path)
        spool.done(first)

        assert segments_in(tmp_path) == before


def test_what_is_not_done_is_handed_out_by_the_next_one_and_nothing_else(tmp_path):
    with closing(Spool(tmp_path)) as spool:
        spool.append(entries(*range(10)))
        for _ in range(4):
            spool.done(spool.next())
        spool.next()  # and it was not done

    with closing(Spool(tmp_path)) as spool:
        assert spool.pending == 6
        assert drain(spool) == [4, 5, 6, 7, 8, 9]
        assert spool.pending == spool.pending_bytes == 0
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_is_done_before_an_earlier_one_is_handed_out_again_with_it(tmp_path):
    with closing(Spool(tmp_path)) as spool:
        spool.append(entries(*range(5)))
        handed_out = list(iter(spool.next, None))
        for number in (0, 2, 3):
            spool.done(handed_out[number])
        assert spool.pending == 4

    with closing(Spool(tmp_path)) as spool:
        assert drain(spool) == [1, 2, 3, 4]


def test_what_was_left_goes_first_oldest_first_and_numbers_of_records_and_bytes_are_known_without_reading_all(tmp_path):
    spools = [Spool(tmp_path, segment_bytes=100) for _ in range(3)]
    for start, spool in enumerate(spools):
        for number in range(10 * start, 10 * start + 5):
            spool.append(entries(number))
    for spool in reversed(spools):
        spool.close()

    with closing(Spool(tmp_path)) as spool:
        assert spool.pending == 15
        assert 15 * 20 < spool.pending_bytes < 15 * 200
        spool.append(entries(100))
        assert drain(spool) == [*range(5), *range(10, 15), *range(20, 25), 100]


def test_a_queue_whose_process_lives_is_left_alone_and_taken_over_soon_after_it_has_died(tmp_path):
    clock = FakeClock()
    with closing(Spool(tmp_path, clock=clock)) as survivor:
        other = Spool(tmp_path)
        other.append(entries(1, 2))
        clock.advance(LOOK_EVERY_S)
        assert survivor.next() is None
        other.close()
        assert survivor.next() is None  # it looks now and then
        clock.advance(LOOK_EVERY_S)

        assert drain(survivor) == [1, 2]


def test_any_number_of_queues_is_taken_over(tmp_path):
    spools = [Spool(tmp_path) for _ in range(70)]
    for number, spool in enumerate(spools):
        spool.append(entries(number))
    for spool in spools:
        spool.close()

    with closing(Spool(tmp_path)) as spool:
        assert drain(spool) == list(range(70))
    assert list(tmp_path.iterdir()) == []


def test_files_and_directories_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "0001-0001.journal").write_text("mine")
    (tmp_path / "readme").write_text("mine")
    leave(tmp_path, 1)
    (foreign := queues_in(tmp_path)[0] / "foreign").write_text("mine")

    with closing(Spool(tmp_path)) as spool:
        assert drain(spool) == [1]
        assert drain(spool) == []
        assert spool.pending == 0
        assert len(spool._left) == 1, "taken over once, and not again and again until no more files can be opened"
    assert sorted(path.name for path in tmp_path.iterdir())[1:] == ["notes", "readme"]
    assert foreign.read_text() == "mine"


def test_a_closed_spool_takes_and_hands_out_nothing(tmp_path):
    spool = Spool(tmp_path)
    spool.append(entries(1))
    spool.close()
    spool.close()

    assert spool.next() is None
    assert spool.pending == 1
    with pytest.raises(ClosedError):
        spool.append(entries(2))


def test_a_backlog_takes_no_memory(tmp_path):
    with closing(Spool(tmp_path)) as spool:
        for number in range(400):
            spool.append([(f"key/{number}", bytes(100_000))])
        assert spool.pending_bytes > 40e6
    tracemalloc.start()
    with closing(Spool(tmp_path)) as spool:
        for spooled in iter(spool.next, None):
            spool.done(spooled)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 10e6


# damage


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_record_costs_itself_alone_and_its_file_is_kept_aside(tmp_path, caplog):
    leave(tmp_path, *range(10))
    (path,) = segments_in(tmp_path)
    damaged = bytearray(path.read_bytes())
    flip(path, damaged.index(b"4 4 4"))

    with closing(Spool(tmp_path)) as spool:
        assert drain(spool) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert spool.damaged == 1
        assert spool.pending == 0
    (kept,) = (tmp_path / "damaged").iterdir()
    assert queues_in(tmp_path) == []
    assert b"5 5 5" in kept.read_bytes()
    assert str(kept) in caplog.text


@pytest.mark.parametrize("place", ["first", "last", "head"])
def test_damage_at_the_ends_of_a_file_is_no_obstacle(tmp_path, place):
    leave(tmp_path, *range(5))
    (path,) = segments_in(tmp_path)
    data = path.read_bytes()
    flip(path, {"first": data.index(b"0 0 0"), "last": data.index(b"4 4 4"), "head": 10}[place])

    with closing(Spool(tmp_path)) as spool:
        assert drain(spool) == {"first": [1, 2, 3, 4], "last": [0, 1, 2, 3], "head": [0, 1, 2, 3, 4]}[place]
        assert spool.damaged >= 1
        assert spool.pending == spool.pending_bytes == 0
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    assert queues_in(tmp_path) == []


def test_a_record_that_is_damaged_under_a_running_process_costs_itself_alone(tmp_path):
    with closing(Spool(tmp_path, segment_bytes=200)) as spool:
        for number in range(20):
            spool.append(entries(number))
        for path in segments_in(tmp_path):
            if b"7 7 7" in (data := path.read_bytes()):
                flip(path, data.index(b"7 7 7"))
        assert drain(spool) == [*range(7), *range(8, 20)]
        spool.append(entries(20))
        assert drain(spool) == [20]

        assert spool.damaged == 1
        assert spool.pending == spool.pending_bytes == 0


def test_files_that_hold_something_else_are_kept_aside(tmp_path):
    leave(tmp_path, 1)
    (queue,) = queues_in(tmp_path)
    (queue / "0000-0001.journal").write_bytes(b"\x93mlog\r\n\x1a" + b"garbage" * 100)
    salt = b"saltsalt"
    malformed = encode_head(Head(1, 2, salt)) + encode_frame(salt, 2, b"\xff\xff") + encode_frame(salt, 3, b"\0\0abc")
    (queue / "0001-0002.journal").write_bytes(malformed)

    with closing(Spool(tmp_path)) as spool:
        handed_out = list(iter(spool.next, None))
        for spooled in handed_out:
            spool.done(spooled)
        assert [(spooled.key, spooled.data[:3]) for spooled in handed_out] == [("key/1", b"1 1"), ("", b"abc")]
        assert spool.damaged == 2
    assert len(list((tmp_path / "damaged").iterdir())) == 2
    assert queues_in(tmp_path) == []


def test_what_a_kill_cut_off_was_never_taken_and_is_no_damage(tmp_path):
    leave(tmp_path, *range(5))
    (path,) = segments_in(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])

    with closing(Spool(tmp_path)) as spool:
        assert drain(spool) == [0, 1, 2, 3]
        assert spool.damaged == 0
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_is_removed_under_a_running_process_goes_on(tmp_path):
    directory = tmp_path / "spool"
    with closing(Spool(directory)) as spool:
        spool.append(entries(1))
        assert drain(spool) == [1]
        spool.append(entries(2))
        for path in [*directory.rglob("*.journal"), *directory.rglob("*.done"), *directory.rglob("lock")]:
            path.unlink()
        queues_in(directory)[0].rmdir()
        directory.rmdir()
        spool.append(entries(3))

        assert sorted({*drain(spool)}) == [2, 3]
        assert spool.pending == 0


def test_what_was_written_again_to_the_next_file_is_handed_out_though_later_ones_of_the_file_before_were_done(tmp_path):
    leave(tmp_path, *range(1, 6))
    (path,) = segments_in(tmp_path)
    with FrameReader(path) as reader:
        frames = [frame for frame in reader.read() if isinstance(frame, Frame)]
        salt = reader.salt
    again = [encode_frame(salt, frame.sequence, frame.payload) for frame in frames[2:]]
    path.with_name("0001-0002.journal").write_bytes(encode_head(Head(1, 2, salt)) + b"".join(again))
    path.with_suffix(".done").write_bytes(encode_head(Head(1, 1, salt)) + encode_frame(salt, 5, b""))
    flip(path, path.read_bytes().index(b"3 3 3"))

    with closing(Spool(tmp_path)) as spool:
        assert drain(spool) == [3]
        assert spool.pending == 0


def test_a_queue_that_cannot_be_removed_is_not_taken_over_again_and_again(tmp_path):
    leave(tmp_path, 1, 2, 3)
    clock = FakeClock()
    with FaultyDisk(range(1, 10**9), errno.EACCES, calls=("unlink",)), closing(Spool(tmp_path, clock=clock)) as spool:
        assert drain(spool) == [1, 2, 3]
        clock.advance(LOOK_EVERY_S)
        assert drain(spool) == []


# faults


def test_a_full_disk_takes_nothing_and_later_records_are_taken(tmp_path):
    with closing(Spool(tmp_path)) as spool:
        spool.append(entries(1))
        with FaultyDisk(range(1, 10**9), errno.ENOSPC, calls=("write",)), pytest.raises(WriteError):
            spool.append(entries(2, 3))
        assert spool.pending == 1
        spool.append(entries(4))

        assert drain(spool) == [1, 4]


def test_a_disk_that_is_full_from_the_start_does_no_harm(tmp_path):
    with closing(Spool(tmp_path)) as spool:
        for calls in ("make_directory", "open", "write", "sync_directory"):
            with FaultyDisk(range(1, 10**9), errno.ENOSPC, calls=(calls,)), pytest.raises(WriteError):
                spool.append(entries(0))
        spool.append(entries(1))

        assert drain(spool) == [1]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "from then on"])
def test_whatever_call_fails_every_record_that_was_taken_is_handed_out_in_order(tmp_path, error, is_lasting):
    for call in count(1):
        directory = tmp_path / str(call)
        acknowledged, arrived = [], []
        with FaultyDisk(range(call, 10**9) if is_lasting else {call}, error) as disk:
            with suppress(WriteError):
                leave(directory, 0)
            with suppress(WriteError):
                spool = Spool(directory, segment_bytes=300)
                for number in range(1, 14):
                    with suppress(WriteError):
                        spool.append(entries(number))
                        acknowledged.append(number)
                    if number % 4 == 0 and (spooled := spool.next()) is not None:
                        arrived.append(int(spooled.key.removeprefix("key/")))
                        spool.done(spooled)
                with suppress(WriteError):
                    spool.sync()
                with suppress(WriteError):
                    spool.close()
        with closing(Spool(directory)) as spool:
            arrived += drain(spool)
            assert spool.damaged == 0

        assert set(acknowledged) <= set(arrived) <= set(range(14)), call
        first_arrivals = [number for number in dict.fromkeys(arrived) if number > 0]  # 0 may be adopted later
        assert first_arrivals == sorted(first_arrivals), call
        assert not (directory / "damaged").exists()
        if disk.failures == 0:
            break
    assert call > 30


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_after_a_power_cut_what_was_synced_and_not_done_is_handed_out(tmp_path, seed):
    root = tmp_path / "spool"
    root.mkdir()
    with PowerCut(root) as disk:
        spool = Spool(root, segment_bytes=200)
        disk.note("from 0")
        for number in range(12):
            spool.append(entries(number))
            if number % 3 == 2:
                spool.sync()
                disk.note(f"to {number}")
            if number % 4 == 3:
                disk.note(f"from {number // 4 + 1}")
                spool.done(spool.next())
        spool.close()

    for call in disk.calls():
        found = tmp_path / f"{seed}-{call}"
        noted = disk.crash(call, found, None if seed is None else Random(seed))
        promised = range(
            max([int(text.split()[1]) for text in noted if text.startswith("from")], default=0),
            max([int(text.split()[1]) + 1 for text in noted if text.startswith("to")], default=0),
        )
        with closing(Spool(found)) as spool:
            numbers = drain(spool)
        assert set(promised) <= set(numbers), call
        assert numbers == sorted(set(numbers)), call


# processes


def run(*arguments, **settings):
    return subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **settings
    )


def kill_after(process, lines):
    """Kills the process when it has printed so many lines; returns all that it has printed."""
    printed = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    printed += process.stdout.readlines()
    process.wait()
    return [int(line) for line in printed if line.endswith("\n")]


def test_what_a_killed_process_had_taken_is_handed_out_by_the_next_one(tmp_path):
    chance = Random(0)
    for start in (0, 10_000, 20_000):
        acknowledged = kill_after(run("append", tmp_path, start), chance.randrange(1, 400))
        with closing(Spool(tmp_path)) as spool:
            numbers = drain(spool)

        assert numbers[: len(acknowledged)] == acknowledged
        assert numbers == list(range(start, start + len(numbers)))


def test_two_that_start_at_once_take_over_every_queue_once(tmp_path):
    spools = [Spool(tmp_path) for _ in range(20)]
    for number, spool in enumerate(spools):
        spool.append(entries(number))
    for spool in spools:
        spool.close()
    started = [run("drain", tmp_path) for _ in range(2)]
    printed = [[int(line) for line in process.communicate()[0].split()] for process in started]

    assert [process.returncode for process in started] == [0, 0]
    assert sorted(printed[0] + printed[1]) == list(range(20))
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_does_nothing_and_holds_no_lock(tmp_path):
    process = run("fork", tmp_path)
    child, found = sorted(process.stdout.readline().strip() for _ in range(2))
    process.kill()
    process.wait()
    try:
        assert found == "inert"
        with closing(Spool(tmp_path)) as spool:  # while the child lives
            assert drain(spool) == [1]
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_the_form_of_an_entry_stays():
    assert encode_entry("k/é", b"data") == b"\x04\x00k/\xc3\xa9data"


def test_records_stay_where_the_spool_was_opened_wherever_the_process_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spool = Spool(Path("spool"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    spool.append([("key", b"data")])
    spool.close()

    assert Spool(tmp_path / "spool").pending == 1
