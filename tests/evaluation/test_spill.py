import pytest

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
