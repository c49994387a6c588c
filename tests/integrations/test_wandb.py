"""The W&B backend, read back with W&B's own reader, and the reader of offline runs."""

import json
import math
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path

import numpy as np
import pytest
from wandb.util import get_core_path

import ml
from ml.core.errors import ConfigError, WriteError
from ml.core.state import State
from ml.integrations import wandb_offline
from ml.integrations.wandb import WandbLogger
from ml.integrations.wandb_records import LogReader, html_of, texts_of
from ml.integrations.wandb_settings import WandbLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.kinds import KINDS, SCALAR, TABLE, VIDEO
from ml.loggers.multi import MultiLogger
from ml.loggers.replay import replay
from ml.loggers.sources import Entry, Settings, json_entries
from ml.loggers.stored import StoredHistogram
from ml.loggers.values import series_path
from ml.media.histogram import Histogram
from ml.testing.contract import Backend, LoggerContract
from ml.testing.runs import Written, context_of
from tests.integrations.ending import ENDS, end
from tests.integrations.wandb_server import wandb_server
from tests.integrations.written import written_of

OFFLINE = {"mode": "offline", "system_metrics": False, "write_every_n_seconds": 0}
NUMBERS = {"nan": math.nan, "inf": math.inf, "neg": -math.inf, "big": 2**62 + 1, "huge": 10**200, "tiny": 5e-324}


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch):
    for name in list(os.environ):
        if name.startswith("WANDB_") and name != "WANDB_SERVICE":
            monkeypatch.delenv(name)


def backend(**settings):
    return WandbLogger(WandbLoggerConfig("wandb", **(OFFLINE | settings)))


def logs_in(directory):
    return sorted(directory.glob("**/*.wandb"))


