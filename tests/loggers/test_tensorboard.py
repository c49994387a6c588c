import io
import json
import math
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from ml.core.errors import ConfigError, WriteError
from ml.core.run import RunContext
from ml.core.state import PHASES, State
from ml.loggers import LoggerGroup
from ml.loggers.kinds import (
    AUDIO,
    HISTOGRAM,
    IMAGE,
    POINT_CLOUD,
    VIDEO,
    AudioOptions,
    ImageOptions,
    Kind,
    PointOptions,
    VideoOptions,
)
from ml.loggers.snapshot import Snapshots
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.loggers.tensorboard_events import flatten
from ml.loggers.values import Lazy, Plain
from tests.loggers.tensorboard_reader import TensorBoardServer, accumulated, events, served

TIME_S = 1767323045.678901


def started(directory: Path, attempt: int = 1) -> TensorBoardLogger:
    logger = TensorBoardLogger(TensorBoardLoggerConfig("tensorboard"))
    logger.initialize(RunContext(directory, attempt=attempt, wall_clock=lambda: TIME_S))
    return logger


def at(step: int, phase="train") -> State:
    return State(phase=phase, num_steps=step, time_s=TIME_S + step)


def lazy(kind: Kind, value: object, options: object = None) -> Lazy:
    return Lazy(kind, kind.select(Snapshots(), value, options), options, path="task/x", origin="", size_bytes=0)


def picture(shape=(3, 70, 90)) -> Lazy:
    return lazy(IMAGE, np.linspace(0, 1, math.prod(shape), dtype=np.float32).reshape(shape), ImageOptions())


def video() -> Lazy:
    frames = np.zeros((3, 3, 64, 64), np.uint8)
    frames[0, 0], frames[1, 1], frames[2, 2] = 255, 255, 255
    return lazy(VIDEO, frames, VideoOptions(fps=2))


def clip() -> Lazy:
    return lazy(AUDIO, np.sin(np.arange(800) / 5).astype(np.float32), AudioOptions(8000))


def cloud(count=50) -> Lazy:
    points = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    return lazy(POINT_CLOUD, points, PointOptions(colors=(np.abs(points) % 1)))


def numbers(*extra: float) -> Lazy:
    return lazy(HISTOGRAM, np.array([*np.linspace(-1, 1, 200), *extra]))


def log_everything(logger: TensorBoardLogger, state: State, loss: float = 0.5) -> None:
    logger.log_scalar("loss", Plain(loss), state, "task")
    logger.log_scalar("accuracy", Plain(1 - loss), state, "task")
    logger.log_string("note", Plain("all *well*"), state, "task")
    logger.log_image("digits", picture(), state, "task")
    logger.log_video("clip", video(), state, "task")
    logger.log_audio("sound", clip(), state, "task")
    logger.log_histogram("weights", numbers(math.nan), state, "model")
    logger.log_point_cloud("embedding", cloud(), state, "task")
    logger.write(state)


def scalars(directory: Path, tag: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in accumulated(directory).Scalars(tag)]


def tensor(directory: Path, tag: str) -> np.ndarray:
    return make_ndarray(accumulated(directory).Tensors(tag)[-1].tensor_proto)


def test_all_scalars_of_a_state_are_one_event_at_its_step_and_wall_time(tmp_path):
    logger = started(tmp_path)
    for step in (1, 2):
        for key in ("a", "b", "c"):
            logger.log_scalar(key, Plain(step / 4), at(step), "task")
    logger.write(at(2))
    logger.close()

    written = [event for event in events(tmp_path / "tensorboard/train") if event.HasField("summary")]
    assert [(event.step, event.wall_time) for event in written] == [(1, TIME_S + 1), (2, TIME_S + 2)]
    assert [[(value.tag, value.simple_value) for value in event.summary.value] for event in written] == [
        [("task/a", 0.25), ("task/b", 0.25), ("task/c", 0.25)],
        [("task/a", 0.5), ("task/b", 0.5), ("task/c", 0.5)],
    ]


