import numpy as np
import pyarrow as pa
import pytest

from ml.core.errors import ConfigError, FormatError
from ml.evaluation import parquet, row_store
from ml.evaluation.blobs import BlobRef, Blobs
from ml.evaluation.columns import Column
from ml.evaluation.parquet import schema_of
from ml.evaluation.references import Reference, TableRef
from ml.evaluation.stored import StoredPart, StoredTable
from ml.evaluation.table import Table
from ml.evaluation.values import Image
from ml.io.local_store import LocalStore
from tests.evaluation.published import files_of, publish
from tests.evaluation.test_parquet import file_of

PIXELS = np.arange(20, dtype=np.uint8).reshape(5, 4)


@pytest.fixture
def small_groups(monkeypatch):
    """Three rows make a group, and every group a part."""
    monkeypatch.setattr(row_store, "ROWS_PER_GROUP", 3)
    monkeypatch.setattr(parquet, "PART_BYTES", 1)


class CountingStore(LocalStore):
    """A directory that notes what is read."""

    def __init__(self, directory):
        super().__init__(directory)
        self.read = []

    def get(self, key, *, max_bytes):
        self.read.append(key.rpartition(".")[2])
        return super().get(key, max_bytes=max_bytes)


def counted(stored, directory):
    """The same table over a store that counts."""
    store = CountingStore(directory)
    return store, StoredTable(stored.columns, stored.parts, Blobs(store), table_ref=stored.table_ref)


def test_nothing_is_read_before_it_is_asked_for(small_groups, tmp_path):
    with Table(["n", "image"]) as table:
        for number in range(9):
            table.add_data(number, Image(PIXELS + number))
        store, stored = counted(publish(table, tmp_path), tmp_path)

    assert (len(stored), stored.column_names, store.read) == (9, ("n", "image"), [])
    assert stored.data[4]["n"] == 4
    assert stored.data[4]["image"].size == stored.data[5]["image"].size
    assert store.read == ["parquet"]
    np.testing.assert_array_equal(stored.data[4]["image"].array(), PIXELS + 4)
    assert store.read == ["parquet", "png"]


def test_rows_of_one_group_are_read_once(small_groups, tmp_path, monkeypatch):
    with Table(["n"]) as table:
        for number in range(9):
            table.add_data(number)
        stored = publish(table, tmp_path)
    groups = []
    monkeypatch.setattr(stored, "group_of", lambda row, read=stored.group_of: groups.append(row) or read(row))

    assert [stored.data[row]["n"] for row in (0, 1, 3, 2, 4, 0, 5)] == [0, 1, 3, 2, 4, 0, 5]
    assert groups == [0, 3]


def test_a_reference_is_followed_to_its_row(tmp_path):
    with Table(["label"], name="data") as data, Table(["row", "pred"], name="pred") as table:
        for label in ("cat", "dog"):
            data.add_data(label)
        truth = publish(data, tmp_path, artifact="val")
        for row in reversed(truth.get_index()):
            table.add_data(row, "cat")
        tables = {"val:v0/data": truth}
        predicted = publish(table, tmp_path, artifact="run", resolve=tables.__getitem__)

    assert predicted.data[0]["row"] == Reference("val", 0, "data", 1)
    assert [predicted.row(row["row"])["label"] for row in predicted.data] == ["dog", "cat"]
    assert predicted.row(predicted.get_index()[0]) == predicted.data[0]
    assert predicted.row(truth.get_index()[1])["label"] == "dog"
    assert predicted.table_of("row") is truth
    with pytest.raises(ConfigError, match="references no table"):
        predicted.table_of("pred")
    with pytest.raises(ConfigError, match="cannot be found"):
        truth.row(Reference("other", 0, "x", 0))
    with pytest.raises(IndexError):
        predicted.row(Reference("val", 0, "data", 2))
    with Table(["a"]) as unpublished:
        unpublished.add_data(1)
        with pytest.raises(ConfigError, match="not published"):
            predicted.row(unpublished.get_index()[0])