def inspected(log):
    """Every record of a log, as W&B's own viewer prints it."""
    ran = subprocess.run(
        [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(log)],
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


def history(log):
    """The rows of a log, as W&B's own viewer reads them: ``{name: value}`` each."""
    return [record["history"]["item"] for record in inspected(log) if "history" in record]


def told_entries(source):
    told = []
    return list(wandb_offline.read(source, told.append)), told


def entries(source):
    found, told = told_entries(source)
    assert not told
    return [entry for entry in found if isinstance(entry, Entry)]


def read_wandb(logger, directory) -> list[Written]:
    return [value for log in logs_in(directory / logger.id) for value in map(written_of, entries(log))]


@pytest.mark.slow
class TestWandbContract(LoggerContract):
    """W&B keeps the contract."""

    @pytest.fixture
    def backend(self) -> Backend:
        return Backend("wandb", backend, read_wandb)

    def test_it_starts_no_thread(self) -> None:
        pytest.skip("W&B talks to its service process from threads of its own")


def run_of(directory, **settings):
    loggers = [backend(**settings), JsonLogger(JsonLoggerConfig("json", write_every_n_seconds=0))]
    return ml.start_run(directory, loggers=loggers, config={"lr": 0.1, "data": {"name": "a"}}, on_error="raise")


def test_every_value_of_a_run_is_what_w_and_b_reads(tmp_path):
    with run_of(tmp_path / "demo") as run:
        for step in range(1, 4):
            run.log({"loss": 1 / step, "model/norm": step, **NUMBERS})
            run.step()
        with run.phase("valid"):
            run.log({"loss": 0.5})
            run.step()
        run.log({"loss": math.nan})
        run.step(step=2**40)

    (log,) = logs_in(tmp_path)
    read = {}
    for row in history(log):
        phase = row.get("phase", "train")
        for name, value in row.items():
            if name not in ("step", "phase") and not name.startswith("_"):
                read[phase, row["step"], name.removeprefix(f"{phase}/")] = float(value)
    frame = ml.open_run(tmp_path / "demo").scalars()
    expected = {(p, s, k): v for p, s, k, v in frame[["phase", "step", "key", "value"]].itertuples(index=False)}
    assert len(expected) == 3 * 8 + 2
    assert read.keys() == expected.keys()
    np.testing.assert_array_equal(list(read.values()), [expected[place] for place in read])


def test_a_state_is_one_row_and_the_training_step_is_the_axis_of_all(tmp_path):
    with run_of(tmp_path / "demo") as run:
        run.log({"a": 1, "b/c": 2, "text": "hello"})
        run.step(step=70)

    (log,) = logs_in(tmp_path)
    (row,) = history(log)
    assert {"step", "a", "b/c", "_step", "_timestamp"} < row.keys()
    assert (row["step"], row["_step"]) == (70, 0)
    axes = [record["metric"] for record in inspected(log) if "glob_name" in record.get("metric", {})]
    assert [(axis["glob_name"], axis["step_metric"]) for axis in axes] == [("*", "step")]


def test_the_time_of_a_row_is_that_of_its_state(tmp_path):
    with run_of(tmp_path / "demo") as run:
        run.begin_step(5, time_s=1.7e9)
        run.log({"loss": 0.5})

    (log,) = logs_in(tmp_path)
    assert [row["_timestamp"] for row in history(log)] == [1.7e9]


def test_the_configuration_and_the_names_of_a_run_are_there(tmp_path):
    with run_of(tmp_path / "demo", project="a/b", group="g", tags=["x", "y"], entity="me") as run:
        run.log({"loss": 1})
        run.step()

    (log,) = logs_in(tmp_path)
    (record,) = [found["run"] for found in inspected(log) if "run" in found]
    assert (record["display_name"], record["project"], record["entity"]) == ("demo", "a-b", "me")
    assert (record["run_group"], record["tags"]) == ("g", ["x", "y"])
    config = record["config"]["update"]
    assert {name: value for name, value in config.items() if name != "_wandb"} == {"lr": 0.1, "data": {"name": "a"}}
    (settings, *_), _ = told_entries(log)
    assert isinstance(settings, Settings)
    assert settings.config == {"lr": 0.1, "data": {"name": "a"}}


def test_a_run_that_is_imported_from_w_and_b_is_the_run_that_was_logged(tmp_path):
    with run_of(tmp_path / "demo") as run:
        for step in (1, 2):
            run.log({"loss": step / 3, **NUMBERS, "note": f"<b>{step}</b>\r\n", "empty": ""})
            run.logger.log_string("note", "again")
            run.logger.log_image("picture", np.arange(64 * 64 * 3).reshape(3, 64, 64) % 256 / 255)
            run.logger.log_audio("model/clip", np.sin(np.arange(500)), sample_rate=8000)
            run.step(force=True)
        with run.phase("test"):
            run.log({"model/accuracy": 0.5})
            run.step()

    (log,) = logs_in(tmp_path)
    ours = [e for e in json_entries(tmp_path / "demo/json/log.jsonl", pytest.fail) if isinstance(e, Entry)]
    theirs = entries(log)
    assert sorted(map(placed, theirs)) == sorted(map(placed, ours))
    assert {entry.state.phase for entry in theirs} == {"train", "test"}


def placed(entry):
    value = entry.value
    shown = value.encoded(next(iter(entry.kind.encoders))) if entry.kind.encoders else value
    if entry.kind is SCALAR and abs(value) >= 2**63:
        shown = float(value)  # as W&B has it
    return (entry.state.phase, entry.state.num_steps, entry.namespace, entry.key, entry.kind.name, str(shown))


def test_media_are_what_w_and_b_shows(tmp_path):
    cloud = np.random.default_rng(0).random((2, 5, 3), np.float32)
    with run_of(tmp_path / "demo") as run:
        run.logger.log_video("video", np.random.default_rng(0).integers(0, 255, (3, 3, 64, 64), np.uint8), fps=5)
        run.logger.log_histogram("weights", np.array([1.0, 2.0, 2.0, math.inf]))
        run.logger.log_point_cloud("cloud", cloud, colors=np.full((2, 5, 3), 7, np.uint8))
        run.logger.log_image("../picture", np.eye(8))
        run.step()

    (log,) = logs_in(tmp_path)
    (row,) = history(log)
    assert {name: value for name, value in row.items() if name.endswith("._type")} == {
        "video._type": "video-file",
        "weights._type": "histogram",
        "cloud._type": "object3D-file",
        "../picture._type": "image-file",
    }
    found = {entry.key: entry.value for entry in entries(log)}
    np.testing.assert_array_equal(found["cloud"].array(), cloud.reshape(1, 10, 3))
    assert (found["cloud"].colors == 7).all()
    assert found["video"].fps == 5
    assert found["weights"].histogram().counts.sum() == 3
    assert (found["weights"].histogram().min, found["weights"].histogram().max) == (1.0, 2.0)


def test_a_video_of_one_frame_is_read_as_a_video(tmp_path):
    with run_of(tmp_path / "demo") as run:
        run.logger.log_video("video", np.zeros((1, 3, 64, 64), np.uint8), fps=5)
        run.step()

    (log,) = logs_in(tmp_path)
    assert [(entry.kind, entry.value.array().shape) for entry in entries(log)] == [(VIDEO, (1, 3, 64, 64))]


def test_an_attempt_that_resumes_is_a_run_of_its_own_offline(tmp_path):
    for resume in (False, True):
        loggers = [backend(), "json"]
        with ml.start_run(tmp_path / "demo", loggers=loggers, resume=resume, state=State(num_steps=4)) as run:
            run.log({"loss": 0.5})
            run.step()

    ids = [log.stem for log in logs_in(tmp_path)]
    assert len(ids) == 2
    assert max(ids, key=len) == f"{min(ids, key=len)}-2"
    assert [entry.state.num_steps for log in logs_in(tmp_path) for entry in entries(log)] == [5, 5]


@pytest.mark.parametrize(("error", "code"), [(None, 0), (ValueError, 1), (KeyboardInterrupt, 255)])
def test_how_a_run_ends_is_how_w_and_b_has_it(tmp_path, error, code):
    with nullcontext() if error is None else pytest.raises(error), run_of(tmp_path / "demo") as run:
        run.log({"loss": 1})
        run.step()
        if error is not None:
            raise error

    (log,) = logs_in(tmp_path)
    assert inspected(log)[-1]["exit"]["exit_code"] == code


def test_a_run_of_the_user_is_left_alone(tmp_path, monkeypatch):
    import wandb

    with wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True, console="off")) as theirs:
        with run_of(tmp_path / "demo") as run:
            run.log({"ours": 1})
            run.step()
            assert run.flush(30)
            assert wandb.run is theirs
        theirs.log({"theirs": 2})
        log = Path(theirs.settings.sync_file)

    assert [{name for name in row if not name.startswith("_")} for row in history(log)] == [{"theirs"}]
    (ours,) = logs_in(tmp_path / "demo")
    assert [entry.key for entry in entries(ours)] == ["ours"]


