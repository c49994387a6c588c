"""What is opened for reading is a file."""

import os
from pathlib import Path

import pytest

from ml.core.errors import FormatError
from ml.io.regular import open_regular


def test_a_file_is_opened(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"content")

    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"


def test_what_would_block_or_is_no_file_is_refused_and_leaves_no_descriptor_open(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    before = len(os.listdir("/dev/fd"))

    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(FormatError, match="no regular file"):
            open_regular(path)

    assert len(os.listdir("/dev/fd")) == before


def test_one_that_is_not_there_is_an_error_of_the_system(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