def test_data_table_ref_is_used_as_in_the_example_of_the_callback(tmp_path):
    """``data_table_ref.data[idx][0]``, ``get_index()``: five epochs, and each picture is stored once."""
    with Table(["idx", "image", "label"], name="val_data") as data_table:
        for idx in range(4):
            data_table.add_data(idx, Image(PIXELS + idx), idx % 2)
        data_table_ref = publish(data_table, tmp_path)
    before = sum(path.stat().st_size for path in files_of(tmp_path, "png"))

    for epoch in range(5):
        with Table(["epoch", "idx", "image", "label", "pred"], name="eval_data") as pred_table:
            preds = np.arange(4) % 3
            for idx in data_table_ref.get_index():
                pred_table.add_data(
                    epoch,
                    data_table_ref.data[idx][0],
                    data_table_ref.data[idx][1],
                    data_table_ref.data[idx][2],
                    preds[idx],
                )
            stored = publish(pred_table, tmp_path, artifact=f"run_{epoch}")

    assert sum(path.stat().st_size for path in files_of(tmp_path, "png")) == before
    assert len(files_of(tmp_path, "png")) == 4
    assert stored.get_column("pred") == [0, 1, 2, 0]
    np.testing.assert_array_equal(stored.data[3]["image"].array(), PIXELS + 3)


def stored_of(cells, kind, directory):
    """A table of one column that somebody else wrote into a store."""
    columns = [Column("x", kind)]
    blobs = Blobs(LocalStore(directory))
    data = file_of(pa.table([pa.array(cells, schema_of(columns).field(0).type)], schema_of(columns)))
    part = StoredPart(blobs.put(data, "parquet"), len(cells))
    return StoredTable(columns, [part], blobs, table_ref=TableRef("x", 0, "x"))


FILE = BlobRef.of(b"", "png")._asdict()
IMAGE = {"file": FILE, "height": 2, "width": 2, "caption": "", "boxes": None, "masks": None}


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("array", {"dtype": "|O", "shape": [1], "data": b"12345678"}),
        ("array", {"dtype": "<f4", "shape": [2**62, 4], "data": b""}),
        ("array", {"dtype": "<f4", "shape": [-1], "data": b"1234"}),
        ("array", {"dtype": "<f4", "shape": [2], "data": b"1234"}),
        ("array", {"dtype": "<f4", "shape": [1] * 33, "data": b"1234"}),
        ("array", {"dtype": None, "shape": None, "data": None}),
        ("image", {**IMAGE, "file": {**FILE, "sha256": "../../../etc/passwd"}}),
        ("image", {**IMAGE, "file": {**FILE, "ext": "/../x"}}),
        ("image", {**IMAGE, "file": {**FILE, "size_bytes": 2**50}}),
        ("image", {**IMAGE, "file": None}),
        ("image", {**IMAGE, "height": -1}),
        ("image", {**IMAGE, "width": None}),
        ("boxes", {"xyxy": [1.0, 2.0, 3.0]}),
        ("boxes", {"xyxy": [1.0, 2.0, 3.0, 4.0], "labels": ["a", "b"]}),
        ("boxes", {"xyxy": [1.0, 2.0, 3.0, 4.0], "scores": [1.0, 2.0]}),
        ("boxes", {"xyxy": None}),
        ("masks", {"file": FILE, "height": 1, "width": 1, "labels": [{"value": -1, "name": "a"}]}),
        ("masks", {"file": FILE, "height": 1, "width": 1, "labels": None}),
        ("audio", {"file": FILE, "sample_rate": -1, "shape": [1]}),
        ("audio", {"file": FILE, "sample_rate": 1, "shape": None}),
        ("reference", -1),
    ],
)
def test_a_hostile_cell_is_refused_before_anything_of_its_size_is_made(kind, cell, tmp_path):
    stored = stored_of([cell], kind, tmp_path)

    with pytest.raises(FormatError):
        stored.data[0]


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"x" * 100])
def test_a_hostile_picture_is_refused_when_it_is_decoded(data, tmp_path):
    ref = Blobs(LocalStore(tmp_path)).put(data, "png")
    image = stored_of([{**IMAGE, "file": ref._asdict()}], "image", tmp_path).data[0][0]

    with pytest.raises(FormatError):
        image.array()


def test_a_part_that_is_missing_or_damaged_is_said_to_be(tmp_path):
    with Table(["n"]) as table:
        table.add_data(1)
        stored = publish(table, tmp_path)
    (part,) = files_of(tmp_path, "parquet")
    part.write_bytes(part.read_bytes()[:-1] + b"x")

    with pytest.raises(FormatError, match="damaged"):
        stored.data[0]
    part.unlink()
    with pytest.raises(FileNotFoundError):
        stored.data[0]
