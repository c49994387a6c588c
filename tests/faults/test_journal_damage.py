"""Journals that are cut, flipped, zeroed, mixed up, and read while they grow."""

import os
import random
import subprocess
import sys
from bisect import bisect_right
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.io.damage import Damage
from ml.io.frame_reader import FrameReader
from ml.io.frames import FRAME_BYTES, HEAD_BYTES, Frame, Head, encode_frame, encode_head
from ml.io.journal import JournalReader, JournalWriter, Record

PAGE_BYTES = 4096
SALT = bytes(range(8))


class Written:
    """A journal of one file, and where its records end."""

    def __init__(self, directory, size_bytes, record_bytes):
        rng = random.Random(size_bytes)
        self.payloads, self.ends, sizes = [], [HEAD_BYTES], []
        while self.ends[-1] < size_bytes:
            sizes.append(min(rng.randrange(2 * record_bytes), size_bytes - self.ends[-1]))
            self.payloads.append(rng.randbytes(sizes[-1] // 2) + bytes(sizes[-1] - sizes[-1] // 2))
            self.ends.append(self.ends[-1] + FRAME_BYTES + sizes[-1])
        writer = JournalWriter(directory, 1)
        writer.append(self.payloads)
        writer.close()
        (self.path,) = directory.iterdir()
        self.data = self.path.read_bytes()
        assert len(self.data) == self.ends[-1]

    def record_at(self, offset):
        """The number of the record that a byte lies in; -1 for the head."""
        return bisect_right(self.ends, offset) - 1


def read(path):
    """What one look at a file gives: payloads, and damage."""
    with FrameReader(path) as reader:
        found = list(reader.read())
    return [item.payload for item in found if isinstance(item, Frame)], [i for i in found if isinstance(i, Damage)]


def assert_prefixes(journal):
    for size_bytes in range(len(journal.data), -1, -1):
        os.truncate(journal.path, size_bytes)
        payloads, damage = read(journal.path)
        whole = max(0, bisect_right(journal.ends, size_bytes) - 1)
        start = journal.ends[whole] if size_bytes >= HEAD_BYTES else 0
        assert payloads == journal.payloads[:whole], size_bytes
        assert [place[:2] for place in damage] == ([(start, size_bytes - start)] if size_bytes > start else []), (
            size_bytes
        )
        assert all(place.is_tail for place in damage), size_bytes


def assert_flips_cost_one_record(journal):
    descriptor = os.open(journal.path, os.O_RDWR)
    for offset, byte in enumerate(journal.data):
        number = journal.record_at(offset)
        kept = [payload for place, payload in enumerate(journal.payloads) if place != number]
        for bit in range(8):
            os.pwrite(descriptor, bytes([byte ^ 1 << bit]), offset)
            payloads, damage = read(journal.path)
            assert payloads == kept, (offset, bit)
            (place,) = damage
            assert place.offset <= offset < place.offset + place.size_bytes, (offset, bit)
            assert not place.is_tail, (offset, bit)
        os.pwrite(descriptor, bytes([byte]), offset)
    os.close(descriptor)


def test_every_truncation_gives_the_exact_prefix(tmp_path):
    assert_prefixes(Written(tmp_path, 12 * 1024, record_bytes=700))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_truncation_of_a_longer_journal_gives_the_exact_prefix(tmp_path):
    assert_prefixes(Written(tmp_path, 256 * 1024, record_bytes=3000))


def test_every_flipped_bit_costs_its_own_record_alone_and_is_told(tmp_path):
    assert_flips_cost_one_record(Written(tmp_path, 3 * 1024, record_bytes=400))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_flipped_bit_of_a_longer_journal_costs_its_own_record_alone_and_is_told(tmp_path):
    assert_flips_cost_one_record(Written(tmp_path, 64 * 1024, record_bytes=3000))


@pytest.mark.parametrize("seed", range(20))
def test_zeroed_pages_cost_the_records_that_they_touch_and_these_are_counted(tmp_path, seed):
    journal = Written(tmp_path, 256 * 1024, record_bytes=700)
    pages = random.Random(seed).sample(range(64), 6)
    damaged = bytearray(journal.data)
    for page in pages if seed % 2 else [0, 1, *pages]:  # with the head, or without
        damaged[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
    journal.path.write_bytes(damaged)
    kept = [
        number
        for number, (start, end) in enumerate(zip(journal.ends, journal.ends[1:], strict=False))
        if journal.data[start:end] == damaged[start:end]
    ]

    reader = JournalReader(tmp_path)
    found = list(reader.read())

    assert [item.sequence - 1 for item in found if isinstance(item, Record)] == kept
    assert reader.lost == kept[-1] + 1 - len(kept)
    assert len(found) > len(kept)


@given(data=st.data())
def test_whatever_happens_to_a_file_nothing_is_read_that_was_not_written(tmp_path_factory, data):
    payloads = [bytes([number]) * (40 * number % 257) for number in range(12)]
    whole = encode_head(Head(1, 1, SALT)) + b"".join(encode_frame(SALT, n, p) for n, p in enumerate(payloads, 1))
    pieces = data.draw(st.lists(st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole))), max_size=4))
    noise = data.draw(st.lists(st.binary(max_size=64), min_size=len(pieces), max_size=len(pieces)))
    mixed = b"".join(whole[min(piece) : max(piece)] + extra for piece, extra in zip(pieces, noise, strict=True))
    path = tmp_path_factory.mktemp("mixed") / "0001-0001.journal"
    path.write_bytes(mixed)

    found, damage = read(path)

    assert all(payload in payloads for payload in found)
    assert sum(map(len, found)) + FRAME_BYTES * len(found) + sum(place.size_bytes for place in damage) in (
        *(len(mixed), len(mixed) - HEAD_BYTES),  # a whole head is neither
    )


