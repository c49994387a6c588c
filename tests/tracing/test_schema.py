"""The tables: made once by whoever comes first, added to, renamed, and never dropped."""

import os

import pytest
import sqlalchemy as sa

from ml.core.errors import ConfigError
from ml.db import connect, migrate
from ml.tracing.databases import rank_database, with_ranks
from ml.tracing.fields import FieldSpec
from ml.tracing.reading import open_traces
from ml.tracing.schema import SCHEMA, make_tables
from ml.tracing.selection import Selection
from ml.tracing.writing import TraceWriter
from tests.tracing.made_up import IDENTITY, detected, truth

ALL = Selection("fcos", "v1", n_epoch="all")


def write(where, *inferences, identity=IDENTITY, **options):
    writer = TraceWriter(where, identity, **options)
    writer.submit(inferences)
    writer.close()
    assert writer.stats().written == len(inferences)


def kept(where):
    with open_traces(where) as traces:
        return list(traces.read(ALL))


def rows(where, query):
    engine = connect(where)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(sa.text(query))]
    engine.dispose()
    return found


def test_the_tables_can_be_read_by_hand(where):
    write(where, detected(fields={"camera": "north"}, truth=truth(1)), fields=[FieldSpec("camera", "str")], run="job")

    query = (
        "SELECT input_id, camera, label, uuid FROM detections JOIN inferences ON inferences.id = inference_id"
        " JOIN runs ON runs.id = run_id JOIN versions ON versions.id = version_id WHERE model_name = 'fcos'"
    )
    assert [(row[0], row[1], row[3]) for row in rows(where, query)] == [("a", "north", "job")] * 3
    assert rows(where, "SELECT name, architecture, n_class FROM models") == [("fcos", "a" * 64, 10)]
    assert rows(where, "SELECT num_candidates, num_kept, num_visible FROM inferences") == [(1000, 5, 3)]


def test_fields_are_added_to_a_database_that_is_there_and_nothing_is_lost(where):
    write(where, detected("old", fields={"a": 1}), fields=[FieldSpec("a", "int")])
    new = [FieldSpec("b", "float"), FieldSpec("c", "json")]
    write(where, detected("new", fields={"b": 0.5, "c": [1]}), fields=new, label_fields=[FieldSpec("d", "str")])
    write(where, detected("again"))

    assert {t.inference.input_id: t.inference.fields for t in kept(where)} == {
        "old": {"a": 1},
        "new": {"b": 0.5, "c": [1]},
        "again": {},
    }


