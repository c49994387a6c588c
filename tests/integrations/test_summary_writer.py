"""What ``SummaryWriter`` is given, and what is in its files; beside torch's own, see ``test_summary_served.py``."""

import ast
import inspect
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PluginAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.tensorboard import SummaryWriter as TorchWriter

from ml import open_run
from ml.core.errors import ConfigError
from ml.integrations import summary_events, summary_values
from ml.integrations.summary_logger import SummaryLogger, SummaryLoggerConfig
from ml.integrations.summary_writer import SummaryWriter
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.testing import RaisingLogger
from ml.testing.fakes import WAIT_S
from tests.loggers.tensorboard_reader import accumulated, events

ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory(tmp_path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def writer(directory):
    with SummaryWriter(directory) as made:
        yield made


def written(writer: SummaryWriter):
    """Returns what TensorBoard reads of a writer, which is closed by that, having lost nothing."""
    writer.close()
    stats = writer.run.stats()["tensorboard"]
    assert (stats.accepted, stats.failed, stats.dropped) == (stats.written, {}, {})
    return accumulated(Path(writer.log_dir) / "tensorboard/train")


def points(writer: SummaryWriter, tag: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in written(writer).Scalars(tag)]


def tensors(writer: SummaryWriter, tag: str) -> list[np.ndarray]:
    return [make_ndarray(point.tensor_proto) for point in written(writer).Tensors(tag)]


def failures(writer: SummaryWriter) -> dict[str, int]:
    writer.close()
    return writer.run.stats()["tensorboard"].failed


# The interface.


def _parameters(method) -> list[tuple[str, object]]:
    return [(name, parameter.default) for name, parameter in inspect.signature(method).parameters.items()]


def test_every_public_method_of_torchs_writer_takes_the_same_arguments():
    methods = [name for name, _ in inspect.getmembers(TorchWriter, inspect.isfunction) if not name.startswith("_")]

    assert len(methods) > 20
    for name in methods:
        assert _parameters(getattr(SummaryWriter, name)) == _parameters(getattr(TorchWriter, name)), name
    theirs = _parameters(TorchWriter.__init__)
    assert _parameters(SummaryWriter.__init__)[: len(theirs)] == theirs


@pytest.mark.parametrize("method", ["add_embedding", "add_onnx_graph"])
def test_what_is_not_there_says_what_to_do(writer, method):
    with pytest.raises(NotImplementedError, match=r"torch\.utils\.tensorboard\.SummaryWriter\('.*/run/"):
        getattr(writer, method)(torch.eye(3))


def test_the_run_is_where_log_dir_says_or_has_torchs_default_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SummaryWriter("runs/mine", comment="ignored") as named, SummaryWriter(comment="_LR_0.1") as default:
        assert named.get_logdir() == named.log_dir == str(tmp_path / "runs/mine")
        assert Path(default.get_logdir()).parent == tmp_path / "runs"
        assert Path(default.get_logdir()).name.endswith(f"_{os.uname().nodename}_LR_0.1")


def test_a_directory_is_added_to_and_nothing_of_it_is_hidden(directory):
    for first, last in ((0, 5), (3, 8)):
        with SummaryWriter(directory) as writer:
            writer.add_scalar("other", first, first)
            for step in range(first, last):
                writer.add_text("note", str(first), step)

    files = PluginAccumulator(str(directory / "tensorboard/train"), size_guidance={"tensors": 0}).Reload()
    shown = [point.step for point in files.Tensors("note/text_summary")]
    assert shown == [0, 1, 2, 3, 4, 3, 4, 5, 6, 7]
    assert (directory / "attempts/2").is_dir()


def test_purge_step_hides_what_earlier_attempts_wrote_from_there_on(directory):
    for purge_step in (None, 3):
        with SummaryWriter(directory, purge_step=purge_step) as writer:
            for step in range(purge_step or 0, 5):
                writer.add_text("note", str(purge_step), step)
                writer.add_text("early" if purge_step is None else "late", "x", step)

    files = PluginAccumulator(str(directory / "tensorboard/train"), size_guidance={"tensors": 0}).Reload()
    assert [point.step for point in files.Tensors("note/text_summary")] == [0, 1, 2, 3, 4]
    assert [point.step for point in files.Tensors("early/text_summary")] == [0, 1, 2]


def test_further_backends_get_the_same_numbers_texts_and_pictures(directory):
    with SummaryWriter(directory, loggers="json") as writer:
        for step in range(3):
            writer.add_scalar("loss/train", step / 2, step)
        writer.add_text("note", "hello", 3)
        writer.add_image("picture", np.zeros((3, 8, 8), np.uint8), 4)
        writer.add_pr_curve("curve", [0, 1], [0.1, 0.9], 5)

    frame = open_run(directory).scalars()
    assert list(zip(frame["step"], frame["key"], frame["value"], strict=True)) == [
        (step, "loss/train", step / 2) for step in range(3)
    ]
    lines = [json.loads(line) for line in (directory / "json/log.jsonl").read_text().splitlines()]
    assert lines[3]["strings"] == {"note": ["hello"]}
    assert lines[4]["images"].keys() == {"picture"}
    assert writer.run.stats()["json"].skipped == {"unsupported": 1}


def test_a_backend_of_ones_own_takes_the_place_of_ours(directory):
    backend = SummaryLogger(SummaryLoggerConfig("tensorboard", exclude=["secret/*"]))
    with SummaryWriter(directory, loggers=[backend]) as writer:
        writer.add_scalar("secret/x", 1.0, 0)
        writer.add_scalar("y", 1.0, 0)

    assert accumulated(directory / "tensorboard/train").Tags()["scalars"] == ["y"]


def test_a_wrong_backend_is_said_at_once(directory):
    with pytest.raises(ConfigError, match="tensorbord"):
        SummaryWriter(directory, loggers=["tensorbord"])


class Unshowable:
    """What raises whatever is asked of it."""

    def __repr__(self):
        raise RuntimeError("no text")

    __str__ = __int__ = __float__ = __repr__


# Steps.


def test_a_value_keeps_its_step_in_whatever_order_steps_come(writer):
    for step in (5, 3, np.int64(4), torch.tensor(9), 2.7, None, -1):
        writer.add_scalar("x", 1.0, step)

    steps = [event.step for event in events(Path(_closed(writer)) / "tensorboard/train") if event.HasField("summary")]
    assert steps == [5, 3, 4, 9, 2, 0, -1]


def _closed(writer: SummaryWriter) -> str:
    writer.close()
    return writer.log_dir


def test_values_of_one_step_are_one_event(writer):
    for step in range(2):
        for tag in "abc":
            writer.add_scalar(tag, step, step)

    held = [event for event in events(Path(_closed(writer)) / "tensorboard/train") if event.HasField("summary")]
    assert [[value.tag for value in event.summary.value] for event in held] == [["a", "b", "c"]] * 2


def test_a_tag_that_comes_twice_at_a_step_is_written_twice(writer):
    for value in (1.0, 2.0, 3.0):
        writer.add_scalar("x", value, 7)
        writer.add_text("t", str(value), 7)

    assert points(writer, "x") == [(7, 1.0), (7, 2.0), (7, 3.0)]
    assert [text.tolist() for text in tensors(writer, "t/text_summary")] == [[b"1.0"], [b"2.0"], [b"3.0"]]


def test_every_value_has_the_walltime_it_was_given(writer):
    writer.add_scalar("a", 1.0, 1, walltime=100.5)
    writer.add_scalar("b", 1.0, 1, walltime=200)
    writer.add_image("c", np.zeros((1, 4, 4)), 1, walltime=300.25)

    times = {
        value.tag: event.wall_time
        for event in events(Path(_closed(writer)) / "tensorboard/train")
        for value in event.summary.value
    }
    assert times == {"a": 100.5, "b": 200.0, "c": 300.25}


def test_a_step_has_the_time_at_which_it_began_not_at_which_the_next_one_came(directory):
    now_s = [1000.0]
    with SummaryWriter(directory) as writer:
        writer.run.context.__dict__["wall_clock"] = lambda: now_s[0]
        writer.add_scalar("x", 1.0, 1)
        now_s[0] = 5000.0
        writer.add_scalar("x", 1.0, 2)

    assert [point.wall_time for point in accumulated(directory / "tensorboard/train").Scalars("x")] == [1000.0, 5000.0]


def test_what_is_no_step_is_said_once_and_its_value_kept(writer, caplog):
    writer.add_scalar("x", 1.0, 4)
    writer.add_scalar("y", 1.0, "five")
    writer.add_scalar("z", 1.0, object())

    assert points(writer, "z") == [(4, 1.0)]
    assert caplog.text.count("no whole number") == 1


# What changes after the call.


def test_what_was_added_may_be_changed_in_place_at_once(writer):
    array, scalar, parameter = np.full((3, 4, 4), 0.5), np.array(0.5), torch.nn.Parameter(torch.full((6,), 0.5))
    first = parameter[0]
    labels, vertices, config = np.array([0, 1]), torch.zeros(1, 2, 3), {"size": 1}
    hparams, layout = {"lr": 0.5}, {"c": {"t": ["Multiline", ["a"]]}}
    writer.add_scalar("array", scalar, 1)
    writer.add_scalar("parameter", first, 1)
    writer.add_histogram("h", parameter, 1)
    writer.add_image("i", array, 1)
    writer.add_tensor("t", parameter, 1)
    writer.add_pr_curve("p", labels, np.array([0.0, 1.0]), 1)
    writer.add_mesh("m", vertices, config_dict=config, global_step=1)
    writer.add_hparams(hparams, {"metric": 1.0}, run_name="row")
    writer.add_custom_scalars(layout)
    with torch.no_grad():
        parameter.fill_(9.0)
    for changed in (array, scalar):
        changed[...] = 0.0
    labels[:], config["size"], hparams["lr"] = 0, 2, 9.0
    vertices.fill_(9.0)
    layout["c"]["t"][1].append("b")

    read = written(writer)
    assert [read.Scalars(tag)[0].value for tag in ("array", "parameter")] == [0.5, 0.5]
    assert np.asarray(Image.open(_file(read.Images("i")[0]))).ravel().tolist() == [127] * 48
    assert tensors(writer, "t")[0].tolist() == [0.5] * 6
    bins = tensors(writer, "h")[0]
    assert bins[bins[:, 2] > 0][:, :2].ravel().tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert tensors(writer, "p")[0][0, 0] == 1  # a true positive
    assert tensors(writer, "m_VERTEX")[0].max() == 0
    assert b'"size": 1' in read.SummaryMetadata("m_VERTEX").plugin_data.content
    assert b"\x01b" not in tensors(writer, "custom_scalars__config__")[0].item()
    start = _session(Path(writer.log_dir) / "tensorboard/train/row")
    assert start.hparams["lr"].number_value == 0.5


def _file(image):
    import io

    return io.BytesIO(image.encoded_image_string)


def _session(directory: Path):
    (content,) = (
        value.metadata.plugin_data.content
        for event in events(directory)
        for value in event.summary.value
        if value.tag == "_hparams_/session_start_info"
    )
    return HParamsPluginData.FromString(content).session_start_info


def test_a_graph_is_not_kept_alive_and_no_mode_is_changed(writer):
    model = torch.nn.Linear(3, 1)
    with torch.enable_grad():
        loss = model(torch.ones(2, 3)).mean()
        writer.add_scalar("loss", loss, 1)
        writer.add_histogram("weight", model.weight, 1)
        assert torch.is_grad_enabled()
    loss.backward()
    assert model.training


def test_adding_draws_no_random_numbers_and_changes_none(writer):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), repr(np.random.get_state())
    writer.add_mesh("m", torch.zeros(1, 5000, 3), global_step=1)
    writer.add_image("i", torch.zeros(3, 300, 300), 1)
    writer.add_histogram("h", torch.zeros(10), 1)
    writer.flush()

    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == repr(np.random.get_state())


