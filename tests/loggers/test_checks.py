"""The checks of files, beneath ``mlog fsck``: what is whole, and what is damaged, for every place of the damage."""

import json
import os
import random

import pytest

from ml.cli.repair import write_repaired
from ml.core.run import RunContext
from ml.core.state import State
from ml.io.journal import JournalWriter
from ml.loggers.event_check import check_event_file
from ml.loggers.event_files import record, scalar_head, scalars_event
from ml.loggers.journal_check import check_journal
from ml.loggers.json_check import check_log
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.loggers.values import Plain

EVENTS = [
    record(scalars_event(State(num_steps=step, time_s=1.5e9), [scalar_head(f"task/loss_{step}") + b"\0\0\0\x3f"]))
    for step in range(1, 13)
]
LINES = [
    json.dumps({"attempt": 1, "phase": "train", "step": step, "epoch": 0, "samples": 0, "elapsed_s": 0.5}
    | {"time": "2026-01-02T03:04:05.678901Z", "scalars": {"task/loss": 1 / step}}).encode() + b"\n"
    for step in range(1, 13)
]  # fmt: skip


def check_events(path, data, *, is_growing=False):
    path.write_bytes(data)
    return check_event_file(path, set(), is_growing=is_growing)


def check_lines(path, data, *, is_growing=False):
    path.write_bytes(data)
    (check,) = check_log(path, is_growing=is_growing).files
    return check


FORMATS = pytest.mark.parametrize(
    ("check", "records"), [(check_events, EVENTS), (check_lines, LINES)], ids=["events", "json"]
)


@FORMATS
def test_a_file_cut_at_any_byte_has_its_whole_records_and_a_torn_tail(tmp_path, check, records):
    records = records[:6]
    data = b"".join(records)
    ends = [sum(map(len, records[:number])) for number in range(len(records) + 1)]

    for length in range(len(data) + 1):
        found = check(tmp_path / "file", data[:length])

        whole = sum(end <= length for end in ends) - 1
        assert (found.records, found.torn_bytes, found.damaged_ranges) == (whole, length - ends[whole], 0)
        assert b"".join(found.whole_pieces()) == data[: ends[whole]]


@FORMATS
def test_a_growing_tail_is_no_damage(tmp_path, check, records):
    data = b"".join(records)

    for tail in (records[0][:-7], records[0][:3], b"\0" * 5000):
        assert check(tmp_path / "file", data + tail, is_growing=True).is_whole
        assert check(tmp_path / "file", data + tail).torn_bytes == len(tail)


@FORMATS
def test_zeros_in_the_middle_are_damage_and_everything_else_is_kept(tmp_path, check, records):
    data = b"".join(records)
    start = len(b"".join(records[:4])) + 7
    damaged = data[:start] + bytes(len(records[4])) + data[start + len(records[4]) :]

    found = check(tmp_path / "file", damaged)

    kept = b"".join(records[:4] + records[6:])
    assert (found.records, found.damaged_ranges, found.torn_bytes) == (10, 1, 0)
    assert found.damaged_bytes == len(records[4] + records[5])
    assert b"".join(found.whole_pieces()) == kept


def test_a_flipped_bit_costs_an_event_file_one_record_which_is_reported(tmp_path):
    events = EVENTS[:5]
    data = b"".join(events)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8

        found = check_events(tmp_path / "file", bytes(flipped))

        assert found.records == len(events) - 1, bit
        assert found.damaged_ranges == 1 or found.torn_bytes, bit
        damaged = sum(damage.size_bytes for damage in found.damages) + found.torn_bytes
        assert damaged == len(data) - sum(map(len, found.whole_pieces()))
        if found.damages:
            assert found.damages[0].offset <= bit // 8 < found.damages[0].offset + found.damages[0].size_bytes


def test_bytes_that_are_missing_from_a_record_cost_it_alone(tmp_path):
    cut = EVENTS[4][:20] + EVENTS[4][30:]

    for following in ([], EVENTS[5:]):
        found = check_events(tmp_path / "file", b"".join([*EVENTS[:4], cut, *following]))

        assert found.records == 4 + len(following)
        assert b"".join(found.whole_pieces()) == b"".join([*EVENTS[:4], *following])


@FORMATS
def test_random_bytes_are_damage_and_never_an_error(tmp_path, check, records):
    randomness = random.Random(1)
    for _ in range(200):
        data = bytearray(b"".join(records))
        place, size = randomness.randrange(len(data)), randomness.randrange(1, 300)
        data[place : place + randomness.randrange(200)] = randomness.randbytes(size)

        found = check(tmp_path / "file", bytes(data))

        kept = b"".join(found.whole_pieces())
        assert found.damaged_bytes + found.torn_bytes + len(kept) == len(data) == found.size_bytes
        again = check(tmp_path / "file", kept)
        assert again.is_whole
        assert again.records == found.records - found.duplicates


@FORMATS
def test_a_record_that_is_there_twice_is_counted_and_copied_once(tmp_path, check, records):
    found = check(tmp_path / "file", b"".join([*records, *records[3:5]]))

    assert (found.records, found.duplicates) == (14, 2)
    assert b"".join(found.whole_pieces()) == b"".join(records)


