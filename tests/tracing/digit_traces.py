"""A real detector of digits, trained for some seconds, and what it says of scenes: candidates, logits, what is seen."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ml.tracing.output import ClassificationOutput, DetectionOutput, NmsConfig
from ml.tracing.record import Inference, Truth
from ml.tracing.visibility import decided
from tests.digit_scenes import SCENE_PX, scenes

ROOT = Path(__file__).parents[2]
CONFIG = NmsConfig(0.05, 0.5, 20)


@cache
def detector(epochs):
    """Returns a detector, and the module that it is of; the more epochs, the better."""
    sys.path[:0] = paths = [str(ROOT / "scripts"), str(ROOT / "tests")]
    try:
        import digit_detector
    finally:
        del sys.path[: len(paths)]
    torch.set_num_threads(1)
    learnt = scenes(200, seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = digit_detector.Detector()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for epoch in range(epochs):
            for _ in digit_detector.train_epoch(model, optimizer, learnt, seed=epoch):
                pass
    return model.eval(), digit_detector


def digit_traces(epochs, count, *, seed, dataset_type="val", has_truth=True, change=lambda images: images):
    """Returns inferences of scenes that no detector has learnt from, with a feature of the last layer but one."""
    model, module = detector(epochs)
    shown = scenes(count, seed=seed, is_validation=True)
    images = change(module.as_images(shown))
    with torch.no_grad():
        is_digit, digit, boxes = model(images)
        features = model._features(images).mean((2, 3)).half().numpy()
    sureness, labels = digit.softmax(2).max(2)
    logits = torch.cat([is_digit[..., None], digit], 2)
    arrays = (boxes, is_digit.sigmoid() * sureness, labels, logits)
    return [
        Inference(
            f"{seed}-{number}",
            dataset_type,
            0,
            number,
            1e9,
            0.001,
            decided(DetectionOutput(*of_scene, np.arange(len(of_scene[0])), (SCENE_PX, SCENE_PX)), CONFIG),
            len(of_scene[0]),
            Truth(scene.xyxy.astype(np.float32), scene.labels) if has_truth else None,
            {"neck": features[number]},
        )
        for number, (scene, *of_scene) in enumerate(zip(shown, *(a.numpy() for a in arrays), strict=True))
    ]


def classifications(count, *, seed):
    """Returns inferences of a classifier that is the surer the likelier it is right."""
    random, inferences = np.random.default_rng(seed), []
    for number in range(count):
        truth, sureness = int(random.integers(3)), random.exponential(1.5)
        logits = random.normal(size=3)
        logits[truth] += sureness
        output = ClassificationOutput(logits.astype(np.float32), (8, 8))
        inferences.append(Inference(f"{seed}-{number}", "val", 0, number, 1e9, 0.001, output, 3, truth))
    return inferences