# Numbers, and what is none.

NUMBERS = [
    3,
    True,
    1.5,
    np.float16(1.5),
    np.int64(3),
    np.array([[2.5]]),
    torch.tensor(2.5),
    torch.tensor([[2.5]], dtype=torch.bfloat16),
    torch.tensor(3, dtype=torch.int8),
    torch.tensor(True),
    torch.nn.Parameter(torch.tensor(0.25)),
    math.nan,
    math.inf,
]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: f"{type(number).__name__}-{number!r:.30}")
def test_whatever_holds_one_number_is_that_number(writer, number):
    writer.add_scalar("x", number, 1)

    expected = float(torch.as_tensor(number).detach())
    assert points(writer, "x") == [(1, pytest.approx(expected, nan_ok=True))]


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("add_scalar", (torch.zeros(2),)),
        ("add_scalar", ("text",)),
        ("add_scalar", (None,)),
        ("add_scalar", (torch.zeros(1, device="meta"),)),
        ("add_scalar", (torch.tensor(1j),)),
        ("add_scalars", ([1, 2],)),
        ("add_histogram", ("text",)),
        ("add_image", (np.zeros((3, 4, 4)), 1, None, "CHWX")),
        ("add_image", (np.zeros((3, 4, 4)), 1, None, "HHW")),
        ("add_image", (np.zeros((3, 4)),)),
        ("add_image", (np.zeros((3, 0, 4)),)),
        ("add_images", (np.zeros((3, 4, 4)),)),
        ("add_image_with_boxes", (np.zeros((3, 4, 4)), np.zeros((2, 3)))),
        ("add_video", (np.zeros((4, 3, 8, 8)),)),
        ("add_audio", (np.zeros((2, 3, 4)),)),
        ("add_pr_curve", ([0, 1], [0.5])),
        ("add_pr_curve_raw", ([1], [1], [1], [1], [1], [1, 2])),
        ("add_mesh", (np.zeros((4, 3)),)),
        ("add_mesh", (np.zeros((1, 4, 3)), None, None, {"x": object()})),
        ("add_histogram_raw", (0, 1, 2, 1, 1, [1.0, 2.0], [1])),
        ("add_tensor", (torch.zeros(2, dtype=torch.complex64),)),
        ("add_figure", ("no figure",)),
        ("add_text", (b"\xff" * 2**27,)),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_cannot_be_shown_is_told_counted_and_costs_nothing_else(writer, caplog, method, given):
    writer.add_scalar("before", 1.0, 1)
    getattr(writer, method)("odd", *given)
    writer.add_scalar("after", 1.0, 2)

    assert sum(failures(writer).values()) == 1
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert accumulated(Path(writer.log_dir) / "tensorboard/train").Tags()["scalars"] == ["before", "after"]


