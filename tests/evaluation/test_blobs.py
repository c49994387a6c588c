import hashlib

import pytest

from ml.core.errors import FormatError, LogValueError, WriteError
from ml.evaluation import blobs as blobs_module
from ml.evaluation.blobs import BlobRef, Blobs, MediaFile
from ml.io.local_store import LocalStore


class CountingStore(LocalStore):
    """A directory that counts what is asked of it."""

    def __init__(self, directory):
        super().__init__(directory)
        self.created, self.read = [], []

    def create(self, key, data):
        self.created.append(key)
        return super().create(key, data)

    def get(self, key, *, max_bytes):
        self.read.append(key)
        return super().get(key, max_bytes=max_bytes)


@pytest.fixture
def store(tmp_path):
    return CountingStore(tmp_path)


def test_a_blob_comes_back_and_lies_under_the_hash_of_what_it_holds(store, tmp_path):
    ref = Blobs(store).put(b"pixels", "png")

    assert ref == BlobRef(hashlib.sha256(b"pixels").hexdigest(), "png", 6)
    assert (tmp_path / "blobs" / ref.sha256[:2] / f"{ref.sha256}.png").read_bytes() == b"pixels"
    assert Blobs(store).get(ref) == b"pixels"
    assert BlobRef.from_key(ref.key, 6) == ref


def test_equal_content_is_uploaded_once(store):
    blobs = Blobs(store)

    assert blobs.put(b"a", "png") == blobs.put(b"a", "png")
    assert len(store.created) == 1


def test_what_is_known_to_be_there_is_remembered_within_bounds(store, monkeypatch):
    monkeypatch.setattr(blobs_module, "_KNOWN", 2)
    blobs = Blobs(store)
    for data in (b"a", b"b", b"c", b"c", b"a"):
        blobs.put(data, "png")

    assert len(store.created) == 4  # the first was forgotten


def test_a_file_that_was_read_from_the_same_store_is_neither_read_nor_written(store, tmp_path):
    ref = Blobs(store).put(b"a", "png")
    file = MediaFile(ref, Blobs(LocalStore(tmp_path)))
    store.created.clear()

    assert Blobs(store).keep(file) == ref
    assert (store.created, store.read) == ([], [])


def test_a_file_of_another_store_is_copied(store, tmp_path):
    other = Blobs(LocalStore(tmp_path / "other"))
    file = MediaFile(other.put(b"a", "png"), other)

    Blobs(store).keep(file)

    assert Blobs(store).get(file.ref) == b"a"


def test_a_blob_that_is_not_there_is_missing(store):
    with pytest.raises(FileNotFoundError):
        Blobs(store).get(BlobRef.of(b"a", "png"))


@pytest.mark.parametrize("damaged", [b"", b"pixel", b"pixelt", b"pixels and more"])
def test_a_damaged_blob_is_never_returned_nor_taken_for_kept(store, tmp_path, damaged):
    ref = Blobs(store).put(b"pixels", "png")
    (tmp_path / ref.key).write_bytes(damaged)

    with pytest.raises(FormatError):
        Blobs(store).verify(ref)
    with pytest.raises(WriteError, match="damaged"):
        Blobs(store).put(b"pixels", "png")


@pytest.mark.parametrize(
    "fields",
    [
        ("../" * 10 + "a" * 34, "png", 1),
        ("A" * 64, "png", 1),
        ("a" * 63, "png", 1),
        ("a" * 64, "png/../x", 1),
        ("a" * 64, "", 1),
        ("a" * 64, "png", -1),
        ("a" * 64, "png", True),
        ("a" * 64, "png", 2**40),
        (None, None, None),
    ],
)
def test_a_reference_that_leads_elsewhere_is_refused(store, fields):
    with pytest.raises(FormatError):
        BlobRef.read(*fields)
    with pytest.raises(FormatError):
        Blobs(store).get(BlobRef(*fields))


@pytest.mark.parametrize("key", ["blobs/aa/b.png", "aliases/x", f"blobs/bb/{'a' * 64}.png", f"blobs/aa/{'a' * 64}"])
def test_a_key_of_something_else_is_no_blob(key):
    with pytest.raises(FormatError):
        BlobRef.from_key(key, 1)


def test_a_file_beyond_the_limit_is_refused(store, monkeypatch, tmp_path):
    monkeypatch.setattr(blobs_module, "MAX_BLOB_BYTES", 4)
    (tmp_path / "large").write_bytes(b"12345")

    for keep in (lambda: Blobs(store).put(b"12345", "png"), lambda: Blobs(store).put_file(tmp_path / "large", "png")):
        with pytest.raises(LogValueError, match="more than"):
            keep()
    assert store.created == []
