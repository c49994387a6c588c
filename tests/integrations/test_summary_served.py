"""What TensorBoard's own server makes of one program, run with torch's writer and with ours."""

import io
import itertools
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.tensorboard import SummaryWriter as TorchWriter

from ml.integrations.summary_writer import SummaryWriter
from tests.integrations.summary_script import LAYOUT, WALLTIME_S, add_everything
from tests.loggers.tensorboard_reader import TensorBoardServer, accumulated, events, served

TORCH, OURS = "torch", "ours/tensorboard/train"


@pytest.fixture(scope="module")
def log_directory(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("written")
    for name, kind in (("torch", TorchWriter), ("ours", SummaryWriter)):
        torch.manual_seed(0)
        with kind(str(root / name)) as writer:
            add_everything(writer)
        if isinstance(writer, SummaryWriter):
            stats = writer.run.stats()["tensorboard"]
            assert (stats.written, stats.failed, stats.dropped) == (stats.accepted, {}, {})
    return root


@pytest.fixture(scope="module", params=[True, False], ids=["default-loader", "python-loader"])
def server(log_directory, request) -> Iterator[TensorBoardServer]:
    with served(log_directory, load_fast=request.param) as running:
        # Of both the last file that the loaders come to, and of it the last event.
        last = ("lr0.01", "torch/lr0.01"), ("lr0.01", f"{OURS}/lr0.01")
        running.until(lambda: all(run in running.json("plugin/scalars/tags") for _, run in last))
        running.until(lambda: all("graph" in _runs_with_graph(running, run) for run in (TORCH, OURS)))
        yield running


def _runs_with_graph(server: TensorBoardServer, run: str) -> list[str]:
    return ["graph"] if server.json("plugin/graphs/info").get(run, {}).get("run_graph") else []


def both(server: TensorBoardServer, path: str, **query: object) -> tuple[Any, Any]:
    theirs, ours = (server.json(path, run=run, **query) for run in (TORCH, OURS))
    return theirs, ours


@pytest.mark.parametrize("page", ["scalars", "images", "audio", "histograms", "text", "pr_curves", "mesh"])
def test_every_page_has_the_same_tags(server, page):
    tags = server.json(f"plugin/{page}/tags")

    ours = set(tags[OURS]) - {"group/x/a", "group/x/b"}  # which torch's writer has as runs
    assert ours == set(tags[TORCH])
    assert ours


@pytest.mark.parametrize("tag", ["loss/train", "loss/tensor", "loss/array", "odd", "no step", "not/in/order", "later"])
def test_scalars_have_the_same_steps_and_values(server, tag):
    theirs, ours = both(server, "plugin/scalars/scalars", tag=tag)

    assert [point[1:] for point in ours] == [point[1:] for point in theirs]
    if tag in ("loss/train", "later"):  # those whose time was given
        assert [point[0] for point in ours] == [point[0] for point in theirs]


def test_lines_of_add_scalars_are_tags_with_the_values_of_torchs_runs(server):
    for name in ("a", "b"):
        theirs = server.json("plugin/scalars/scalars", run=f"torch/group_x_{name}", tag="group/x")
        ours = server.json("plugin/scalars/scalars", run=OURS, tag=f"group/x/{name}")

        assert [point[1:] for point in ours] == [point[1:] for point in theirs]


def test_texts_are_rendered_alike(server):
    theirs, ours = both(server, "plugin/text/text", tag="note/text_summary")

    assert [(point["step"], point["text"]) for point in ours] == [(point["step"], point["text"]) for point in theirs]
    assert len(ours) == 5


def _pictures(server: TensorBoardServer, run: str, tag: str) -> list[tuple[int, np.ndarray]]:
    listed = server.json("plugin/images/images", run=run, tag=tag, sample=0)
    found = []
    for item in listed:
        reply = server.get(f"plugin/images/individualImage?{item['query']}&")
        pixels = np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGB"))
        found.append((item["step"], pixels))
    return found


LAYOUTS = ["layouts/HWC", "layouts/HW", "layouts/WH", "layouts/gray", "layouts/bytes", "layouts/bool", "layouts/int64"]
BATCHES = ["batches/NCHW", "batches/NHWC", "batches/gray"]


@pytest.mark.parametrize("tag", ["picture", *LAYOUTS, *BATCHES, "figure", "figures"])
def test_pictures_have_the_same_pixels(server, tag):
    for theirs, ours in itertools.zip_longest(_pictures(server, TORCH, tag), _pictures(server, OURS, tag)):
        assert ours[0] == theirs[0]
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_boxes_are_drawn_on_a_picture_of_the_same_size(server):
    (theirs,), (ours,) = _pictures(server, TORCH, "boxes"), _pictures(server, OURS, "boxes")

    beside = np.s_[:, 30:]
    assert (ours[0], ours[1].shape) == (theirs[0], theirs[1].shape)
    np.testing.assert_array_equal(ours[1][beside], theirs[1][beside])
    assert not np.array_equal(ours[1], theirs[1])  # each in its style


def _samples(server: TensorBoardServer, run: str, tag: str) -> tuple[int, int, list[int]]:
    (item,) = server.json("plugin/audio/audio", run=run, tag=tag, sample=0)
    reply = server.get(f"plugin/audio/individualAudio?{item['query']}&")
    with wave.open(io.BytesIO(reply.body)) as clip:
        samples = np.frombuffer(clip.readframes(clip.getnframes()), "<i2").tolist()
        return item["step"], clip.getframerate(), samples


@pytest.mark.parametrize("tag", ["loud", "quiet"])
def test_clips_have_the_same_samples(server, tag):
    assert _samples(server, OURS, tag) == _samples(server, TORCH, tag)


def test_curves_have_the_same_numbers(server):
    for tag in ("curve", "curve raw"):
        theirs, ours = (server.json("plugin/pr_curves/pr_curves", run=run, tag=tag)[run] for run in (TORCH, OURS))

        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.keys() == other.keys()
            for name in mine.keys() - {"wall_time"}:
                assert mine[name] == other[name], name


@pytest.mark.parametrize(("tag", "step"), [("mesh", 1), ("points", 2)])
def test_meshes_have_the_same_points_faces_and_colours(server, tag, step):
    theirs, ours = both(server, "plugin/mesh/meshes", tag=tag, sample=0)

    def described(parts):
        return sorted(
            (part["step"], part["content_type"], part["components"], part["data_shape"], part["config"])
            for part in parts
        )

    assert described(ours) == described(theirs)
    for content in ("VERTEX", "FACE", "COLOR"):
        query = {"tag": tag, "sample": 1, "content_type": content, "step": step}
        bodies = [server.get("plugin/mesh/data", run=run, **query).body for run in (TORCH, OURS)]
        assert bodies[0] == bodies[1]
        assert bool(bodies[0]) == (tag == "mesh" or content == "VERTEX")


def test_histograms_count_the_same_values_over_the_same_range(server):
    theirs, ours = both(server, "plugin/histograms/histograms", tag="weights")

    assert [point[1] for point in ours] == [point[1] for point in theirs] == list(range(5))
    for (_, _, mine), (_, _, other) in zip(ours, theirs, strict=True):
        assert len(mine) == 64
        assert sum(count for *_, count in mine) == sum(count for *_, count in other) == 2000
        assert mine[0][0] == pytest.approx(other[0][0], rel=0.25)  # torch's bins grow by a tenth each
        assert mine[-1][1] == pytest.approx(other[-1][1], rel=0.25)
        edges = np.array([right for _, right, _ in mine])
        below = np.cumsum([count for *_, count in mine]) / 2000
        theirs_below = np.interp(edges, [b[1] for b in other], np.cumsum([b[2] for b in other]) / 2000)
        assert np.abs(below - theirs_below).max() < 0.06


def test_a_histogram_that_is_counted_already_is_the_same(server):
    theirs, ours = both(server, "plugin/histograms/histograms", tag="counted")

    assert [point[1:] for point in ours] == [point[1:] for point in theirs]


def _rows(server: TensorBoardServer, below: str) -> list[Any]:
    metrics = [{"group": "", "tag": tag} for tag in ("hparam/accuracy", "hparam/loss")]
    answer = server.post(
        "plugin/hparams/session_groups",
        {
            "experimentName": "",
            "allowedStatuses": ["STATUS_SUCCESS"],
            "colParams": [
                *({"hparam": name} for name in ("lr", "layers", "bias", "name", "size")),
                *({"metric": metric} for metric in metrics),
            ],
            "startIndex": 0,
            "sliceSize": 100,
        },
    )
    rows = []
    for group in answer["sessionGroups"]:
        (session,) = group["sessions"]
        if session["name"].startswith(below):
            values = sorted(
                (value["name"]["tag"], value.get("value"), value.get("trainingStep", 0))
                for value in session["metricValues"]
            )
            rows.append((Path(session["name"]).name, session["status"], group["hparams"], values))
    return sorted(rows, key=lambda row: row[0])


def test_the_table_of_hyperparameters_has_the_same_rows(server):
    theirs, ours = _rows(server, "torch/"), _rows(server, "ours/")

    assert ours == theirs
    assert [row[0] for row in ours] == ["lr0.01", "lr0.1"]


def test_the_page_of_custom_scalars_has_the_charts_that_were_laid_out_and_those_of_add_scalars(server):
    categories = {
        category["title"]: category["chart"] for category in server.json("plugin/custom_scalars/layout")["category"]
    }

    assert [chart["title"] for chart in categories["losses"]] == list(LAYOUT["losses"])
    (chart,) = categories["add_scalars"]
    assert chart["title"] == "group/x"
    lines = [
        tag
        for pattern in chart["multiline"]["tag"]
        for tag in server.json("plugin/custom_scalars/scalars", run=OURS, tag=pattern)["tag_to_events"]
    ]
    assert lines == ["group/x/a", "group/x/b"]


def test_the_graph_of_a_model_is_the_same(server):
    theirs, ours = (server.get("plugin/graphs/graph", run=run).body for run in (TORCH, OURS))

    assert ours == theirs
    assert b"Linear" in ours


def test_tensors_are_read_back_with_their_dtype_and_shape(log_directory):
    for tag in ("tensor", "tensor/double"):
        theirs, ours = (
            make_ndarray(accumulated(log_directory / run).Tensors(tag)[0].tensor_proto) for run in (TORCH, OURS)
        )
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_a_value_has_the_time_that_was_given_or_that_of_its_call(log_directory):
    wall_times = {
        (value.tag, event.step): event.wall_time
        for event in events(log_directory / OURS)
        for value in event.summary.value
    }

    assert wall_times["loss/train", 3] == WALLTIME_S + 3
    assert wall_times["loss/tensor", 3] > WALLTIME_S + 1000
    assert json.dumps(list(wall_times.values()))
