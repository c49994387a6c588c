"""Bytes of a file are the same wherever the pieces meet in which it is read."""

import pytest

from ml.io.window import Window

BLOCK_BYTES = 2**20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.mark.parametrize("place", [0, 1, BLOCK_BYTES - 3, BLOCK_BYTES, 2 * BLOCK_BYTES - 1, 3 * BLOCK_BYTES - 4])
def test_a_pattern_is_found_across_the_ends_of_pieces(path, place):
    content = bytearray(3 * BLOCK_BYTES)
    content[place : place + 4] = b"mark"
    path.write_bytes(content)
    with path.open("rb") as file:
        window = Window(file)

        assert window.find(b"mark", 0) == place
        assert window.find(b"mark", place + 1) is None
        assert window.at(place, 4) == b"mark"
        assert window.end_of_data(0) == place + 4
        assert window.end_of_data(place + 4) == place + 4


def test_more_than_a_piece_is_read_at_once_and_less_at_the_end(path):
    path.write_bytes(bytes(BLOCK_BYTES) + b"x" * BLOCK_BYTES + b"end")
    with path.open("rb") as file:
        window = Window(file)

        assert window.at(BLOCK_BYTES, 2 * BLOCK_BYTES) == b"x" * BLOCK_BYTES + b"end"
        assert window.at(2 * BLOCK_BYTES, 100) == b"end"
        assert window.at(3 * BLOCK_BYTES, 100) == b""


def test_what_is_appended_meanwhile_is_seen_at_the_next_look(path):
    path.write_bytes(b"before")
    with path.open("rb") as file, path.open("ab", buffering=0) as writer:
        window = Window(file)
        writer.write(b" and after")

        assert (window.at(0, 100), window.end) == (b"before", 6)
        window.look_anew()
        assert (window.at(0, 100), window.end) == (b"before and after", 16)
