"""A run in MLflow, in a database and on a real server, read back by MLflow's client: equal to what it has on disk."""

import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric_name

from ml.cli.main import main
from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.core.state import State
from ml.integrations.mlflow import MlflowLogger, MlflowLoggerConfig
from ml.integrations.mlflow_client import Client
from ml.integrations.mlflow_names import file_segment, metric_name, series_of
from ml.loggers.group import LoggerGroup
from ml.loggers.multi import MultiLogger
from ml.loggers.remote import identity_of
from ml.loggers.replay import send
from ml.reading import open_run
from ml.session import start_run
from ml.testing.contract import Backend, LoggerContract, Written
from ml.testing.hostile import ALIKE, NAMES
from ml.testing.runs import context_of, group_of
from tests.mlflow_server import LossyProxy, MlflowServer

ROOT = Path(__file__).parents[2]
LARGEST = sys.float_info.max
LONG = [name for name in (*NAMES.values(), *sum(ALIKE, ())) if len(name) > 100]
EXPERIMENT = "tests"


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """The URI of a database that all tests share: making its tables takes MLflow seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server that all tests share."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server"))
    yield server
    server.kill()


@pytest.fixture(params=["database", "server"])
def uri(request):
    shared = request.getfixturevalue(request.param)
    return shared.url if request.param == "server" else shared


def settings(uri, **others):
    location = str(Path(uri.removeprefix("sqlite:///")).parent / "artifacts") if uri.startswith("sqlite") else None
    return {"name": "mlflow", "tracking_uri": uri, "experiment": EXPERIMENT, "artifact_location": location} | others


def backend_of(uri, **others):
    return MlflowLogger(MlflowLoggerConfig(**settings(uri, write_every_n_seconds=0, **others)))


def runs_of(uri, directory):
    """MLflow's runs that are the run in a directory: one, where all is well."""
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments, f"tags.`ml.run` = '{identity_of(directory / 'mlflow')}'")


def points_of(uri, directory):
    """``{(phase, key): [(step, value, milliseconds), ...]}`` of all metrics, in the order of their steps."""
    (run,) = runs_of(uri, directory)
    client = MlflowClient(uri)
    return {
        series_of(name): sorted(
            (metric.step, metric.timestamp, repr(metric.value))
            for metric in client.get_metric_history(run.info.run_id, name)
        )
        for name in run.data.metrics
    }


def expected_of(directory):
    """The same of what the run has on disk; MLflow has the largest number for an infinity."""
    points = {}
    for row in open_run(directory).scalars().itertuples():
        value = max(-LARGEST, min(LARGEST, row.value)) if not math.isnan(row.value) else row.value
        milliseconds = row.time.value // 1_000_000
        points.setdefault((row.phase, row.key), []).append((row.step, milliseconds, repr(float(value))))
    return {series: sorted(values) for series, values in points.items()}


def artifacts_of(uri, run_id):
    """``{path: content}``."""
    client = MlflowClient(uri)
    if not client.list_artifacts(run_id):
        return {}
    root = Path(client.download_artifacts(run_id, ""))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def train(run, steps, *, first=1):
    """Logs numbers that are odd, texts, a picture, and a pass."""
    for step in range(first, first + steps):
        run.log({"loss": [0.5, math.nan, math.inf, -math.inf][step % 4], "task/rate": 1 / step, "valid/own": 2**53})
        run.log({"note": f"step {step}"})
        run.step(samples=4)
    run.logger.log_image("task/Picture", np.eye(8))
    with run.phase("valid"):
        for weight in (1, 3):
            run.log({"loss": float(weight)}, weight=weight)
            run.step()
    run.end_epoch()


# the contract


def read_mlflow(logger: MlflowLogger, directory: Path) -> list[Written]:
    if not (directory / logger.id / "identity.json").exists():
        return []
    uri = logger.config.tracking_uri
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    identity = identity_of(directory / logger.id)
    runs = client.search_runs([experiment.experiment_id], f"tags.`ml.run` = '{identity}'")
    if not runs:
        return []
    (run,) = runs
    values = []
    for name in run.data.metrics:
        phase, path = LONG_NAMES.get(name) or series_of(name)
        for metric in client.get_metric_history(run.info.run_id, name):
            value = math.copysign(math.inf, metric.value) if abs(metric.value) == LARGEST else metric.value
            values.append((phase, metric.step, *names_of(path), value))
    for path, data in sorted(artifacts_of(uri, run.info.run_id).items()):
        if path.startswith("config"):
            continue
        kind, namespace, key, file = path.split("/")
        phase, step = re.match(r"(\w+)-(\d+)-", file).groups()
        value = data.decode() if kind == "text" else None
        values.append((phase, int(step), segment_of(namespace), segment_of(key), value))
    return values