def test_a_crafted_file_of_candidates_takes_no_longer_than_its_length(tmp_path):
    assert check_events(tmp_path / "file", b"\1\0\0\0\0\0\0\0" * 2**14).damaged_ranges == 1
    assert check_events(tmp_path / "file", b"\0" * 2**20).torn_bytes == 2**20


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"{}\n", b"[" * 100_000 + b"\n", b"\xff\n", LINES[0].replace(b"0.5", b"NaN").replace(b"1.0", b"NaN"),
        LINES[0].replace(b'"train"', b'"training"'), b'{"images": {"a": 1}, ' + LINES[0][1:],
        b'{"images": {"a": {"path": "../../x", "sha256": "' + b"0" * 64 + b'"}}, ' + LINES[0][1:],
    ],
)  # fmt: skip
def test_a_line_that_is_none_of_a_log_is_damage(tmp_path, line):
    found = check_lines(tmp_path / "log.jsonl", LINES[1] + line + LINES[2])

    assert (found.records, found.damaged_bytes) == (2, len(line))


def test_a_line_that_is_too_long_to_be_parsed_is_not_said_to_be_damaged(tmp_path):
    long = b'{"attempt": 1, "strings": {"a": "' + b"b" * 17 * 2**20 + b'"}}\n'
    data = LINES[0] + long + LINES[1]

    found = check_lines(tmp_path / "log.jsonl", data)

    assert (found.records, found.is_whole) == (3, True)
    assert b"".join(found.whole_pieces()) == data
    assert check_lines(tmp_path / "log.jsonl", LINES[0] + long[:-1]).torn_bytes == len(long) - 1


def test_of_a_log_that_goes_on_elsewhere_only_what_was_synced_counts(tmp_path):
    synced = len(b"".join(LINES[:3]))
    (tmp_path / "log.jsonl").write_bytes(b"".join(LINES[:5]) + LINES[5][:9])
    (tmp_path / f"log-2-{synced}.jsonl").write_bytes(b"".join(LINES[3:]))

    first, second = check_log(tmp_path / "log.jsonl", is_growing=False).files

    assert (first.records, first.is_whole, second.records, second.is_whole) == (3, True, 9, True)
    assert b"".join([*first.whole_pieces(), *second.whole_pieces()]) == b"".join(LINES)


def test_damage_beside_damage_is_one_and_apart_is_two(tmp_path):
    torn = LINES[3][:9] + b"\n"
    start = len(LINES[0] + LINES[1])

    found = check_lines(tmp_path / "log.jsonl", b"".join([*LINES[:2], torn, torn, LINES[4], torn]))

    places = [(damage.offset, damage.size_bytes) for damage in found.damages]
    assert places == [(start, 20), (start + 20 + len(LINES[4]), 10)]
    assert (found.damaged_ranges, found.damaged_bytes) == (2, 30)


def test_a_repair_that_cannot_be_finished_leaves_nothing_behind(tmp_path):
    found = check_lines(tmp_path / "log.jsonl", LINES[0] + b"{}\n" + LINES[1])
    (tmp_path / "log.jsonl").unlink()

    with pytest.raises(FileNotFoundError):
        write_repaired([found])
    assert os.listdir(tmp_path) == []


def test_a_log_that_lost_what_was_synced_is_damaged(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(LINES[0])
    (tmp_path / f"log-2-{len(LINES[0] + LINES[1])}.jsonl").write_bytes(LINES[2])

    first, _ = check_log(tmp_path / "log.jsonl", is_growing=False).files

    assert (first.records, first.damaged_bytes) == (1, len(LINES[1]))


def test_a_journal_tells_what_is_missing_and_a_damaged_head_is_made_anew(tmp_path):
    writer = JournalWriter(tmp_path, 1)
    for number in range(9):
        writer.append([b"%d" % number * 100])
    writer.close()
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    data[700] ^= 1
    path.write_bytes(data)

    journal = check_journal(tmp_path, is_growing=False)

    (found,) = journal.files
    assert (found.records, found.damaged_ranges, journal.lost) == (8, 2, {1: 1})
    path.write_bytes(b"".join(found.whole_pieces()))
    journal = check_journal(tmp_path, is_growing=False)
    assert (journal.files[0].records, journal.files[0].is_whole, journal.lost) == (8, True, {1: 1})


def test_every_event_that_the_backend_writes_is_whole(tmp_path):
    logger = TensorBoardLogger(TensorBoardLoggerConfig("tensorboard"))
    logger.initialize(RunContext(tmp_path))
    for step in range(1, 4):
        logger.log_scalar("loss", Plain(0.5), State(num_steps=step), "task")
        logger.log_string("note", Plain("a" * 5000), State(num_steps=step), "task")
    logger.write(State(num_steps=3))
    logger.close()
    (path,) = (tmp_path / "tensorboard/train").iterdir()

    found = check_event_file(path, set(), is_growing=False)

    assert (found.records, found.is_whole, found.duplicates) == (2 + 6, True, 0)
