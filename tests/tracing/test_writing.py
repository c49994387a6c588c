"""Inferences on their way to the database: each is there once, whole, and nothing waits for it."""

import itertools
import logging
import math
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from ml.core.redact import Redactor
from ml.db import connect
from ml.tracing.fields import FieldSpec
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from ml.tracing.writing import TraceWriter
from tests.postgres import server
from tests.tracing.made_up import IDENTITY, classified, detected, output, same, truth

ROOT = Path(__file__).parents[2]
ALL = Selection("fcos", "v1", n_epoch="all")
FIELDS = [FieldSpec("camera", "str"), FieldSpec("night", "bool"), FieldSpec("meta", "json")]
LABEL_FIELDS = [FieldSpec("occluded", "float"), FieldSpec("track", "int")]


def write(where, *inferences, **options):
    writer = TraceWriter(where, IDENTITY, **options)
    writer.submit(inferences)
    writer.close()
    return writer


def kept(where, selection=ALL):
    with open_traces(where) as traces:
        return list(traces.read(selection))


def counted(where, table):
    engine = connect(where)
    with engine.connect() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(sa.table(table)))
    engine.dispose()
    return count


# what comes back


def test_an_inference_comes_back_whole(where):
    inference = detected(
        "image 1",
        truth=truth(2, ({"occluded": 0.5, "track": 2**62}, {})),
        features={"neck.0": np.arange(6, dtype=np.float16).reshape(2, 3), "head": np.array([math.nan], np.float32)},
        fields={"camera": "north", "night": True, "meta": {"lens": [1, None, "x"]}},
        picture=b"\x89PNG...",
        error_probability=np.array([0.1, 0.2, 0.3], np.float32),
    )
    writer = write(where, inference, fields=FIELDS, label_fields=LABEL_FIELDS, rank=0)

    (traced,) = kept(where)
    assert same(traced.inference, inference)
    assert (traced.run, traced.rank) == (writer.run, 0)
    assert writer.stats().written == writer.stats().accepted == 1


def test_a_classification_comes_back_whole(where):
    inference = classified(truth=2, error_probability=np.array([0.75], np.float32))
    write(where, inference)

    assert same(kept(where)[0].inference, inference)


@pytest.mark.parametrize("labels", [None, truth(0), truth(1)], ids=["unknown", "nothing", "a box"])
def test_no_truth_is_not_the_same_as_nothing_there(where, labels):
    inference = detected(truth=labels, candidates=output(3, visible=0))
    write(where, inference)

    assert same(kept(where)[0].inference, inference)


def test_what_is_not_finite_comes_back(where):
    strange = output(4, visible=4)
    strange.boxes[:] = [[math.nan] * 4, [math.inf] * 4, [-math.inf] * 4, [0, 1e38, -1e-38, 5]]
    strange.scores[:] = [math.inf, 0.5, -math.inf, math.nan]
    write(where, detected(candidates=strange, latency_s=math.nan))

    with open_traces(where) as traces:
        (traced,), frame = list(traces.read(ALL)), traces.detections(ALL)
    assert same(traced.inference.output, strange)
    assert same(frame[["x1", "y1", "x2", "y2"]].to_numpy(np.float32), strange.boxes)
    assert same(frame["score"].to_numpy(np.float32), strange.scores)


def test_texts_of_any_kind_come_back_and_secrets_do_not(where):
    texts = ["", "ü/\x00\udc80", "'; DROP TABLE runs; --", "␛", "x" * 5000]
    write(
        where,
        *(detected(text, dataset_type=text[:200], fields={"camera": text}) for text in texts),
        detected(
            "s3://bucket/a.png?token=hunter22hunter22", fields={"meta": {"password": "abc", "b": "hunter22hunter22"}}
        ),
        fields=FIELDS,
        redactor=Redactor({"API_TOKEN": "hunter22hunter22"}),
    )

    found = {traced.inference.input_id: traced.inference for traced in kept(where)}
    assert [found[text].fields["camera"] for text in texts] == texts
    assert [found[text].dataset_type for text in texts] == [text[:200] for text in texts]
    (secret,) = found.keys() - set(texts)
    assert found[secret].fields["meta"] == {"password": "***", "b": "***"}
    assert "hunter22" not in secret


# each is there once


def test_the_same_inference_again_replaces_the_one_before_with_all_that_belongs_to_it(where):
    first = detected(truth=truth(3), features={"a": np.ones(2, np.float16), "b": np.ones(2, np.float16)}, picture=b"x")
    second = detected(candidates=output(2, visible=1, seed=1), truth=truth(1), features={"b": np.zeros(1, np.float16)})
    writer = TraceWriter(where, IDENTITY)
    writer.submit([first, first])
    assert writer.flush()
    writer.submit([second])
    writer.close()

    (traced,) = kept(where)
    assert same(traced.inference, second)
    tables = ("inferences", "detections", "candidates", "features", "pictures", "ground_truths")
    assert [counted(where, table) for table in tables] == [1, 1, 1, 1, 0, 1]


def test_another_run_dataset_epoch_or_input_is_another_inference(where):
    write(where, detected(), detected(epoch=1), detected(dataset_type="test"), detected("b"), run="one")
    write(where, detected(), run="two")
    write(where, detected(), run="two")

    assert len({traced.id for traced in kept(where)}) == counted(where, "inferences") == 5


