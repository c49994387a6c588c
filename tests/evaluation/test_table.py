import math
import os
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from ml.core.errors import ClosedError, ConfigError, LogValueError, WriteError
from ml.evaluation import parquet, row_store, spill
from ml.evaluation.columns import Column
from ml.evaluation.references import Reference, TableRef
from ml.evaluation.table import Table
from ml.evaluation.values import Audio, Boxes, Image, Masks
from tests.evaluation.published import files_of, publish

NOON = datetime(2024, 5, 1, 12, 0, 0, 123456, UTC)
PIXELS = np.arange(20, dtype=np.uint8).reshape(5, 4, 1)


class Colour(StrEnum):
    RED = "red"


class Old(str, Enum):  # noqa: UP042  # whose str() is the name
    RED = "red"


@pytest.fixture
def small_groups(monkeypatch):
    """Three rows make a group, and every group a part."""
    monkeypatch.setattr(row_store, "ROWS_PER_GROUP", 3)
    monkeypatch.setattr(parquet, "PART_BYTES", 1)


def column_of(*values, kind=None):
    """The values of a column that was given these."""
    with Table([Column("x", kind)]) as table:
        for value in values:
            table.add_data(value)
        return table.columns[0].kind, table.get_column("x")


@pytest.mark.parametrize(
    ("value", "kind", "kept"),
    [
        (3, "integer", 3),
        (-(2**63), "integer", -(2**63)),
        (np.int8(3), "integer", 3),
        (np.uint64(2**62), "integer", 2**62),
        (torch.tensor(3), "integer", 3),
        (np.array(3), "integer", 3),
        (0.5, "number", 0.5),
        (math.inf, "number", math.inf),
        (np.float32(0.5), "number", 0.5),
        (torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), "number", 0.5),
        (True, "boolean", True),
        (np.bool_(False), "boolean", False),
        (torch.tensor(True), "boolean", True),
        ("", "string", ""),
        ("a\0\u2028𝄞é\n<script>", "string", "a\0\u2028𝄞é\n<script>"),
        (np.str_("a"), "string", "a"),
        (Colour.RED, "string", "red"),
        (Old.RED, "string", "red"),
        (NOON, "timestamp", NOON),
        (NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), "timestamp", NOON),
        (pd.Timestamp(NOON), "timestamp", NOON),
        (np.datetime64("2024-05-01T12:00:00.123456"), "timestamp", NOON),
        (datetime(1, 1, 1, tzinfo=UTC), "timestamp", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_value_says_itself_of_what_kind_its_column_is(value, kind, kept, tmp_path):
    assert column_of(value) == (kind, [kept])
    assert type(column_of(value)[1][0]) is type(kept)
    with Table(["x"]) as table:
        table.add_data(value)
        stored = publish(table, tmp_path)
        assert stored.get_column("x") == [kept]
        assert type(stored.data[0][0]) is type(kept)
        assert stored.columns == (Column("x", kind),)


@pytest.mark.parametrize("missing", [None, pd.NaT, np.datetime64("NaT")])
def test_none_fits_every_column_and_decides_none(missing):
    assert column_of(missing, missing) == (None, [None, None])
    assert column_of(missing, 3, missing) == ("integer", [None, 3, None])
    assert column_of(math.nan)[0] == "number"


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=">i2").reshape(2, 3)[:, ::-1],
        np.array([True, False]),
        np.zeros((0, 3), np.float16),
        torch.arange(4),
        torch.ones(2, 2, dtype=torch.bfloat16),
        [1, 2, 3],
        (0.5, math.nan),
        [[1, 2], [3, 4]],
        [],
        range(3),
        pd.Series([1.5, 2.5]),
    ],
)
def test_an_array_comes_back_with_its_shape_and_dtype(value, tmp_path):
    wanted = np.asarray(value.float() if getattr(value, "dtype", None) is torch.bfloat16 else value)
    with Table(["x"]) as table:
        table.add_data(value)
        for found in (table.data[0]["x"], publish(table, tmp_path).data[0]["x"]):
            assert (found.dtype.newbyteorder("="), found.shape) == (wanted.dtype.newbyteorder("="), wanted.shape)
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (2**63, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        (np.uint64(2**63), "64 bits"),
        ("\ud800", "surrogate"),
        (datetime(2024, 5, 1), "time zone"),  # noqa: DTZ001
        (NOON.date(), "datetime with a time zone"),
        (pd.Timestamp(1, tz="UTC"), "nanoseconds"),
        (np.datetime64(1, "ns"), "microseconds"),
        (np.datetime64("12024-05-01"), "9999"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "9999"),
        (b"png", r"Image\(\.\.\.\)"),
        ({"a": 1}, "json.dumps"),
        ({1, 2}, "fits no column"),
        (object(), "fits no column"),
        (3j, "fits no column"),
        (np.array([1j]), "real"),
        (np.array(["a"]), "numbers"),
        (np.array([object()]), "numbers"),
        (["a", "b"], "join"),
        ([[1], [1, 2]], "array"),
        (np.longdouble([1]), "astype"),
        (Image(PIXELS, caption="\udc00"), "surrogate"),
    ],
)
def test_a_value_that_no_column_holds_is_refused_with_its_place(value, problem):
    with Table(["a", "b"], name="eval") as table:
        table.add_data(1, None)
        with pytest.raises(LogValueError, match=problem) as caught:
            table.add_data(2, value)

        assert caught.value.path == "eval/b"
        assert "row 1" in caught.value.problem
        assert len(table) == 1
        assert table.columns == (Column("a", "integer"), Column("b"))


