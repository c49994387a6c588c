import numpy as np
import pytest

from ml.tracing.output import NmsConfig
from ml.tracing.sweep import BINS, Sweep
from ml.tracing.visibility import decided
from tests.tracing.said import answered, said, there


def crowded(seed, config, count=80):
    """Candidates around a few places, as detectors have them, and what is true there."""
    random = np.random.default_rng(seed)
    truth = there([[x, y, x + 20, y + 20] for x, y in random.integers(0, 80, (4, 2))], random.integers(0, 3, 4))
    near = random.integers(0, 4, count)
    boxes = truth.xyxy[near] + random.normal(0, 4, (count, 4))
    scores = np.round(random.random(count), 6)
    labels = np.where(random.random(count) < 0.8, truth.labels[near], random.integers(0, 3, count))
    return decided(said(boxes, labels, scores), config), truth


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.75])
def test_a_cut_is_what_the_model_would_have_shown_with_that_threshold(threshold):
    sweep, shown, found, truths = Sweep(), 0, 0, 0
    for seed in range(30):
        output, truth = crowded(seed, NmsConfig(0.6, 0.5))
        sweep.add(output, truth, len(output), NmsConfig(0.6, 0.5))
        other = Sweep()  # of what the model would show, asked anew
        other.add(decided(output, NmsConfig(threshold, 0.5)), truth, len(output), NmsConfig(threshold, 0.5))
        now = other.swept().now
        shown, found, truths = shown + now[0], found + now[1], truths + len(truth.labels)

    swept = sweep.swept()
    cut = swept.cut(round(threshold * BINS))

    assert cut.shown_per_image == shown / 30
    assert (cut.precision, cut.recall) == (found / shown, found / truths)
    assert 0.6 < swept.lowest_shown < 0.62
    as_shown = swept.as_shown()
    assert (swept.cut(60).precision, swept.cut(60).recall) == (as_shown.precision, as_shown.recall)
    assert 0 < swept.near < swept.cut(50).shown_per_image


def test_what_was_not_kept_of_an_image_is_told():
    sweep = Sweep()
    sweep.add(said([[0, 0, 9, 9]] * 3, scores=[0.9, 0.5, 0.25]), None, 3, NmsConfig())
    assert sweep.swept().floor == 0
    sweep.add(said([[0, 0, 9, 9]] * 3, scores=[0.9, 0.5, 0.25]), None, 1000, NmsConfig())
    assert sweep.swept().floor == 0.25
    assert sweep.swept().num_images == 2


def test_answers_of_a_classifier_are_cut_by_their_probability():
    sweep = Sweep()
    for logits, truth in (((9, 0), 0), ((0, 9), 0), ((0.1, 0), 0), ((0.1, 0), None)):
        sweep.add(answered(*logits), truth, 1, NmsConfig())

    swept = sweep.swept()

    assert (swept.num_images, swept.num_labelled) == (4, 3)
    assert swept.cut(1).precision == swept.cut(1).recall == 2 / 3
    assert (swept.cut(90).precision, swept.cut(90).recall) == (1 / 2, 1 / 3)
    assert swept.cut(90).shown_per_image == 2 / 4


def test_nothing_and_no_numbers_are_counted_as_they_are():
    sweep = Sweep()
    assert sweep.swept().as_shown() is None
    sweep.add(said(), there(), 0, NmsConfig())
    sweep.add(said([[0, 0, np.nan, 9]], scores=[np.nan]), there([[0, 0, 9, 9]]), 1, NmsConfig())

    swept = sweep.swept()

    assert swept.now == (1, 0)
    assert swept.num_truths == 1
