import shutil

import pytest

from ml.core.errors import WriteError
from ml.evaluation import spill
from ml.evaluation.blobs import BlobRef, MediaFile
from ml.evaluation.spill import Spill


@pytest.mark.parametrize("held_bytes", [0, 3, 2**20], ids=["on disk", "one in memory", "in memory"])
def test_a_file_is_known_wherever_it_lies(held_bytes, monkeypatch, tmp_path):
    monkeypatch.setattr(spill, "HELD_BYTES", held_bytes)
    kept = Spill(tmp_path)
    files = [b"one", b"two"]

    for data in files:
        kept.keep(MediaFile.held(data, "png"))

    assert [kept.has(BlobRef.of(data, "png")) for data in (*files, b"three")] == [True, True, False]
    assert [kept.get(BlobRef.of(data, "png")) for data in files] == files
    kept.close()


def test_a_file_that_was_removed_meanwhile_and_a_directory_that_cannot_be_made_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(spill, "HELD_BYTES", 0)
    kept = Spill(tmp_path)
    kept.keep(MediaFile.held(b"one", "png"))
    (directory,) = tmp_path.iterdir()
    shutil.rmtree(directory)
    directory.write_bytes(b"")  # where directories would have to be

    with pytest.raises(WriteError, match="cannot be read"):
        kept.get(BlobRef.of(b"one", "png"))
    with pytest.raises(WriteError):
        kept.keep(MediaFile.held(b"two", "png"))

    directory.unlink()
    with pytest.raises(WriteError, match="was removed"):
        kept.get(BlobRef.of(b"one", "png"))
    kept.close()
