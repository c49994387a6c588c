"""Event files that others wrote, read as TensorBoard reads them."""

import io
import math
import struct
import wave

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb as histogram2
from tensorboard.plugins.scalar.summary_v2 import scalar_pb as scalar2
from torch.utils.tensorboard import SummaryWriter

from ml.integrations import event_folders
from ml.integrations.event_folders import is_source, read, sources
from ml.loggers.event_files import record
from ml.loggers.kinds import AUDIO, HISTOGRAM, IMAGE, POINT_CLOUD, SCALAR, STRING, VIDEO
from ml.loggers.sources import Entry, Settings
from tests.loggers.tensorboard_reader import accumulated

RNG = np.random.default_rng(0)
IMAGE_PIXELS = RNG.integers(0, 256, (3, 9, 11), np.uint8)


def entries(source, tell=pytest.fail):
    return [entry for entry in read(source, tell) if isinstance(entry, Entry)]


def found(source, tell=pytest.fail):
    return {(entry.state.phase, entry.namespace, entry.key): entry for entry in entries(source, tell)}


def write_events(path, *events):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(record(event.SerializeToString()) for event in events))
    return path


def scalar(step, value, tag="loss", time_s=1.7e9):
    return Event(
        wall_time=time_s + step, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    )


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory):
    """What torch's writer wrote of every kind that it has."""
    directory = tmp_path_factory.mktemp("torch")
    with SummaryWriter(directory) as writer:
        for step in range(20):
            writer.add_scalar("task/loss", 1 / (step + 1), step, walltime=1.7e9 + step)
            writer.add_scalar("new", step / 3, step, new_style=True)
            writer.add_scalar("odd", [math.nan, math.inf, -math.inf][step % 3], step)
        writer.add_scalars("both", {"a": 1.0, "b": 2.0}, 3)
        writer.add_text("note", "hello *world*", 2)
        writer.add_image("picture", IMAGE_PIXELS, 4)
        writer.add_audio("sound", torch.linspace(-1, 1, 500)[None], 5, sample_rate=8000)
        writer.add_histogram("weights", np.arange(1000.0), 6)
        writer.add_mesh(
            "cloud",
            torch.ones(1, 7, 3),
            colors=torch.full((1, 7, 3), 9, dtype=torch.uint8),
            faces=torch.zeros(1, 2, 3, dtype=torch.int32),
            global_step=7,
        )
        writer.add_pr_curve("curve", np.array([0, 1]), np.array([0.1, 0.9]), 1)
        writer.add_hparams({"lr": 0.5, "width": 64, "name": "x", "deep": True}, {"best": 0.25}, run_name="trial")
    return directory


def test_scalars_of_torch_are_those_that_tensorboard_reads(torch_run):
    read_by_us = entries(torch_run, lambda problem: None)
    peer = accumulated(torch_run)
    for tag in peer.Tags()["scalars"]:
        ours = [entry for entry in read_by_us if f"{entry.namespace}/{entry.key}".lstrip("/") == tag]
        theirs = peer.Scalars(tag)
        assert [(e.state.num_steps, e.state.time_s) for e in ours] == [(p.step, p.wall_time) for p in theirs]
        np.testing.assert_array_equal([e.value for e in ours], [p.value for p in theirs])
    assert set(peer.Tags()["scalars"]) == {"task/loss", "odd"}
    tensors = [(event.step, event.tensor_proto.float_val[0]) for event in peer.Tensors("new")]
    assert [(e.state.num_steps, e.value) for e in read_by_us if e.key == "new"] == tensors