def names_of(path):
    namespace, slash, key = path.partition("/")
    return (namespace, key) if slash else ("", namespace)


def segment_of(segment):
    return LONG_SEGMENTS.get(segment) or unquote(segment.replace("=", "%"))


LONG_NAMES = {
    metric_name(phase, path): (phase, path)
    for name in LONG
    for path in (f"model/{name}", f"{name}/{name}", f"{name}/loss")
    for phase in ("train", "valid", "test")
}
LONG_SEGMENTS = {file_segment(name): name for name in LONG}


class TestDatabase(LoggerContract):
    """The MLflow backend keeps the contract, with a database."""

    @pytest.fixture
    def backend(self, database) -> Backend:
        return Backend("mlflow", make=lambda: backend_of(database), read=read_mlflow)


@pytest.mark.slow
class TestServer(LoggerContract):
    """The MLflow backend keeps the contract, with a server."""

    @pytest.fixture
    def backend(self, server) -> Backend:
        return Backend("mlflow", make=lambda: backend_of(server.url), read=read_mlflow)


# what is there, and how a run ended


def test_every_value_that_mlflow_reads_is_the_runs_own(uri, tmp_path):
    config = {"lr": 0.1, "model": {"width": 64, "sizes": [1, 2]}, "odd name?": "x" * 7000, "password": "canary-1"}
    with start_run(tmp_path / "run", loggers=["json", settings(uri, tags={"team": "vision"})], config=config) as run:
        train(run, 8)

    assert run.stats()["mlflow"].written == run.stats()["json"].written
    assert points_of(uri, run.path) == expected_of(run.path)
    (found,) = runs_of(uri, run.path)
    assert (found.info.status, found.info.run_name, found.data.tags["team"]) == ("FINISHED", "run", "vision")
    assert found.info.start_time <= found.info.end_time
    params = found.data.params
    assert (params["lr"], params["model.width"], params["model.sizes"]) == ("0.1", "64", "[1, 2]")
    assert params["odd name:3F"] == "x" * 5999 + "…"
    files = artifacts_of(uri, found.info.run_id)
    assert [data for path, data in sorted(files.items()) if "/note/" in path] == [b"step %d" % i for i in range(1, 9)]
    (picture,) = (path for path in files if path.startswith("image/task/=50icture/train-00000009-"))
    assert files[picture] == open_run(run.path).images("task/Picture")[0].path.read_bytes()
    assert b"width: 64" in files["config.yaml"]
    assert not any(b"canary" in data for data in files.values())


def test_a_resumed_run_is_one_run_and_its_first_params_hold(database, tmp_path):
    with start_run(tmp_path / "run", loggers=["json", settings(database)], config={"lr": 1, "same": 2}) as run:
        train(run, 3)
    with start_run(
        tmp_path / "run",
        loggers=["json", settings(database)],
        config={"lr": 2, "same": 2, "new": 3},
        resume=True,
        state=run.state,
    ) as run:
        train(run, 3, first=4)

    assert points_of(database, run.path) == expected_of(run.path)
    (found,) = runs_of(database, run.path)
    assert found.data.params == {"lr": "1", "same": "2", "new": "3"}
    assert b"lr: 2" in artifacts_of(database, found.info.run_id)["config-2.yaml"]


def test_how_a_run_ends_is_how_mlflow_has_it(database, tmp_path):
    def status(name, error):
        run = start_run(tmp_path / name, loggers=settings(database))
        run.log({"loss": 0.5})
        with pytest.raises(type(error)), run:
            raise error
        return runs_of(database, run.path)[0].info.status

    assert status("failed", ValueError()) == "FAILED"
    assert status("interrupted", KeyboardInterrupt()) == "KILLED"


def test_mlflows_own_state_is_left_alone(database, tmp_path):
    environment, uri = dict(os.environ), mlflow.get_tracking_uri()
    logger = backend_of(database)
    mlflow_client = MlflowClient(database)
    theirs = mlflow_client.create_run(mlflow_client.create_experiment("theirs", artifact_location=str(tmp_path)))
    with group_of(tmp_path, logger) as logs:
        component = MultiLogger("task")
        component.log_scalar("loss", 0.5)
        logs.write([component], State(num_steps=1))
        assert logs.flush(30)
        assert mlflow.active_run() is None

    assert dict(os.environ) == environment
    assert mlflow.get_tracking_uri() == uri
    assert mlflow_client.get_run(theirs.info.run_id).data.metrics == {}


