"""Trains a small detector on scenes of real digits, and keeps what it finds in others after every epoch.

The scenes for validation are published once, with their truth; every epoch adds a version of what was predicted, which
refers to them. Then epochs are compared, sample by sample, with the commands that a user has. If the detector has not
learned, this exits with 1.
"""

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ml.cli.main import main as mlog
from ml.detection.average_precision import MeanAveragePrecision, mean_average_precision
from ml.detection.boxes import Detections
from ml.detection.matching import match
from ml.evaluation import Artifacts, Boxes, Column, Image, Table, Version

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from digit_detector import Detector, detect, train_epoch  # noqa: E402
from digit_scenes import Scene, scenes  # noqa: E402

EPOCHS = 5
TRAINING_SCENES, VALIDATION_SCENES = 1000, 200
LEARNING_RATE = 2e-3
TRUTH, PREDICTIONS = "scenes", "detections"
"""The names of both artifacts."""

SURE = 0.3
"""From this score on a prediction is counted; all are kept, and average precision takes all."""


def run(
    artifacts: Artifacts, *, training: Sequence[Scene], validation: Sequence[Scene], epochs: int
) -> list[MeanAveragePrecision]:
    """Trains, and publishes a version of the predictions after every epoch; returns how good each is."""
    torch.set_num_threads(1)  # more cost such a small model more than they give
    torch.manual_seed(0)
    detector = Detector()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=LEARNING_RATE)
    precisions = []
    with truth_of(validation) as truth:
        data = artifacts.publish(TRUTH, {"scenes": truth}, type="dataset")
        for epoch in range(epochs):
            losses = list(train_epoch(detector, optimizer, training, seed=epoch))
            predicted = detect(detector, validation)
            precision = mean_average_precision(predicted, validation)
            precisions.append(precision)
            start_s = time.perf_counter()
            version = publish(artifacts, data, truth, predicted, precision, epoch)
            print(
                f"epoch {epoch}: loss {sum(losses) / len(losses):5.2f}  mAP {precision.map:.3f}  "
                f"mAP50 {precision.map_50:.3f}  mAP75 {precision.map_75:.3f}  {version.ref}, "
                f"published in {time.perf_counter() - start_s:.2f} s",
                flush=True,
            )
    return precisions


def truth_of(validation: Sequence[Scene]) -> Table:
    """Returns the scenes with their boxes."""
    table = Table(["scene", "image", "digits"], name="scenes")
    for number, scene in enumerate(validation):
        boxes = Boxes(scene.xyxy, labels=scene.labels)
        table.add_data(number, Image(scene.image, boxes=boxes), len(scene.labels))
    return table


def publish(
    artifacts: Artifacts,
    data: Version,
    truth: Table,
    predicted: Sequence[Detections],
    precision: MeanAveragePrecision,
    epoch: int,
) -> Version:
    """Publishes what was found in each scene after an epoch; the scenes themselves are only referred to."""
    columns = ["scene", "predicted", "found", "missed", "imagined", Column("iou", "number")]
    with Table(columns, name="detections") as table:
        for row, found in zip(truth.get_index(), predicted, strict=True):
            table.add_data(row, *findings(found, truth.data[row][1].boxes))
        return artifacts.publish(
            PREDICTIONS,
            {"detections": table},
            type="evaluation",
            aliases=[f"epoch_{epoch}"],
            metrics={"mAP": precision.map, "mAP50": precision.map_50, "mAP75": precision.map_75},
            used=[data],
            best=("mAP", "max"),
        )


def findings(found: Detections, truth: Boxes) -> tuple[Boxes, int, int, int, float | None]:
    """Returns what was found, and of its sure part: how many digits it finds, misses and imagines, and the mean IoU."""
    is_sure = found.scores >= SURE
    matches = match(Boxes(found.xyxy[is_sure], found.labels[is_sure], found.scores[is_sure]), truth)
    mean_iou = float(matches.ious.mean()) if len(matches.ious) else None
    return Boxes(*found), len(matches.pairs), len(matches.unmatched_truth), len(matches.unmatched_predicted), mean_iou


def show(*arguments: str) -> None:
    """Prints a command of ``mlog`` and does it.

    Raises:
        SystemExit: It failed.
    """
    print(f"\n$ mlog {shlex.join(arguments)}", flush=True)
    if status := mlog(list(arguments)):
        raise SystemExit(status)


def compare(store: str, report: str, epochs: int) -> None:
    """Shows what was kept, and what changed, as users do."""
    show("artifacts", "ls", store)
    show("artifacts", "fsck", "--deep", store)
    show(
        "eval",
        "diff",
        f"{PREDICTIONS}:epoch_0",
        f"{PREDICTIONS}:best",
        "--store",
        store,
        "--by",
        "digits",
        "--limit",
        "5",
    )
    if epochs > 2:
        last = epochs - 1
        show(
            "eval",
            "diff",
            f"{PREDICTIONS}:epoch_{last - 1}",
            f"{PREDICTIONS}:epoch_{last}",
            "--store",
            store,
            "--limit",
            "5",
        )
    show("eval", "report", PREDICTIONS, "--store", store, "--by", "digits", "--output", report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path("runs/evaluation"),
        help="for everything; what an earlier demo has left there is removed",
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"2 or more; {EPOCHS}")
    arguments = parser.parse_args()
    if arguments.epochs < 2:
        parser.error(f"--epochs is 2 or more, got {arguments.epochs}")
    store, report = arguments.directory / "store", arguments.directory / "report.html"
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir(parents=True)
    precisions = run(
        Artifacts(store, run_id="demo"),
        training=scenes(TRAINING_SCENES, seed=0),
        validation=scenes(VALIDATION_SCENES, seed=1, is_validation=True),
        epochs=arguments.epochs,
    )
    compare(str(store), str(report), arguments.epochs)
    print(f"\nOpen {shlex.quote(str(report))} in a browser.")
    if precisions[-1].map <= precisions[0].map:
        sys.exit("The detector has not learned.")


if __name__ == "__main__":
    main()
