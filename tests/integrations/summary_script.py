"""A program that uses a summary writer throughout; torch's and ours run it alike."""

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

WALLTIME_S = 1.7e9
LAYOUT = {"losses": {"both": ["Multiline", ["loss/train", "loss/valid"]], "band": ["Margin", ["a", "b", "c"]]}}


def add_everything(writer: Any) -> None:
    """Adds values of every method that both writers have, each at several steps where that makes sense."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    draw = np.random.default_rng(0)
    for step in range(5):
        writer.add_scalar("loss/train", 1 / (step + 1), step, walltime=WALLTIME_S + step)
        writer.add_scalar("loss/tensor", torch.tensor([step / 8], requires_grad=True), step)
        writer.add_scalar("loss/array", np.float16(step / 4), np.int64(step), new_style=True)
        writer.add_scalar("odd", [math.nan, math.inf, -math.inf, 1e30, -0.0][step], step)
        writer.add_scalars("group/x", {"a": step, "b": torch.tensor(2.0 * step)}, step)
        writer.add_histogram("weights", draw.normal(size=2000), step)
        writer.add_text("note", f"*step* {step}\n\n| a |\n|---|\n| 1 |", step)
        writer.add_image("picture", torch.rand(3, 40, 30), step)
    writer.add_scalar("no step", 3)
    writer.add_scalar("not/in/order", 1.0, 7)
    writer.add_scalar("later", 1.0, 3, walltime=12.5)

    beyond = draw.random((30, 40, 3)) * 3 - 1
    writer.add_image("layouts/HWC", beyond, 1, dataformats="HWC")
    writer.add_image("layouts/HW", draw.random((20, 30)).astype(np.float32), 1, dataformats="HW")
    writer.add_image("layouts/WH", torch.rand(20, 30).half(), 1, dataformats="WH")
    writer.add_image("layouts/gray", torch.rand(1, 700, 600), 1)
    writer.add_image("layouts/bytes", torch.randint(0, 256, (3, 5, 4), dtype=torch.uint8), 1)
    writer.add_image("layouts/bool", np.eye(9, dtype=bool), 1, dataformats="HW")
    writer.add_image("layouts/int64", torch.arange(12).reshape(3, 2, 2), 1)
    writer.add_images("batches/NCHW", draw.random((11, 3, 8, 9)), 1)
    writer.add_images("batches/NHWC", torch.rand(2, 8, 9, 3), 1, dataformats="NHWC")
    writer.add_images("batches/gray", torch.rand(3, 1, 8, 9).bfloat16(), 1)
    writer.add_image_with_boxes("boxes", beyond, torch.tensor([[2, 3, 20, 25]]), 1, dataformats="HWC", labels=["cat"])
    for tag, count in (("figure", 0), ("figures", 2)):
        figures = [plt.figure(figsize=(2, 1), dpi=50) for _ in range(max(count, 1))]
        for number, figure in enumerate(figures):
            figure.add_subplot().plot([number, 1, 2])
        writer.add_figure(tag, figures if count else figures[0], 1)

    writer.add_audio("loud", np.sin(np.arange(800) / 5)[None] * 1.5, 1, 8000)
    writer.add_audio("quiet", torch.sin(torch.arange(500.0) / 3) / 2, 1)
    writer.add_pr_curve("curve", draw.integers(0, 2, 300), draw.random(300), 1)
    writer.add_pr_curve("curve", torch.randint(0, 2, (50,)), torch.rand(50), 2, num_thresholds=20, weights=0.5)
    raw = np.arange(24, dtype=float).reshape(6, 4)
    writer.add_pr_curve_raw("curve raw", *raw, global_step=1, num_thresholds=4)
    points = torch.rand(2, 5, 3)
    colors, faces = torch.randint(0, 256, (2, 5, 3)), torch.tensor([[[0, 1, 2], [1, 2, 3]]] * 2)
    writer.add_mesh("mesh", points, colors, faces, {"camera": {"cls": "PerspectiveCamera"}}, global_step=1)
    writer.add_mesh("points", points, global_step=2)
    writer.add_tensor("tensor", torch.arange(6, dtype=torch.int32).reshape(2, 3), 1)
    writer.add_tensor("tensor/double", torch.rand(4, dtype=torch.float64), 1)
    writer.add_histogram_raw("counted", 0.0, 1.0, 10, 5.0, 3.0, [0.25, 0.5, 1.0], np.array([1, 4, 5]), 1)
    for lr in (0.1, 0.01):
        hparams = {"lr": lr, "layers": 3, "bias": True, "name": "adam", "none": None, "size": torch.tensor([2.0])}
        writer.add_hparams(hparams, {"hparam/accuracy": 1 - lr, "hparam/loss": torch.tensor(lr)}, run_name=f"lr{lr}")
    writer.add_custom_scalars(LAYOUT)
    writer.add_graph(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()), torch.rand(2, 3))
