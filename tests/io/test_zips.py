"""Archives that are written: the same bytes for the same content, readable by others, of any size."""

import hashlib
import io
import shutil
import zipfile

import pytest

from ml.core.errors import LogValueError
from ml.io.zip_reader import ZipLimits, ZipReader
from ml.io.zips import ZipWriter


def written(entries):
    file = io.BytesIO()
    writer = ZipWriter(file)
    for name, data in entries.items():
        writer.add(name, data)
    writer.close()
    return file.getvalue()


def test_an_archive_is_the_same_bytes_for_ever():
    data = written({"README.txt": b"hello\n", "a/b.bin": bytes(range(256)), "empty": b""})

    assert hashlib.sha256(data).hexdigest() == "805fd3bb11fffff5a595a0c60a836c00fc0825bc5edb1e7c57c525f51f9463ab"


def test_others_read_what_was_written():
    entries = {"README.txt": b"hello\n", "a/b.bin": bytes(range(256)), "größe": b"1"}
    with zipfile.ZipFile(io.BytesIO(written(entries))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == entries
        assert archive.testzip() is None


def test_an_entry_that_is_written_in_pieces_knows_its_size_and_digest():
    writer = ZipWriter(io.BytesIO())
    with writer.entry("a") as entry:
        entry.write(b"hello ")
        entry.write(memoryview(b"world"))

    assert (entry.size_bytes, entry.tell()) == (11, 11)
    assert entry.sha256 == hashlib.sha256(b"hello world").hexdigest()


@pytest.mark.parametrize("second", ["a", "A"])
def test_a_second_entry_of_a_name_is_refused(second):
    writer = ZipWriter(io.BytesIO())
    writer.add("a", b"")
    with pytest.raises(LogValueError, match="there already"):
        writer.add(second, b"")


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a//b", "a\\b", "c:a", "a\0b", "a/", "x" * 256, "\ud800"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(LogValueError, match="cannot be the name"):
        ZipWriter(io.BytesIO()).add(name, b"")


@pytest.mark.slow  # zipfile takes its time for each entry
def test_more_entries_than_the_old_format_counts_are_written_and_read(tmp_path):
    path = tmp_path / "many.zip"
    path.write_bytes(written({f"{number}": b"" for number in range(65_536)}))

    with ZipReader(path, limits=ZipLimits(entries=65_536)) as archive:
        assert len(archive.entries) == 65_536


@pytest.mark.slow  # 4 GiB go to the disk and come back
def test_an_entry_of_more_than_four_gib_is_written_and_read_whole(tmp_path):
    if shutil.disk_usage(tmp_path).free < 10 * 2**30:
        pytest.skip("needs 10 GiB of disk")
    path, block = tmp_path / "large.zip", bytes(range(256)) * 2**16
    with open(path, "w+b") as file:
        writer = ZipWriter(file)
        with writer.entry("large") as entry:
            for _ in range(257):
                entry.write(block)
        writer.add("after", b"it")
        writer.close()

    with ZipReader(path) as archive:
        assert archive.entries["large"].size_bytes == 257 * len(block) > 2**32
        assert archive.read("after", max_bytes=2) == b"it"
        assert archive.extract("large", tmp_path / "large") == entry.sha256
