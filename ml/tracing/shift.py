"""How far a window of inferences is from what is usual, and from where on that is no chance.

Of counts p and q in the same bins, each divided by its sum, there are two measures. The population stability index
(Siddiqi 2006), to which half a count is added in each bin so that none is empty, and bins are joined to some ten::

    PSI = sum (p - q) ln(p / q)

and the statistic of Kolmogorov and Smirnov, which is the largest distance of the two running sums. Where one of both
has counted nothing, either is 0.

What chance does is found out by drawing: windows from the baseline, each held against a baseline of the same size that
is drawn from it, too, for the baseline is a sample itself. Images are drawn, not detections, since those of an image
belong together; that images do not depend on one another is taken for granted, and frames of a film do.
"""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from ml.core.errors import ConfigError
from ml.tracing.baseline import Baseline
from ml.tracing.binning import QUANTITIES, Counts

SMALLEST_RATE: Final = 0.001

_JOINED = 10
_FEWEST_DRAWS, _ALARMS_DRAWN = 4000, 40
_SURENESS = 1.645
_AT_ONCE = 1 << 21
_FEW = 4

Values = dict[str, npt.NDArray[np.float64]]


def psi(usual: npt.NDArray[np.number], seen: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """Returns the population stability index of counts.

    Args:
        usual: Shape (..., bins), of anything that can be counted.
        seen: The same shape.

    Returns:
        Shape (...), 0 or more. Below 0.1 is usually called stable, above 0.25 shifted.
    """
    p, q = (_smooth(counts) for counts in (usual, seen))
    index: npt.NDArray[np.float64] = ((p - q) * np.log(p / q)).sum(axis=-1)
    return np.where(_have_counted(usual, seen), index, 0.0)


def ks(usual: npt.NDArray[np.number], seen: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """Returns the statistic of Kolmogorov and Smirnov of counts in ascending bins, shape (...), in [0, 1].

    Args:
        usual: Shape (..., bins).
        seen: The same shape.
    """
    sums = [np.cumsum(counts, axis=-1, dtype=np.float64) for counts in (usual, seen)]
    p, q = (running / np.maximum(running[..., -1:], 1.0) for running in sums)
    distance: npt.NDArray[np.float64] = np.abs(p - q).max(axis=-1)
    return np.where(_have_counted(usual, seen), distance, 0.0)


def measured(task: str, usual: Mapping[str, Counts], seen: Mapping[str, Counts]) -> Values:
    """Returns how far counts are from the usual ones: ``class_psi``, ``score_psi``, ``score_ks`` and so on.

    Args:
        task: ``"detection"`` or ``"classification"``.
        usual: Of each quantity, shape (..., bins).
        seen: The same shapes.
    """
    found: Values = {}
    for quantity in QUANTITIES[task]:
        p, q = usual[quantity], seen[quantity]
        if quantity == "class":  # classes have no order
            found["class_psi"] = psi(p, q)
        else:
            found[f"{quantity}_psi"] = psi(_joined(p), _joined(q))
            found[f"{quantity}_ks"] = ks(p, q)
    return found


def thresholds(baseline: Baseline, window_size: int, *, false_alarm_rate: float, seed: int = 0) -> dict[str, float]:
    """Returns what each measure has to be above for an alarm.

    They are chosen so that all measures together raise an alarm on at most this part of windows that are as the
    baseline, and each on about as many as another. Of the drawn windows fewer are let through, by what the number of
    draws leaves uncertain.

    Args:
        baseline: What is usual.
        window_size: How many images a window has; >= 1.
        false_alarm_rate: Between ``SMALLEST_RATE`` and 0.5.
        seed: Of the draws' own generator.

    Raises:
        ConfigError: A number is out of its range.
    """
    if window_size < 1:
        raise ConfigError(f"A window has 1 image or more, got {window_size!r}.")
    if not SMALLEST_RATE <= false_alarm_rate <= 0.5:
        raise ConfigError(f"false_alarm_rate is between {SMALLEST_RATE} and 0.5, got {false_alarm_rate!r}.")
    draws = max(_FEWEST_DRAWS, math.ceil(_ALARMS_DRAWN / false_alarm_rate))
    values = _drawn(baseline, window_size, draws, np.random.default_rng(seed))
    descending = {name: -np.sort(-drawn) for name, drawn in values.items()}
    ranks = [np.searchsorted(-descending[name], -drawn, side="right") for name, drawn in values.items()]
    expected = draws * false_alarm_rate
    allowed = max(0, math.floor(expected - _SURENESS * math.sqrt(expected * (1 - false_alarm_rate))))
    # A window raises an alarm if, by any measure, fewer than so many drawn windows are as far away.
    rank = int(np.sort(np.minimum.reduce(ranks))[allowed]) - 1
    return {name: float(drawn[rank]) for name, drawn in descending.items()}


def _drawn(baseline: Baseline, window_size: int, draws: int, random: np.random.Generator) -> Values:
    """Returns how far drawn windows are from drawn baselines, shape (draws,) of each measure."""
    counts = baseline.bins.counts_of(baseline.images)
    together, ends = np.concatenate(list(counts.values()), axis=1), np.cumsum([c.shape[1] for c in counts.values()])
    num_images = len(baseline.images)
    at_once = max(1, _AT_ONCE // max(num_images, min(window_size, _FEW * num_images)))
    parts = []
    for start in range(0, draws, at_once):
        number = min(at_once, draws - start)
        usual, seen = (_resampled(together, number, size, random) for size in (num_images, window_size))
        split = (dict(zip(counts, np.split(sums, ends[:-1], axis=1), strict=True)) for sums in (usual, seen))
        parts.append(measured(baseline.task, *split))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _resampled(counts: Counts, number: int, size: int, random: np.random.Generator) -> Counts:
    """Returns the counts of ``number`` windows of ``size`` images that are drawn, shape (number, bins)."""
    images = len(counts)
    if size > _FEW * images:
        often = random.multinomial(size, np.full(images, 1 / images), number)
    else:  # the same, faster
        chosen = random.integers(0, images, (number, size)) + np.arange(number)[:, None] * images
        often = np.bincount(chosen.reshape(-1), minlength=number * images).reshape(number, images)
    sums: Counts = often.astype(np.float32) @ counts
    return sums


def _joined(counts: Counts) -> Counts:
    width = -(-counts.shape[-1] // _JOINED)
    joined: Counts = np.add.reduceat(counts, np.arange(0, counts.shape[-1], width), axis=-1)
    return joined


def _smooth(counts: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    more = counts.astype(np.float64) + 0.5
    shares: npt.NDArray[np.float64] = more / more.sum(axis=-1, keepdims=True)
    return shares


def _have_counted(usual: npt.NDArray[np.number], seen: npt.NDArray[np.number]) -> npt.NDArray[np.bool_]:
    have: npt.NDArray[np.bool_] = (usual.sum(axis=-1) > 0) & (seen.sum(axis=-1) > 0)
    return have
