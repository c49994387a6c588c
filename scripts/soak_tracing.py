"""Ten thousand images through a traced detector: what that takes of time, memory and disk, and whether all is kept.

First what tracing costs: a model is called bare and traced in turns, in one process; printed are the medians, and that
of the differences, of a tiny FCOS that has learned digits, and of one with a ResNet-50 at 320 pixels. What is spent
outside of the model is told apart, since it is less than what a large model's time varies by. Then the tiny one is
traced for long.
The laws are those of the last lines: memory stays flat from the first thousand images on, and the database holds every
inference, candidate, detection and feature that was traced.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import NamedTuple, cast

sys.path.insert(0, str(Path(__file__).parents[1]))

import sqlalchemy as sa
import torch
from torch import Tensor, nn

from ml.db import connect
from ml.tracing import DetectionOutput, ObjectDetectionLogger
from ml.tracing.reading import open_traces
from ml.tracing.record import Inference
from ml.tracing.selection import Selection
from tests.digit_scenes import scenes
from tests.torchvision_cpu import load_torchvision
from tests.tracing.torchvision_models import as_images, pictures, trained_fcos

IMAGES = 10_000
SAMPLES = 10
"""How often memory is looked at; it has to be flat from the first look on."""

GOAL_MIB = 32
TRAINING_STEPS = 100
BATCHES = 500
"""So many different images are shown again and again, each time under another name."""

REALISTIC_PX, REALISTIC_REACHING = 320, 300


def resident_mib() -> float:
    """What the kernel says of this process, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell VmRSS")


def tiny() -> tuple[nn.Module, list[list[Tensor]], str]:
    """Returns an FCOS of 64 pixels, batches of one image, and a layer of its to keep."""
    model = trained_fcos(scenes(64, seed=1), steps=TRAINING_STEPS)
    return model, [[image] for image in as_images(scenes(BATCHES, seed=2, is_validation=True))], "backbone.second"


def realistic() -> tuple[nn.Module, list[list[Tensor]], str]:
    """Returns an FCOS with a ResNet-50, likewise; it has learned nothing, but some hundred pairs reach suppression."""
    load_torchvision()
    from torchvision.models.detection import fcos_resnet50_fpn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = fcos_resnet50_fpn(
            weights=None, weights_backbone=None, min_size=REALISTIC_PX, max_size=REALISTIC_PX, score_thresh=0.0
        ).eval()
        nn.init.normal_(model.head.classification_head.cls_logits.weight, std=0.1)
    batches = [pictures((REALISTIC_PX, REALISTIC_PX), seed=seed) for seed in range(4)]
    model.score_thresh = threshold_of(model, batches[0])
    return model, batches, "backbone.body.layer4"


def threshold_of(model: nn.Module, batch: list[Tensor]) -> float:
    """Returns a threshold that REALISTIC_REACHING pairs of an image are above."""
    said = list[dict[str, Tensor]]()
    handle = model.get_submodule("head").register_forward_hook(lambda module, inputs, output: said.append(output))
    with torch.no_grad():
        model(batch)
    handle.remove()
    scores = (said[0]["cls_logits"].sigmoid() * said[0]["bbox_ctrness"].sigmoid()).sqrt()
    return float(scores.flatten().topk(REALISTIC_REACHING).values[-1])


class Took(NamedTuple):
    """What a call took: on the wall, and of this thread's processor."""

    wall_ms: float
    cpu_ms: float


def measured(call: Callable[[], object]) -> Took:
    """Returns what a call takes."""
    began_s, began_cpu_s = time.perf_counter(), time.thread_time()
    call()
    return Took(1000 * (time.perf_counter() - began_s), 1000 * (time.thread_time() - began_cpu_s))