def test_what_one_rank_and_another_are_both_given_is_there_once_on_a_server():
    where = server().new_database()
    writers = [TraceWriter(where, IDENTITY, rank=rank, world_size=2, run="job") for rank in range(2)]
    for number in range(200):
        writers[number % 2].submit([detected(f"{number}")])
        writers[1 - number % 2].submit([detected(f"{199 - number}", candidates=output(2))])
    for writer in writers:
        writer.close()
        assert writer.stats().written == 200

    traced = kept(where)
    assert len(traced) == 200
    assert all(counted(where, table) == 200 for table in ("inferences", "candidates"))
    for one in traced:
        assert len(one.inference.output.shown()) in (2, 3)
        assert len(one.inference.output.shown()) == int(one.inference.output.visible.sum())


# it waits for nothing, and loses nothing


def test_a_locked_database_holds_nobody_up_and_loses_nothing(file):
    writer = TraceWriter(file, IDENTITY)
    assert writer.flush()
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(100):
            writer.submit([detected(f"{number}")])
        assert writer.stats().pending == 100
        other.execute("ROLLBACK")
    other.close()
    assert writer.flush()
    writer.close()

    assert len(kept(file)) == 100 == writer.stats().written


def test_a_database_that_is_away_at_first_and_again_later_is_written_to_when_it_comes(caplog):
    postgres = server()
    where = postgres.new_database()
    postgres.stop()
    try:
        writer = TraceWriter(where, IDENTITY)
        writer.submit([detected("early")])
        assert writer.latest_epoch() is None
        assert not writer.flush(0.1)
    finally:
        postgres.start()
    assert writer.flush()
    postgres.stop()
    writer.submit([detected("early"), detected("later")])
    postgres.start()
    assert writer.flush()
    writer.close()

    assert [traced.inference.input_id for traced in kept(where)] == ["early", "later"]
    assert "Tracing goes on" in caplog.text


def test_what_does_not_fit_the_queue_is_given_up_from_the_oldest_on_and_counted(file, caplog):
    writer = TraceWriter(file, IDENTITY, max_queue_bytes=50_000)
    assert writer.flush()
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(200):
            writer.submit([detected(f"{number}")])
        other.execute("ROLLBACK")
    other.close()
    assert writer.flush() is False
    writer.close()

    stats, there = writer.stats(), kept(file)
    assert stats.accepted == 200 == stats.written + stats.dropped["queue_full"]
    assert 0 < stats.written == len(there) < 100
    assert "199" in {traced.inference.input_id for traced in there}
    assert "inferences are lost" in caplog.text
    with open_traces(file) as traces:
        assert traces.runs()["lost"].tolist() == [stats.dropped["queue_full"]]


def test_an_inference_that_cannot_be_kept_costs_no_other(where, caplog):
    bad = [
        detected("bad", time_s=math.inf),
        detected("bad", epoch=2**70),
        detected("bad", fields={"nosuch": 1}),
        detected("bad", fields={"count": "text"}),
        detected(None),
        detected("bad", error_probability=np.ones(7, np.float32)),
        detected("bad", dataset_type="x" * 300),
    ]
    writer = TraceWriter(where, IDENTITY, fields=[FieldSpec("count", "int")])
    for number, inference in enumerate(bad):
        writer.submit([detected(f"good {number}"), inference])
    assert writer.flush() is False
    writer.submit([detected("last")])
    writer.close()

    good = {f"good {number}" for number in range(len(bad))}
    assert {traced.inference.input_id for traced in kept(where)} == good | {"last"}
    assert sum(writer.stats().failed.values()) == len(bad)
    assert "inferences are lost" in caplog.text


def test_a_database_that_is_removed_meanwhile_is_made_anew_and_that_is_told(file, caplog):
    writer = TraceWriter(file, IDENTITY)
    writer.submit([detected("before")])
    assert writer.flush()
    for path in file.parent.iterdir():
        path.unlink()
    writer.submit([detected("after")])
    writer.close()

    assert [traced.inference.input_id for traced in kept(file)] == ["after"]
    assert "moved or removed" in caplog.text


def test_a_process_that_is_killed_has_lost_its_last_batch_at_most(where):
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        try:
            writer = TraceWriter(where, IDENTITY)
            for number in itertools.count():
                writer.submit([detected(f"{number}", step=number)])
                if number % 100 == 99 and writer.flush():
                    os.write(tell, b".")
        finally:
            os._exit(1)
    os.close(tell)
    for _ in range(3):
        assert os.read(told, 1) == b"."
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    os.close(told)

    numbers = [int(traced.inference.input_id) for traced in kept(where)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 300
    assert counted(where, "candidates") == len(numbers) == counted(where, "detections") / 3


LEFT_OPEN = """
import sys
from ml.tracing.writing import TraceWriter
from tests.tracing.made_up import IDENTITY, detected

writer = TraceWriter(sys.argv[1], IDENTITY)
writer.submit([detected("a")])
"""


def test_a_writer_that_is_left_open_is_closed_at_exit(file):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LEFT_OPEN, file], env=environment, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(kept(file)) == 1
    with open_traces(file) as traces:
        assert traces.runs()["ended"].notna().all()


def test_a_forked_child_writes_nothing_and_the_parent_goes_on(where):
    writer = TraceWriter(where, IDENTITY)
    writer.submit([detected("before")])
    assert writer.flush()
    pid = os.fork()
    if pid == 0:
        writer.submit([detected("child")])
        writer.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    writer.submit([detected("after")])
    writer.close()

    assert {traced.inference.input_id for traced in kept(where)} == {"before", "after"}


def test_after_closing_nothing_is_taken_and_nothing_raised(file, caplog):
    writer = write(file, detected())
    writer.close()
    with caplog.at_level(logging.ERROR):
        writer.submit([detected("late")])

    assert len(kept(file)) == 1
    assert writer.stats().dropped == {"closed": 1}
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(writer)