def test_every_phase_is_a_tensorboard_run_of_its_own(tmp_path):
    logger = started(tmp_path)
    for phase in PHASES:
        logger.log_scalar("loss", Plain(0.5), at(3, phase), "task")
    logger.write(at(3))
    logger.close()

    assert {phase: scalars(tmp_path / "tensorboard" / phase, "task/loss") for phase in PHASES} == {
        phase: [(3, 0.5)] for phase in PHASES
    }


def test_an_empty_namespace_leaves_the_key_as_the_tag(tmp_path):
    logger = started(tmp_path)
    logger.log_scalar("loss", Plain(1), at(1), "")
    logger.write(at(1))

    assert scalars(tmp_path / "tensorboard/train", "loss") == [(1, 1.0)]


def test_a_picture_is_a_png_of_its_size(tmp_path):
    logger, given = started(tmp_path), picture((1, 70, 90))
    logger.log_image("digits", given, at(1), "task")
    logger.write(at(1))

    (image,) = accumulated(tmp_path / "tensorboard/train").Images("task/digits")
    with Image.open(io.BytesIO(image.encoded_image_string)) as shown:
        assert (shown.format, image.width, image.height) == ("PNG", *shown.size)
        np.testing.assert_array_equal(np.asarray(shown), given.array()[0])


def test_a_video_is_an_animated_gif(tmp_path):
    logger = started(tmp_path)
    logger.log_video("clip", video(), at(1), "task")
    logger.write(at(1))

    (image,) = accumulated(tmp_path / "tensorboard/train").Images("task/clip")
    with Image.open(io.BytesIO(image.encoded_image_string)) as shown:
        assert (shown.format, shown.n_frames, shown.info["duration"]) == ("GIF", 3, 500)


def test_a_clip_is_a_wav_file(tmp_path):
    logger = started(tmp_path)
    logger.log_audio("sound", clip(), at(1), "task")
    logger.write(at(1))

    sound, label = tensor(tmp_path / "tensorboard/train", "task/sound")[0]
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getframerate(), file.getnframes(), label) == (8000, 800, b"")


def test_a_histogram_keeps_its_bins_and_counts_what_is_not_finite(tmp_path):
    logger, given = started(tmp_path), numbers(math.nan, math.inf, -math.inf)
    logger.log_histogram("weights", given, at(1), "model")
    logger.log_histogram("finite", numbers(), at(1), "model")
    logger.write(at(1))

    directory, bins = tmp_path / "tensorboard/train", given.histogram()
    rows = tensor(directory, "model/weights")
    np.testing.assert_array_equal(rows[:, 0], bins.edges[:-1])
    np.testing.assert_array_equal(rows[:, 1], bins.edges[1:])
    np.testing.assert_array_equal(rows[:, 2], bins.counts)
    assert rows[:, 2].sum() == 200
    assert accumulated(directory).Tags()["scalars"] == ["model/weights.nonfinite"]
    assert scalars(directory, "model/weights.nonfinite") == [(1, 3.0)]


def test_a_point_cloud_keeps_points_and_colours(tmp_path):
    logger, given = started(tmp_path), cloud()
    logger.log_point_cloud("embedding", given, at(1), "task")
    logger.write(at(1))

    directory = tmp_path / "tensorboard/train"
    np.testing.assert_array_equal(tensor(directory, "task/embedding_VERTEX"), given.array())
    np.testing.assert_array_equal(tensor(directory, "task/embedding_COLOR"), given.colors)


def test_several_strings_of_one_key_and_step_are_one_table(tmp_path):
    logger, directory = started(tmp_path), tmp_path / "tensorboard/valid"
    for batch, text in enumerate(["first", "second", "größer"]):
        logger.log_string("note", Plain(text), at(7, "valid")._replace(num_valid_steps=batch), "task")
    logger.log_string("other", Plain("alone"), at(7, "valid"), "task")
    logger.write(at(7, "valid"))

    assert [text.decode() for text in tensor(directory, "task/note")] == ["first", "second", "größer"]
    assert tensor(directory, "task/other").item() == b"alone"
    assert len(accumulated(directory).Tensors("task/note")) == 1