@pytest.mark.parametrize("salt", [SALT, b"\x00other\xf5\xff"], ids=["same salt", "other salt"])
@pytest.mark.parametrize("is_headless", [False, True], ids=["whole", "head lost"])
def test_a_journal_that_was_logged_into_a_journal_is_not_taken_for_a_part_of_it(tmp_path, salt, is_headless):
    inner = encode_head(Head(1, 1, salt)) + b"".join(encode_frame(salt, n, b"inner %d" % n) for n in range(1, 40))
    outer = [encode_frame(SALT, n, inner if n % 2 else b"outer %d" % n) for n in range(1, 80)]
    damaged = bytearray(outer[60])
    damaged[2] ^= 1  # the head of an outer record that holds a journal
    data = bytearray(encode_head(Head(1, 1, SALT)) + b"".join([*outer[:60], damaged, *outer[61:]]))
    lost = {61}
    if is_headless:
        data[:HEAD_BYTES] = bytes(HEAD_BYTES)
    if is_headless and salt != SALT:  # the first records that are whole are those of the inner journal
        data[HEAD_BYTES] ^= 1
        lost.add(1)
    (tmp_path / "0001-0001.journal").write_bytes(data)

    journal = JournalReader(tmp_path)
    records = [found for found in journal.read() if isinstance(found, Record)]

    assert [record.sequence for record in records] == [n for n in range(1, 80) if n not in lost]
    assert not any(record.payload.startswith(b"inner") for record in records)
    assert journal.lost == len(lost)


def test_records_that_are_damaged_one_after_the_other_cost_themselves_alone(tmp_path):
    frames = [encode_frame(SALT, number, b"%d" % number * 50) for number in range(1, 8)]
    for number in (2, 3, 4):
        frames[number] = frames[number][:-1] + bytes([frames[number][-1] ^ 1])
    path = tmp_path / "0001-0001.journal"
    path.write_bytes(encode_head(Head(1, 1, SALT)) + b"".join(frames))

    payloads, damage = read(path)

    assert payloads == [b"%d" % number * 50 for number in (1, 2, 6, 7)]
    assert [place.size_bytes for place in damage] == [3 * len(frames[2])]