def test_every_other_kind_of_torch_is_read(torch_run):
    told = []
    values = found(torch_run, told.append)

    assert values["train", "", "note"][3:] == (STRING, "", "note", "hello *world*")
    picture = values["train", "", "picture"]
    assert (picture.kind, picture.state.num_steps) == (IMAGE, 4)
    np.testing.assert_array_equal(picture.value.array(), IMAGE_PIXELS)
    sound = values["train", "", "sound"]
    assert sound.kind is AUDIO
    samples, rate = sound.value()
    assert (samples.shape, rate) == ((500,), 8000)
    bins = values["train", "", "weights"]
    assert (bins.kind, bins.value.histogram().count, bins.value.histogram().max) == (HISTOGRAM, 1000, 999.0)
    cloud = values["train", "", "cloud"]
    assert cloud.kind is POINT_CLOUD
    assert cloud.value.array().shape == (1, 7, 3)
    assert values["train", "both_a", "both"].value == 1.0
    assert values["train", "trial", "best"].value == 0.25
    assert len(told) == 2
    assert any("'pr_curves'" in problem for problem in told)
    assert any("faces" in problem for problem in told)


def test_hyperparameters_are_the_configuration_and_come_first(torch_run):
    first = next(read(torch_run, lambda problem: None))

    assert isinstance(first, Settings)
    assert first.config == {"lr": 0.5, "width": 64, "name": "x", "deep": True}
    assert type(first.config["width"]) is int


def test_summaries_of_the_second_form_are_read_also_where_only_the_first_has_its_metadata(tmp_path):
    events = []
    for step in (1, 2):
        summaries = [scalar2("loss", step / 8), histogram2("weights", np.arange(100.0))]
        for value in (value for summary in summaries for value in summary.value):
            if step == 2:
                value.ClearField("metadata")
            events.append(Event(wall_time=1.7e9, step=step, summary=Summary(value=[value])))
    write_events(tmp_path / "events.out.tfevents.1", *events)

    values = [(e.state.num_steps, e.key, e.kind) for e in entries(tmp_path)]
    assert values == [(1, "loss", SCALAR), (1, "weights", HISTOGRAM), (2, "loss", SCALAR), (2, "weights", HISTOGRAM)]
    assert entries(tmp_path)[3].value.histogram().count == 100


def test_pictures_are_kept_as_they_are_or_become_png(tmp_path):
    def encoded(form, pixels, **options):
        Image.fromarray(pixels).save(file := io.BytesIO(), form, **options)
        return file.getvalue()

    pixels = np.moveaxis(IMAGE_PIXELS, 0, -1)
    other = [Image.fromarray(255 - pixels)]
    files = {
        "png": encoded("PNG", pixels),
        "jpeg": encoded("JPEG", pixels),
        "gif": encoded("GIF", pixels, save_all=True, append_images=other, duration=250),
    }
    values = [
        Summary.Value(tag=name, image=Summary.Image(width=11, height=9, colorspace=3, encoded_image_string=data))
        for name, data in files.items()
    ]
    write_events(tmp_path / "events.out.tfevents.1", Event(wall_time=1.7e9, step=1, summary=Summary(value=values)))

    png, jpeg, gif = (entry.value for entry in entries(tmp_path))
    assert png.encoded("png") == files["png"]
    expected = np.moveaxis(np.asarray(Image.open(io.BytesIO(files["jpeg"]))), -1, 0)
    np.testing.assert_array_equal(jpeg.array(), expected)
    assert gif.kind is VIDEO
    assert gif.encoded("gif") == files["gif"]
    assert (gif.array().shape, gif.fps) == ((2, 3, 9, 11), 4.0)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sound_of_every_width_is_read(tmp_path, width):
    with wave.open(file := io.BytesIO(), "wb") as clip:
        clip.setparams((2, width, 8000, 0, "NONE", ""))
        half = [b"\xc0", struct.pack("<h", 2**14), (2**22).to_bytes(3, "little"), struct.pack("<i", 2**30)][width - 1]
        zero = b"\x80" if width == 1 else bytes(width)
        clip.writeframes((half + zero) * 10)
    audio = Summary.Audio(sample_rate=8000, num_channels=2, length_frames=10, encoded_audio_string=file.getvalue())
    value = Summary.Value(tag="sound", audio=audio)
    write_events(tmp_path / "events.out.tfevents.1", Event(wall_time=1.7e9, step=1, summary=Summary(value=[value])))

    samples = entries(tmp_path)[0].value.array()
    np.testing.assert_allclose(samples, [[0.5] * 10, [0.0] * 10], atol=1e-4)