@pytest.mark.parametrize("scalar_first", [True, False])
def test_a_tag_that_is_another_kind_already_gets_its_kind_and_scalars_never_do(tmp_path, scalar_first):
    logger, directory = started(tmp_path), tmp_path / "tensorboard/train"
    calls = [
        lambda state: logger.log_scalar("x", Plain(0.5), state, "task"),
        lambda state: logger.log_image("x", picture(), state, "task"),
    ]
    for step in (1, 2):
        for call in calls if scalar_first else reversed(calls):
            call(at(step))
        logger.log_video("x", video(), at(step), "task")
        logger.log_string("x", Plain("text"), at(step), "task")
        logger.write(at(step))

    assert scalars(directory, "task/x") == [(1, 0.5), (2, 0.5)]
    assert sorted(accumulated(directory).Tags()["images"]) == ["task/x.image", "task/x.video"]
    assert accumulated(directory).Tags()["tensors"] == ["task/x.string"]


def test_kinds_share_a_tag_with_none_but_their_own_phase(tmp_path):
    logger = started(tmp_path)
    logger.log_scalar("x", Plain(0.5), at(1), "task")
    logger.log_image("x", picture(), at(1, "valid"), "task")
    logger.write(at(1))

    assert accumulated(tmp_path / "tensorboard/valid").Tags()["images"] == ["task/x"]


def test_a_scalar_on_the_tag_of_an_image_keeps_it_and_the_images_move_away(tmp_path, caplog):
    logger, directory = started(tmp_path), tmp_path / "tensorboard/train"
    for step in (1, 2, 3):
        logger.log_image("x", picture(), at(step), "task")
        if step > 1:
            logger.log_scalar("x", Plain(0.5), at(step), "task")
        logger.write(at(step))

    tags = [[value.tag for value in event.summary.value] for event in events(directory)[2:]]
    assert tags == [["task/x"], ["task/x"], ["task/x.image"], ["task/x"], ["task/x.image"]]
    assert caplog.text.count("'task/x' of train was of kind image before it was a scalar") == 1


def test_a_step_before_the_last_one_of_its_tag_is_written_and_said_once(tmp_path, caplog):
    logger = started(tmp_path)
    for step in (10, 5, 4, 11):
        logger.log_scalar("loss", Plain(step), at(step), "task")
        logger.write(at(step))
    logger.close()

    steps = [event.step for event in events(tmp_path / "tensorboard/train")[2:]]
    assert steps == [10, 5, 4, 11]
    assert caplog.text.count("after a later step") == 1


def test_another_tag_may_lag_behind(tmp_path, caplog):
    logger = started(tmp_path)
    logger.log_scalar("loss", Plain(1.0), at(10), "task")
    logger.write(at(10))
    logger.log_image("digits", picture(), at(5), "task")
    logger.write(at(11))

    assert not caplog.records


def test_numbers_beyond_float32_become_infinite_and_that_is_said_once(tmp_path, caplog):
    logger, directory = started(tmp_path), tmp_path / "tensorboard/train"
    given = {"big": 1e39, "small": -1e39, "integer": 10**5000, "nan": math.nan, "inf": math.inf, "fits": 3.4e38}
    for key, number in given.items():
        logger.log_scalar(key, Plain(number), at(1), "task")
    logger.write(at(1))

    values = {key: scalars(directory, f"task/{key}")[0][1] for key in given}
    assert values == pytest.approx(
        {"big": math.inf, "small": -math.inf, "integer": math.inf, "nan": math.nan, "inf": math.inf, "fits": 3.4e38},
        nan_ok=True,
    )
    assert caplog.text.count("float32") == 1


@pytest.mark.parametrize("name", ["a\ud800b", "größe 损失", "nul\0", "../../etc", "x" * 10_000])
def test_any_key_is_a_tag(tmp_path, name):
    logger = started(tmp_path)
    logger.log_scalar(name, Plain(0.5), at(1), "task")
    logger.log_string(f"{name}.text", Plain(name), at(1), "task")
    logger.log_point_cloud(f"{name}.cloud", cloud(), at(1), "task")
    logger.write(at(1))

    (tag,) = accumulated(tmp_path / "tensorboard/train").Tags()["scalars"]
    assert tag.partition("~")[0] == f"task/{name}".replace("\ud800", "?")


