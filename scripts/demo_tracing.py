"""Trains a small FCOS on scenes of real digits, and traces it where the truth is known, then where nobody knows it.

Validation teaches what is usual, and when the detector errs. In the deployment the scenes are first as they were, then
noisy, small, and pale; the tracer is told no truth, which is held against its estimates only afterwards, here. If these
do not tell errors from what is right, or an alarm of drift is raised where there is none, or none where there is one,
this exits with 1.
"""

import argparse
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from digit_fcos import FCOS, Truth, as_images, digit_fcos, train, truths_of
from torch import Tensor
from torch.nn import functional

import ml
from ml import tracing
from ml.cli.main import main as mlog
from ml.tracing import Baseline, Drift, DriftMonitor, Evaluator, Inference, Result, Selection, Thresholds
from ml.tracing.judging import judge_detections
from ml.tracing.scoring import auroc, calibration_error
from tests.digit_scenes import Scene, scenes

EPOCHS, TRAINING_SCENES, VALIDATION_SCENES = 5, 1000, 600
WINDOW_SIZE, WINDOWS = 50, {"none": 10, "noise": 2, "scale": 2, "contrast": 2}
"""How many windows are shown of each kind of scenes in the deployment."""

BATCH = 10
WATCHED = Selection("digit_fcos", "demo")
LAYERS = {"backbone": "backbone"}
THUMBNAIL_PX = 64
LEAST_AUROC = 0.7


def noisy(image: Tensor, random: torch.Generator) -> Tensor:
    """Returns a picture with noise, as of the dark."""
    return (image + 0.2 * torch.randn(image.shape[1:], generator=random)).clamp(0, 1)


