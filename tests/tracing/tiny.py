"""A detector of a few hundred weights and a classifier, with what reads them, and what a test needs to watch them."""

from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ml.tracing import DetectionAdapter, DetectionOutput, NmsConfig, ObjectDetectionLogger, ObjectDetectionTracer
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from ml.tracing.visibility import decided

torch.set_num_threads(1)

CLASSES = 3


class TinyDetector(nn.Module):
    """Of each of 16 cells, (4, 4), a box and the logits of three classes; shows the boxes that are sure."""

    def __init__(self, *, score_thresh=0.5, iou_thresh=0.4, max_detections=5):
        super().__init__()
        self.score_thresh, self.iou_thresh, self.max_detections = score_thresh, iou_thresh, max_detections
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, 4 + CLASSES, 1)

    def forward(self, images):
        raw = self.head(self.backbone(images)).flatten(2).transpose(1, 2)
        return [self.shown(rows) for rows in raw]

    def shown(self, rows):
        boxes, scores, labels = boxes_of(rows), *rows[:, 4:].sigmoid().max(1)
        sure = scores > self.score_thresh
        boxes, scores, labels = boxes[sure], scores[sure], labels[sure]
        kept = []
        for index in scores.argsort(descending=True, stable=True).tolist():
            if all(labels[index] != labels[k] or iou(boxes[index], boxes[k]) <= self.iou_thresh for k in kept):
                kept.append(index)
        kept = kept[: self.max_detections]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}


def boxes_of(rows):
    centers = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="xy"), -1).reshape(-1, 2) * 4
    return torch.cat([centers, centers + 6 + rows[:, :2].abs()], 1)


def iou(a, b):
    low, high = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    shared = (high - low).clamp_min(0).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


class TinyAdapter(DetectionAdapter):
    name = "tiny"

    @staticmethod
    def detect(model):
        return isinstance(model, TinyDetector)

    def n_class(self, model):
        return CLASSES

    def nms_config(self, model):
        return NmsConfig(model.score_thresh, model.iou_thresh, model.max_detections)

    @contextmanager
    def applied(self, model, config):
        before = self.nms_config(model)
        model.score_thresh, model.iou_thresh, model.max_detections = before.overridden_by(config)
        try:
            yield
        finally:
            model.score_thresh, model.iou_thresh, model.max_detections = before

    def modules(self, model):
        return {"head": model.head}

    def image_sizes(self, model_input):
        images = model_input["images"] if isinstance(model_input, dict) else model_input
        return [tuple(image.shape[1:]) for image in images]

    def parse(self, model, model_output, captured, image_sizes, config):
        return [
            decided(_output(rows, size), config)
            for rows, size in zip(captured["head"].flatten(2).transpose(1, 2), image_sizes, strict=True)
        ]

    def reported(self, model_output, image_sizes, config):
        return [
            DetectionOutput(
                shown["boxes"].detach().numpy(),
                shown["scores"].detach().numpy(),
                shown["labels"].numpy(),
                None,
                np.arange(len(shown["boxes"])),
                size,
                np.ones(len(shown["boxes"]), bool),
            )
            for shown, size in zip(model_output, image_sizes, strict=True)
        ]


def _output(rows, size):
    scores, labels = rows[:, 4:].sigmoid().max(1)
    return DetectionOutput(
        boxes_of(rows).numpy(), scores.numpy(), labels.numpy(), rows[:, 4:].numpy(), np.arange(len(rows)), size
    )


class TinyClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.last(self.drop(self.conv(x).mean((2, 3))))


def detector(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TinyDetector(**settings).eval()


def images(count=2, seed=0):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def logger_of(model, tmp_path, **arguments):
    return ObjectDetectionLogger(model, "tiny", "v1", database=tmp_path / "traces.db", **arguments)


def tracer_of(model, tmp_path, **arguments):
    return ObjectDetectionTracer(model, "tiny", "v1", database=tmp_path / "traces.db", **arguments)


def traced(tmp_path, n_epoch="all", **selected):
    """Returns the inferences in the database, in order."""
    with open_traces(tmp_path / "traces.db") as traces:
        return [found.inference for found in traces.read(Selection("tiny", "v1", n_epoch=n_epoch, **selected))]