@pytest.mark.parametrize(
    ("kind", "value", "cure"),
    [
        ("integer", "3", r"int\(value\)"),
        ("integer", True, r"int\(value\)"),
        ("number", "x", r"float\(value\)"),
        ("number", False, r"float\(value\)"),
        ("string", 3, r"str\(value\)"),
        ("boolean", 1, r"bool\(value\)"),
        ("timestamp", 3.0, "datetime"),
        ("array", 3, "list"),
        ("image", "cat.png", "Image"),
        ("audio", [1.0], "Audio"),
        ("boxes", 1, "Boxes"),
        ("masks", 1, "Masks"),
        ("reference", 3, "get_index"),
        ("reference", "x", "get_index"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_both_kinds_and_the_cure(kind, value, cure):
    with Table([Column("x", kind)], name="eval") as table, pytest.raises(LogValueError, match=cure) as caught:
        table.add_data(value)
    assert caught.value.path == "eval/x"
    assert kind in caught.value.problem or kind == "reference"


@pytest.mark.parametrize("value", [np.ma.array([1, 2], mask=[0, 1]), np.ma.masked], ids=["array", "constant"])
def test_masked_values_are_refused(value):
    table = Table(["a"])
    with pytest.raises(LogValueError, match=r"filled\("):
        table.add_data(value)
    table.close()


def test_arrays_become_what_their_column_was_declared_as():
    declared = [Column("i", "image"), Column("b", "boxes"), Column("m", "masks")]
    with Table(declared) as table:
        table.add_data(PIXELS, [[1, 2, 3, 4]], np.eye(2, dtype=int))
        table.add_data(PilImage.fromarray(PIXELS[..., 0]), np.zeros((0, 4)), None)

        assert table.data[0][:3] == (Image(PIXELS), Boxes([[1, 2, 3, 4]]), Masks(np.eye(2, dtype=int)))
        assert table.data[1][:3] == (Image(PIXELS), Boxes([]), None)


def test_integers_become_numbers_when_a_float_comes_also_in_rows_that_are_on_disk(small_groups, tmp_path):
    with Table(["x"], directory=tmp_path / "t") as table, Table([Column("x", "number")]) as declared:
        for value in (1, None, 2, 3, 4, 5, 0.5, 6):
            assert table.data[:] == table.data[:]  # what was read before does not stay as it was
            table.add_data(value)
            declared.add_data(value)

        assert table.columns == (Column("x", "number"),)
        assert all(type(value) in (float, type(None)) for value in table.get_column("x"))
        assert table.get_column("x") == [1.0, None, 2.0, 3.0, 4.0, 5.0, 0.5, 6.0]
        assert publish(table, tmp_path / "s").get_column("x") == table.get_column("x")
        assert [p.path.read_bytes() for p in table.finish().parts] == [
            p.path.read_bytes() for p in declared.finish().parts
        ]


@pytest.mark.parametrize("values", [(2**53 + 1, 0.5), (0.5, 2**53 + 1)])
def test_an_integer_that_no_float_equals_is_never_rounded(values):
    with Table(["x"]) as table:
        table.add_data(values[0])
        with pytest.raises(LogValueError, match="no float equals"):
            table.add_data(values[1])
        assert table.get_column("x") == [values[0]]


def test_a_row_that_is_refused_changes_nothing_of_the_table():
    with Table(["a", "b", "c"]) as table:
        table.add_data(1, None, "x")
        with pytest.raises(LogValueError):
            table.add_data(0.5, 7, 3)

        assert [column.kind for column in table.columns] == ["integer", None, "string"]
        assert [tuple(row) for row in table.data] == [(1, None, "x")]


def test_a_row_has_one_value_for_each_column():
    with Table(["a", "b"]) as table:
        for values in ((), (1,), (1, 2, 3)):
            with pytest.raises(LogValueError, match="2 values"):
                table.add_data(*values)
        with pytest.raises(LogValueError, match="no column 'lable'"):
            table.add_row({"a": 1, "lable": 2})
        table.add_row({"b": 2})

        assert [row.as_dict() for row in table.data] == [{"a": None, "b": 2}]


def test_rows_are_a_sequence():
    with Table(["a", 7]) as table:
        for number in range(5):
            table.add_data(number, str(number))

        assert (len(table), len(table.data), table.column_names) == (5, 5, ("a", 7))
        assert table.data[1][0] == table.data[1]["a"] == table.data[-4]["a"] == table.data[np.int64(1)][0] == 1
        assert table.data[1][1] == table.data[1][-1] == "1"
        assert [row[0] for row in table.data[1:4:2]] == [1, 3]
        assert [(int(index), row[0]) for index, row in table.iterrows()] == [(n, n) for n in range(5)]
        assert list(table.iter_batches()) == [{"a": [0, 1, 2, 3, 4], 7: ["0", "1", "2", "3", "4"]}]
        for beyond in (5, -6):
            with pytest.raises(IndexError, match="5 rows"):
                table.data[beyond]
        with pytest.raises(KeyError, match="'a', 7"):
            table.data[0]["b"]
        with pytest.raises(ConfigError, match="no column 'b'"):
            table.get_column("b")


CELLS = {
    "integer": st.integers(-(2**63), 2**63 - 1),
    "number": st.floats(),
    "string": st.text(max_size=20),
    "boolean": st.booleans(),
    "timestamp": st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0)),
}


@settings(max_examples=25)
@given(st.data(), st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4), st.integers(0, 10))
def test_whatever_was_added_is_read_back_from_memory_disk_and_store(tmp_path_factory, data, kinds, count):
    rows = [[data.draw(st.none() | CELLS[kind]) for kind in kinds] for _ in range(count)]
    patch = pytest.MonkeyPatch()
    patch.setattr(row_store, "ROWS_PER_GROUP", 3)
    patch.setattr(parquet, "PART_BYTES", 1)
    with patch.context(), Table([Column(n, kind) for n, kind in enumerate(kinds)]) as table:
        for row in rows:
            table.add_data(*row)
        stored = publish(table, tmp_path_factory.mktemp("s"))

        wanted = repr([tuple(row) for row in rows])  # in which NaN equals NaN
        assert repr([tuple(row) for row in table.data]) == wanted
        assert repr([tuple(row) for row in stored.data]) == wanted
        assert repr([tuple(stored.data[n]) for n in range(count)]) == wanted
        assert len(stored.parts) == math.ceil(count / 3)
    patch.undo()