def test_a_growing_file_is_never_called_damaged_whichever_byte_was_written_last(tmp_path):
    journal = Written(tmp_path, 4096, record_bytes=300)
    journal.path.write_bytes(b"")
    payloads, tails = [], 0
    with FrameReader(journal.path) as reader, journal.path.open("ab", buffering=0) as file:
        for byte in journal.data:
            file.write(bytes([byte]))
            for found in reader.read():
                if isinstance(found, Frame):
                    payloads.append(found.payload)
                else:
                    assert found.is_tail, found
                    tails += 1
        assert list(reader.read()) == []
    assert payloads == journal.payloads
    assert tails == len(journal.data) - len(journal.payloads) - 1  # -1: the head


def test_a_reader_that_polls_while_another_process_writes_sees_every_record_once(tmp_path):
    journal = Written(tmp_path, 16 * 1024, record_bytes=300)
    whole = tmp_path / "whole"
    whole.write_bytes(journal.data)
    journal.path.write_bytes(b"")
    script = (
        "import os, sys\nto = os.open(sys.argv[1], os.O_WRONLY)\n"
        "for byte in open(sys.argv[2], 'rb').read(): os.write(to, bytes([byte]))"
    )
    found = []
    with FrameReader(journal.path) as reader:
        writer = subprocess.Popen([sys.executable, "-c", script, str(journal.path), str(whole)])
        while writer.poll() is None:
            found += reader.read()
        found += reader.read()

    assert [item.payload for item in found if isinstance(item, Frame)] == journal.payloads
    assert not [item for item in found if isinstance(item, Damage) and not item.is_tail]


def test_zeros_at_the_end_are_not_yet_written_and_count_when_they_are(tmp_path):
    journal = Written(tmp_path, 1024, record_bytes=100)
    for filled in range(len(journal.data)):
        os.truncate(journal.path, 0)
        with journal.path.open("r+b") as file:
            file.write(journal.data[:filled].rstrip(b"\0"))
        os.truncate(journal.path, len(journal.data) + PAGE_BYTES)
        with FrameReader(journal.path) as reader:
            before = list(reader.read())
            assert [item.is_tail for item in before if isinstance(item, Damage)] == [True], filled
            with journal.path.open("r+b") as file:
                file.write(journal.data)
            after = list(reader.read())
        payloads = [item.payload for item in before + after if isinstance(item, Frame)]
        assert payloads == journal.payloads, filled


def test_what_a_failed_append_left_and_took_back_is_not_missed(tmp_path):
    first, half, second = (encode_frame(SALT, n, b"%d" % n * 50) for n in (1, 2, 2))
    path = tmp_path / "0001-0001.journal"
    path.write_bytes(encode_head(Head(1, 1, SALT)) + first + half[:40])
    with FrameReader(path) as reader:
        assert [type(found) for found in reader.read()] == [Frame, Damage]
        os.truncate(path, HEAD_BYTES + len(first))
        with path.open("ab") as file:
            file.write(second)
        (found,) = reader.read()

    assert (found.sequence, found.payload) == (2, b"2" * 50)


def test_a_length_beyond_every_record_is_damage_and_takes_no_memory(tmp_path):
    import struct

    import google_crc32c

    good = encode_frame(SALT, 2, b"good")
    head = good[:12] + struct.pack("<IQ", 2**32 - 1, 1)
    path = tmp_path / "0001-0001.journal"
    path.write_bytes(encode_head(Head(1, 1, SALT)) + head + struct.pack("<I", google_crc32c.value(head)) + good)

    payloads, damage = read(path)

    assert payloads == [b"good"]
    assert [(place.offset, place.size_bytes) for place in damage] == [(HEAD_BYTES, 28)]
    assert "longer than" in damage[0].reason


def test_a_file_that_cannot_be_read_costs_itself_alone(tmp_path):
    for attempt in (1, 2, 3):
        writer = JournalWriter(tmp_path, attempt)
        writer.append([b"attempt %d" % attempt])
        writer.close()
    second = tmp_path / "0002-0001.journal"
    second.write_bytes(Path(second).read_bytes()[:8] + b"\xff" + os.urandom(300))

    found = list(JournalReader(tmp_path).read())

    assert [item.payload for item in found if isinstance(item, Record)] == [b"attempt 1", b"attempt 3"]
    assert [item.path for item in found if not isinstance(item, Record)] == [second]