def small(image: Tensor, _: torch.Generator) -> Tensor:
    """Returns a picture with all of it in three quarters of each side, as from farther away."""
    height, width = (side * 3 // 4 for side in image.shape[1:])
    far = torch.zeros_like(image)
    far[:, :height, :width] = functional.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    return far


def pale(image: Tensor, _: torch.Generator) -> Tensor:
    """Returns a picture with less contrast, as in fog."""
    return 0.3 + 0.4 * image


class Shift(NamedTuple):
    """What may happen to scenes.

    Attributes:
        change: Of a picture, (3, H, W), with what random numbers it needs.
        scale: What the coordinates of its boxes are multiplied with.
    """

    change: Callable[[Tensor, torch.Generator], Tensor]
    scale: float = 1.0


SHIFTS = {
    "none": Shift(lambda image, _: image),
    "noise": Shift(noisy),
    "scale": Shift(small, 0.75),
    "contrast": Shift(pale),
}


class Batch(NamedTuple):
    """Some scenes, as a detector takes them."""

    names: list[str]
    images: list[Tensor]
    truths: list[Truth]


class Deployed(NamedTuple):
    """What was seen of one kind of scenes, where the tracer did not know the truth.

    Attributes:
        drifts: Of each window.
        probabilities: How likely each detection is wrong, as was estimated.
        is_wrong: Of each detection.
    """

    drifts: Sequence[Drift]
    probabilities: np.ndarray
    is_wrong: np.ndarray

    @property
    def alarms(self) -> int:
        """How many windows raised one."""
        return sum(drift.is_alarm for drift in self.drifts)


def trained() -> FCOS:
    """Returns a detector that has learnt."""
    torch.manual_seed(0)
    detector = digit_fcos()
    for epoch, loss in enumerate(train(detector, scenes(TRAINING_SCENES, seed=0), epochs=EPOCHS), start=1):
        print(f"epoch {epoch}: loss {loss:.2f}", flush=True)
    return detector.eval()


def batches(shown: Sequence[Scene], kind: str = "none") -> Iterator[Batch]:
    """Yields scenes to which happens what ``SHIFTS`` says."""
    shift, random = SHIFTS[kind], torch.Generator().manual_seed(0)
    for start in range(0, len(shown), BATCH):
        some = shown[start : start + BATCH]
        yield Batch(
            [f"{kind}-{start + number}" for number in range(len(some))],
            [shift.change(image, random) for image in as_images(some)],
            [truth | {"boxes": truth["boxes"] * shift.scale} for truth in truths_of(some)],
        )


@torch.no_grad()
def validate(detector: FCOS, shown: Sequence[Scene], database: Path) -> tuple[float, float]:
    """Traces scenes with their truth; returns the median seconds of an image without the tracer, and with it."""
    bare, traced = list[float](), list[float]()
    with tracing.ObjectDetectionTracer(
        detector,
        WATCHED.model_name,
        WATCHED.version_name,
        target_layers=LAYERS,
        database=database,
        thumbnail_px=THUMBNAIL_PX,
    ) as tracer:
        for names, images, truths in batches(shown):
            through = partial(tracer, ground_truth=truths, input_ids=names, dataset_type="val", n_epoch=EPOCHS)
            for call, seconds in ((detector, bare), (through, traced)):
                began_s = time.perf_counter()
                call(images)
                seconds.append((time.perf_counter() - began_s) / len(images))
        tracer.wait_for_save()
    return statistics.median(bare), statistics.median(traced)


@torch.no_grad()
def deploy(
    detector: FCOS, directory: Path, database: Path, evaluation: Result, baseline: Baseline
) -> dict[str, Deployed]:
    """Watches the detector without a truth, and exports everything; returns what was seen of each kind of scenes."""
    found: dict[str, Deployed] = {}
    inferences, drifts = list[Inference](), list[Drift]()
    with (
        ml.start_run(directory / "run", loggers=["json", "tensorboard"]) as run,
        tracing.ObjectDetectionLogger(
            detector,
            WATCHED.model_name,
            WATCHED.version_name,
            evaluation.name,
            n_epoch="all",
            target_layers=LAYERS,
            additional_fields=[{"name": "shift", "type": "str"}],
            database=database,
            thumbnail_px=THUMBNAIL_PX,
            logger=run.component("detector"),
        ) as logger,
    ):
        monitor = DriftMonitor(baseline, run.component("deployment"), window_size=WINDOW_SIZE)
        logger.listen(inferences.extend)
        logger.listen(lambda some: drifts.extend(monitor.add(some)))
        for seed, (kind, windows) in enumerate(WINDOWS.items(), start=2):
            known = list[Truth]()
            for names, images, truths in batches(scenes(windows * WINDOW_SIZE, seed=seed, is_validation=True), kind):
                logger(images, names, shift=[kind] * len(names))
                run.step(samples=len(names))
                known += truths
            found[kind] = held_against(known, inferences, drifts)
            inferences.clear()
            drifts.clear()
        logger.wait_for_save()
        print(f"\nExported to {logger.export(directory)}: {logger.stats()}")
    return found


def held_against(truths: Sequence[Truth], inferences: Sequence[Inference], drifts: Sequence[Drift]) -> Deployed:
    """Returns what was seen of scenes, with their truth, which the tracer was not told."""
    is_wrong = [
        judge_detections(
            inference.output, tracing.Truth(truth["boxes"].numpy(), truth["labels"].numpy()), Thresholds()
        ).is_wrong
        for inference, truth in zip(inferences, truths, strict=True)
    ]
    probabilities = [inference.error_probability for inference in inferences]
    return Deployed(tuple(drifts), np.concatenate(probabilities), np.concatenate(is_wrong))


def show(found: Mapping[str, Deployed]) -> None:
    """Prints a line of each kind of scenes."""
    print("\nshift     windows  alarms  wrong, estimated  wrong, in truth  AUROC    ECE  alarming")
    for kind, seen in found.items():
        measures = sorted({name for drift in seen.drifts for name in drift.alarming})
        quality = auroc(seen.is_wrong, seen.probabilities), calibration_error(seen.is_wrong, seen.probabilities)
        area, error = ("    -" if number is None else f"{number:5.3f}" for number in quality)
        print(
            f"{kind:8}  {len(seen.drifts):7}  {seen.alarms:6}  {seen.probabilities.mean():16.3f}  "
            f"{seen.is_wrong.mean():15.3f}  {area}  {error}  {', '.join(measures) or '-'}"
        )


def broken(found: Mapping[str, Deployed]) -> list[str]:
    """Returns what does not hold of what was promised."""
    usual = found["none"]
    area = auroc(usual.is_wrong, usual.probabilities)
    problems = []
    if area is None or area <= LEAST_AUROC:
        problems.append(f"the AUROC of the estimate is {area}, not above {LEAST_AUROC}")
    if usual.alarms:
        problems.append(f"{usual.alarms} windows without a shift raised an alarm")
    quiet = [kind for kind, seen in found.items() if kind != "none" and not seen.alarms]
    return problems + [f"no window with the shift {kind!r} raised an alarm" for kind in quiet]


def report(database: Path, page: Path) -> None:
    """Makes the report, and prints with which command.

    Raises:
        SystemExit: It failed.
    """
    arguments = ["tracing", "report", str(database), "--output", str(page)]
    print(f"\n$ mlog {shlex.join(arguments)}", flush=True)
    if status := mlog(arguments):
        raise SystemExit(status)


def run(directory: Path) -> list[str]:
    """Does all of it; returns what does not hold of what was promised."""
    torch.set_num_threads(1)  # more cost such a small model more than they give
    database, began_s = directory / "traces.db", time.perf_counter()
    detector = trained()
    print(f"Trained in {time.perf_counter() - began_s:.0f} s.")

    bare_s, traced_s = validate(detector, scenes(VALIDATION_SCENES, seed=1, is_validation=True), database)
    evaluator = Evaluator(WATCHED.model_name, WATCHED.version_name, database=database)
    evaluation, usual = evaluator.request_evaluation(), evaluator.request_evaluation("drift", "usual")
    print(f"\nValidation: mAP {evaluation.data['map']:.3f}, mAP50 {evaluation.data['map_50']:.3f}")
    print(f"  {', '.join(f'{count} {kind}' for kind, count in evaluation.data['errors'].items())}")
    print(f"  {1e3 * bare_s:.2f} ms an image, traced {1e3 * traced_s:.2f} ms")

    found = deploy(detector, directory, database, evaluation, evaluator.baseline(usual.name))
    show(found)
    report(database, directory / "report.html")
    print(
        f"\nAll of it took {time.perf_counter() - began_s:.0f} s. Open {shlex.quote(str(directory / 'report.html'))}."
    )

    return broken(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path("runs/tracing"),
        help="for everything; what an earlier demo has left there is removed",
    )
    directory = parser.parse_args().directory
    for left in ("traces.db", "traces.db-wal", "traces.db-shm", "report.html"):
        (directory / left).unlink(missing_ok=True)
    shutil.rmtree(directory / "run", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    if problems := run(directory):
        sys.exit(f"The demo failed: {'; '.join(problems)}.")


if __name__ == "__main__":
    main()