@pytest.mark.parametrize(
    "given",
    [
        ([1], {}),
        ({}, None),
        ({"x": [1, 2]}, {}),
        ({"x": 1}, {"m": "text"}),
        ({"x": 1}, {}, {"y": [1]}),
        ({"x": 1}, {}, {"x": ["1"]}),
        ({"x": 1}, {}, {"x": 1}),
    ],
)
def test_hyperparameters_that_are_none_are_told_and_counted(writer, caplog, given):
    writer.add_hparams(*given)

    assert sum(failures(writer).values()) == 1
    assert "hparams" in caplog.text


def test_a_margin_chart_of_two_tags_is_told_and_leaves_the_other_charts(writer, caplog):
    writer.add_custom_scalars_multilinechart(["a", "b"], title="kept")
    writer.add_custom_scalars_marginchart(["a", "b"])
    writer.add_custom_scalars_multilinechart(["c"], title="also kept")

    assert failures(writer) == {"callable": 1}
    assert "3 tags" in caplog.text
    last = accumulated(Path(writer.log_dir) / "tensorboard/train").Tensors("custom_scalars__config__")[-1]
    content = make_ndarray(last.tensor_proto).item()
    assert (b"kept" in content, b"also kept" in content, b"untitled" in content) == (True, True, False)


