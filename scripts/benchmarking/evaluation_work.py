"""A training that evaluates after every epoch, and keeps what was predicted: where the time of both goes.

``train`` runs in a process of its own, and returns what each epoch spent, and what lies in the store after it. Whatever
is not the model's is logging: to wrap values, to read the ground truth back, to add rows, to encode, write and publish,
and to wait for any of it.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import nn

from benchmarking.measuring import bytes_on_disk
from ml.detection.boxes import Detections
from ml.detection.matching import match
from ml.evaluation import Boxes, Column, EvalCallback, Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))
sys.path.append(str(ROOT / "scripts"))

SAMPLES = 500
"""Images of an evaluation."""

SURE = 0.3
BATCH = 25

Columns = Sequence[str | Column]


class Subject(Protocol):
    """A model that learns, and what is kept of it.

    Attributes:
        columns: Of the ground truth; the first one is the sample.
        predicted_columns: Of what is predicted for a sample.
        model: It.
    """

    columns: Columns
    predicted_columns: Columns
    model: nn.Module

    def train_epoch(self, epoch: int) -> float:
        """Learns from every image for training; returns the loss."""
        ...

    def truth(self) -> Iterator[tuple[object, ...]]:
        """Yields what is known of each sample, without its number; wraps it for a table, which is logging."""
        ...

    def predict(self) -> list[tuple[object, ...]]:
        """Returns what is predicted for each sample, as a program has it that logs nothing."""
        ...

    def wrapped(self, predicted: tuple[object, ...]) -> tuple[object, ...]:
        """Returns the same for a table, which is logging."""
        ...


class Classifier:
    """Learns which of some classes an image is of.

    Args:
        model: Takes images, shape (B, C, H, W), in [0, 1]; returns logits, shape (B, classes).
        images: Shape (N, C, H, W), uint8; the last ``SAMPLES`` of them are for validation.
        labels: Shape (N,), int64.
    """

    columns = ("sample", "image", "label")
    predicted_columns = ("predicted", "score")

    def __init__(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.model, self._images, self._labels = model, images, labels
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def train_epoch(self, epoch: int) -> float:
        self.model.train()
        order = torch.randperm(len(self._images) - SAMPLES, generator=torch.Generator().manual_seed(epoch))
        losses = []
        for chosen in order.split(BATCH):
            logits = self.model(self._images[chosen] / 255)
            loss = nn.functional.cross_entropy(logits, self._labels[chosen])
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)

    def truth(self) -> Iterator[tuple[object, ...]]:
        for image, label in zip(self._images[-SAMPLES:], self._labels[-SAMPLES:].tolist(), strict=True):
            yield Image(image), label

    def predict(self) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for images in self._images[-SAMPLES:].split(BATCH):
            scores, labels = self.model(images / 255).softmax(1).max(1)
            found += zip(labels.tolist(), scores.tolist(), strict=True)
        return found

    def wrapped(self, predicted: tuple[object, ...]) -> tuple[object, ...]:
        return predicted


class Detector:
    """Learns where the digits of a scene are; what it finds is matched with the truth."""

    columns = ("sample", "image", "digits")
    predicted_columns = ("predicted", "found", "missed", "imagined", Column("iou", "number"))

    def __init__(self) -> None:
        import digit_detector
        from digit_scenes import scenes

        self._digits, self.model = digit_detector, digit_detector.Detector()
        self._training = scenes(1000, seed=0)
        self._validation = scenes(SAMPLES, seed=1, is_validation=True)
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3)

    def train_epoch(self, epoch: int) -> float:
        losses = list(self._digits.train_epoch(self.model, self._optimizer, self._training, seed=epoch))
        return sum(losses) / len(losses)

    def truth(self) -> Iterator[tuple[object, ...]]:
        for scene in self._validation:
            yield Image(scene.image, boxes=Boxes(scene.xyxy, labels=scene.labels)), len(scene.labels)

    def predict(self) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for first in range(0, SAMPLES, BATCH):
            some = self._validation[first : first + BATCH]
            for detections, scene in zip(self._digits.detect(self.model, some), some, strict=True):
                is_sure = detections.scores >= SURE
                matches = match(Detections(*(part[is_sure] for part in detections)), scene)
                mean_iou = float(matches.ious.mean()) if len(matches.ious) else None
                counts = len(matches.pairs), len(matches.unmatched_truth), len(matches.unmatched_predicted)
                found.append((detections, *counts, mean_iou))
        return found

    def wrapped(self, predicted: tuple[object, ...]) -> tuple[object, ...]:
        detections, *figures = predicted
        assert isinstance(detections, Detections)
        return Boxes(*detections), *figures


def small_classifier() -> Classifier:
    """Returns a CNN of three blocks, which looks at the digits of scikit-learn at 64 x 64."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.tensor(digits.images[:, None] * 255 / 16, dtype=torch.float32)
    images = nn.functional.interpolate(small, (64, 64), mode="bilinear").to(torch.uint8)
    model = nn.Sequential(
        *(_block(a, b) for a, b in ((1, 16), (16, 32), (32, 64))),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )
    return Classifier(model, images, torch.tensor(digits.target))