def test_what_failed_to_be_written_is_written_once_when_it_is_logged_again(tmp_path):
    logger, directory = started(tmp_path), tmp_path / "tensorboard"
    (directory / "valid").write_text("in the way")

    def hand_over():
        logger.log_scalar("loss", Plain(0.5), at(1), "task")
        logger.log_image("digits", picture(), at(1), "task")
        logger.log_scalar("loss", Plain(0.25), at(1, "valid"), "task")
        logger.write(at(1, "valid"))

    for _ in range(2):
        with pytest.raises(WriteError, match="valid"):
            hand_over()
    (directory / "valid").unlink()
    hand_over()
    logger.log_scalar("loss", Plain(0.5), at(2), "task")
    logger.write(at(2))
    logger.close()

    assert scalars(directory / "train", "task/loss") == [(1, 0.5), (2, 0.5)]
    assert len(accumulated(directory / "train").Images("task/digits")) == 1
    assert scalars(directory / "valid", "task/loss") == [(1, 0.25)]


def test_a_write_is_committed_at_once_and_nothing_twice(tmp_path):
    logger, directory = started(tmp_path), tmp_path / "tensorboard/train"
    logger.log_scalar("loss", Plain(0.5), at(1), "task")
    logger.write(at(1))
    committed = scalars(directory, "task/loss")
    logger.write(at(1))
    logger.flush()
    logger.close()
    logger.close()

    assert committed == scalars(directory, "task/loss") == [(1, 0.5)]


def test_a_state_may_be_written_in_parts(tmp_path):
    logger, directory, state = started(tmp_path), tmp_path / "tensorboard/train", at(1)
    for key in ("a", "b"):
        logger.log_scalar(key, Plain(0.5), state, "task")
        logger.write(state)

    assert accumulated(directory).Tags()["scalars"] == ["task/a", "task/b"]


def test_a_value_that_fails_costs_that_value_alone(tmp_path):
    logger, directory = started(tmp_path), tmp_path / "tensorboard/train"
    logger.log_scalar("before", Plain(0.5), at(1), "task")
    with pytest.raises(ValueError, match="unmeasured"):
        logger.log_scalar("bad", _unmeasured, at(1), "task")
    logger.log_scalar("after", Plain(0.5), at(1), "task")
    logger.write(at(1))

    assert accumulated(directory).Tags()["scalars"] == ["task/before", "task/after"]


def test_a_resume_overwrites_nothing_and_drops_what_it_overtook(tmp_path):
    _train(tmp_path, attempt=1, steps=range(1, 8))
    before = {path: path.read_bytes() for path in tmp_path.rglob("events.*")}
    _train(tmp_path, attempt=2, steps=range(5, 10))

    assert {path: path.read_bytes() for path in before} == before
    assert len(list(tmp_path.rglob("events.*"))) == 2 * len(before)
    assert scalars(tmp_path / "tensorboard/train", "task/loss") == [
        *((step, 1.0) for step in range(1, 5)),
        *((step, 2.0) for step in range(5, 10)),
    ]


def test_every_attempt_opens_each_file_at_its_first_training_step(tmp_path):
    for attempt, first in ((1, 1), (2, 5)):
        logger = started(tmp_path, attempt)
        logger.log_scalar("loss", Plain(1.0), at(first), "task")
        logger.write(at(first))
        logger.log_scalar("loss", Plain(1.0), at(first + 2, "valid"), "task")
        logger.write(at(first + 2, "valid"))
        logger.close()

    for phase in ("train", "valid"):
        opened = events(tmp_path / "tensorboard" / phase)
        assert [event.file_version for event in opened if event.file_version] == ["brain.Event:2"] * 2
        assert [event.step for event in opened if event.HasField("session_log")] == [1, 5]


def test_a_validation_before_training_goes_on_keeps_the_last_trained_step(tmp_path):
    _train(tmp_path, attempt=1, steps=range(1, 5))
    logger = started(tmp_path, attempt=2)
    for state in (at(4, "valid"), at(5)):
        logger.log_scalar("loss", Plain(2.0), state, "task")
        logger.write(state)
    logger.close()

    assert [step for step, _ in scalars(tmp_path / "tensorboard/train", "task/loss")] == [1, 2, 3, 4, 5]