def test_a_tag_that_is_no_text_fails_its_value_alone(writer, caplog):
    writer.add_scalar(7, 1.0, 1)
    writer.add_image(["x"], np.zeros((3, 4, 4)), 1)
    writer.add_scalar("good", 1.0, 1)

    assert failures(writer) == {"value": 2}


def test_a_message_names_the_line_of_the_caller(writer, caplog):
    writer.add_image("odd", np.zeros(3), 1)

    assert f"(Logged at {Path(__file__).name}:" in caplog.text


# Media.


def test_nan_is_black_and_what_is_beyond_is_cut_off(writer):
    values = [math.nan, -1.0, 0.0, 0.5, 1.0, 7.0, math.inf, -math.inf]
    writer.add_image("i", np.array([values]), 1, dataformats="HW")

    (image,) = written(writer).Images("i")
    assert np.asarray(Image.open(_file(image))).tolist() == [[0, 0, 0, 127, 255, 255, 255, 0]]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW", "HWC", "WHC", "HW", "WH"])
def test_a_tensor_is_converted_as_an_array_is(layout):
    sides = {"N": 11, "C": 3, "H": 5, "W": 4}
    array = np.random.default_rng(0).random([sides[axis] for axis in layout]).astype(np.float32) * 1.5 - 0.2
    meta = torch.from_numpy(array)

    # What is done on an accelerator, done on the CPU.
    pixels = summary_values._pixels(array)
    np.testing.assert_array_equal(_device_pixels(meta), pixels)
    np.testing.assert_array_equal(summary_values.picture(meta, layout), summary_values.picture(array, layout))