def test_rows_on_disk_and_in_memory_read_as_one_table(small_groups, tmp_path):
    with Table(["n", "image"], directory=tmp_path) as table:
        for number in range(8):
            assert table.add_data(number, Image(PIXELS + number)) == number

        assert len(list(tmp_path.rglob("*.arrow"))) == 2
        assert [row["n"] for row in table.data] == table.get_column("n") == list(range(8))
        assert [table.data[number]["n"] for number in (7, 0, 5, 2)] == [7, 0, 5, 2]
        assert table.data[4]["image"] == Image(PIXELS + 4)
        assert table.to_arrow().column("n").to_pylist() == list(range(8))


def test_a_column_can_be_added(small_groups):
    with Table(["a"]) as table:
        for number in range(7):
            table.add_data(number)
        table.add_column("b", (number / 2 if number else 0 for number in range(7)))

        assert table.columns == (Column("a", "integer"), Column("b", "number"))
        assert [tuple(row) for row in table.data] == [(n, n / 2) for n in range(7)]
        for values in (range(6), range(8), [], ["x"] * 6 + [3]):
            with pytest.raises(LogValueError):
                table.add_column("c", values)
        with pytest.raises(ConfigError, match="Two columns"):
            table.add_column("a", range(7))
        assert table.column_names == ("a", "b")