def test_keys_that_w_and_b_has_for_itself_are_logged_elsewhere_and_read_back(tmp_path):
    own = ["step", "_step", "phase", "logged/step", "logged/logged/_x", "logged/loss"]
    with run_of(tmp_path / "demo") as run:
        run.log({name: number for number, name in enumerate(own)})
        run.step(step=9)

    (log,) = logs_in(tmp_path)
    (row,) = history(log)
    assert (row["step"], row["logged/step"], row["logged/logged/step"], row["logged/loss"]) == (9, 0, 3, 5)
    found = {series_path(entry.namespace, entry.key): entry.value for entry in entries(log)}
    assert found == {name: number for number, name in enumerate(own)}


def test_a_series_of_training_is_never_taken_for_one_of_another_phase(tmp_path):
    names = ["valid/loss", "test/loss", "train/loss", "train/valid/loss", "loss"]
    with run_of(tmp_path / "demo") as run:
        run.log(dict.fromkeys(names, 1))
        run.step()
        with run.phase("valid"):
            run.log(dict.fromkeys(names, 2))
            run.step()

    (log,) = logs_in(tmp_path)
    train, valid = ({name for name in row if not name.startswith("_")} - {"step", "phase"} for row in history(log))
    assert train.isdisjoint(valid)
    found = [(e.state.phase, series_path(e.namespace, e.key), e.value) for e in entries(log)]
    assert sorted(found) == sorted((phase, name, v) for phase, v in (("train", 1), ("valid", 2)) for name in names)