def _device_pixels(tensor):
    return summary_values._pixels(tensor).numpy()


def test_boxes_may_be_rescaled_with_their_picture(writer):
    writer.add_image_with_boxes("b", np.zeros((3, 50, 40)), [[2, 2, 30, 30]], 1, rescale=2, labels="one")
    writer.add_image_with_boxes("c", np.zeros((3, 50, 40)), torch.tensor([[2, 2, 30, 30]]), 1, labels=["a", "b"])

    (image,) = written(writer).Images("b")
    pixels = np.asarray(Image.open(_file(image)))
    assert pixels.shape == (100, 80, 3)
    assert pixels[4:60, 4].any(axis=1).all()


def test_videos_lie_side_by_side_filled_up_to_a_power_of_two(writer):
    videos = torch.zeros(5, 5, 3, 64, 64, dtype=torch.uint8)
    videos[4] = 200
    writer.add_video("v", videos, 1, fps=10)

    (image,) = written(writer).Images("v")
    gif = Image.open(_file(image))
    assert (gif.n_frames, gif.size, gif.info["duration"]) == (5, (256, 128), 100)
    frame = np.asarray(gif.convert("L"))
    assert [frame[32, 32], frame[32, 224], frame[96, 32], frame[96, 96]] == [0, 0, 200, 0]


def test_the_tiles_of_a_video_are_those_of_torchs_writer():
    from torch.utils.tensorboard._utils import _prepare_video

    for count in range(1, 9):
        videos = np.random.default_rng(count).integers(0, 256, (count, 2, 3, 4, 5)).astype(np.uint8)
        theirs = np.moveaxis(np.rint(_prepare_video(videos) * 255), -1, 1)
        np.testing.assert_array_equal(summary_values.clip(videos), theirs)
        np.testing.assert_array_equal(summary_values.clip(torch.from_numpy(videos)), theirs)


def test_sound_of_two_channels_and_pcm_stays_what_it_is():
    stereo = np.zeros((2, 100), np.float32)
    pcm = np.arange(100, dtype=np.int16)[None]

    assert summary_values.sound(stereo).shape == (2, 100)
    assert summary_values.sound(pcm).tolist() == pcm[0].tolist()
    assert summary_values.sound(np.array([[math.nan, 2.0, -2.0]])).tolist() == [0, 32767, -32767]
    assert summary_values.sound(torch.tensor(0.5)).tolist() == [16383]


def test_a_figure_is_drawn_at_the_call_and_closed_unless_that_is_refused(writer):
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    kept, closed = plt.figure(), plt.figure()
    writer.add_figure("kept", kept, 1, close=False)
    writer.add_figure("closed", closed, 1)
    open_figures = plt.get_fignums()
    plt.close(kept)

    assert open_figures == [kept.number]
    assert sorted(written(writer).Tags()["images"]) == ["closed", "kept"]


def test_a_histogram_counts_what_is_not_finite(writer):
    writer.add_histogram("h", torch.tensor([1.0, 2.0, math.nan, math.inf]), 1)
    writer.add_histogram("one", torch.tensor(3), 1)
    writer.add_histogram("half", torch.ones(4, dtype=torch.bfloat16), 1)

    assert points(writer, "h.nonfinite") == [(1, 2.0)]
    assert [tensors(writer, tag)[0][:, 2].sum() for tag in ("h", "one", "half")] == [2, 1, 4]