def test_a_table_can_be_made_column_by_column():
    with Table([]) as table, Table(["a", "b"]) as by_row:
        table.add_column("a", [1, 2, 3])
        table.add_column("b", ["x", None, "z"])
        for row in ((1, "x"), (2, None), (3, "z")):
            by_row.add_data(*row)

        assert [tuple(row) for row in table.data] == [tuple(row) for row in by_row.data]
        assert digests(table) == digests(by_row)
    with Table([]) as table, pytest.raises(LogValueError, match="no column"):
        table.add_data()


def digests(table):
    return [part.path.read_bytes() for part in table.finish().parts]


def test_the_same_rows_make_the_same_bytes_however_they_came(small_groups, tmp_path):
    def add(table, numbers):
        for number in numbers:
            table.add_data(number, Image(PIXELS + number), [number / 3], "x" * number)

    with Table(list("nias")) as once, Table(list("nias")) as often:
        add(once, range(8))
        add(often, range(2))
        often.finish()
        list(often.data)
        add(often, range(2, 5))
        publish(often, tmp_path)
        add(often, range(5, 8))

        assert digests(once) == digests(often)
        assert len(digests(once)) == 3


def test_a_group_ends_with_the_row_that_reaches_its_size(monkeypatch, tmp_path):
    monkeypatch.setattr(row_store, "GROUP_BYTES", 1000)
    with Table(["x"], directory=tmp_path) as table:
        for _ in range(5):
            table.add_data("a" * 600)
        assert len(list(tmp_path.rglob("*.arrow"))) == 2
        assert table.get_column("x") == ["a" * 600] * 5


def test_a_row_beyond_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr("ml.evaluation.table.MAX_ROW_BYTES", 1000)
    monkeypatch.setattr("ml.evaluation.packing.MAX_CELL_BYTES", 900)
    with Table(["a", "b"]) as table:
        for values in (("a" * 901, ""), (np.zeros(113), 0), ("é" * 451, ""), ("a" * 500, "b" * 500)):
            with pytest.raises(LogValueError, match="MiB"):
                table.add_data(*values)
        assert len(table) == 0


def test_media_lie_in_the_store_once_however_often_they_are_shown(tmp_path):
    with Table(["image", "audio"]) as table:
        for number in range(6):
            table.add_data(Image(PIXELS + number % 2, masks=Masks(PIXELS[..., 0])), Audio(np.zeros(10), 8000))
        stored = publish(table, tmp_path)

        assert (len(files_of(tmp_path, "png")), len(files_of(tmp_path, "wav"))) == (3, 1)
        assert len({file.ref for file in table.finish().media}) == 4
    np.testing.assert_array_equal(stored.data[5]["image"].array(), (PIXELS + 1)[..., 0])
    np.testing.assert_array_equal(stored.data[5]["image"].masks.array(), PIXELS[..., 0])


