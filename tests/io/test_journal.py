"""The journal's files: names, modes, numbers that go on, segments, and what is written again after a failed sync."""

import errno
import random
from contextlib import suppress
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import FormatError, LogValueError, WriteError
from ml.io.frame_reader import FrameReader
from ml.io.frames import MAX_PAYLOAD_BYTES, Head, encode_frame, encode_head
from ml.io.journal import Flaw, JournalReader, JournalWriter, Numbering, Record, journal_files
from ml.testing import FaultyDisk


def payloads_of(directory):
    """The payloads of a journal that is whole."""
    found = list(JournalReader(directory).read())
    assert not [flaw for flaw in found if isinstance(flaw, Flaw)]
    return [record.payload for record in found]


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def test_what_was_appended_is_read_in_order(tmp_path):
    writer = JournalWriter(tmp_path, 3)
    writer.append([b"", b"one"])
    writer.append([b"\x00" * 10_000])
    writer.close()

    assert list(JournalReader(tmp_path).read()) == [
        Record(3, 1, b""),
        Record(3, 2, b"one"),
        Record(3, 3, b"\x00" * 10_000),
    ]
    assert names_in(tmp_path) == ["0003-0001.journal"]


def test_a_file_is_private_and_says_what_it_is(tmp_path):
    writer = JournalWriter(tmp_path / "deep" / "journal", 7)
    writer.append([b"x"])
    writer.close()
    (path,) = (tmp_path / "deep" / "journal").iterdir()

    assert path.stat().st_mode & 0o777 == 0o600
    with FrameReader(path) as reader:
        list(reader.read())
    assert (reader.head.attempt, reader.head.segment) == (7, 1)


def test_a_writer_that_appends_nothing_makes_no_file(tmp_path):
    writer = JournalWriter(tmp_path / "journal", 1)
    writer.sync()
    writer.close()

    assert not (tmp_path / "journal").exists()
    assert list(JournalReader(tmp_path / "journal").read()) == []


def test_segments_follow_one_another_and_numbers_go_on(tmp_path):
    writer = JournalWriter(tmp_path, 1, max_segment_bytes=200)
    written = [b"%d" % number * 40 for number in range(10)]
    for payload in written:
        writer.append([payload])
    writer.close()

    assert payloads_of(tmp_path) == written
    assert names_in(tmp_path) == [f"0001-{number:04d}.journal" for number in range(1, len(names_in(tmp_path)) + 1)]
    assert len(names_in(tmp_path)) > 2
    reader = JournalReader(tmp_path)
    list(reader.read())
    assert reader.lost == 0


def test_attempts_are_read_in_order_and_kept_apart(tmp_path):
    for attempt in (2, 10, 1):
        writer = JournalWriter(tmp_path, attempt)
        writer.append([b"of %d" % attempt])
        writer.close()

    assert [(record.attempt, record.payload) for record in JournalReader(tmp_path).read()] == [
        (1, b"of 1"),
        (2, b"of 2"),
        (10, b"of 10"),
    ]


