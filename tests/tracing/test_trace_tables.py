"""Traces as frames and as batches of Arrow's: in one order, with one set of columns, a bounded number at a time."""

import tracemalloc
from datetime import UTC, datetime
from itertools import islice

import numpy as np
import pyarrow as pa
import pytest

from ml.core.errors import ConfigError, FormatError, LogValueError
from ml.tracing.archive import TABLES
from ml.tracing.fields import FieldSpec
from ml.tracing.reading import open_traces
from ml.tracing.results import Result
from ml.tracing.selection import Selection
from ml.tracing.writing import TraceWriter
from tests.tracing.made_up import IDENTITY, classified, detected, output, same, truth

ALL = Selection("fcos", "v1", n_epoch="all")
FIELDS = [FieldSpec("zone", "int"), FieldSpec("camera", "str"), FieldSpec("gain", "float"), FieldSpec("night", "bool")]


def write(where, *inferences, run="job", **options):
    writer = TraceWriter(where, IDENTITY, run=run, wall_clock=lambda: 1e9, **options)
    for inference in inferences:
        writer.submit([inference])
    writer.close()


def tables(where, selection=ALL, ids=None):
    with open_traces(where) as traces:
        found = {name: list(traces.table_batches(name, selection, ids=ids)) for name in TABLES}
    return {name: pa.Table.from_batches(batches) for name, batches in found.items() if batches}


