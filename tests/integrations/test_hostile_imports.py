"""What nobody meant well: files that would cost an import its memory, its end, its secrets or its other values."""

import json
import signal
import sqlite3
import struct
import tracemalloc
import zlib
from contextlib import closing

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

from ml.core.errors import ConfigError, FormatError
from ml.integrations import csv_files, trackio_database
from ml.integrations.event_folders import read as read_events
from ml.integrations.importing import import_runs
from ml.integrations.sqlite_reading import opened as opened_database
from ml.loggers.event_files import record
from ml.reading import open_run
from tests.loggers.tensorboard_reader import accumulated

SECRET = "Zq9canaryOfTheEnvironment77"
DEEP = '{"a":' * 900 + "1" + "}" * 900
LITERAL = "$" + "{x}"


def scalar(value, tag="ok", step=1):
    return Event(wall_time=1.7e9, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))


def of_plugin(plugin, content=b"", tag="odd", **value):
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin, content=content))
    summary = Summary(value=[Summary.Value(tag=tag, metadata=metadata, **value)])
    return Event(wall_time=1.7e9, step=2, summary=summary)


def hyperparameters(settings):
    info = SessionStartInfo()
    for name, value in settings.items():
        info.hparams[name].string_value = value
    content = HParamsPluginData(session_start_info=info).SerializeToString()
    return of_plugin("hparams", content, "_hparams_/session_start_info")


def events(path, *found):
    path.mkdir(parents=True, exist_ok=True)
    data = b"".join(record(event.SerializeToString()) for event in found)
    (path / "events.out.tfevents.1700000000.h").write_bytes(data)
    return path


TABLE = "CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp TEXT, run_name TEXT, step INTEGER, metrics TEXT)"
SETTINGS = "CREATE TABLE configs (id INTEGER PRIMARY KEY, run_name TEXT, config TEXT)"
ROW = "INSERT INTO metrics (timestamp, run_name, step, metrics) VALUES ('2026-01-01', ?, ?, ?)"


def database(path, *statements, rows=(("r", 1, '{"ok": 1}'),), config=None):
    with closing(sqlite3.connect(path)) as opened, opened:
        for statement in statements or (TABLE, SETTINGS):
            opened.execute(statement)
        for row in rows:
            opened.execute(ROW, row)
        if config is not None:
            opened.execute("INSERT INTO configs (run_name, config) VALUES ('r', ?)", (config,))
    return path


def varint(number):
    data = b""
    while number > 0x7F:
        number, data = number >> 7, data + bytes([number & 0x7F | 0x80])
    return data + bytes([number])


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def item(key, value):
    """One item of a row or a configuration: of a key, or of the parts of a path."""
    names = field(1, key) if isinstance(key, str) else b"".join(field(2, part) for part in key)
    return field(1, names + (field(16, value) if isinstance(value, str) else value))


def row(*items):
    return field(2, b"".join(items))


def config(*items):
    return field(5, b"".join(items))


OK = row(item("ok", "1.0"), item("_step", "1"), item("_timestamp", "1700000000"))


def wandb_log(path, *records):
    """A run of W&B: the folder of its log."""
    path.mkdir(parents=True)
    data = bytearray(b":W&B\xe1\xbe\x00")
    for whole in records:
        rest, is_first = whole, True
        while is_first or rest:
            if (left := 2**15 - len(data) % 2**15) < 7:
                data += bytes(left)
                continue
            part, rest = rest[: left - 7], rest[left - 7 :]
            piece = (1 if is_first else 4) if not rest else (2 if is_first else 3)
            is_first = False
            checksum = zlib.crc32(part, zlib.crc32(bytes([piece])))
            data += struct.pack("<IHB", checksum, len(part), piece) + part
    (path / f"run-{path.name.rpartition('-')[2]}.wandb").write_bytes(data)
    return path


