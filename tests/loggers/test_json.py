"""``log.jsonl`` read back by a strict parser, and the files beside it by what opens such files."""

import hashlib
import json
import math
import wave
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from ml.core.errors import LogValueError, WriteError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.group import LoggerGroup
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.multi import MultiLogger
from ml.testing import FakeClock


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


class Run:
    def __init__(self, directory, attempt=1, **settings):
        settings = {"write_every_n_seconds": 0, "write_media_every_n_seconds": 0, **settings}
        self.directory, self.component = directory, MultiLogger("task")
        self.json = JsonLogger(JsonLoggerConfig("json", **settings))
        context = RunContext(directory, attempt=attempt, clock=FakeClock(), wall_clock=FakeClock())
        self.group = LoggerGroup([self.json], context, on_error="raise")

    def write(self, state=None, **values):
        self.component.log_scalars(values)
        self.group.write([self.component], state or State(num_steps=1))

    def lines(self):
        """Closes the run; the lines of its log."""
        self.group.close()
        text = (self.directory / "json" / "log.jsonl").read_bytes().decode()
        *lines, rest = text.split("\n")
        assert rest == ""
        return [json.loads(line, parse_constant=refuse) for line in lines]

    def file(self, section, key):
        """Closes the run; what the log says of a file, and where that lies."""
        (line,) = self.lines()
        entry = line[section][key]
        path = self.directory / "json" / entry["path"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        return entry, path


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_a_line_is_the_state_and_its_values(run):
    state = State("train", num_epochs=2, num_steps=3, num_samples=192, elapsed_time_s=0.51, time_s=1767323045.678901)
    run.component.log_string("note", "started")
    run.write(state, loss=0.25)

    assert run.lines() == [
        {
            "attempt": 1,
            "phase": "train",
            "step": 3,
            "epoch": 2,
            "samples": 192,
            "elapsed_s": 0.51,
            "time": "2026-01-02T03:04:05.678901Z",
            "scalars": {"task/loss": 0.25},
            "strings": {"task/note": ["started"]},
        }
    ]


def test_kinds_that_were_not_logged_are_left_out(run):
    run.write(loss=1.0)

    assert set(run.lines()[0]) == {"attempt", "phase", "step", "epoch", "samples", "elapsed_s", "time", "scalars"}


def test_each_state_is_one_line_in_order(run):
    for step in (1, 2, 3):
        run.write(State(num_steps=step), loss=float(step), other=1.0)

    assert [(line["step"], line["scalars"]["task/loss"]) for line in run.lines()] == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_values_of_one_write_stay_with_their_own_state(tmp_path):
    run = Run(tmp_path, write_every_n_seconds=1000)
    run.write(State(num_steps=1), a=1.0)
    run.write(State(num_steps=2), b=2.0)
    run.write(State(num_steps=3), c=3.0)

    assert [(line["step"], line["scalars"]) for line in run.lines()] == [
        (1, {"task/a": 1.0}),
        (2, {"task/b": 2.0}),
        (3, {"task/c": 3.0}),
    ]


def test_numbers_that_are_not_finite_are_texts(run):
    run.write(nan=math.nan, inf=math.inf, minus=-math.inf)

    assert run.lines()[0]["scalars"] == {"task/nan": "NaN", "task/inf": "Infinity", "task/minus": "-Infinity"}


@pytest.mark.parametrize("number", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2**63, 2**53 + 1, 2**1000, True])
def test_numbers_are_kept_exactly(run, number):
    run.write(key=number)
    (line,) = run.lines()

    assert line["scalars"]["task/key"] == number
    assert str(line["scalars"]["task/key"]) == str(number + 0 if number is True else number)


@pytest.mark.parametrize(
    "text", ["", 'a "quoted" \\ text', "line\nline\r\n", "\x00\x1b[31m", "Grüße 日本 🎉", "\u2028"], ids=ascii
)
def test_texts_are_kept_exactly_on_one_line(run, text):
    run.component.log_string("note", text)
    run.write()

    assert run.lines()[0]["strings"] == {"task/note": [text]}


def test_every_text_of_a_key_is_kept_in_order(run):
    for text in "abc":
        run.component.log_string("note", text)
    run.write()

    assert run.lines()[0]["strings"] == {"task/note": ["a", "b", "c"]}


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "/abs", "a\nb", "é" * 300, "...", "\udc80", "__proto__", "a//b"], ids=ascii
)
def test_a_hostile_key_is_data_and_never_a_path(tmp_path, key):
    run = Run(tmp_path / "run")
    run.component.log_scalar(key, 1.0)
    run.component.log_image(key, np.zeros((64, 64), np.uint8))
    run.write()
    (line,) = run.lines()

    assert line["scalars"] == {f"task/{key}": 1.0}
    (path,) = (tmp_path / "run" / "json" / "media").rglob("*.png")
    assert path.relative_to(tmp_path / "run" / "json").as_posix() == line["images"][f"task/{key}"]["path"]
    assert len(path.relative_to(tmp_path / "run" / "json").parts) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_picture_is_a_file_that_the_line_names(run):
    run.component.log_image("a picture", np.full((3, 70, 80), 51, np.uint8))
    run.write(State(num_steps=7))
    entry, path = run.file("images", "task/a picture")

    assert entry["shape"] == [3, 70, 80]
    assert path.parent.parts[-4:] == ("media", "image", "task", "a%20picture")
    assert path.name == f"train-00000007-{entry['sha256'][:12]}.png"
    assert np.asarray(Image.open(path)).tolist() == np.full((70, 80, 3), 51).tolist()