def test_nothing_is_printed_and_standard_streams_stay_what_they_are(tmp_path, capfd):
    streams = sys.stdout, sys.stderr
    with run_of(tmp_path / "demo") as run:
        run.log({"loss": 1})
        run.step()
        assert run.flush(30)
        assert (sys.stdout, sys.stderr) == streams

    assert capfd.readouterr() == ("", "")


def test_arguments_and_environment_are_not_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--password=canary"])
    monkeypatch.setenv("MY_PASSWORD", "canary")
    with run_of(tmp_path / "demo", system_metrics=True) as run:
        run.log({"loss": 1})
        run.step()

    folder = tmp_path / "demo" / "wandb"
    assert not [path for path in folder.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
    assert {path.name for path in folder.rglob("*") if path.suffix in (".txt", ".py", ".patch")} == set()


@pytest.mark.parametrize("how", ENDS)
def test_however_a_process_ends_what_was_handed_over_is_there(tmp_path, how):
    number = end(how, {"name": "wandb", "mode": "offline", "system_metrics": False}, tmp_path / "demo")

    (log,) = logs_in(tmp_path)
    found, _ = told_entries(log)
    values = [entry.value for entry in found if isinstance(entry, Entry)]
    assert values[:number] == list(range(1, number + 1))
    assert set(values[number:]) <= {6}  # of the run that was killed


def test_without_a_service_values_wait_and_are_written_once(tmp_path, monkeypatch):
    import wandb

    calls = []
    init = wandb.init

    def refused_once(*args, **settings):
        calls.append(settings["id"])
        if len(calls) == 1:
            raise wandb.errors.CommError("away")
        return init(*args, **settings)

    monkeypatch.setattr(wandb, "init", refused_once)
    logger = backend()
    logger.initialize(context_of(tmp_path))
    for refused in (True, False):
        logger.log_scalar("loss", lambda: 0.5, State(num_steps=1), "model")
        with pytest.raises(WriteError, match="away") if refused else nullcontext():
            logger.write(State(num_steps=1))
    logger.flush()
    logger.close()

    assert read_wandb(logger, tmp_path) == [("train", 1, "model", "loss", 0.5)]
    assert calls == [calls[0]] * 2


def test_a_write_that_fails_in_the_middle_is_repeated_and_no_row_is_doubled(tmp_path, monkeypatch):
    import wandb

    logger, log, calls = backend(), wandb.Run.log, []

    def refused_once(run, fields):
        calls.append(fields)
        if len(calls) == 2:
            raise wandb.errors.CommError("away")
        log(run, fields)

    monkeypatch.setattr(wandb.Run, "log", refused_once)
    logger.initialize(context_of(tmp_path))
    for is_refused in (True, False):
        for value in (0.25, 0.5, 0.75):  # twice at one step: two rows
            logger.log_scalar("loss", lambda value=value: value, State(num_steps=1 + (value > 0.6)), "model")
        with pytest.raises(WriteError, match="away") if is_refused else nullcontext():
            logger.write(State(num_steps=2))
    logger.flush()
    logger.close()

    assert [(step, value) for _, step, _, _, value in read_wandb(logger, tmp_path)] == [(1, 0.25), (1, 0.5), (2, 0.75)]


def test_a_row_that_w_and_b_refuses_fails_and_holds_up_no_other(tmp_path, monkeypatch):
    import wandb

    log = wandb.Run.log

    def refused(run, fields):
        if fields["step"] == 1:
            raise ValueError("refused")
        log(run, fields)

    monkeypatch.setattr(wandb.Run, "log", refused)
    component = MultiLogger("model")
    with LoggerGroup([backend()], context_of(tmp_path), close_timeout_s=60.0) as logs:
        for step in (1, 2):
            component.log_scalar("loss", step)
            logs.write([component], State(num_steps=step), force=True)
            logs.flush(60)
        stats = logs.stats()["wandb"]

    assert (stats.written, stats.failed) == (1, {"write": 1})
    assert [entry.state.num_steps for log in logs_in(tmp_path) for entry in entries(log)] == [2]


def test_more_bins_than_w_and_b_takes_are_put_together(tmp_path):
    counts = np.arange(999)
    bins = Histogram(counts, np.linspace(-1.0, 1.0, 1000), int(counts.sum()), -1.0, 1.0, 0.0, 0.0, 0, 0, 0)
    logger, state = backend(), State(num_steps=1)
    logger.initialize(context_of(tmp_path))
    logger.log_histogram("weights", StoredHistogram(bins, path="weights", origin="here"), state, "")
    logger.log_scalar("loss", lambda: 0.5, state, "")
    logger.write(state)
    logger.close()

    found = {entry.key: entry.value for log in logs_in(tmp_path) for entry in entries(log)}
    kept = found["weights"].histogram()
    assert found["loss"] == 0.5
    assert kept.counts.tolist() == [a + b for a, b in zip(counts[::2], [*counts[1::2], 0], strict=True)]
    assert kept.edges.tolist() == [*bins.edges[:-1:2], 1.0]


def test_online_without_a_key_values_wait_and_nobody_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    logger = backend(mode="online")
    logger.initialize(context_of(tmp_path))
    logger.log_scalar("loss", lambda: 0.5, State(num_steps=1), "model")
    with pytest.raises(WriteError, match="no API key"):
        logger.write(State(num_steps=1))
    logger.close()


ONLINE = """
import sys
import numpy as np
import ml
from ml.integrations.wandb_settings import WandbLoggerConfig

settings = {"mode": "online", "system_metrics": False, "write_every_n_seconds": 0, "finish_timeout_s": 2}
run = ml.start_run(sys.argv[1], loggers=[WandbLoggerConfig("wandb", **settings)])
for step in (1, 2):
    run.log({"loss": step / 3, "nan": float("nan")})
    run.step()
run.logger.log_image("a/picture", np.eye(8))
run.step()
assert run.flush(60)
print("flushed", flush=True)
sys.stdin.readline()
for step in (4, 5):
    run.log({"loss": step})
    run.step()
run.close()
print(run.stats()["wandb"].written)
"""


@pytest.mark.parametrize("is_away", [False, True])
def test_online_everything_is_uploaded_and_a_server_that_goes_away_costs_no_value(tmp_path, is_away):
    key = {"WANDB_API_KEY": "0" * 40, "WANDB_ERROR_REPORTING": "false"}
    with ExitStack() as stack:
        server = stack.enter_context(wandb_server())
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", ONLINE, str(tmp_path / "demo")],
                env=os.environ | key | {"WANDB_BASE_URL": server.url},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert process.stdout.readline() == "flushed\n"
        if is_away:
            server.shutdown()
            server.server_close()
        out, _ = process.communicate("go on\n", timeout=60)

    assert (out, process.returncode) == ("7\n", 0)
    (log,) = logs_in(tmp_path)
    assert log.parent.name.startswith("run-")
    rows = history(log)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    if not is_away:
        (uploaded,) = server.rows.values()
        assert [(row["step"], row.get("loss")) for row in uploaded] == [(row["step"], row.get("loss")) for row in rows]
        assert [name for name in server.files if name.startswith("media/images/a%2Fpicture")] != []
        assert (server.begun[0]["displayName"], server.begun[0]["project"]) == ("demo", tmp_path.name)


DISABLED = """
import sys
import ml

with ml.start_run(sys.argv[1], loggers=["wandb"], config={"a": 1}) as run:
    run.log({"loss": lambda: sys.exit("computed")})
    run.step()
print([name for name in sys.modules if name.partition(".")[0] == "wandb"])
"""


def test_disabled_nothing_is_computed_and_w_and_b_is_not_loaded(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", DISABLED, tmp_path / "demo"],
        env=os.environ | {"WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.stdout, ran.returncode) == ("[]\n", 0), ran.stderr
    assert not logs_in(tmp_path)


@pytest.mark.parametrize(("mode", "is_told"), [("dryrun", False), ("shared", True)])
def test_a_mode_that_w_and_b_alone_knows_is_offline(tmp_path, monkeypatch, caplog, mode, is_told):
    monkeypatch.setenv("WANDB_MODE", mode)
    with ml.start_run(tmp_path / "demo", loggers=["wandb"]) as run:
        run.log({"loss": 1})
        run.step()

    (log,) = logs_in(tmp_path)
    assert log.parent.name.startswith("offline-run-")
    assert ("WANDB_MODE=shared is none of online, offline, disabled" in caplog.text) == is_told


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "sometimes"}, "mode of 'wandb' must be one of online, offline, disabled, got 'sometimes'"),
        ({"finish_timeout_s": 0}, "finish_timeout_s of 'wandb' must be above 0, got 0"),
        ({"tags": 3}, "cannot be configured"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=message):
        ml.start_run(tmp_path / "demo", loggers={"name": "wandb", **wrong})

    assert not (tmp_path / "demo").exists()


def test_without_w_and_b_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("ml.integrations.wandb.find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"pip install 'ml-logbook\[wandb\]'"):
        ml.start_run(tmp_path / "demo", loggers=["wandb"])


def test_a_replay_gives_w_and_b_the_same_values(tmp_path):
    with run_of(tmp_path / "demo") as run:
        for step in (1, 2):
            run.log({"loss": step, "note": "text"})
            run.step()

    report = replay(tmp_path / "demo", backend(), tmp_path / "again")
    first, again = (logs_in(tmp_path / name)[0] for name in ("demo", "again"))
    assert (report.written, report.num_problems) == (4, 0)
    assert sorted(map(placed, entries(again))) == sorted(map(placed, entries(first)))


# the reader


@pytest.fixture(scope="module")
def long_log(tmp_path_factory):
    """A log of several blocks, with a record that is longer than one."""
    directory = tmp_path_factory.mktemp("long")
    with run_of(directory / "demo") as run:
        for step in range(1, 301):
            run.log({f"key_{number}": step for number in range(20)})
            if step == 100:
                run.log({"k" * 40_000: 1})
            run.step()
    return logs_in(directory)[0]


def values_of(found):
    return [(e.state.num_steps, e.key, e.value) for e in found if isinstance(e, Entry)]


def test_records_of_any_length_are_read(long_log):
    found = values_of(entries(long_log))

    assert len(found) == 20 * 300 + 1
    assert (100, "k" * 40_000, 1) in found


def test_a_log_that_ends_within_a_record_is_read_up_to_there(long_log, tmp_path):
    whole = long_log.read_bytes()
    all_values = values_of(entries(long_log))
    for size in (0, 3, 7, 9, 1000, len(whole) // 2, len(whole) - 1):
        log = tmp_path / "run-x.wandb"
        log.write_bytes(whole[:size])
        found, told = told_entries(log)
        assert values_of(found) == all_values[: len(values_of(found))]
        assert all("ends within a record" in problem for problem in told)


@pytest.mark.parametrize("at", [0, 10, 20_000, 32_768, 40_000])
def test_a_damaged_log_is_told_and_the_rest_is_read(long_log, tmp_path, at):
    data = bytearray(long_log.read_bytes())
    data[at] ^= 0x41
    log = tmp_path / "run-x.wandb"
    log.write_bytes(data)

    found, told = told_entries(log)

    assert told
    assert set(values_of(found)) <= set(values_of(entries(long_log)))
    assert at == 0 or len(values_of(found)) > 3000


@pytest.mark.parametrize("trials", [8, pytest.param(300, marks=pytest.mark.slow)])
def test_no_bytes_make_the_reader_crash(long_log, tmp_path, trials):
    rng = np.random.default_rng(0)
    whole = np.frombuffer(long_log.read_bytes()[:60_000], np.uint8)
    log = tmp_path / "run-x.wandb"
    for _ in range(trials):
        damaged = whole.copy()
        damaged[rng.integers(0, len(damaged), 50)] = rng.integers(0, 256, 50)
        log.write_bytes(damaged.tobytes())
        told_entries(log)


def test_a_reader_goes_on_where_it_stopped(long_log, tmp_path):
    whole, log = long_log.read_bytes(), tmp_path / "run-x.wandb"
    log.touch()
    reader, read = LogReader(log), []
    for size in (3, 5000, 5001, 50_000, len(whole)):
        log.write_bytes(whole[:size])
        read += reader.read()

    assert read == list(LogReader(long_log).read())


THEIRS = """
import sys
import numpy as np
import wandb

with wandb.init(mode="offline", dir=sys.argv[1], settings=wandb.Settings(silent=True), config={"lr": 0.1}) as run:
    run.config.update({"late": {"a": 1}})
    run.log({"loss": 0.5, "nested": {"a": {"b": 2}}, "flag": True, "text": "hello", "none": None}, step=3)
    run.log({"valid/loss": 0.25, "picture": wandb.Image(np.eye(8), file_type="jpg")}, step=10)
    run.log({"hist": wandb.Histogram([1, 2, 3]), "table": wandb.Table(columns=["a"], data=[[1]])}, step=11)
    run.log({"html": wandb.Html("<p>page</p>", inject=False), "list": [1, 2]}, step=12)
"""


def test_a_run_of_w_and_b_itself_is_read(tmp_path):
    subprocess.run([sys.executable, "-c", THEIRS, str(tmp_path)], check=True, timeout=60, capture_output=True)
    folder = logs_in(tmp_path)[0].parent

    assert wandb_offline.is_source(folder)
    assert wandb_offline.is_source(tmp_path)
    found, told = told_entries(folder)
    settings, *rest = found
    assert settings.config == {"lr": 0.1, "late": {"a": 1}}
    plain = [(e.state.num_steps, e.namespace, e.key, e.value) for e in rest if not e.kind.droppable]
    assert sorted(plain, key=str) == sorted(
        [
            (3, "", "loss", 0.5),
            (3, "", "nested.a.b", 2),
            (3, "", "flag", 1),
            (3, "", "text", "hello"),
            (10, "valid", "loss", 0.25),
            (12, "", "html", "<p>page</p>"),
        ],
        key=str,
    )
    assert [(e.key, e.kind.name, e.state.phase) for e in rest if e.kind.droppable] == [
        ("picture", "image", "train"),
        ("hist", "histogram", "train"),
    ]
    assert {problem.split()[0] for problem in told} == {"'table'", "'list'"}


def test_a_missing_or_foreign_file_costs_its_value(tmp_path):
    with run_of(tmp_path / "demo") as run:
        run.logger.log_image("gone", np.eye(8))
        run.log({"loss": 1})
        run.step()
    (log,) = logs_in(tmp_path)
    shutil.rmtree(log.parent / "files")

    found, told = told_entries(log)

    assert values_of(found) == [(1, "loss", 1)]
    assert [problem.partition(":")[0] for problem in told] == ["'gone' at step 1 is left out"]


def test_a_folder_of_several_runs_is_not_read_as_one(tmp_path):
    for name in "ab":
        with run_of(tmp_path / name) as run:
            run.log({"loss": 1})
            run.step()
        shutil.move(logs_in(tmp_path / name)[0].parent, tmp_path / f"offline-run-{name}")

    assert wandb_offline.is_source(tmp_path)
    with pytest.raises(ConfigError, match="holds 2 runs of W&B: import one of them"):
        list(wandb_offline.read(tmp_path, pytest.fail))


@pytest.mark.parametrize("texts", [[""], ["a", "b"], ["</pre>", "&amp;<pre>"], ["\r\n\x00\u2028"]])
def test_texts_come_back_from_the_page_that_shows_them(texts):
    assert texts_of(html_of(texts)) == texts


def test_every_kind_but_tables_is_taken():
    assert backend().kinds == frozenset(KINDS) - {TABLE}
    assert SCALAR in KINDS