def csv(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def keys(run):
    return sorted(open_run(run).scalars().key)


def imported(source, directory, **arguments):
    (report,) = import_runs(source, directory, **arguments)
    return report


def record_of(run, attempt=1):
    return json.loads((run / f"attempts/{attempt}/run.json").read_text())


# settings


def with_settings(path, settings, form):
    if form == "tensorboard":
        return events(path / "tb", hyperparameters(settings), scalar(1))
    if form == "trackio":
        path.mkdir()
        return database(path / "x.db", config=json.dumps(settings))
    if form == "csv":
        csv(path / "hparams.yaml", "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items()))
        return csv(path / "metrics.csv", "step,ok\n1,1\n")
    items = (item(name, json.dumps({"value": value})) for name, value in settings.items())
    return wandb_log(path / "offline-run-1-abc", config(*items), OK)


def text_at(config, name):
    value = config[name]
    return value if isinstance(value, str) else value["value"]


FORMS = ("tensorboard", "trackio", "wandb", "csv")


@pytest.mark.parametrize("form", FORMS)
def test_interpolations_of_foreign_settings_stay_texts(tmp_path, monkeypatch, form):
    monkeypatch.setenv("PLAIN_VARIABLE", "of-the-importer")
    settings = {"a": "$" + "{oc.env:PLAIN_VARIABLE}", "b": LITERAL, "c": "\\" + LITERAL, "d": "$" + "{b}{"}

    report = imported(with_settings(tmp_path / "source", settings, form), tmp_path / "run")

    kept = open_run(tmp_path / "run").config
    assert {name: text_at(kept, name) for name in settings} == settings
    assert report.num_problems == 0
    assert not holding(tmp_path / "run", b"of-the-importer")


def test_tensorboard_shows_the_literal(tmp_path):
    imported(with_settings(tmp_path / "source", {"b": LITERAL}, "tensorboard"), tmp_path / "run")

    plugin = accumulated(tmp_path / "run/tensorboard").SummaryMetadata("_hparams_/session_start_info").plugin_data
    info = HParamsPluginData.FromString(plugin.content).session_start_info
    assert info.hparams["b"].string_value == LITERAL


@pytest.mark.parametrize("form", FORMS)
def test_interpolations_of_interpolations_take_no_time(tmp_path, form):
    settings = {"a0": "x" * 10} | {f"a{n}": ("$" + f"{{a{n - 1}}}") * 10 for n in range(1, 30)}

    imported(with_settings(tmp_path / "source", settings, form), tmp_path / "run")

    assert text_at(open_run(tmp_path / "run").config, "a29") == settings["a29"]


def test_a_long_text_of_interpolations_is_told_and_left_out(tmp_path):
    settings = {"long": LITERAL * 10**6, "lr": "0.1"}

    report = imported(with_settings(tmp_path / "source", settings, "trackio"), tmp_path / "run")

    assert open_run(tmp_path / "run").config == {"lr": "0.1"}
    assert "'long'" in report.problems[0]


@pytest.mark.parametrize("form", ["trackio", "wandb"])
def test_settings_of_any_depth_cost_what_is_too_deep(tmp_path, form):
    source = tmp_path / "source"
    text = f'{{"x": {DEEP}, "lr": 0.1}}'
    if form == "trackio":
        source = database(source, config=text)
    else:
        items = item("x", DEEP), item("lr", "0.1"), item(["p"] * 5000, "1")
        source = wandb_log(source / "offline-run-1-abc", config(*items), OK)

    report = imported(source, tmp_path / "run")

    assert open_run(tmp_path / "run").config.lr == 0.1
    assert keys(tmp_path / "run") == ["ok"]
    assert any("deep" in problem for problem in report.problems)


def test_settings_that_no_run_can_keep_are_told(tmp_path):
    settings = {str(number): "y" * 100 for number in range(60_000)}

    report = imported(database(tmp_path / "x.db", config=json.dumps(settings)), tmp_path / "run")

    assert open_run(tmp_path / "run").config == {}
    assert keys(tmp_path / "run") == ["ok"]
    assert "configuration" in report.problems[0]


# secrets


def holding(directory, data):
    paths = sorted(directory.rglob("*"))
    return [p for p in paths if data.decode() in str(p) or (p.is_file() and data in p.read_bytes())]


def test_a_secret_in_a_key_is_taken_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MY_API_KEY", SECRET)
    source = csv(tmp_path / "x.csv", f"step,k/{SECRET},{SECRET}/loss,t{SECRET},note\n1,2,3,4,{SECRET}\n")

    imported(source, tmp_path / "run", backends=["json", "tensorboard", "csv"])

    assert holding(tmp_path / "run", SECRET.encode()) == []
    assert keys(tmp_path / "run") == ["***/loss", "k/***", "t***"]


def test_a_secret_is_not_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", SECRET)
    rows = [("r", 1, json.dumps({"ok": 1, f"x{SECRET}": [1]}))]

    report = imported(database(tmp_path / "x.db", rows=rows), tmp_path / "run")

    assert report.num_problems == 1
    assert SECRET not in report.problems[0]


# event files


def test_hyperparameters_that_cannot_be_read_are_told_and_cost_no_value(tmp_path):
    odd = of_plugin("hparams", b"\xff\xff\xff\xff", "_hparams_/session_start_info")

    report = imported(events(tmp_path / "tb", odd, scalar(1)), tmp_path / "run")

    assert keys(tmp_path / "run") == ["ok"]
    assert any("hyperparameters" in problem for problem in report.problems)


@pytest.mark.parametrize("shape", [(1_500_000_000,), (2**40,), (2**31, 2**31), (-1,), (-2, -3)])
@pytest.mark.parametrize("plugin", ["scalars", "text", "images", "histograms"])
def test_a_shape_is_not_believed(tmp_path, shape, plugin):
    dims = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    odd = of_plugin(plugin, tensor=TensorProto(dtype=1, tensor_shape=dims, float_val=[1.0]))
    told = []
    tracemalloc.start()
    try:
        found = list(read_events(events(tmp_path / "tb", odd, scalar(1)), told.append))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert [entry.key for entry in found] == ["ok"]
    assert len(told) == 1
    assert peak < 2**24


NOT_FINITE = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("edge", NOT_FINITE)
def test_edges_of_a_histogram_that_are_not_finite_cost_the_histogram(tmp_path, edge):
    odd = Summary.Value(tag="odd", histo=HistogramProto(min=edge, max=1, num=2, bucket_limit=[0, edge], bucket=[1, 1]))
    event = Event(wall_time=1.7e9, step=2, summary=Summary(value=[odd]))

    report = imported(events(tmp_path / "tb", event, scalar(1)), tmp_path / "run")

    assert keys(tmp_path / "run") == ["ok"]
    assert report.num_problems == 1
    assert "'odd'" in report.problems[0]


def test_every_set_of_hyperparameters_is_kept(tmp_path):
    for number, rate in enumerate(("0.1", "0.2", "0.3")):
        events(tmp_path / f"tb/170000000{number}", hyperparameters({"lr": rate, "net": "cnn"}), scalar(1))
    events(tmp_path / "tb", scalar(1))

    imported(tmp_path / "tb", tmp_path / "run")

    assert open_run(tmp_path / "run").config == {
        "net": "cnn",
        "hyperparameters": {f"170000000{n}": {"lr": f"0.{n + 1}", "net": "cnn"} for n in range(3)},
    }


def test_two_sets_of_one_folder_are_both_kept(tmp_path):
    sets = [hyperparameters({"lr": rate}) for rate in ("0.1", "0.2")]

    imported(events(tmp_path / "tb", *sets, scalar(1)), tmp_path / "run")

    assert open_run(tmp_path / "run").config == {"hyperparameters": {"": {"lr": "0.1"}, "#2": {"lr": "0.2"}}}


def test_a_file_of_attempt_0_is_none_of_ours(tmp_path):
    events(tmp_path / "tb", scalar(1))
    data = record(scalar(1, "zero").SerializeToString())
    (tmp_path / "tb/events.out.tfevents.1700000000.0000.host.1.0.01234567").write_bytes(data)

    imported(tmp_path / "tb", tmp_path / "run")

    assert keys(tmp_path / "run") == ["ok", "zero"]


# trackio

ENDLESS = (
    "CREATE VIEW metrics AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
    "SELECT x AS id, '2026-01-01' AS timestamp, 'r' AS run_name, x AS step, '{\"a\": 1}' AS metrics FROM c"
)


def test_a_view_in_the_place_of_a_table_is_no_source(tmp_path):
    path = database(tmp_path / "x.db", ENDLESS, rows=())

    assert not trackio_database.is_source(path)
    with pytest.raises(ConfigError, match="nothing to import"):
        import_runs(path, tmp_path / "run")


def test_a_view_in_the_place_of_the_settings_is_not_read(tmp_path):
    view = "CREATE VIEW configs AS SELECT 'r' AS run_name, CAST(zeroblob(900000000) AS TEXT) AS config"
    imported(database(tmp_path / "x.db", TABLE, view), tmp_path / "run")

    assert keys(tmp_path / "run") == ["ok"]
    assert open_run(tmp_path / "run").config == {}


def test_a_column_that_is_computed_is_not_read(tmp_path):
    table = TABLE.replace("metrics TEXT", "metrics TEXT AS (CAST(zeroblob(900000000) AS TEXT))")

    assert not trackio_database.is_source(database(tmp_path / "x.db", table, rows=()))


def test_a_row_that_is_too_long_costs_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(trackio_database, "_MAX_ROW_BYTES", 2**16)
    rows = [("r", 1, '{"ok": 1}'), ("r", 2, "\0" * 2**20), ("r", 3, '{"end": 1}')]

    report = imported(database(tmp_path / "x.db", rows=rows), tmp_path / "run")

    assert keys(tmp_path / "run") == ["end", "ok"]
    assert report.num_problems == 1
    assert "Row 2" in report.problems[0]


def test_a_schema_that_is_no_text_is_no_source(tmp_path):
    path = database(tmp_path / "x.db")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE metrics", b"CREATE TABL\xdd metrics"))

    assert not trackio_database.is_source(path)


def test_a_query_without_an_end_is_given_up(tmp_path):
    path = database(tmp_path / "x.db", rows=[("r", step, '{"ok": 1}') for step in range(10)])
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0"

    with (
        opened_database(path, max_value_bytes=2**20, max_calls=10) as opened,
        pytest.raises(FormatError, match="too long"),
    ):
        list(opened.rows(endless))


def test_ctrl_c_ends_a_query(tmp_path):
    path = database(tmp_path / "x.db")
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0"
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with opened_database(path, max_value_bytes=2**20, max_calls=10**9) as opened:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                list(opened.rows(endless))
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_folder_of_databases_is_several_runs(tmp_path):
    (tmp_path / "trackio").mkdir()
    database(tmp_path / "trackio/a.db")
    database(tmp_path / "trackio/b.db", rows=[("r1", 1, '{"ok": 1}'), ("r2", 1, '{"ok": 2}')])
    (tmp_path / "trackio/other.db").write_bytes(b"no database")

    reports = import_runs(tmp_path / "trackio", tmp_path / "runs")

    assert [report.directory.relative_to(tmp_path / "runs").as_posix() for report in reports] == ["a", "b/r1", "b/r2"]
    assert [open_run(report.directory).scalars().value.tolist() for report in reports] == [[1.0], [1.0], [2.0]]


# W&B

ODD_VALUES = {
    "a float of 3 bytes": field(6, b"abc"),
    "a whole number as bytes": field(5, b"abc"),
    "a text that is a number": field(7, 5),
    "no JSON": field(16, b"{"),
    "JSON without an end": field(16, "[" * 100_000),
    "deep JSON": field(16, DEEP),
}


@pytest.mark.parametrize("odd", ODD_VALUES)
def test_a_value_of_w_and_b_that_cannot_be_read_costs_itself(tmp_path, odd):
    source = wandb_log(tmp_path / "offline-run-1-abc", OK, row(item("odd", ODD_VALUES[odd]), item("beside", "2.0")))

    report = imported(source, tmp_path / "run")

    assert keys(tmp_path / "run") == ["beside", "ok"]
    assert report.num_problems == 1
    assert "odd" in report.problems[0]


@pytest.mark.parametrize("path", [["p"] * 5000, ["ok", "below"]])
def test_a_path_that_no_tree_has_costs_itself(tmp_path, path):
    items = item("ok", "1.0"), item(path, "3.0"), item("beside", "2.0")

    report = imported(wandb_log(tmp_path / "offline-run-1-abc", row(*items)), tmp_path / "run")

    assert keys(tmp_path / "run") == ["beside", "ok"]
    assert report.num_problems == 1


@pytest.mark.parametrize("edge", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("form", ['"bins": [0, 1, %s]', '"packedBins": {"count": 2, "min": 0, "size": %s}'])
def test_edges_of_w_and_b_that_are_not_finite_cost_the_histogram(tmp_path, edge, form):
    value = f'{{"_type": "histogram", "values": [1, 2], {form % edge}}}'

    report = imported(wandb_log(tmp_path / "offline-run-1-abc", OK, row(item("odd", value))), tmp_path / "run")

    assert keys(tmp_path / "run") == ["ok"]
    assert "'odd'" in report.problems[0]


def about(**values):
    """The record of a run."""
    numbers = {"run_id": 1, "project": 3, "display_name": 8, "notes": 9, "tags": 10}
    parts = ((numbers[name], text) for name, texts in values.items() for text in np.atleast_1d(texts).tolist())
    return field(17, b"".join(field(number, text) for number, text in parts))


def summary(*items):
    return field(3, b"".join(items))


def test_what_w_and_b_says_of_a_run_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", SECRET)
    run = about(run_id="abc", project="demo", display_name="My run", notes=f"see {SECRET}", tags=["a", "b"])
    last = summary(item("ok", "1.0"), item("best", '{"max": NaN}'), item("deep", DEEP), item("password", '"hush-hush"'))
    exit_record = field(18, field(1, 3))

    report = imported(wandb_log(tmp_path / "offline-run-1-abc", run, OK, last, exit_record), tmp_path / "run")

    found = record_of(tmp_path / "run")
    assert found["status"] == "failed"
    assert open_run(tmp_path / "run").status == "failed"
    assert {name: found["imported"].get(name) for name in ("name", "project", "notes", "tags", "run_id")} == {
        "name": "My run",
        "project": "demo",
        "notes": "see ***",
        "tags": ["a", "b"],
        "run_id": "abc",
    }
    summary_kept = found["imported"]["summary"]
    assert len(str(summary_kept.pop("deep"))) < 1000
    assert summary_kept == {"ok": 1.0, "best": {"max": "NaN"}, "password": "***"}
    assert [problem.partition(" is left out")[1] for problem in report.problems] == [" is left out"]


@pytest.mark.parametrize("end", [b"", field(18, field(1, 0)), field(18, b"")])
def test_a_run_of_w_and_b_that_did_not_fail_is_finished(tmp_path, end):
    imported(wandb_log(tmp_path / "offline-run-1-abc", OK, *([end] if end else [])), tmp_path / "run")

    assert record_of(tmp_path / "run")["status"] == "finished"


def test_of_several_runs_of_w_and_b_each_has_its_own_name(tmp_path):
    for ident, name in (("a", "calm-sea-1"), ("b", "calm-sea-1"), ("c", "../up"), ("d", "")):
        wandb_log(tmp_path / f"wandb/offline-run-1-{ident}", about(run_id=ident, display_name=name), OK)

    reports = import_runs(tmp_path / "wandb", tmp_path / "runs")

    names = [report.directory.relative_to(tmp_path / "runs").as_posix() for report in reports]
    assert names == ["calm-sea-1", "calm-sea-1-offline-run-1-b", "%2E.%2Fup", "offline-run-1-d"]
    assert all(keys(report.directory) == ["ok"] for report in reports)


# CSV


def test_a_line_that_is_too_long_costs_itself_and_is_not_held(tmp_path, monkeypatch):
    source = csv(tmp_path / "x.csv", b"step,a\n1,1\n2," + b"x" * 2**26 + b"\n3,3\n")
    told = []
    tracemalloc.start()
    try:
        found = list(csv_files.read(source, told.append))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert [entry.state.num_steps for entry in found] == [1, 3]
    assert len(told) == 1
    assert "Row 3" in told[0]
    assert "too long" in told[0]
    assert peak < 2**26


def test_a_row_of_lines_without_an_end_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "_MAX_RECORD_BYTES", 1000)
    source = csv(tmp_path / "x.csv", 'step,a\n1,1\n2,"' + '\n","' * 10_000)
    told = []

    assert [entry.state.num_steps for entry in csv_files.read(source, told.append)] == [1]
    assert any("too long" in problem for problem in told)


OURS = "phase,step,epoch,key,value,time,attempt\n"


@pytest.mark.parametrize("attempt", ["0", "-1", "x", "9" * 20])
def test_a_row_of_ours_of_no_attempt_costs_itself(tmp_path, attempt):
    time = "2026-01-02T03:04:05.678901Z"
    rows = f"train,1,0,ok,0.5,{time},1\ntrain,2,0,odd,0.5,{time},{attempt}\ntrain,3,0,end,0.5,{time},1\n"

    report = imported(csv(tmp_path / "log.csv", OURS + rows), tmp_path / "run")

    assert keys(tmp_path / "run") == ["end", "ok"]
    assert report.num_problems == 1
    assert "Line 3" in report.problems[0]


def test_a_long_line_of_ours_costs_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "_MAX_RECORD_BYTES", 1000)
    time = "2026-01-02T03:04:05.678901Z"
    rows = f"train,1,0,ok,0.5,{time},1\ntrain,2,0,{'x' * 5000},0.5,{time},1\ntrain,3,0,end,0.5,{time},1\n"

    report = imported(csv(tmp_path / "log.csv", OURS + rows), tmp_path / "run")

    assert keys(tmp_path / "run") == ["end", "ok"]
    assert report.num_problems == 1


def test_more_attempts_than_any_run_has_are_told_and_not_each_read_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "_MAX_ATTEMPTS", 3)
    rows = "".join(f"train,1,0,k{n},0.5,2026-01-02T03:04:05.678901Z,{n}\n" for n in range(1, 6))

    report = imported(csv(tmp_path / "log.csv", OURS + rows), tmp_path / "run")

    assert report.attempts == 3
    assert "attempts" in report.problems[0]


def test_a_header_that_is_too_long_is_said_to_be(tmp_path):
    names = ",".join(f"c{number}" for number in range(10**6))
    source = csv(tmp_path / "x.csv", f"step,{names}\n1\n")

    with pytest.raises(FormatError, match="header"):
        import_runs(source, tmp_path / "run")


def test_versions_of_lightning_are_several_runs(tmp_path):
    for version in (0, 1):
        csv(tmp_path / f"lightning_logs/version_{version}/metrics.csv", f"step,loss\n1,{version}\n")
        csv(tmp_path / f"lightning_logs/version_{version}/hparams.yaml", f"lr: {version}\n")

    reports = import_runs(tmp_path / "lightning_logs", tmp_path / "runs")

    assert [report.directory.name for report in reports] == ["version_0", "version_1"]
    assert [open_run(report.directory).config.lr for report in reports] == [0, 1]
