from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.core.errors import FormatError
from ml.evaluation import parquet
from ml.evaluation.columns import KINDS, Column
from ml.evaluation.parquet import (
    PartReader,
    cell_of,
    cells_of,
    read_group,
    schema_of,
    to_batch,
    write_group,
    write_parts,
)

COLUMNS = [Column("n", "integer"), Column("s", "string")]
CELLS = [[1, None, 3], ["a", "b", None]]


def part(tmp_path, columns=COLUMNS, batches=None):
    """The bytes of one part."""
    (written,) = write_parts(tmp_path, columns, batches or [to_batch(columns, CELLS)])
    return written.path.read_bytes()


def file_of(table, **options):
    """The bytes of a Parquet file that somebody else wrote."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **{"use_dictionary": False} | options)
    return sink.getvalue().to_pybytes()


def test_a_part_is_read_group_by_group(tmp_path):
    data = part(tmp_path, batches=[to_batch(COLUMNS, CELLS), to_batch(COLUMNS, [[4], ["d"]])])
    reader = PartReader(data, COLUMNS, 4, name="x")

    assert reader.group_rows == [3, 1]
    assert reader.read(1).to_pydict() == {"n": [4], "s": ["d"]}
    assert reader.read(0).to_pydict() == {"n": CELLS[0], "s": CELLS[1]}


def test_the_same_rows_make_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert part(tmp_path / "a") == part(tmp_path / "b")


def test_a_part_ends_with_the_group_that_reaches_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "PART_BYTES", 600)
    parts = write_parts(tmp_path, COLUMNS, [to_batch(COLUMNS, CELLS) for _ in range(10)])

    assert len(parts) > 1
    assert sum(written.rows for written in parts) == 30
    assert all(pq.ParquetFile(written.path).metadata.num_rows == written.rows for written in parts)


def test_no_group_is_no_part(tmp_path):
    assert write_parts(tmp_path, COLUMNS, []) == []


def test_any_reader_of_parquet_reads_a_part(tmp_path):
    assert pq.read_table(pa.BufferReader(part(tmp_path))).to_pydict() == {"n": CELLS[0], "s": CELLS[1]}


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_group_and_a_part_of_missing_values_can_have_every_kind(kind, tmp_path):
    columns = [Column("x", kind)]
    batch = to_batch(columns, [[None, None]])
    write_group(tmp_path / "group", batch)

    assert read_group(tmp_path / "group", columns).equals(batch)
    assert PartReader(part(tmp_path, columns, [batch]), columns, 2, name="x").read(0).equals(batch)


def test_a_group_is_read_as_its_columns_are_by_now(tmp_path):
    before, now = [Column("a", "integer"), Column("b")], [Column("a", "number"), Column("b", "image")]
    write_group(tmp_path / "group", to_batch(before, [[1, None], [None, None]]))

    assert read_group(tmp_path / "group", now).equals(to_batch(now, [[1.0, None], [None, None]]))


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (COLUMNS, 2),
        (COLUMNS, 4),
        (COLUMNS[:1], 3),
        (COLUMNS[::-1], 3),
        ([Column("n", "number"), Column("s", "string")], 3),
        ([Column("n", "integer"), Column("t", "string")], 3),
        ([*COLUMNS, Column("x")], 3),
    ],
)
def test_a_part_that_is_not_what_its_manifest_says_is_refused(tmp_path, columns, rows):
    with pytest.raises(FormatError, match="part has"):
        PartReader(part(tmp_path), columns, rows, name="x")


def test_every_damaged_byte_is_refused_or_harmless(tmp_path):
    data = part(tmp_path)
    for position in range(0, len(data), 3):
        for damaged in (data[:position], data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]):
            with suppress(FormatError):
                assert len(PartReader(damaged, COLUMNS, 3, name="x").read(0)) == 3


def test_groups_larger_than_they_are_written_are_refused_before_they_are_read(monkeypatch):
    rows = parquet.ROWS_PER_GROUP + 1
    numbers = pa.table({"n": pa.array([0] * rows, pa.int64())})
    lists = pa.table({"b": pa.array([{"xyxy": [0.0] * 1000}], schema_of([Column("b", "boxes")]).field(0).type)})
    texts = pa.table({"s": ["a" * 100_000]})
    monkeypatch.setattr(parquet, "_MAX_VALUES", 999)
    monkeypatch.setattr(parquet, "_MAX_GROUP_BYTES", 90_000)

    for table, column in (
        (numbers, Column("n", "integer")),
        (lists, Column("b", "boxes")),
        (texts, Column("s", "string")),
    ):
        with pytest.raises(FormatError, match="larger than"):
            PartReader(file_of(table), [column], table.num_rows, name="x")


@pytest.mark.parametrize("encoding", ["dictionary", "DELTA_BYTE_ARRAY"])
def test_encodings_that_stand_for_a_thousand_times_their_size_are_refused_before_they_are_read(encoding):
    text = pa.array(["x" * 2**16] * 100)
    how = {"use_dictionary": True} if encoding == "dictionary" else {"column_encoding": {"s": encoding}}
    data = file_of(pa.table({"s": text}), compression="zstd", **how)

    assert len(data) < 2**17
    with pytest.raises(FormatError, match="larger than"):
        PartReader(data, [Column("s", "string")], 100, name="x")


def test_a_moment_that_no_calendar_has_is_refused_where_it_is_read():
    columns = [Column("t", "timestamp")]
    (field,) = schema_of(columns)
    moments = pa.array([2**62], pa.int64()).cast(field.type)
    batch = PartReader(file_of(pa.table({"t": moments})), columns, 1, name="x").read(0)

    for read in (lambda: cells_of(batch, 0), lambda: cell_of(batch, 0, 0)):
        with pytest.raises(FormatError, match="column 't'"):
            read()


def test_text_that_is_no_unicode_is_refused():
    damaged = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    reader = PartReader(file_of(pa.table({"s": damaged})), [Column("s", "string")], 1, name="x")

    with pytest.raises(FormatError, match="UTF8"):
        reader.read(0)