def many(count=150):
    return [
        detected(
            f"{number % 50}",
            dataset_type=("val", "train", "ä")[number // 50],
            step=number // 7,
            candidates=output(4, seed=number),
            features={"b": np.full(3, number, np.float16), "a": np.full((), number, np.float32)},
            fields={"zone": number, "camera": "n"} if number % 2 else {"gain": 0.5},
            truth=truth(number % 3),
            picture=b"png",
        )
        for number in range(count)
    ]


def test_the_same_inferences_are_the_same_tables_however_they_came_and_wherever_they_lie(where, tmp_path):
    inferences = many()
    write(where, *inferences, fields=FIELDS)
    other = tmp_path / "other.db"
    write(other, *reversed(inferences), fields=FIELDS[::-1], run="unrelated")  # so that the numbers of rows differ
    write(other, *inferences[::-1], inferences[3], fields=FIELDS[::-1])

    one, two = tables(where), tables(other, ALL._replace(run="job"))
    assert one.keys() == two.keys() == set(TABLES) - {"classifications", "results"}
    for name in one:
        left_out = [column for column in ("host", "pid", "argv") if column in one[name].column_names]
        assert one[name].drop_columns(left_out).equals(two[name].drop_columns(left_out)), name
    order = one["inferences"].select(["dataset_type", "epoch", "step", "input_id"]).to_pylist()
    assert [tuple(row.values()) for row in order] == sorted(tuple(row.values()) for row in order)
    assert one["inferences"].column_names[-4:] == ["camera", "gain", "night", "zone"]
    assert not {"run_id", "version_id", "token"} & {column for table in one.values() for column in table.column_names}


def test_what_is_read_comes_in_the_order_of_the_tables(where):
    write(where, *many(), fields=FIELDS)

    with open_traces(where) as traces:
        read = [traced.id for traced in traces.read(ALL)]
        assert traces.inferences(ALL)["id"].tolist() == read
        assert list(dict.fromkeys(traces.detections(ALL)["inference_id"])) == read


def test_candidates_have_a_row_each(where):
    with_none = output(3)
    without_logits = type(with_none)(
        with_none.boxes, with_none.scores, with_none.labels, None, with_none.candidates, (8, 8), with_none.visible
    )
    write(where, detected("a"), detected("b", candidates=without_logits), detected("c", candidates=output(0, 0)))

    rows = tables(where)["candidates"].to_pylist()
    first = output()
    assert [row["number"] for row in rows] == [0, 1, 2, 3, 4, 0, 1, 2]
    assert same(np.array([[row[c] for c in ("x1", "y1", "x2", "y2")] for row in rows[:5]], np.float32), first.boxes)
    assert same(np.array([row["logits"] for row in rows[:5]], np.float32), first.logits)
    assert [row["visible"] for row in rows[:5]] == first.visible.tolist()
    assert [row["logits"] for row in rows[5:]] == [None] * 3


def test_only_some_inferences_of_a_selection(where):
    write(where, *many(), run="job", fields=FIELDS)
    write(where, detected("other", epoch=5), run="newer")
    with open_traces(where) as traces:
        ids = traces.inferences(ALL._replace(run="job"))["id"].tolist()
        (other,) = traces.inferences(ALL._replace(run="newer"))["id"]

    some = tables(where, Selection("fcos", "v1", n_epoch="all", run="job"), ids=[ids[9], ids[3], other, "none", ids[9]])
    assert some["inferences"]["id"].to_pylist() == [ids[3], ids[9]]
    assert set(some["detections"]["inference_id"].to_pylist()) == {ids[3], ids[9]}
    assert tables(where, ids=[]).keys() <= {"models", "versions", "runs"}


def test_frames_have_what_was_written(where):
    write(where, *many(4), detected("none", candidates=output(2, visible=0)), fields=FIELDS)
    write(where, classified("z"))

    with open_traces(where) as traces:
        frame, features = traces.inferences(ALL), traces.features(ALL)
        assert traces.models()["n_class"].tolist() == [10]
        assert traces.versions()[["model_name", "name"]].to_numpy().tolist() == [["fcos", "v1"]]
        assert traces.runs()["run"].tolist() == ["job", "job"]
        assert len(traces.truths(ALL)) == 0 + 1 + 2 + 0
        assert traces.classifications(ALL)["label"].tolist() == [1]
    rows = {row["input_id"]: row for row in frame.to_dict("records")}
    assert rows["1"]["zone"] == 1
    assert rows["1"]["camera"] == "n"
    assert rows["0"]["gain"] == 0.5
    assert rows["none"]["num_visible"] == 0
    assert np.isnan(rows["none"]["max_score"])
    assert rows["0"]["max_score"] == float(output(4, seed=0).scores[0])
    assert same(features["data"][1], np.full(3, 0, np.float16))


def test_reading_and_writing_need_no_memory_for_all_there_is(file):
    noise = np.random.default_rng(0).random(40_000, dtype=np.float32)  # 160 kB each, 24 MB in all
    writer = TraceWriter(file, IDENTITY, max_queue_bytes=2_000_000, room_timeout_s=60.0)
    tracemalloc.start()
    try:
        for number in range(150):
            writer.submit([detected(f"{number}", step=number, features={"a": noise + number})])
        writer.close()
        with open_traces(file) as traces:
            assert sum(1 for _ in traces.read(ALL)) == 150
            assert sum(batch.num_rows for batch in traces.table_batches("candidates", ALL)) == 750
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert writer.stats().written == 150
    assert peak < 16_000_000


def test_what_is_written_while_it_is_read_disturbs_nobody(where):
    write(where, *many(40), fields=FIELDS)
    with open_traces(where) as traces:
        reader = traces.read(ALL)
        first = list(islice(reader, 5))
        write(where, *many(40), detected("zz", dataset_type="zz"), fields=FIELDS)
        assert len({traced.id for traced in [*first, *reader]}) >= 40


def test_a_result_is_kept_by_name_and_never_replaced(where):
    write(where, detected())
    asked = datetime(2026, 1, 2, tzinfo=UTC)
    result = Result("errors", "default", 3, asked, None, {"a": [1]}, {"auroc": 0.75, "none": None})
    with open_traces(where) as traces:
        assert traces.load_result(ALL, "errors") is None
        assert len(traces.results()) == 0
        traces.save_result(IDENTITY, result)
        assert traces.load_result(ALL, "errors") == result
        with pytest.raises(ConfigError, match="There is a result 'errors'"):
            traces.save_result(ALL, Result("errors", "drift", None, asked, asked, {}, []))
        traces.save_result(ALL, Result("b", "drift", None, asked, asked, {}, {"x": float("nan")}))

        assert traces.load_result(IDENTITY, "errors") == result
        assert traces.load_result(IDENTITY, "b").data == {"x": "NaN"}
        assert traces.results(IDENTITY)["name"].tolist() == ["b", "errors"]
        assert len(traces.results(IDENTITY._replace(version_name="v2"))) == 0
        with pytest.raises(ConfigError, match="knows no version 'v2'"):
            traces.save_result(ALL._replace(version_name="v2"), result)
        with pytest.raises(LogValueError, match="no JSON"):
            traces.save_result(ALL, Result("c", "x", None, asked, None, {}, object()))
    assert tables(where)["results"].column_names[:3] == ["model_name", "version_name", "name"]


def test_what_is_no_database_for_traces_is_refused(file):
    with pytest.raises(FileNotFoundError, match="There is no trace database"):
        open_traces(file)
    assert not file.exists()
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(FormatError):
        open_traces(file)
    file.unlink()
    write(file, detected())
    with open_traces(file) as traces, pytest.raises(ConfigError, match="There is no table 'nosuch'"):
        list(traces.table_batches("nosuch", ALL))