# what a replay completes


def test_a_replay_sends_what_is_left_and_nothing_twice(uri, tmp_path):
    away = settings("http://127.0.0.1:1")
    with start_run(tmp_path / "run", loggers=["journal", "json", away], close_timeout_s=1.0, config={"lr": 1}) as run:
        train(run, 3)
    assert run.stats()["mlflow"].written == 0

    for _ in range(2):
        given = [f"tracking_uri={uri}", f"experiment={EXPERIMENT}"]
        assert main(["replay", str(run.path), "--to", "mlflow", "--set", given[0], "--set", given[1]]) == 0
        assert points_of(uri, run.path) == expected_of(run.path)
        (found,) = runs_of(uri, run.path)
        assert (found.info.status, found.data.params) == ("FINISHED", {"lr": "1"})


KILLED = """
import os, signal, sys
from ml import start_run

logger = {"name": "mlflow", "tracking_uri": sys.argv[2], "experiment": "tests", "write_every_n_seconds": 0}
run = start_run(sys.argv[1], loggers=["json", logger])
for step in range(1, 101):
    run.log({"loss": step / 8})
    run.step()
    if step == 50:
        assert run.flush(60)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_was_killed_has_what_was_sent_and_a_replay_completes_it(server, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "run", server.url], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    before = points_of(server.url, tmp_path / "run")["train", "loss"]
    assert len(before) >= 50

    send(tmp_path / "run", backend_of(server.url))

    assert points_of(server.url, tmp_path / "run") == expected_of(tmp_path / "run")
    assert runs_of(server.url, tmp_path / "run")[0].info.status == "KILLED"


def test_a_store_that_keeps_equal_metrics_twice_is_asked_first(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    with start_run(tmp_path / "run", loggers=["json", settings(uri)]) as run:
        train(run, 6)
    assert points_of(uri, run.path).keys() == expected_of(run.path).keys()
    before = points_of(uri, run.path)

    client = Client(uri, 1.0)
    (found,) = runs_of(uri, run.path)
    for _ in range(2):
        send(run.path, backend_of(uri))
    assert points_of(uri, run.path) == before
    client.log_points(found.info.run_id, [("loss", *before["train", "loss"][3][:2], 0.5)])
    assert points_of(uri, run.path) != before  # which is why it is asked


def test_what_was_sent_before_a_failure_is_not_sent_again(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri, in_the_way = (tmp_path / "mlruns").as_uri(), tmp_path / "artifacts"
    in_the_way.write_text("a file where a directory is to be")
    logger = backend_of(uri, artifact_location=str(in_the_way / "here"))
    component = MultiLogger("task")
    with LoggerGroup([logger], context_of(tmp_path / "run"), close_timeout_s=60.0) as logs:
        component.log_scalar("loss", 0.5)
        component.log_string("note", "a")
        logs.write([component], State(num_steps=1))
        assert not logs.flush(1.0)
        in_the_way.unlink()

    assert [step for step, *_ in points_of(uri, tmp_path / "run")["train", "task/loss"]] == [1]
    assert artifacts_of(uri, runs_of(uri, tmp_path / "run")[0].info.run_id) == {
        "text/task/note/train-00000001-0.txt": b"a"
    }


# a server that is away


def test_a_server_that_hangs_in_the_middle_costs_no_step_no_value_and_doubles_none(server, tmp_path):
    logger = settings(server.url, timeout_s=1.0, write_every_n_seconds=0)
    with start_run(tmp_path / "run", loggers=["json", logger], close_timeout_s=100.0) as run:
        train(run, 20)
        assert run.flush(60)
        server.freeze()
        try:
            train(run, 200, first=21)  # which nobody waits with: the server answers nothing until it is over
            assert not run.flush(2.0)
        finally:
            server.thaw()
        train(run, 20, first=221)

    stats = run.stats()["mlflow"]
    assert stats.accepted == stats.written
    assert points_of(server.url, run.path) == expected_of(run.path)
    assert "cannot write now" in (run.path / "errors.jsonl").read_text()


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_costs_nothing(tmp_path):
    server = MlflowServer(tmp_path / "server")
    try:
        logger = settings(server.url, write_every_n_seconds=0)
        with start_run(tmp_path / "run", loggers=["json", logger], close_timeout_s=100.0) as run:
            train(run, 20)
            server.kill()
            train(run, 200, first=21)
            assert not run.flush(2.0)
            server.start()
            train(run, 20, first=221)

        stats = run.stats()["mlflow"]
        assert stats.accepted == stats.written
        assert points_of(server.url, run.path) == expected_of(run.path)
    finally:
        server.kill()


def test_an_answer_that_is_lost_makes_no_second_run_and_no_second_value(server, tmp_path):
    proxy = LossyProxy(server.url)
    proxy.lose_answer_of = {"create", "log-batch", "train-00000001-0.txt"}
    with start_run(
        tmp_path / "run", loggers=["json", settings(proxy.url)], config={"lr": 1}, close_timeout_s=100.0
    ) as run:
        train(run, 3)
        while len(proxy.lost) < 3:
            run.flush(0.3)  # and offers again what was not written
    proxy.close()

    assert {path.rpartition("/")[2] for path in proxy.lost} == {"create", "log-batch", "train-00000001-0.txt"}
    assert points_of(server.url, run.path) == expected_of(run.path)


def test_a_request_that_arrives_late_leaves_no_second_run(server, tmp_path):
    proxy = LossyProxy(server.url)
    MlflowClient(server.url).get_experiment_by_name(EXPERIMENT) or MlflowClient(server.url).create_experiment(
        EXPERIMENT
    )
    proxy.delay = {"create"}
    with start_run(tmp_path / "run", loggers=["json", settings(proxy.url)], close_timeout_s=100.0) as run:
        run.log({"loss": 0.5})
        run.step()
        run.flush(0.5)
        assert run.flush(60)
        proxy.release()
        assert len(runs_of(server.url, run.path)) == 2
    proxy.close()

    assert points_of(server.url, run.path) == expected_of(run.path)


def test_what_mlflow_refuses_is_not_offered_again(database, tmp_path):
    logger = backend_of(database)
    component = MultiLogger("task")
    with LoggerGroup([logger], context_of(tmp_path), close_timeout_s=60.0) as logs:
        for step in (1, 2):
            component.log_scalar("loss", 0.5)
            logs.write([component], State(num_steps=step), force=True)
            logs.flush(60)
            MlflowClient(database).delete_run(logger.run_id)
            assert logs.stats()["mlflow"].failed == ({} if step == 1 else {"write": 1})
        MlflowClient(database).restore_run(logger.run_id)


def test_a_server_is_asked_once_and_says_why_it_does_not_answer():
    with pytest.raises(WriteError, match=r"cannot be written to now: .*Connection refused") as caught:
        Client("http://user:canary-123456@127.0.0.1:1", 1.0).drops_equal_metrics()
    assert "canary" not in str(caught.value)


def test_a_wrong_name_is_refused_at_once(database):
    client = Client(database, 1.0)
    run = client.create_run(client.experiment_id("other", None), "x", 0, {})

    with pytest.raises(LogValueError, match="MLflow refuses it"):
        client.log_points(run.info.run_id, [("a~b", 0, 0, 0.5)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"timeout_s": 0.0}, "timeout_s of 'mlflow' must be above 0"), ({"experiment": ""}, "a name")],
)
def test_a_wrong_setting_is_found_before_anything_starts(tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=message):
        start_run(tmp_path / "run", loggers=[{"name": "mlflow"} | wrong])


def test_without_mlflow_the_extra_is_named(tmp_path):
    program = "import sys; sys.modules['mlflow'] = None; from ml import start_run; start_run('x', loggers=['mlflow'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "ConfigError: The backend 'mlflow' needs MLflow 3, which cannot be imported" in done.stderr
    assert "pip install 'ml-logbook[mlflow]'" in done.stderr


# names


@pytest.mark.parametrize("phase", ["train", "valid", "test"])
def test_every_series_has_a_name_that_mlflow_takes_and_no_other_has(phase):
    odd = [
        "valid/loss",
        "train/test/x",
        "train/loss",
        "...",
        "a/./b",
        "a/..",
        ":",
        "a:41",
        "aA",
        " a",
        "a ",
        "/",
        "é",
        "e\u0301",
    ]
    paths = list(dict.fromkeys([*NAMES.values(), *sum(ALIKE, ()), *odd]))
    names = [metric_name(phase, path) for path in paths]

    for path, name in zip(paths, names, strict=True):
        _validate_metric_name(name)
        assert len(name) <= 250
        assert len(path) > 100 or series_of(name) == (phase, path)
    others = {metric_name(other, path) for other in {"train", "valid", "test"} - {phase} for path in paths}
    assert len(set(names)) == len(names)
    assert others.isdisjoint(names)