def compare(name: str, model: nn.Module, batches: Sequence[list[Tensor]], layer: str, rounds: int) -> None:
    """Prints what a call takes, bare and traced in turns, and how much of that is spent outside of the model."""
    bare, traced, outside_ms, inside_s = list[Took](), list[Took](), list[float](), [0.0]
    handles = [
        model.register_forward_pre_hook(lambda *_: inside_s.append(-time.thread_time())),
        model.register_forward_hook(lambda *_: inside_s.append(inside_s.pop() + time.thread_time())),
    ]
    with (
        tempfile.TemporaryDirectory() as directory,
        torch.no_grad(),
        ObjectDetectionLogger(
            model, "overhead", "v1", database=Path(directory) / "traces.db", target_layers={"layer": layer}
        ) as logger,
    ):
        for number, batch in enumerate(islice(cycle(batches), rounds)):
            bare.append(measured(partial(model, batch)))
            traced.append(measured(partial(logger, batch, [f"image {number}"])))
            outside_ms.append(traced[-1].cpu_ms - 1000 * inside_s[-1])
        seen = logger.statistics().detections_per_image
    for handle in handles:
        handle.remove()
    wall, cpu = ([[getattr(took, what) for took in times] for times in (bare, traced)] for what in Took._fields)
    print(f"{name:<24}{rounds:>7}{seen:>8.1f}", end="")
    for first, second in (wall, cpu):
        more = median(after - before for before, after in zip(first, second, strict=True))
        print(f"{median(first):>12.2f}{median(second):>9.2f}{more:>8.2f}", end="")
    print(f"{median(outside_ms):>10.2f}")


class Counts:
    """How much was traced, as it is handed on to be saved."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def __call__(self, inferences: Sequence[Inference]) -> None:
        for inference in inferences:
            assert isinstance(inference.output, DetectionOutput)
            self.of.update(
                inferences=1, candidates=len(inference.output), features=sum(map(len, inference.features.values()))
            )


def kept(database: Path) -> Counter[str]:
    """Returns how much is in the database."""
    engine, of = connect(database), Counter[str]()
    with engine.connect() as connection:
        of["detections"] = connection.scalar(sa.select(sa.func.count()).select_from(sa.table("detections"))) or 0
    engine.dispose()
    with open_traces(database) as traces:
        counts = Counts()
        for traced in traces.read(Selection("soak", "v1")):
            counts([traced.inference])
    return of + counts.of


def trace(images: int, database: Path) -> bool:
    """Traces images, and prints what came of it; returns whether memory stayed flat and everything is there."""
    model, batches, layer = tiny()
    counts, memory = Counts(), list[float]()
    logger = ObjectDetectionLogger(model, "soak", "v1", database=database, target_layers={"layer": layer})
    logger.listen(counts)
    began_s, began_cpu_s, began_thread_s = time.perf_counter(), time.process_time(), time.thread_time()
    print(f"\n{'images':>8}{'seconds':>10}{'resident (MiB)':>16}{'pending':>9}")
    with torch.no_grad():
        for number, batch in enumerate(islice(cycle(batches), images), 1):
            said = cast(list[dict[str, Tensor]], logger(batch, [f"image {number}"]))
            counts.of["detections"] += len(said[0]["boxes"])
            if number * SAMPLES // images > len(memory):
                memory.append(resident_mib())
                pending = logger.stats().pending
                print(f"{number:>8}{time.perf_counter() - began_s:>10.1f}{memory[-1]:>16.1f}{pending:>9}", flush=True)
    waiting_s = time.perf_counter()
    is_saved = logger.wait_for_save()
    waited_s = time.perf_counter() - waiting_s
    beside_s = time.process_time() - began_cpu_s - (time.thread_time() - began_thread_s)
    logger.close()
    stats, there = logger.stats(), kept(database)
    size = sum(path.stat().st_size for path in database.parent.glob(f"{database.name}*"))
    print(f"\nwait_for_save took {waited_s:.2f} s, and says {is_saved}; {stats}")
    print(f"beside the caller's thread: {1000 * beside_s / images:.2f} ms of processor an image")
    print(f"the database takes {size / images / 1024:.2f} KiB an image, {size / 2**20:.1f} MiB\n")
    for what, number in counts.of.items():
        print(f"{what:<12}{number:>10} traced{there[what]:>10} kept")
    growth = memory[-1] - memory[0]
    print(f"\nresident memory grew by {growth:.1f} MiB after the first {images // SAMPLES} images (goal: {GOAL_MIB})")
    return growth <= GOAL_MIB and there == counts.of and is_saved and stats.saved == images


def main() -> int:
    """Prints what was measured; returns 1 if a law is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="?", type=int, default=IMAGES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = f"{'bare':>12}{'traced':>9}{'more':>8}"
    print(f"{'ms: on the wall, and of the processor':<39}{columns}{columns}{'outside':>10}")
    compare("FCOS, tiny, 64 px", *tiny(), rounds=300)
    compare("FCOS ResNet-50, 320 px", *realistic(), rounds=20)
    with tempfile.TemporaryDirectory() as directory:
        return int(not trace(arguments.images, Path(directory) / "traces.db"))


if __name__ == "__main__":
    sys.exit(main())
