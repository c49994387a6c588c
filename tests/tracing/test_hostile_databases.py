"""A database from anybody: what is in it is read, or is an error of ours; and nothing is made that it does not hold."""

import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from ml.core.errors import ConfigError, FormatError, MLError
from ml.tracing import opening
from ml.tracing.fields import FieldSpec
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from ml.tracing.writing import TraceWriter
from tests.tracing.made_up import IDENTITY, classified, detected, truth

DETECTOR = Selection("fcos", "v1")
CLASSIFIER = Selection("cnn", "v1")


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    file = tmp_path_factory.mktemp("honest") / "traces.db"
    fields = [FieldSpec("camera", "str"), FieldSpec("meta", "json")]
    writer = TraceWriter(file, IDENTITY, fields=fields)
    columns = {
        "features": {"neck": np.ones((2, 3), np.float16)},
        "picture": b"png",
        "fields": {"camera": "north", "meta": {"a": 1}},
        "error_probability": np.array([0.1, 0.2, 0.3], np.float32),
    }
    writer.submit([detected(name, truth=truth(), **columns) for name in "ab"])
    writer.close()
    writer = TraceWriter(file, IDENTITY._replace(model_name="cnn", task="classification"))
    writer.submit([classified("z", error_probability=np.array([0.5], np.float32))])
    writer.close()
    return file


@pytest.fixture
def changed(honest, file):
    """Changes a copy of the database."""

    def change(*statements):
        shutil.copy(honest, file)
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            for statement in statements:
                connection.execute(statement)
        return file

    return change


def read_all(file, selection=DETECTOR):
    with open_traces(file) as traces:
        for found in traces.read(selection):
            found.inference.output.shown() if selection is DETECTOR else found.inference.output.probabilities()
        for name in ("models", "versions", "runs", "results"):
            getattr(traces, name)()
        for name in ("inferences", "detections", "classifications", "truths", "features"):
            getattr(traces, name)(selection)
        for name in ("candidates", "pictures"):
            list(traces.table_batches(name, selection))


def test_the_honest_one_is_read(honest):
    read_all(honest)
    read_all(honest, CLASSIFIER)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("candidates.data", "5"),
        ("candidates.data", "'MLC1'"),
        ("candidates.data", "x'4d4c433107ffffffffffffffff'"),
        ("candidates.data", "x'4d4c43310000000000ffffffff'"),  # not said what was visible
        ("classifications.logits", "'abc'"),
        ("classifications.logits", "x'00ff'"),
        ("classifications.logits", "x''"),
        ("classifications.probability", "'abc'"),
        ("classifications.error_probability", "x'00'"),
        ("detections.label", "1.5"),
        ("detections.number", "'first'"),
        ("features.data", "'abc'"),
        ("features.shape", "'999999999x999999999'"),
        ("fields.name", "x'00ff'"),
        ("fields.type", "'blob'"),
        ("inferences.camera", "x'ff'"),
        ("inferences.epoch", "'last'"),
        ("inferences.height", "'abc'"),
        ("inferences.meta", "'[['"),
        ("inferences.time", "'yesterday'"),
        ("models.architecture", "x'00'"),
        ("runs.world_size", "'many'"),
    ],
)
def test_what_is_not_of_its_columns_kind_is_damage(changed, place, value):
    table, column = place.split(".")
    file = changed(f"UPDATE OR REPLACE {table} SET {column} = {value}")
    with pytest.raises(FormatError):
        read_all(file, CLASSIFIER if table == "classifications" else DETECTOR)


@pytest.mark.parametrize("logits", ["x'00ff'", "x''", "'abc'"])
def test_a_frame_of_damaged_logits_is_damage_too(changed, logits):
    with open_traces(changed(f"UPDATE classifications SET logits = {logits}")) as traces, pytest.raises(FormatError):
        traces.classifications(CLASSIFIER)


def test_a_tracer_begins_whatever_epochs_are_there(changed, caplog):
    file = changed("UPDATE inferences SET epoch = 'last'")
    with_it = TraceWriter(file, IDENTITY)
    assert with_it.latest_epoch() is None
    with_it.close()


def test_what_is_reckoned_from_nothing_is_bounded(changed, monkeypatch):
    monkeypatch.setattr(opening, "MAX_VALUE_BYTES", 1 << 20)
    file = changed(
        "DROP TABLE pictures",
        "CREATE TABLE pictures (inference_id TEXT, png BLOB GENERATED ALWAYS AS (zeroblob(2 << 20)) VIRTUAL)",
        "INSERT INTO pictures (inference_id) SELECT id FROM inferences",
    )
    with pytest.raises(MLError, match="too big"):
        read_all(file)


def test_a_field_of_an_older_database_that_readers_could_not_show_is_told(changed):
    file = changed("INSERT INTO fields VALUES ('inferences', 'run', 'str')")
    with pytest.raises(ConfigError, match="'run'"):
        read_all(file)