def test_the_folders_of_media_decode_to_their_names(tmp_path):
    run = Run(tmp_path)
    run.component.log_image("a/B é", np.zeros((64, 64), np.uint8), namespace="My Task")
    run.write()
    run.group.close()
    (path,) = (tmp_path / "json" / "media" / "image").rglob("*.png")

    assert [unquote(part) for part in path.parts[-3:-1]] == ["My Task", "a/B é"]


def test_a_clip_is_a_wave_file(run):
    run.component.log_audio("clip", np.linspace(-0.5, 0.5, 800, dtype=np.float32), sample_rate=8000)
    run.write()
    entry, path = run.file("audios", "task/clip")

    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (8000, 800, 1)
    assert (entry["sample_rate"], entry["shape"]) == (8000, [800])


def test_a_video_is_an_animation(run):
    frames = np.zeros((4, 64, 64), np.uint8)
    frames[2:] = 255
    run.component.log_video("video", frames, fps=5)
    run.write()
    entry, path = run.file("videos", "task/video")

    with Image.open(path) as file:
        assert file.is_animated
    assert (entry["shape"], entry["fps"]) == ([4, 1, 64, 64], 5)


def test_a_point_cloud_is_a_file(run):
    run.component.log_point_cloud("cloud", np.eye(3), colors=np.full((3, 3), 255, np.uint8))
    run.write()
    entry, path = run.file("point_clouds", "task/cloud")

    assert entry["shape"] == [1, 3, 3]
    assert path.read_bytes().startswith(b"ply")


def test_a_histogram_is_its_bins(run):
    values = np.array([0.0, 1.0, 2.0, 3.0, math.nan, math.inf])
    run.component.log_histogram("weights", values)
    run.write()
    histogram = run.lines()[0]["histograms"]["task/weights"]

    assert (sum(histogram["counts"]), len(histogram["counts"]), len(histogram["edges"])) == (4, 64, 65)
    assert [histogram[name] for name in ("count", "min", "max", "mean", "nan", "pos_inf", "neg_inf")] == [
        *(4, 0.0, 3.0, 1.5),
        *(1, 1, 0),
    ]


def test_a_histogram_of_nothing_finite_is_strict_too(run):
    run.component.log_histogram("weights", np.array([math.nan, math.inf]))
    run.write()

    assert run.lines()[0]["histograms"]["task/weights"]["mean"] == "NaN"


def test_a_resumed_run_appends_to_the_log(tmp_path):
    for attempt in (1, 2):
        run = Run(tmp_path, attempt)
        run.write(State(num_steps=attempt), loss=float(attempt))
        lines = run.lines()

    assert [(line["attempt"], line["step"]) for line in lines] == [(1, 1), (2, 2)]


def test_equal_pictures_of_two_steps_are_two_files(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2):
        run.component.log_image("image", np.zeros((64, 64), np.uint8))
        run.write(State(num_steps=step))
    paths = [line["images"]["task/image"]["path"] for line in run.lines()]

    assert len(set(paths)) == 2
    assert all((tmp_path / "json" / path).is_file() for path in paths)


@pytest.mark.parametrize("torn", [b'{"attempt": 1, "phase": "tr', b"\x00" * 100, b"{"], ids=["half", "zeros", "brace"])
def test_a_torn_last_line_is_moved_whole_into_a_file_beside_it(tmp_path, torn):
    first = Run(tmp_path)
    first.write(loss=1.0)
    first.lines()
    log = tmp_path / "json" / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + torn)

    second = Run(tmp_path, attempt=2)
    assert log.read_bytes() == whole
    assert (tmp_path / "json" / "log.jsonl.torn-1").read_bytes() == torn
    second.write(State(num_steps=2), loss=2.0)

    assert [line["step"] for line in second.lines()] == [1, 2]


def test_a_second_torn_line_does_not_overwrite_the_first(tmp_path):
    log = tmp_path / "json" / "log.jsonl"
    for number in (1, 2):
        Run(tmp_path).lines()
        with log.open("ab") as file:
            file.write(b"torn %d" % number)
    Run(tmp_path).lines()

    assert [(tmp_path / "json" / f"log.jsonl.torn-{number}").read_bytes() for number in (1, 2)] == [
        b"torn 1",
        b"torn 2",
    ]


def test_flush_makes_the_lines_readable(run):
    run.write(loss=1.0)
    assert run.group.flush()

    assert json.loads((run.directory / "json" / "log.jsonl").read_text())["scalars"] == {"task/loss": 1.0}
    run.group.close()


def test_a_picture_that_cannot_be_made_costs_itself_alone(tmp_path):
    run = Run(tmp_path)
    run.component.log_image("bad", np.zeros((3, 4, 5, 6, 7)))
    run.component.log_image("good", np.zeros((64, 64), np.uint8))
    run.write(loss=1.0)
    with pytest.raises(LogValueError, match="Cannot log 'task/bad'"):
        run.group.close()
    (line,) = run.lines()

    assert (set(line["images"]), line["scalars"]) == ({"task/good"}, {"task/loss": 1.0})


def test_a_line_that_was_not_written_is_written_once_with_its_files_when_there_is_room(tmp_path, monkeypatch):
    run = Run(tmp_path)
    blocked = tmp_path / "json" / "media"
    blocked.write_text("a file where a folder should be")  # the first write fails with OSError
    run.component.log_image("image", np.zeros((64, 64), np.uint8))
    run.write(loss=1.0)
    run.group.flush(timeout_s=0.01)
    blocked.unlink()
    with pytest.raises(WriteError, match="media"):
        run.group.flush()
    assert run.group.flush()

    (line,) = run.lines()
    assert (tmp_path / "json" / line["images"]["task/image"]["path"]).is_file()
    assert line["scalars"] == {"task/loss": 1.0}
