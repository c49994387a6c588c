"""torchvision for tests, beside a torch that its wheel was not built for.

The wheel of torchvision that package indexes offer needs the torch of CUDA. Beside one for CPUs its compiled operators
do not load, and without them it cannot be imported, nor can what imports it when it is there, as transformers do. So
``scripts/install`` puts it apart, into ``torchvision`` of the environment. ``load_torchvision`` imports it from there,
and gives it the two operators that detectors need, written with torch. Where the environment has a torchvision of its
own, or the compiled operators load, they are taken.
"""

import sys
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

APART = Path(sys.prefix) / "torchvision"


@cache
def load_torchvision() -> ModuleType:
    """Imports torchvision; afterwards ``import torchvision`` finds it."""
    if "torchvision" in sys.modules:  # operators are defined once a process
        return sys.modules["torchvision"]
    spec = find_spec("torchvision") or PathFinder.find_spec("torchvision", [str(APART)])
    if spec is None or spec.origin is None:
        raise RuntimeError(f"There is no torchvision in {APART}. Install it with: scripts/install dev.")
    is_compiled = _is_loaded(Path(spec.origin).parent)
    if not is_compiled:
        _define_operators()
    package = str(Path(spec.origin).parents[1])
    sys.path.append(package)  # only meanwhile: what asks later which packages are installed does not find it
    try:
        torchvision = import_module("torchvision")
    finally:
        sys.path.remove(package)
    if not is_compiled:
        _use_operators()
    return torchvision


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Returns which boxes ``torchvision.ops.nms`` keeps, in its order, in the precision of the boxes.

    Args:
        boxes: Shape (N, 4), x1, y1, x2, y2.
        scores: Shape (N,).
        iou_threshold: A box goes whose IoU with a kept one is above it.
    """
    boxes, scores = boxes.detach(), scores.detach()  # which is kept has no gradient
    order = scores.sort(descending=True, stable=True).indices
    near, far = np.split(boxes[order].numpy(), 2, axis=1)
    areas = (far - near).prod(axis=1)
    kept, left = [], np.arange(len(order))
    with np.errstate(invalid="ignore", divide="ignore"):  # boxes without an area
        while len(left):
            best, left = left[0], left[1:]
            kept.append(best)
            sides = np.maximum(np.minimum(far[best], far[left]) - np.maximum(near[best], near[left]), 0)
            shared = sides[:, 0] * sides[:, 1]
            iou = shared / (areas[best] + areas[left] - shared)
            left = left[~(iou > np.float64(iou_threshold))]  # the kernel compares a float with a double
    return order[torch.tensor(kept, dtype=torch.int64)]


_LIBRARY: list[torch.library.Library] = []
"""What is defined lives as long as its library does."""


def _is_loaded(package: Path) -> bool:
    try:
        for path in package.glob("_C*.so"):
            torch.ops.load_library(path)
            return True
    except OSError:
        pass
    return False


def _define_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # only asked for when imported
    library.impl("nms", nms, "CPU")
    _LIBRARY.append(library)


def _use_operators() -> None:
    """Makes torchvision call what is defined, and pool regions as it does where nothing is compiled, but eagerly."""
    boxes, regions = (sys.modules[f"torchvision.ops.{name}"] for name in ("boxes", "roi_align"))
    boxes._assert_has_ops = lambda: None  # type: ignore[attr-defined]
    regions._roi_align = regions._roi_align.__wrapped__  # type: ignore[attr-defined]