@pytest.mark.parametrize("weights", [None, 0.5, "each"])
@pytest.mark.parametrize("num_thresholds", [127, 10, 500])
def test_a_curve_has_the_numbers_of_torchs(writer, directory, weights, num_thresholds):
    draw = np.random.default_rng(0)
    labels, predictions = draw.integers(0, 2, 200), np.concatenate([draw.random(190), [0, 1, -0.1, 1.1, *[0.5] * 6]])
    weights = draw.random(200) if weights == "each" else weights
    writer.add_pr_curve("c", labels, predictions, 1, num_thresholds, weights)
    with TorchWriter(directory / "torch") as peer:
        peer.add_pr_curve("c", labels, predictions, 1, num_thresholds, weights)

    (theirs,) = accumulated(directory / "torch").Tensors("c")
    np.testing.assert_allclose(tensors(writer, "c")[0], make_ndarray(theirs.tensor_proto), rtol=1e-6)


def test_a_prediction_that_is_nan_counts_nowhere():
    rows = summary_events.confusion(np.array([1, 1, 0]), np.array([0.5, math.nan, 0.5]), None, 3)

    assert rows[:2].tolist() == [[1, 1, 0], [1, 1, 0]]


def test_colours_of_a_mesh_may_be_floats(writer):
    writer.add_mesh("m", torch.zeros(1, 2, 3), colors=torch.tensor([[[0.0, 0.5, 1.0]] * 2]), global_step=1)

    assert tensors(writer, "m_COLOR")[0][0, 0].tolist() == [0, 128, 255]


def test_a_kind_that_has_a_tag_keeps_it_and_another_one_gets_its_own(writer):
    writer.add_scalar("x", 1.0, 1)
    writer.add_pr_curve("x", [0, 1], [0.5, 0.5], 1)

    assert written(writer).Tags()["tensors"] == ["x.plot"]


# Hyperparameters.


def test_a_row_lies_below_the_run_wherever_its_name_leads(directory):
    with SummaryWriter(directory) as writer:
        writer.add_scalar("loss", 1.0, 1)
        for name in ("../../outside", str(directory), "a/b", None):
            writer.add_hparams({"lr": 1.0}, {"m": 1.0}, run_name=name)
    root = directory / "tensorboard/train"

    rows = [path.parent for path in root.rglob("events.*") if b"session_start_info" in path.read_bytes()]
    assert {root, root / "outside", root / "a/b"} < set(rows)
    assert len(rows) == 4
    assert not (directory.parent / "outside").exists()


def test_rows_keep_no_file_open(directory):
    with SummaryWriter(directory) as writer:
        for number in range(40):
            writer.add_hparams({"n": number}, {"m": 1.0}, run_name=f"row{number}")
        assert writer.flush()
        open_files = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]

    assert len([path for path in open_files if str(directory) in path and "events" in path]) <= 1
    assert len(list((directory / "tensorboard/train").iterdir())) == 40


def test_secrets_among_the_hyperparameters_are_not_written(writer):
    writer.add_hparams({"api_key": "sk-abcdefghijklmnop", "lr": 0.1}, {"m": 1.0}, run_name="row")

    start = _session(Path(_closed(writer)) / "tensorboard/train/row")
    assert start.hparams["api_key"].string_value == "***"
    assert start.hparams["lr"].number_value == 0.1


def test_domains_are_in_an_experiment_which_is_written_only_then(writer):
    writer.add_hparams({"lr": 0.1}, {"m": 1.0}, run_name="without")
    writer.add_hparams({"lr": 0.1, "name": "x"}, {"m": 1.0}, {"lr": [0.1, 0.2], "name": ["x", "y"]}, run_name="with")
    root = Path(_closed(writer)) / "tensorboard/train"

    def contents(name: str) -> dict[str, bytes]:
        return {v.tag: v.metadata.plugin_data.content for e in events(root / name) for v in e.summary.value}

    assert "_hparams_/experiment" not in contents("without")
    experiment = HParamsPluginData.FromString(contents("with")["_hparams_/experiment"]).experiment
    assert [[*info.domain_discrete] for info in experiment.hparam_infos] == [[0.1, 0.2], ["x", "y"]]


def test_numbers_of_odd_types_steps_and_times_are_the_same_in_every_backend(directory):
    with SummaryWriter(directory, loggers=["csv", "json"]) as writer:
        writer.add_scalar("float", np.float64(0.5), 1)
        writer.add_scalar("true", True, 1)
        writer.add_scalar("numpy true", np.bool_(True), 2)
        writer.add_scalar("time", 0.25, 3, walltime=float("nan"))
        writer.add_scalar("step", 0.125, 2**70)

    table = pd.read_csv(Path(writer.log_dir) / "csv/log.csv")
    scalars = open_run(writer.log_dir).scalars()
    assert sorted(table["value"]) == sorted(scalars["value"]) == [0.125, 0.25, 0.5, 1.0, 1.0]
    assert max(scalars["step"]) == 2**63 - 1
    assert all(stats.failed == {} for stats in writer.run.stats().values())


