"""Runs that are given to other backends: the same values, at the same steps, however often."""

import json
import math
import os
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
from tensorboard.util.tensor_util import make_ndarray

from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.journal import JournalLogger, JournalLoggerConfig
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.kinds import KINDS
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.loggers.replay import MARKER, replay
from ml.loggers.sources import Entry, Settings, journal_entries, json_entries
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.testing import FakeClock
from tests.loggers.tensorboard_reader import accumulated, events

EVERY_STEP = {"write_every_n_seconds": 0, "write_media_every_n_seconds": 0}
RNG = np.random.default_rng(0)
CLOUD, COLORS = RNG.random((2, 30, 3), np.float32), RNG.integers(0, 256, (2, 30, 3), np.uint8)
VIDEO = np.kron(RNG.integers(0, 2, (5, 3, 16, 16), np.uint8) * 255, np.ones((4, 4), np.uint8))
IMAGE = RNG.integers(0, 256, (3, 80, 90), np.uint8)
PCM = RNG.integers(-(2**15), 2**15, (2, 700), np.int16)


def log_everything(component, step):
    component.log_scalars({"loss": 1 / step, "nan": math.nan, "count": 2**60 + step})
    component.log_string("note", f"step {step}\x00é")
    component.log_string("note", "again")
    component.log_image("image", IMAGE)
    component.log_image("gray", IMAGE[0] // step)
    component.log_audio("sound", PCM, sample_rate=8000)
    component.log_video("video", VIDEO, fps=5)
    component.log_histogram("weights", np.array([*range(100 * step), math.inf]))
    component.log_point_cloud("cloud", CLOUD)
    component.log_point_cloud("colored", CLOUD, colors=COLORS)
    component.log_table("small", {"label": range(step), "score": [math.nan] * step})
    component.log_table("pictures", {"input": [IMAGE, None], "when": [datetime(2026, 1, 2, tzinfo=UTC), None]})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two attempts, of which the second goes over a step again, with a validation pass."""
    directory = tmp_path_factory.mktemp("run")
    for attempt, steps in ((1, (1, 2, 3)), (2, (3, 4))):
        backends = [
            JsonLogger(JsonLoggerConfig("json", **EVERY_STEP)),
            JournalLogger(JournalLoggerConfig("journal", **EVERY_STEP)),
            TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", **EVERY_STEP)),
        ]
        clock = FakeClock(1.7e9 + 1000 * attempt + 0.125)
        task, bare = MultiLogger("task"), MultiLogger("")
        with LoggerGroup(backends, RunContext(directory, attempt=attempt, wall_clock=clock), on_error="raise") as logs:
            logs.log_config({"lr": 0.1, "attempt": attempt, "text": "a ${b}"})
            assert logs.flush()  # so that every backend takes it at one time
            for step in steps:
                log_everything(task, step)
                bare.log_scalar("plain", step)
                clock.advance(1 / 3)
                logs.write([task, bare], State(num_epochs=1, num_steps=step, num_samples=64 * step))
            task.log_scalar("loss", 0.5)
            logs.write([task], State("valid", num_steps=steps[-1], num_valid_steps=1))
    return directory


def files_in(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def values_of(directory):
    """What TensorBoard reads of a run: its values, without the names of the files."""
    read = {}
    for phase in ("train", "valid", "."):
        for event in events(directory / "tensorboard" / phase):
            for value in event.summary.value:
                read.setdefault((phase, value.tag), []).append((event.step, event.wall_time, value.SerializeToString()))
    return read


def test_json_lines_that_are_replayed_from_the_journal_are_the_same_bytes(run, tmp_path):
    report = replay(run, "json", tmp_path / "again")

    assert files_in(tmp_path / "again" / "json") == files_in(run / "json")
    assert (report.attempts, report.num_problems, report.source) == (2, 0, run / "journal")
    assert report.written == len(list(json_entries(run / "json" / "log.jsonl", print)))


def test_json_lines_that_are_replayed_from_json_lines_are_the_same_bytes(run, tmp_path):
    replay(run, "json", tmp_path / "again", source="json")

    assert files_in(tmp_path / "again" / "json") == files_in(run / "json")


def test_tensorboard_reads_the_same_from_a_replay(run, tmp_path):
    replay(run, "tensorboard", tmp_path / "again")

    assert values_of(tmp_path / "again") == values_of(run)
    again = accumulated(tmp_path / "again" / "tensorboard" / "train")
    assert [(point.step, point.value) for point in again.Scalars("plain")] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert make_ndarray(again.Tensors("task/note")[0].tensor_proto).tolist() == [b"step 1\x00\xc3\xa9", b"again"]


@pytest.mark.parametrize("source", ["journal", "json"])
def test_a_journal_of_a_replay_has_the_same_values(run, tmp_path, source):
    replay(run, "journal", tmp_path / "again", source=source)

    def told(directory):
        found = [e for e in journal_entries(directory / "journal", pytest.fail) if isinstance(e, Entry)]
        return [
            (
                *(e.attempt, e.state.phase, e.state.num_steps, str(e.kind), e.namespace, e.key),
                str(e.value)
                if not e.kind.droppable
                else e.value.encoded(next(iter(e.kind.encoders), "none"))
                if e.kind.encoders
                else e.value.histogram().counts.tolist(),
            )
            for e in found
        ]

    assert sorted(map(repr, told(tmp_path / "again"))) == sorted(map(repr, told(run)))


def test_the_configuration_of_each_attempt_is_replayed(run, tmp_path):
    replay(run, "journal", tmp_path / "again")
    found = [e for e in journal_entries(tmp_path / "again" / "journal", pytest.fail) if isinstance(e, Settings)]

    assert [(e.attempt, e.config["attempt"], e.config["lr"]) for e in found] == [(1, 1, 0.1), (2, 2, 0.1)]
    assert [e.time_s for e in found] == [1.7e9 + 1000.125, 1.7e9 + 2000.125]


def test_a_configuration_that_the_run_kept_goes_with_its_json_lines(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run / "json", copy / "json")
    (copy / "attempts" / "2").mkdir(parents=True)
    (copy / "attempts" / "2" / "config.yaml").write_text("lr: 0.2\n")
    replay(copy, "journal", tmp_path / "again")

    found = [e for e in journal_entries(tmp_path / "again" / "journal", pytest.fail) if isinstance(e, Settings)]
    assert [(e.attempt, e.config) for e in found] == [(2, {"lr": 0.2})]


def test_media_are_given_as_they_were_logged_as_far_as_their_files_have_it(run, tmp_path):
    logged = {e.key: e.value for e in journal_entries(run / "journal", pytest.fail) if isinstance(e, Entry)}

    assert np.array_equal(logged["image"].array(), IMAGE)
    assert logged["image"]().dtype.is_floating_point
    assert np.array_equal(logged["sound"].array(), PCM / np.float32(2**15))
    assert logged["sound"].sample_rate == 8000
    assert np.array_equal(logged["video"].array(), VIDEO)
    assert logged["video"].fps == 5
    assert np.array_equal(logged["colored"].array(), CLOUD)
    assert np.array_equal(logged["colored"].colors, COLORS)
    assert logged["cloud"].colors is None
    histogram = logged["weights"].histogram()
    assert (histogram.count, histogram.pos_inf, int(histogram.counts.sum()), len(histogram.edges)) == (400, 1, 400, 65)
    with pytest.raises(LogValueError, match="its bins alone"):
        logged["weights"].array()


def test_a_backend_that_wants_the_values_of_a_histogram_is_told_of_it_and_gets_the_rest(run, tmp_path):
    memory = MemoryLogger(BaseLoggerConfig("memory"))
    report = replay(run, memory, tmp_path / "again")

    assert (report.failed, report.num_problems) == (5, 5)
    assert "weights" in report.problems[0]
    assert len(memory.entries) == report.written
    assert [(state.phase, state.num_steps) for state in memory.states] == [
        *(("train", 1), ("train", 2), ("train", 3), ("valid", 3)),
        *(("train", 3), ("train", 4), ("valid", 4)),
    ]
    assert {entry.key for entry in memory.entries} == {
        *("loss", "nan", "count", "note", "image", "gray", "sound", "video", "cloud", "colored", "plain"),
        *("small", "pictures"),
    }


def test_kinds_that_a_backend_does_not_take_are_counted(run, tmp_path):
    class Numbers(MemoryLogger):
        kinds = frozenset(KINDS[:1])

    report = replay(run, Numbers(BaseLoggerConfig("memory")), tmp_path / "again")

    assert report.written == 5 * 4 + 2
    assert report.unsupported == 5 * 11


def test_what_a_backend_excludes_it_is_not_given(run, tmp_path):
    memory = MemoryLogger(BaseLoggerConfig("memory", include=["task/*"], exclude=["*/note", "*/weights"]))
    report = replay(run, memory, tmp_path / "again")

    assert {entry.key for entry in memory.entries} == {
        *("loss", "nan", "count", "image", "gray", "sound", "video", "cloud", "colored", "small", "pictures")
    }
    assert (report.excluded, report.failed, report.num_problems) == (5 * 4, 0, 0)
    assert json.loads((tmp_path / "again" / MARKER).read_text())["excluded"] == report.excluded


def test_a_value_or_a_write_that_fails_is_told_and_the_rest_is_replayed(run, tmp_path):
    class Choosy(MemoryLogger):
        def log_string(self, key, value, state, namespace):
            raise RuntimeError("no texts")

        def write(self, state):
            if state.num_steps == 2:
                self._rows.clear()
                raise LogValueError("no step 2")
            super().write(state)

    choosy = Choosy(BaseLoggerConfig("memory", exclude=["*/weights"]))
    report = replay(run, choosy, tmp_path / "again")

    assert [state.num_steps for state in choosy.states] == [1, 3, 3, 3, 4, 4]
    assert report.written == len(choosy.entries)
    assert report.failed == 5 * 2 + 12  # the texts, and what else the step had
    assert [problem for problem in report.problems if "texts" not in problem] == [
        "12 values up to step 2 are left out: no step 2."
    ]
    assert "'task/note' at step 1 is left out: RuntimeError: no texts" in report.problems


@pytest.mark.parametrize("method", ["write", "log_config"])
@pytest.mark.parametrize("error", [ConfigError, WriteError])
def test_a_backend_that_cannot_be_used_ends_a_replay(run, tmp_path, method, error):
    def refuse(self, given):
        raise error("not with this backend")

    refusing = type("Refusing", (MemoryLogger,), {method: refuse})
    with pytest.raises(error, match="not with this"):
        replay(run, refusing(BaseLoggerConfig("memory")), tmp_path / "again")

    assert os.listdir(tmp_path) == []


def test_a_configuration_that_a_backend_refuses_costs_no_value(run, tmp_path):
    class Choosy(MemoryLogger):
        def log_config(self, config):
            raise ValueError("no settings")

    report = replay(run, Choosy(BaseLoggerConfig("memory", exclude=["*/weights"])), tmp_path / "again")

    assert report.problems == [f"The configuration of attempt {n} is left out: ValueError: no settings" for n in (1, 2)]
    assert report.written > 0


def test_replaying_twice_is_replaying_once(run, tmp_path):
    for to in ("json", "tensorboard"):
        once = replay(run, to, tmp_path / to)
        values = values_of(tmp_path / to), files_in(tmp_path / to / "json")
        twice = replay(run, to, tmp_path / to)
        assert once == twice
        assert (values_of(tmp_path / to), files_in(tmp_path / to / "json")) == values

    assert sorted(path.name for path in tmp_path.iterdir()) == ["json", "tensorboard"]


def test_the_result_says_where_it_came_from(run, tmp_path):
    (tmp_path / "empty").mkdir()
    report = replay(run, "json", tmp_path / "empty")
    marker = json.loads((tmp_path / "empty" / MARKER).read_text())

    assert (marker["source"], marker["written"], marker["attempts"]) == (str(run / "journal"), report.written, 2)


def test_a_directory_that_holds_something_else_is_refused_and_stays(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        replay(run, "json", tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        replay(run, "json", tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="holds the run"):
        replay(run, "json", run.parent)

    assert files_in(tmp_path) == {"notes.txt": b"mine"}


def test_a_run_without_a_journal_or_a_log_is_refused(run, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="neither a journal nor"):
        replay(tmp_path / "run", "json", tmp_path / "again")
    with pytest.raises(ConfigError, match="No logger is registered"):
        replay(run, "jsn", tmp_path / "again")

    assert os.listdir(tmp_path) == ["run"]


def test_a_replay_that_cannot_be_finished_leaves_nothing_behind(run, tmp_path):
    class Full(MemoryLogger):
        def write(self, state):
            if state.num_steps == 3:
                raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replay(run, Full(BaseLoggerConfig("memory")), tmp_path / "again")

    assert os.listdir(tmp_path) == []


def test_what_is_damaged_is_left_out_and_told_and_the_rest_is_replayed(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run / "journal", copy / "journal")
    path = copy / "journal" / "0001-0001.journal"
    data = bytearray(path.read_bytes())
    data[data.index(b'"loss"')] ^= 1
    path.write_bytes(data)
    for file in (copy / "journal" / "media").rglob("*.png"):
        file.unlink()

    report = replay(copy, "json", tmp_path / "again")

    lines = [json.loads(line) for line in (tmp_path / "again" / "json" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 3, 3, 4, 4]
    assert "scalars" not in lines[0]
    assert lines[1]["scalars"]["task/loss"] == 0.5
    assert not any("images" in line for line in lines)
    assert report.num_problems == 1 + 1 + 2 * 5  # the damage, the record that is lost, two pictures a step
    assert any("are damaged" in problem for problem in report.problems)


def test_lines_that_are_damaged_are_left_out_and_told(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run / "json", copy / "json")
    log = copy / "json" / "log.jsonl"
    first, *others = log.read_bytes().splitlines(keepends=True)
    outside, odd, missing = json.loads(first), json.loads(first), json.loads(first)
    outside["images"]["task/image"]["path"] = "../../secret.png"
    odd["scalars"]["task/odd"] = [1]
    missing["videos"] = {"task/video": {"path": "media", "sha256": "0" * 64}}
    made_up = "".join(json.dumps(line) + "\n" for line in (outside, odd, missing)).encode()
    log.write_bytes(b"{torn\n" + made_up + b"".join(others) + b'{"unfinished')

    report = replay(copy, "memory", tmp_path / "again", source="json")

    told = [problem for problem in report.problems if "weights" not in problem]
    assert [problem.partition(" of ")[0] for problem in told] == [
        "Line 1",
        "Line 2",
        "Line 3",
        "'task/video' at step 1",
    ]