def test_media_beyond_what_is_held_in_memory_are_on_disk_until_they_are_published(monkeypatch, tmp_path):
    monkeypatch.setattr(spill, "HELD_BYTES", 200)
    with Table(["image"], directory=tmp_path / "t") as table:
        for number in range(9):
            table.add_data(Image(PIXELS + number))
            table.add_data(Image(PIXELS + number))

        assert 0 < len(list((tmp_path / "t").rglob("*.png"))) < 9
        assert [image.array()[0, 0] for image in table.get_column("image")] == [n // 2 for n in range(18)]
        publish(table, tmp_path / "s")
    assert len(files_of(tmp_path / "s", "png")) == 9


def test_values_of_a_published_table_are_put_in_another_one_without_their_bytes(tmp_path):
    with Table(["image"]) as truth:
        truth.add_data(Image(PIXELS))
        stored = publish(truth, tmp_path)
    (blob,) = files_of(tmp_path, "png")
    blob.unlink()  # whoever reads it, or writes it again, is found out

    with Table(["image"], name="pred") as table, Table(["image"], name="again") as again:
        table.add_data(stored.data[0]["image"])
        again.add_data(table.data[0]["image"])
        assert publish(table, tmp_path).data[0]["image"] == publish(again, tmp_path).data[0]["image"] == Image(PIXELS)
    assert files_of(tmp_path, "png") == []


def test_values_of_a_published_table_are_copied_to_another_store(tmp_path):
    with Table(["image"]) as truth, Table(["image"]) as more:
        truth.add_data(Image(PIXELS))
        more.add_data(Image(PIXELS + 1))
        stored = publish(truth, tmp_path / "a"), publish(more, tmp_path / "b")
    with Table(["image"]) as table:
        for one in stored:
            table.add_data(one.data[0]["image"])
        table.add_data(Image(PIXELS + 2))
        found = publish(table, tmp_path / "c").get_column("image")

    assert [image.array()[0, 0] for image in found] == [0, 1, 2]


def test_numbers_of_rows_know_their_table_once_it_is_published():
    with Table(["a"], name="data") as table:
        for _ in range(3):
            table.add_data(0)
        index = table.get_index()
        assert list(index) == [0, 1, 2]
        assert [0.5, 1.5, 2.5][index[1]] == 1.5
        assert (index[1].table_ref, index[1].reference, len(index), index[-1]) == (None, None, 3, 2)

        table.published(TableRef("val", 3, "data"))

        assert index[1].reference == Reference("val", 3, "data", 1)
        assert str(index[1].reference) == "val:v3/data#1"


def test_a_column_of_references_names_rows_of_one_published_table():
    with Table(["a"], name="data") as data, Table(["a"], name="other") as other, Table(["row"], name="pred") as table:
        for each in (data, other):
            each.add_data(0)
            each.add_data(1)
        table.add_data(data.get_index()[1])
        with pytest.raises(LogValueError, match="one table"):
            table.add_data(other.get_index()[0])
        with pytest.raises(ConfigError, match="not published"):
            table.finish()
        assert table.data[0]["row"].reference is None

        data.published(TableRef("val", 3, "data"))
        table.add_data(Reference("val", 3, "data", 0))
        with pytest.raises(LogValueError, match="one table"):
            table.add_data(Reference("val", 4, "data", 0))

        assert table.finish().columns == (Column("row", "reference", "val:v3/data"),)
        assert table.get_column("row") == [Reference("val", 3, "data", 1), Reference("val", 3, "data", 0)]


def test_a_declared_column_of_references_takes_numbers_of_rows():
    with Table([Column("row", "reference", "val:v3/data")]) as table:
        table.add_data(7)
        for wrong in (-1, 0.5, "7"):
            with pytest.raises(LogValueError):
                table.add_data(wrong)
        assert table.get_column("row") == [Reference("val", 3, "data", 7)]


def test_numbers_of_rows_are_integers_where_integers_are():
    with Table(["a"]) as data, Table([Column("i", "integer"), Column("n", "number")]) as table:
        data.add_data(0)
        table.add_data(data.get_index()[0], data.get_index()[0])
        assert [type(value) for value in table.data[0]] == [int, float]


def test_a_closed_table_leaves_nothing_behind_and_says_so(small_groups, monkeypatch, tmp_path):
    monkeypatch.setattr(spill, "HELD_BYTES", 0)
    with Table(["image"], directory=tmp_path) as table:
        for _ in range(5):
            table.add_data(Image(PIXELS))
        row = table.data[0]
        table.finish()
        assert list(tmp_path.iterdir()) != []

    table.close()
    assert list(tmp_path.iterdir()) == []
    for use in (
        lambda: table.add_data(1),
        table.finish,
        lambda: table.data[0],
        lambda: table.data[4],
        row["image"].array,
    ):
        with pytest.raises(ClosedError):
            use()


def test_a_table_that_nobody_has_any_more_leaves_nothing_behind(small_groups, tmp_path):
    table = Table(["a"], directory=tmp_path)
    for number in range(5):
        table.add_data(number)
    assert list(tmp_path.iterdir()) != []
    del table
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_does_not_take_the_files_of_its_parent_along(small_groups, tmp_path):
    with Table(["a"], directory=tmp_path) as table:
        for number in range(5):
            table.add_data(number)
        child = os.fork()
        if child == 0:
            table.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert table.get_column("a") == list(range(5))


def test_a_row_that_the_disk_has_no_room_for_can_be_added_again(small_groups, tmp_path):
    (tmp_path / "t").write_text("in the way")
    with Table(["a"], directory=tmp_path / "t") as table:
        for number in range(3):
            table.add_data(number)
        with pytest.raises(WriteError, match="cannot keep"):
            table.add_data(3)
        assert table.get_column("a") == [0, 1, 2]
        (tmp_path / "t").unlink()
        table.add_data(3)
        assert table.get_column("a") == [0, 1, 2, 3]


def test_a_frame_has_the_dtypes_of_the_columns():
    columns = ["i", "i?", "n", "s", "b", "b?", "t", "image", "array"]
    with Table(columns) as table:
        table.add_data(2**60 + 1, 2**60 + 1, 0.5, "a", True, True, NOON, Image(PIXELS), [1, 2])
        table.add_data(3, None, None, None, False, None, None, None, None)
        frame = table.to_pandas()

    assert list(frame.columns) == columns
    assert [str(frame[name].dtype) for name in columns[:7]] == [
        "int64", "Int64", "float64", "str", "bool", "boolean", "datetime64[us, UTC]",
    ]  # fmt: skip
    assert frame["i?"].tolist() == [2**60 + 1, pd.NA]
    assert frame["image"][0] == Image(PIXELS)
    assert frame["array"][0].tolist() == [1, 2]
    assert frame["t"][0] == NOON


@pytest.mark.parametrize("make", [lambda table, tmp_path: table, publish], ids=["growing", "published"])
def test_a_reference_in_a_frame_is_the_number_that_the_frame_of_its_table_has(make, tmp_path):
    with Table(["name"]) as data, Table(["sample", "maybe", "pred"]) as predictions:
        for name in ("roof", "yard"):
            data.add_data(name)
        data.published(TableRef("val", 0, "data"))
        predictions.add_data(Reference("val", 0, "data", 1), data.get_index()[1], 0.5)
        predictions.add_data(data.get_index()[0], None, 0.25)
        frame = make(predictions, tmp_path).to_pandas()
        joined = frame.join(data.to_pandas(), on="sample")

    assert [str(dtype) for dtype in frame.dtypes] == ["int64", "Int64", "float64"]
    assert joined["name"].tolist() == ["yard", "roof"]
    assert frame["maybe"].tolist() == [1, pd.NA]


def test_a_table_without_rows_can_be_read_and_published(tmp_path):
    with Table(["a", Column("b", "image")]) as table:
        stored = publish(table, tmp_path)

        assert (table.finish().parts, len(stored), list(stored.data), stored.get_column("a")) == ((), 0, [], [])
        assert stored.columns == (Column("a"), Column("b", "image"))
        assert stored.to_arrow().num_rows == table.to_arrow().num_rows == 0
        assert list(stored.to_pandas().columns) == ["a", "b"]