def test_folders_that_are_called_like_a_phase_are_one_and_others_go_before_the_tag(tmp_path):
    for folder in ("", "train", "validation", "val", "eval", "test", "extra", "extra/val"):
        write_events(tmp_path / folder / "events.out.tfevents.1", scalar(1, 0.5, tag=f"of_{folder.replace('/', '_')}"))

    assert {(e.state.phase, e.namespace, e.key) for e in entries(tmp_path)} == {
        ("train", "", "of_"),
        ("train", "", "of_train"),
        ("valid", "", "of_validation"),
        ("valid", "", "of_val"),
        ("valid", "", "of_eval"),
        ("test", "", "of_test"),
        ("train", "extra", "of_extra"),
        ("valid", "extra", "of_extra_val"),
    }


def test_what_a_restart_went_over_again_is_left_out_as_tensorboard_leaves_it_out_and_told(tmp_path):
    for purge_step, steps in ((None, range(10)), (6, range(7, 9))):
        with SummaryWriter(tmp_path, purge_step=purge_step, filename_suffix=f".{purge_step}") as writer:
            for step in steps:
                writer.add_scalar("loss", -step if purge_step else step, step)
    told = []

    ours = [(e.state.num_steps, e.value) for e in entries(tmp_path, told.append)]

    assert ours == [(point.step, point.value) for point in accumulated(tmp_path).Scalars("loss")]
    assert told == [f"4 values of {tmp_path}: a later session began at their step or before it."]


def test_a_torn_end_and_a_damaged_record_are_told_and_cost_no_other(tmp_path):
    path = write_events(tmp_path / "events.out.tfevents.1", *(scalar(step, step) for step in range(5)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data[:-3])
    told = []

    assert [e.state.num_steps for e in entries(tmp_path, told.append)] == [0, 1, 3]
    assert len(told) == 2
    assert "damaged: the checksum" in told[0]
    assert "at the end, not whole" in told[1]


def test_what_has_a_right_checksum_and_is_no_event_is_told(tmp_path):
    (tmp_path / "events.out.tfevents.1").write_bytes(record(b"\xff\xff\xff") + record(scalar(1, 2).SerializeToString()))
    told = []

    assert [e.value for e in entries(tmp_path, told.append)] == [2.0]
    assert told == [f"1 value of events of {tmp_path}: they cannot be read."]


@pytest.mark.parametrize(
    "value",
    [
        Summary.Value(tag="bad", image=Summary.Image(encoded_image_string=b"\x89PNG no")),
        Summary.Value(tag="bad", audio=Summary.Audio(encoded_audio_string=b"RIFF no")),
        Summary.Value(tag="bad", histo=HistogramProto()),
    ],
    ids=["picture", "sound", "histogram without values"],
)
def test_a_value_that_cannot_be_read_is_told_and_costs_no_other(tmp_path, value):
    event = Event(wall_time=1.7e9, step=1, summary=Summary(value=[value]))
    write_events(tmp_path / "events.out.tfevents.1", event, scalar(2, 3))
    told = []

    assert [e.value for e in entries(tmp_path, told.append)] == [3.0]
    assert len(told) == 1
    assert "bad" in told[0]


def test_folders_are_told_apart_as_runs(tmp_path):
    assert not is_source(tmp_path)
    for run in ("a/train", "a/valid", "b", "b/loss_x", "c/version_0"):
        write_events(tmp_path / run / "events.out.tfevents.1", scalar(1, 0.5))

    assert sources(tmp_path) == [tmp_path / "a", tmp_path / "b", tmp_path / "c/version_0"]
    assert sources(tmp_path / "b") == [tmp_path / "b"]
    assert is_source(tmp_path / "b/events.out.tfevents.1")


def test_a_write_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(event_folders, "_VALUES_A_WRITE", 3)
    write_events(tmp_path / "events.out.tfevents.1", *(scalar(1, 0.5, tag=f"tag{n}") for n in range(7)))

    writes = [entry.write for entry in entries(tmp_path)]
    assert sorted(writes) == writes
    assert max(writes.count(write) for write in writes) == 3