def test_a_database_of_an_older_version_is_read_and_added_to(where):
    write(where, detected("old"))
    rows_before = kept(where)
    engine = connect(where)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE inferences DROP COLUMN latency_s"))
    engine.dispose()

    assert [traced.inference.input_id for traced in kept(where)] == ["old"]
    write(where, detected("new"))
    assert [traced.id for traced in kept(where) if traced.inference.input_id == "old"] == [rows_before[0].id]
    assert [traced.inference.latency_s for traced in kept(where) if traced.inference.input_id == "new"] == [0.25]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"fields": [FieldSpec("a", "str")]}, "has type 'str', and .* keeps 'a' of 'inferences' with type 'int'"),
        ({"fields": [FieldSpec("A", "int")]}, "keeps 'a' of 'inferences'"),
        ({"fields": [FieldSpec("Input_ID", "int")]}, "cannot be called 'Input_ID'"),
        ({"label_fields": [FieldSpec("label", "int")]}, "cannot be called 'label'"),
        ({"identity": IDENTITY._replace(architecture="b" * 64)}, "architecture a{64}, and this one has b{64}"),
        ({"identity": IDENTITY._replace(task="classification")}, "task detection, and this one has classification"),
        ({"identity": IDENTITY._replace(version_name="")}, "version_name has 1 to 255 characters"),
        ({"run": "a/b"}, "run names a run with"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(where, options, problem):
    write(where, detected(fields={"a": 1}), fields=[FieldSpec("a", "int")])

    with pytest.raises(ConfigError, match=problem):
        TraceWriter(where, **({"identity": IDENTITY} | options))
    assert len(kept(where)) == 1


def test_a_newer_database_and_one_of_somebody_else_are_refused(where):
    engine = connect(where)
    other = sa.MetaData()
    sa.Table("runs", other, sa.Column("name", sa.Integer, primary_key=True))
    migrate(engine, other, name="other", version=1)
    with pytest.raises(ConfigError, match="Name another database"):
        TraceWriter(where, IDENTITY)
    with pytest.raises(ConfigError, match="is no database for traces"):
        open_traces(where)

    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE runs"))
    migrate(engine, make_tables().metadata, name=SCHEMA, version=99)
    engine.dispose()
    for use in (lambda: TraceWriter(where, IDENTITY), lambda: open_traces(where)):
        with pytest.raises(ConfigError, match="99"):
            use()


def test_of_processes_that_begin_at_once_each_finds_its_tables_and_columns(where):
    start, go = os.pipe()
    children = [begun_in_a_child(where, number, start, go) for number in range(6)]
    os.close(start)
    os.close(go)

    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert {traced.inference.input_id: traced.inference.fields for traced in kept(where)} == {
        str(number): {f"own_{number}": str(number)} for number in range(6)
    }


def begun_in_a_child(where, number, start, go):
    """Returns the id of a process that writes as soon as nobody holds the pipe ``go`` any more."""
    if child := os.fork():
        return child
    try:
        os.close(go)
        os.read(start, 1)
        fields = [FieldSpec("same", "int"), FieldSpec(f"own_{number}", "str")]
        write(where, detected(str(number), fields={f"own_{number}": str(number)}), fields=fields)
        os._exit(0)
    finally:
        os._exit(1)


def test_old_tables_are_renamed_and_never_dropped(where):
    write(where, detected("first", fields={"a": 1}), fields=[FieldSpec("a", "int")])
    write(where, detected("second", fields={"a": "x"}), fields=[FieldSpec("a", "str")], recreate=True)
    write(where, detected("third"), identity=IDENTITY._replace(architecture="c" * 64), recreate=True)

    assert [traced.inference.input_id for traced in kept(where)] == ["third"]
    assert rows(where, "SELECT input_id, a FROM inferences_old_1") == [("first", 1)]
    assert rows(where, "SELECT input_id, a FROM inferences_old_2") == [("second", "x")]
    assert rows(where, "SELECT count(*) FROM detections_old_1") == [(3,)]
    joined = "SELECT uuid FROM runs_old_1 JOIN versions_old_1 ON version_id = versions_old_1.id"
    assert len(rows(where, joined)) == 1
    write(where, detected("fourth"), identity=IDENTITY._replace(architecture="c" * 64))


def test_the_ranks_of_a_run_rename_once_and_a_restarted_process_does_not_again(where):
    write(where, detected("before"))
    ranks = [TraceWriter(where, IDENTITY, recreate=True, rank=rank, world_size=2, run="job") for rank in range(2)]
    for rank, writer in enumerate(ranks):
        writer.submit([detected(f"rank {rank}")])
        writer.close()
    write(where, detected("later"), recreate=True, run="job")

    assert {traced.inference.input_id for traced in kept(where)} == {"rank 0", "rank 1", "later"}
    tables = sa.inspect(connect(where)).get_table_names()
    assert "inferences_old_1" in tables
    assert "inferences_old_2" not in tables


def test_tables_that_another_process_renames_meanwhile_are_left_to_it(where):
    writer = TraceWriter(where, IDENTITY, fields=[FieldSpec("a", "int")])
    writer.submit([detected("before", fields={"a": 1})])
    assert writer.flush()
    write(where, detected("other"), recreate=True)
    writer.submit([detected("after", fields={"a": 2})])
    writer.close()

    assert {t.inference.input_id: t.inference.fields for t in kept(where)} == {"other": {}, "after": {"a": 2}}
    assert rows(where, "SELECT input_id FROM inferences_old_1") == [("before",)]


def test_each_rank_has_a_file_of_its_own_and_they_are_read_together(tmp_path):
    where = tmp_path / "traces.v1.db"
    for rank in range(2):
        both = [detected("both", step=rank), detected(f"rank {rank}", step=rank)]
        write(where, *both, rank=rank, world_size=2, run="job")

    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["traces.v1.db", "traces.v1.rank1.db"]
    found = [(t.inference.step, t.inference.input_id, t.rank, t.run) for t in kept(where)]
    assert found == [(0, "both", 0, "job"), (0, "rank 0", 0, "job"), (1, "rank 1", 1, "job")]
    assert rank_database("postgresql+psycopg://h/x", 3) == "postgresql+psycopg://h/x"
    assert with_ranks([where, tmp_path / "traces.v1.rank1.db"]) == [where, tmp_path / "traces.v1.rank1.db"]


def test_files_of_ranks_that_there_are_not_any_more_are_recreated_too(tmp_path):
    where = tmp_path / "traces.db"
    for rank in range(3):
        write(where, detected(f"rank {rank}"), rank=rank, world_size=3, run="old")
    write(where, detected("new"), recreate=True, world_size=2, run="new")

    assert [traced.inference.input_id for traced in kept(where)] == ["new", "rank 1"]
    write(where, detected("new 1"), recreate=True, rank=1, world_size=2, run="new")
    assert [traced.inference.input_id for traced in kept(where)] == ["new", "new 1"]
    assert rows(tmp_path / "traces.rank2.db", "SELECT input_id FROM inferences_old_1") == [("rank 2",)]


def test_a_file_that_another_rank_is_just_making_is_not_read_yet(tmp_path):
    where = tmp_path / "traces.db"
    write(where, detected())
    (tmp_path / "traces.rank1.db").touch()

    assert len(kept(where)) == 1
    with pytest.raises(ConfigError, match="is no database for traces"):
        open_traces(tmp_path / "traces.rank1.db")
