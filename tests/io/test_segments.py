"""Files of a log are found, read and continued as one."""

import os

import pytest

from ml.core.errors import WriteError
from ml.io.durable import DurableFile
from ml.io.segments import Segment, open_log, segments, whole_lines


def test_a_file_counts_as_far_as_the_next_one_says(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"a\nb\nuntrusted\n")
    (tmp_path / "log-2-4.jsonl").write_bytes(b"c\ntorn")
    (tmp_path / "log-3-2.jsonl").write_bytes(b"d\nbeing writ")

    assert segments(path) == [
        Segment(path, 1, 4),
        Segment(tmp_path / "log-2-4.jsonl", 2, 2),
        Segment(tmp_path / "log-3-2.jsonl", 3, None),
    ]
    assert list(whole_lines(path)) == [b"a\n", b"b\n", b"c\n", b"d\n"]


def test_of_a_file_whose_successor_is_missing_everything_counts(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b"a\nb\n")
    (tmp_path / "log-3-2.jsonl").write_bytes(b"d\n")
    assert list(whole_lines(tmp_path / "log.jsonl")) == [b"a\n", b"b\n", b"d\n"]


def test_ten_comes_after_nine(tmp_path):
    for number in range(2, 12):
        (tmp_path / f"log-{number}-0.jsonl").write_bytes(b"%d\n" % number)
    assert [segment.number for segment in segments(tmp_path / "log.jsonl")] == list(range(2, 12))


@pytest.mark.parametrize(
    "name", ["log-2.jsonl", "log-x-4.jsonl", "log-2-4.jsonl.torn-1", "catalog-2-4.jsonl", "log-2-4"]
)
def test_other_files_are_no_part_of_the_log(tmp_path, name):
    (tmp_path / "log.jsonl").write_bytes(b"a\n")
    (tmp_path / name).write_bytes(b"not ours\n")
    assert list(whole_lines(tmp_path / "log.jsonl")) == [b"a\n"]


def test_a_log_that_is_not_there_has_no_lines(tmp_path):
    assert list(whole_lines(tmp_path / "absent" / "log.jsonl")) == []


def test_a_name_with_brackets_finds_its_own_files(tmp_path):
    (tmp_path / "out[1].log").write_bytes(b"a\n")
    (tmp_path / "out[1]-2-2.log").write_bytes(b"b\n")
    (tmp_path / "out1-2-2.log").write_bytes(b"other\n")
    assert list(whole_lines(tmp_path / "out[1].log")) == [b"a\n", b"b\n"]


def test_a_resumed_log_continues_its_last_file_and_sets_its_torn_tail_aside(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"a\nuntrusted\n")
    (tmp_path / "log-2-2.jsonl").write_bytes(b"b\nto")
    file = DurableFile(open_log(path))
    file.append(b"c\n")
    file.close()

    assert list(whole_lines(path)) == [b"a\n", b"b\n", b"c\n"]
    assert (tmp_path / "log-2-2.jsonl.torn-1").read_bytes() == b"to"
    assert path.read_bytes() == b"a\nuntrusted\n"


def test_files_are_private(tmp_path):
    DurableFile(open_log(tmp_path / "log.jsonl")).close()
    assert os.stat(tmp_path / "log.jsonl").st_mode & 0o777 == 0o600


def test_a_log_whose_files_cannot_be_looked_for_raises_what_a_write_raises(tmp_path):
    path = tmp_path / f"{'x' * 300}.jsonl"  # a name that no file system takes

    with pytest.raises(WriteError, match=r"Cannot open .*: File name too long") as caught:
        DurableFile(open_log(path))

    assert isinstance(caught.value.__cause__, OSError)
