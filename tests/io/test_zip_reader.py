"""Archives of strangers: what is read is what was written, and what could do harm is refused before it does."""

import os
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import FormatError, WriteError
from ml.io.zip_reader import ZipLimits, ZipReader
from tests.io.hostile_zips import CORPUS, archive, bomb, raw
from tests.io.test_zips import written


def read_all(path, into=None, **limits):
    with ZipReader(path, limits=ZipLimits(**limits)) as opened:
        return {name: opened.read(name, max_bytes=2**28) for name in opened.entries}


def saved(tmp_path, data):
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    return path


def test_what_was_written_is_read(tmp_path):
    entries = {"README.txt": b"hello\n", "a/b.bin": bytes(range(256)) * 10_000, "empty": b""}

    assert read_all(saved(tmp_path, written(entries))) == entries


def test_what_other_tools_compress_is_read(tmp_path):
    entries = {"a": b"hello" * 1000, "b/c": b""}

    assert read_all(saved(tmp_path, archive(*entries.items()))) == entries


def test_an_entry_is_extracted_with_its_digest_and_never_over_a_file_that_is_there(tmp_path):
    path = saved(tmp_path, written({"a": b"hello"}))
    (tmp_path / "there").symlink_to(tmp_path / "elsewhere")
    with ZipReader(path) as opened:
        digest = opened.extract("a", tmp_path / "out")
        for taken in ("out", "there"):
            with pytest.raises(WriteError):
                opened.extract("a", tmp_path / taken)

    assert digest == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", CORPUS)
def test_what_could_do_harm_or_is_no_archive_of_ours_is_refused_with_a_reason(tmp_path, name):
    path = saved(tmp_path, CORPUS[name])
    before = set(os.listdir(tmp_path))
    with pytest.raises(FormatError) as caught:
        read_all(path)

    assert str(path) in str(caught.value)
    assert set(os.listdir(tmp_path)) == before


def test_an_archive_that_is_none_of_the_hostile_ones_passes_the_way_they_are_made(tmp_path):
    assert read_all(saved(tmp_path, raw([{"name": b"a", "data": b"hello"}, {"name": b"b"}]))) == {
        "a": b"hello",
        "b": b"",
    }


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"entries": 1}, "1 are the most|1 entries"),
        ({"entry_bytes": 99}, "100 bytes, 99"),
        ({"total_bytes": 199}, "200 bytes, 199"),
    ],
    ids=["entries", "entry", "total"],
)
def test_limits_hold(tmp_path, limits, reason):
    path = saved(tmp_path, written({"a": b"x" * 100, "b": b"x" * 100}))
    with pytest.raises(FormatError, match=reason):
        read_all(path, **limits)


def test_a_bomb_takes_no_memory(tmp_path):
    path = saved(tmp_path, bomb(2**26))
    tracemalloc.start()
    with pytest.raises(FormatError, match="would grow"):
        read_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 2**22


def test_no_more_is_read_of_an_entry_than_the_caller_can_hold(tmp_path):
    with ZipReader(saved(tmp_path, written({"a": b"x" * 100}))) as opened:
        with pytest.raises(FormatError, match="99 are the most"):
            opened.read("a", max_bytes=99)
        with pytest.raises(FormatError, match="there is no 'b'"):
            opened.read("b", max_bytes=99)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="no file"):
        ZipReader(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        ZipReader(tmp_path / "nothing")


SEED = written({"README.txt": b"hello\n", "a.bin": bytes(range(256)) * 4}) + b""
PACKED = archive(("a", b"hello" * 500), ("b/c", bytes(range(256))))


@settings(max_examples=400, deadline=None)
@given(
    data=st.sampled_from([SEED, PACKED]),
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 40),
    repeats=st.booleans(),
)
def test_whatever_is_changed_it_is_read_or_refused_and_nothing_else_happens(
    tmp_path_factory, data, changes, cut, repeats
):
    mutated = bytearray(data[: len(data) - cut] if cut < 20 else data)
    for place, value in changes:
        mutated[place % len(mutated)] = value
    if repeats:
        mutated += mutated[: len(mutated) // 2]
    path = tmp_path_factory.getbasetemp() / "mutated.zip"
    path.write_bytes(mutated)
    try:
        content = read_all(path)
    except FormatError:
        return
    assert sum(map(len, content.values())) <= 200 * len(mutated) + 2**20