def test_no_secret_of_the_environment_is_in_any_name(directory, monkeypatch):
    secret = "Zq9" + "kfT2vLw8xRb4" + "77"
    monkeypatch.setenv("MY_API_KEY", secret)
    with SummaryWriter(directory) as writer:
        writer.add_scalars("m", {secret: 1.0}, 1)
        writer.add_hparams({secret: 1, secret + "b": "text"}, {secret: 1.0}, {secret + "b": ["text", secret]}, secret)
        writer.add_custom_scalars({secret: {secret: ["Multiline", [secret]]}})
        writer.add_mesh(f"mesh {secret}", torch.zeros(1, 3, 3), config_dict={"key": secret})
        writer.add_text("t", secret, 1)

    files = [path for path in Path(writer.log_dir).rglob("*") if path.is_file()]
    assert not [path for path in files if secret in str(path) or secret.encode() in path.read_bytes()]
    assert writer.run.stats()["tensorboard"].failed == {}


@pytest.mark.parametrize(
    "odd", [Unshowable(), torch.zeros((), device="meta"), np.array([1, 2])], ids=["own", "meta", "array"]
)
def test_nothing_raises_because_of_what_it_is_given(directory, odd):
    with SummaryWriter(directory) as writer:
        writer.add_scalar(odd, 1.0, 1)
        writer.add_scalar("step", 1.0, odd)
        writer.add_scalar("value", odd, 1)
        writer.add_scalar("time", 1.0, 1, walltime=odd)
        writer.add_text(odd, odd, odd)
        writer.add_image_with_boxes("boxes", torch.zeros(3, 8, 8), torch.ones(1, 4), 1, labels=odd)
        writer.add_hparams({"a": odd}, {"b": odd}, run_name=odd)
        writer.add_scalar("good", 1.0, 1)

    shown = accumulated(Path(writer.log_dir) / "tensorboard/train")
    assert [event.value for event in shown.Scalars("good")] == [1.0]


class Telling(MemoryLogger):
    """Tells when it has written."""

    def __init__(self):
        super().__init__(BaseLoggerConfig("telling", write_every_n_seconds=0.0))
        self.wrote = threading.Event()

    def write(self, state):
        super().write(state)
        self.wrote.set()


def test_numbers_are_handed_on_although_nothing_more_comes(directory):
    telling = Telling()
    with SummaryWriter(directory, loggers=telling) as writer:
        writer.add_scalar("x", 0.5, 1)

        assert telling.wrote.wait(WAIT_S)
        assert telling.entries == [("train", 1, "", "x", 0.5)]


# Ends.


def test_closing_twice_is_closing_once_and_what_comes_later_goes_on_in_a_further_attempt(directory):
    writer = SummaryWriter(directory)
    writer.add_scalar("x", 1.0, 1)
    writer.close()
    writer.close()
    for step in (2, 3):
        writer.add_scalar("x", 1.0, step)
    writer.close()
    writer.add_text("t", "x", 9)

    read = written(writer)

    assert [event.step for event in read.Scalars("x")] == [1, 2, 3]
    assert [event.step for event in read.Tensors("t/text_summary")] == [9]
    assert sorted(path.name for path in (Path(writer.log_dir) / "attempts").iterdir()) == ["1", "2", "3"]


def test_a_closed_writer_whose_directory_is_taken_counts_what_comes_and_says_so_once(directory, caplog):
    writer = SummaryWriter(directory)
    writer.close()
    shutil.rmtree(writer.log_dir)
    Path(writer.log_dir).write_text("something else")
    for step in range(3):
        writer.add_scalar("x", 1.0, step)
    writer.add_text("t", "x", 9)
    writer.add_image("i", np.zeros((3, 4, 4)), 9)
    writer.add_hparams({}, {})
    writer.flush()

    assert writer.run.stats()["tensorboard"].dropped == {"closed": 6}
    assert caplog.text.count("it discards") == 1