def _block(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))


def resnet18() -> Classifier:
    """Returns a ResNet-18, which looks at parts of 128 x 128 of photographs, and says of which one each is."""
    from skimage import data
    from transformers import ResNetConfig, ResNetForImageClassification

    photographs = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.immunohistochemistry()]
    generator = torch.Generator().manual_seed(0)
    images, labels = [], []
    for number in range(2 * SAMPLES):
        label = number % len(photographs)
        whole = torch.from_numpy(photographs[label])
        top, left = (int(torch.randint(side - 128, (1,), generator=generator)) for side in whole.shape[:2])
        images.append(whole[top : top + 128, left : left + 128].permute(2, 0, 1))
        labels.append(label)
    config = ResNetConfig(
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        num_labels=len(photographs),
    )
    return Classifier(Logits(ResNetForImageClassification(config)), torch.stack(images), torch.tensor(labels))


class Logits(nn.Module):
    """A classifier of transformers that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(images).logits
        return logits


SUBJECTS = {"classifier": small_classifier, "detector": Detector, "resnet18": resnet18}


class Spent(NamedTuple):
    """What something took, in seconds.

    Attributes:
        wall_s: On the clock.
        own_cpu_s: Of the CPU, on the thread that trains.
        other_cpu_s: Of the CPU, on all others.
    """

    wall_s: float = 0.0
    own_cpu_s: float = 0.0
    other_cpu_s: float = 0.0

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(*(a - b for a, b in zip(self, other, strict=True)))

    def plus(self, other: "Spent") -> "Spent":
        return Spent(*(a + b for a, b in zip(self, other, strict=True)))


class Watch:
    """Adds up what parts take, by their names."""

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        start = _now()
        yield
        self.spent[part] = self.spent.get(part, Spent()).plus(_now() - start)


def _now() -> Spent:
    own_cpu_s = time.thread_time()
    return Spent(time.perf_counter(), own_cpu_s, time.process_time() - own_cpu_s)


class Measured(EvalCallback):
    """Keeps what a subject predicts, and how long its prediction, its rows and its publication take."""

    def __init__(self, subject: Subject, watch: Watch) -> None:
        columns = [*subject.columns]
        super().__init__(columns, ["epoch", *columns, *subject.predicted_columns], artifacts="store", run_id="bench")
        self._subject, self.watch = subject, watch
        self.set_model(subject.model)

    def add_ground_truth(self) -> None:  # type: ignore[override]  # without logs, as users may
        with self.watch.of("truth"):
            for number, values in enumerate(self._subject.truth()):
                self.data_table.add_data(number, *values)

    def log_data_table(self, name: str = "val", type: str = "dataset", table_name: str = "val_data") -> None:
        with self.watch.of("publish truth"):
            super().log_data_table(name, type, table_name)

    def add_model_predictions(self, epoch: int) -> None:  # type: ignore[override]
        with self.watch.of("predict"):
            predicted = self._subject.predict()
        with self.watch.of("rows"):
            for row in self.data_table_ref.get_index():
                _, *truth = self.data_table_ref.data[row]
                self.pred_table.add_data(epoch, row, *truth, *self._subject.wrapped(predicted[row]))

    def log_pred_table(
        self, type: str = "evaluation", table_name: str = "eval_data", aliases: Sequence[str] | None = None
    ) -> None:
        with self.watch.of("publish"):
            super().log_pred_table(type, table_name, aliases)


def train(subject: str, epochs: int) -> list[dict[str, object]]:
    """Trains so many epochs, each with an evaluation.

    Returns:
        Of each epoch what its parts took, ``train``, ``evaluate`` and those of ``evaluate``, as ``Spent``, and under
        ``store`` what lies there then: media files and their bytes, and the bytes of everything else.

    Raises:
        RuntimeError: Something was not kept.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    learner = SUBJECTS[subject]()
    found = list[dict[str, object]]()
    evaluation: Measured | None = None
    for epoch in range(epochs):
        watch = Watch()
        with watch.of("train"):
            loss = learner.train_epoch(epoch)
        if evaluation is None:
            evaluation = Measured(learner, watch)
        evaluation.watch = watch
        with watch.of("evaluate"):
            version = evaluation.evaluate(epoch, {"loss": loss})
        if version is None or evaluation.failures:
            raise RuntimeError(f"not everything was kept: {evaluation.failures}")
        found.append({**watch.spent, "store": stored(Path("store"))})
    assert evaluation is not None, "there is no epoch"
    evaluation.close()
    return found


def stored(store: Path) -> tuple[int, int, int]:
    """Returns how many media files a store has, their bytes, and the bytes of everything else."""
    media = [path.stat().st_size for path in store.rglob("blobs/**/*.png")]
    return len(media), sum(media), bytes_on_disk(store) - sum(media)