def test_two_writers_of_one_attempt_have_files_of_their_own(tmp_path):
    writers = [JournalWriter(tmp_path, 1) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.append([b"of %d" % number])
    for writer in writers:
        writer.close()

    assert payloads_of(tmp_path) == [b"of 0", b"of 1"]
    assert names_in(tmp_path) == ["0001-0001.journal", "0001-0002.journal"]


def test_a_record_that_is_too_long_is_refused_and_takes_no_number(tmp_path):
    writer = JournalWriter(tmp_path, 1)
    with pytest.raises(LogValueError, match=str(MAX_PAYLOAD_BYTES)):
        writer.append([b"fits", bytes(MAX_PAYLOAD_BYTES + 1)])
    writer.append([b"next"])
    writer.close()

    assert [(record.sequence, record.payload) for record in JournalReader(tmp_path).read()] == [(1, b"next")]


def again_until_it_works(call, *arguments):
    for _ in range(3):
        with suppress(WriteError):
            return call(*arguments)
    return call(*arguments)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_call_that_fails_costs_no_record_doubles_none_and_leaves_no_gap(tmp_path, error):
    written = [b"%d" % number * 40 for number in range(8)]
    for call in count(1):
        directory = tmp_path / str(call)
        writer = JournalWriter(directory, 1, max_segment_bytes=150)
        with FaultyDisk({call}, error) as disk:
            for payload in written:
                again_until_it_works(writer.append, [payload])
            again_until_it_works(writer.sync)
            with suppress(WriteError):
                writer.close()

        journal = JournalReader(directory)
        records = [found for found in journal.read() if isinstance(found, Record)]
        assert [record.payload for record in records] == written, call
        assert journal.lost == 0
        if disk.failures == 0:
            break
    assert call > 10


def test_what_could_not_be_synced_is_written_again_and_read_once(tmp_path):
    writer = JournalWriter(tmp_path, 1)
    writer.append([b"one"])
    writer.sync()
    with FaultyDisk({1}, errno.EIO, calls={"sync"}):
        writer.append([b"two"])
        writer.sync()
    writer.append([b"three"])
    writer.close()

    assert payloads_of(tmp_path) == [b"one", b"two", b"three"]
    assert names_in(tmp_path) == ["0001-0001.journal", "0001-0002.journal"]
    reader = JournalReader(tmp_path)
    list(reader.read())
    assert reader.lost == 0


def test_a_record_that_is_damaged_where_it_was_not_trusted_is_taken_from_where_it_was_written_again(tmp_path):
    salt = bytes(8)
    frames = [encode_frame(salt, number, b"%d" % number) for number in range(1, 6)]
    damaged = frames[1][:-1] + b"\xff"
    (tmp_path / "0001-0001.journal").write_bytes(encode_head(Head(1, 1, salt)) + frames[0] + damaged + frames[2])
    (tmp_path / "0001-0002.journal").write_bytes(encode_head(Head(1, 2, salt)) + b"".join(frames[1:]))

    journal = JournalReader(tmp_path)
    records = [found for found in journal.read() if isinstance(found, Record)]

    assert sorted(record.payload for record in records) == [b"1", b"2", b"3", b"4", b"5"]
    assert journal.lost == 0


def test_a_journal_that_is_removed_while_it_is_written_goes_on_in_a_new_one(tmp_path):
    directory = tmp_path / "journal"
    writer = JournalWriter(directory, 1)
    writer.append([b"one"])
    writer.sync()
    directory.rename(tmp_path / "elsewhere")
    writer.append([b"two"])
    writer.close()

    assert payloads_of(tmp_path / "elsewhere") == [b"one"]
    journal = JournalReader(directory)
    assert [record.payload for record in journal.read()] == [b"two"]
    assert journal.lost == 1


def test_a_file_of_a_later_version_is_refused(tmp_path):
    import google_crc32c

    head = bytearray(encode_head(Head(1, 1, bytes(8))))
    head[8] += 1
    head[-4:] = google_crc32c.value(bytes(head[:-4])).to_bytes(4, "little")
    path = tmp_path / "0001-0001.journal"
    path.write_bytes(head)

    with FrameReader(path) as reader, pytest.raises(FormatError, match="version 2"):
        list(reader.read())
    (flaw,) = JournalReader(tmp_path).read()
    assert "version 2" in str(flaw)


def test_other_files_in_the_directory_are_no_part_of_the_journal(tmp_path):
    for name in ("0001-0001.journal.torn", "1-1.journal", "notes.txt", "0001-0001-0001.journal"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "0002-0001.journal").mkdir()

    assert journal_files(tmp_path) == []


@given(st.integers(1, 60), st.randoms(use_true_random=False), st.integers(0, 30))
def test_a_numbering_knows_what_is_missing_and_what_came_twice_in_any_order(highest, rng, repeats):
    present = rng.sample(range(1, highest + 1), rng.randint(1, highest))
    numbers = present + [rng.choice(present) for _ in range(repeats)]
    random.Random(rng.random()).shuffle(numbers)
    numbering = Numbering()

    taken = [number for number in numbers if numbering.take(number)]

    assert sorted(taken) == sorted(present), "each once"
    assert numbering.lost == max(present) - len(present)