def test_an_exception_ends_the_run_as_failed_and_keeps_what_was_added(directory):
    writer = SummaryWriter(directory)

    def fail() -> None:
        with writer:
            writer.add_scalar("x", 1.0, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert json.loads((directory / "attempts/1/run.json").read_text())["status"] == "failed"
    assert points(writer, "x") == [(1, 1.0)]


PROGRAM = """
import os, signal, sys
from ml.integrations.summary_writer import SummaryWriter
writer = SummaryWriter("run")
for step in range(20):
    writer.add_scalar("x", step, step)
writer.add_hparams({"lr": 1}, {"m": 1.0}, run_name="row")
"""


def _run(directory: Path, end: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM + end]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("writer.flush(); os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
    ],
    ids=["killed after flush", "no close", "exit", "exception"],
)
def test_nothing_is_lost_however_the_program_ends(tmp_path, end, status):
    done = _run(tmp_path, 'writer.add_scalar("open", 1.0, 20)\n' + end)

    assert done.returncode == status, done.stderr
    read = accumulated(tmp_path / "run/tensorboard/train")
    assert [point.step for point in read.Scalars("x")] == list(range(20))
    assert [point.step for point in read.Scalars("open")] == [20]
    assert accumulated(tmp_path / "run/tensorboard/train/row").Tags()["scalars"] == ["m"]


FORK = """
import threading
held, go_on = threading.Event(), threading.Event()

def hold():
    with writer._steps.lock:
        held.set()
        go_on.wait()

writer.add_scalar("open", 1.0, 20)
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child:
    go_on.set()
    thread.join()
writer.add_scalar("open", 2.0, 21)
writer.add_image("i", __import__("numpy").zeros((3, 4, 4)), 22)
writer.flush()
writer.close()
if child:
    print(os.waitpid(child, 0)[1])
"""


def test_a_forked_child_discards_and_the_parent_goes_on(tmp_path):
    done = _run(tmp_path, FORK)

    assert (done.returncode, done.stdout.split()) == (0, ["0"]), done.stderr
    read = accumulated(tmp_path / "run/tensorboard/train")
    assert [(point.step, point.value) for point in read.Scalars("open")] == [(20, 1.0), (21, 2.0)]
    assert len(read.Images("i")) == 1


def test_threads_may_share_a_writer(directory):
    def add(name: str) -> None:
        for step in range(200):
            writer.add_scalar(f"{name}/x", step, step)
            if step % 50 == 0:
                writer.add_histogram(f"{name}/h", np.arange(9), step)

    with SummaryWriter(directory) as writer:
        threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for name in "abcd":
        assert points(writer, f"{name}/x") == [(step, float(step)) for step in range(200)]


def test_what_a_full_disk_refused_is_written_once_when_there_is_room(directory):
    with SummaryWriter(directory) as writer:
        blocked = directory / "tensorboard/train"
        blocked.write_text("in the way")
        writer.add_scalar("x", 1.0, 1)
        writer.add_text("t", "x", 1)
        writer.add_pr_curve("c", [0, 1], [0.5, 0.5], 1)
        writer.add_custom_scalars_multilinechart(["a"])
        writer.add_hparams({"lr": 1.0}, {"m": 1.0}, run_name="row")
        writer.add_scalar("y", 1.0, 2)
        assert not writer.run.flush(timeout_s=0.2)
        blocked.unlink()

    assert points(writer, "x") == [(1, 1.0)]
    assert [len(tensors(writer, tag)) for tag in ("t/text_summary", "c", "custom_scalars__config__")] == [1, 1, 1]
    assert [point.value for point in accumulated(blocked / "row").Scalars("m")] == [1.0]


def test_a_backend_that_fails_never_reaches_the_loop(directory, caplog):
    with SummaryWriter(directory, loggers=RaisingLogger(BaseLoggerConfig("raising"))) as writer:
        for step in range(3):
            writer.add_scalar("x", 1.0, step)

    assert [step for step, _ in _scalars(directory)] == [0, 1, 2]
    assert "write failed" in caplog.text


def _scalars(directory: Path) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in accumulated(directory / "tensorboard/train").Scalars("x")]


def test_neither_torch_nor_tensorboard_is_loaded_by_the_import():
    program = (
        "import sys, ml.integrations.summary_writer\n"
        "print([name for name in ('torch', 'tensorboard', 'google.protobuf', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert ast.literal_eval(done.stdout) == [], done.stderr