def test_the_configuration_is_a_text_that_no_setting_ends(tmp_path):
    logger, config = started(tmp_path), OmegaConf.create({"name": "digits", "note": "```\n# no heading\n```"})
    logger.log_config(config)
    logger.flush()
    logger.close()

    (text,) = accumulated(tmp_path / "tensorboard").Tensors("config")
    assert text.tensor_proto.string_val[0].decode() == f"````yaml\n{OmegaConf.to_yaml(config)}````\n"


def test_hyperparameters_are_numbers_truth_values_and_texts():
    config = OmegaConf.create(
        {
            "model": {"lr": 0.1, "depth": 3, "bias": True, "name": "cnn", "none": None, "missing": "???"},
            "betas": [0.9, 0.99],
            "seed": 2**60,
            "run": "${model.name}-1",
        }
    )

    assert flatten(config) == {
        "model.lr": 0.1,
        "model.depth": 3,
        "model.bias": True,
        "model.name": "cnn",
        "betas": "[0.9, 0.99]",
        "seed": str(2**60),
        "run": "${model.name}-1",
    }


def test_a_missing_tensorboard_is_found_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml.loggers.tensorboard_events", None)

    with pytest.raises(ConfigError, match="pip install tensorboard"):
        started(tmp_path)
    assert not list(tmp_path.iterdir())


def test_naming_the_backend_loads_none_of_its_libraries():
    script = (
        "import sys, ml.loggers.tensorboard\n"
        "print(sorted({'tensorboard', 'google.protobuf', 'PIL', 'torch'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"


# What TensorBoard's own server makes of it, with either of its loaders.


@pytest.fixture(scope="module")
def log_directory(tmp_path_factory) -> Path:
    """Two runs: one of every kind in every phase, and one that was killed at step 7 and resumed from step 4."""
    directory = tmp_path_factory.mktemp("runs")
    logger = started(directory / "all")
    logger.log_config(OmegaConf.create({"model": {"lr": 0.1, "bias": True}, "name": "digits"}))
    for step in (1, 2):
        for phase in PHASES:
            log_everything(logger, at(step, phase), loss=step / 4)
    logger.close()
    _train(directory / "resumed", attempt=1, steps=range(1, 8))
    _train(directory / "resumed", attempt=2, steps=range(5, 10))
    return directory


@pytest.fixture(scope="module", params=[True, False], ids=["default loader", "load_fast=false"])
def server(log_directory, request) -> Iterator[TensorBoardServer]:
    with served(log_directory, load_fast=request.param) as running:
        running.until(lambda: len(_shown(running, "resumed/tensorboard/train")) == 9)
        running.until(lambda: len(_shown(running, "all/tensorboard/test")) == 2)
        yield running


@pytest.mark.parametrize("phase", PHASES)
def test_the_server_lists_every_kind_in_every_phase(server, phase):
    run = f"all/tensorboard/{phase}"
    tags = {
        plugin: sorted(server.json(f"plugin/{path}")[run])
        for plugin, path in {
            "scalars": "scalars/tags",
            "images": "images/tags",
            "audio": "audio/tags",
            "histograms": "histograms/tags",
            "text": "text/tags",
            "mesh": "mesh/tags",
        }.items()
    }

    assert tags == {
        "scalars": ["model/weights.nonfinite", "task/accuracy", "task/loss"],
        "images": ["task/clip", "task/digits"],
        "audio": ["task/sound"],
        "histograms": ["model/weights"],
        "text": ["task/note"],
        "mesh": ["task/embedding"],
    }


def test_the_server_shows_scalars_at_their_step_and_time(server):
    assert _shown(server, "all/tensorboard/valid") == [[TIME_S + 1, 1, 0.25], [TIME_S + 2, 2, 0.5]]


@pytest.mark.parametrize(
    ("plugin", "item", "tag", "content_type", "start"),
    [
        ("images/images", "images/individualImage", "task/digits", "image/png", b"\x89PNG"),
        ("images/images", "images/individualImage", "task/clip", "image/gif", b"GIF89a"),
        ("audio/audio", "audio/individualAudio", "task/sound", "audio/wav", b"RIFF"),
    ],
)
def test_the_server_gives_files_of_the_right_type(server, plugin, item, tag, content_type, start):
    listed = server.json(f"plugin/{plugin}", run="all/tensorboard/train", tag=tag, sample=0)
    reply = server.get(f"plugin/{item}?{listed[-1]['query']}&")

    assert len(listed) == 2
    assert (reply.content_type, reply.body[: len(start)]) == (content_type, start)


def test_the_server_gives_the_bins_that_were_written(server):
    (_, step, bins), _ = server.json("plugin/histograms/histograms", run="all/tensorboard/train", tag="model/weights")

    assert (step, len(bins), sum(count for _, _, count in bins)) == (1, 64, 200)


def test_the_server_renders_texts(server):
    shown = server.json("plugin/text/text", run="all/tensorboard/train", tag="task/note")
    config = server.json("plugin/text/text", run="all/tensorboard", tag="config")

    assert [text["text"] for text in shown] == ["<p>all <em>well</em></p>"] * 2
    assert "lr: 0.1" in config[0]["text"]
    assert "<code" in config[0]["text"]


def test_the_server_gives_points_and_their_colours(server):
    query = {"run": "all/tensorboard/train", "tag": "task/embedding", "sample": 0}
    parts = server.json("plugin/mesh/meshes", **query)
    sizes = {
        content: len(server.get("plugin/mesh/data", **query, content_type=content, step=1).body)
        for content in ("VERTEX", "COLOR")
    }

    assert {(part["content_type"], part["step"]) for part in parts} == {(1, 1), (1, 2), (3, 1), (3, 2)}
    assert sizes == {"VERTEX": 12 * 50, "COLOR": 3 * 50}


def test_the_hyperparameter_table_has_the_last_metric_of_every_phase(server):
    listed = server.post(
        "plugin/hparams/session_groups",
        {
            "experimentName": "",
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
            "colParams": [],
            "startIndex": 0,
            "sliceSize": 10,
            "includeMetrics": True,
        },
    )
    (session,) = listed["sessionGroups"]
    metrics = {
        (metric["name"]["group"], metric["name"]["tag"]): (metric["trainingStep"], metric["value"])
        for metric in session["metricValues"]
    }

    assert session["hparams"] == {"model.lr": 0.1, "model.bias": True, "name": "digits"}
    assert session["hparams"]["model.bias"] is True
    for phase in PHASES:
        assert metrics[phase, "task/loss"] == (2, 0.5)


def test_a_resumed_run_is_one_curve(server):
    points = [(step, value) for _, step, value in _shown(server, "resumed/tensorboard/train")]

    assert points == [*((step, 1.0) for step in range(1, 5)), *((step, 2.0) for step in range(5, 10))]


def _shown(server: TensorBoardServer, run: str) -> list[list[float]]:
    """Returns wall time, step and value of each point of the loss; nothing while it is not loaded."""
    if "task/loss" not in server.json("plugin/scalars/tags").get(run, {}):
        return []
    points: list[list[float]] = json.loads(server.get("plugin/scalars/scalars", run=run, tag="task/loss").body)
    return points


def _train(directory: Path, *, attempt: int, steps: range) -> None:
    """Logs the number of the attempt, as the loss of every step."""
    logger = started(directory, attempt)
    for step in steps:
        logger.log_scalar("loss", Plain(float(attempt)), at(step), "task")
        logger.write(at(step))
    logger.close()


def _unmeasured() -> float:
    raise ValueError("unmeasured")


def test_the_settings_of_backends_and_run_are_no_hyperparameters(tmp_path):
    config = {"trainer": {"learning_rate": 0.1}, "loggers": {"json": {"name": "json"}}, "run": {"name": "digits"}}
    with LoggerGroup([TensorBoardLogger(TensorBoardLoggerConfig("tensorboard"))], RunContext(tmp_path)) as logs:
        logs.log_config(config)

    (value,) = [
        value
        for event in events(tmp_path / "tensorboard")
        for value in event.summary.value
        if value.tag == "_hparams_/session_start_info"
    ]
    plugin_data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
    assert dict(plugin_data.session_start_info.hparams).keys() == {"trainer.learning_rate"}
