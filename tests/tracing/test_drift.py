"""What is unlike the baseline raises an alarm, and of what is like it one window in a hundred at the most."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, ks_2samp

from ml.core.errors import ConfigError, FormatError, LogValueError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.base import BaseLoggerConfig
from ml.loggers.group import LoggerGroup
from ml.loggers.memory import MemoryLogger
from ml.loggers.multi import MultiLogger
from ml.tracing.baseline import Baseline, baseline_from, baseline_of, make_baseline
from ml.tracing.binning import Seen, seen_of
from ml.tracing.drift import DriftMonitor
from ml.tracing.evaluator import Evaluator
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from ml.tracing.shift import ks, measured, psi, thresholds
from tests.tracing.digit_traces import digit_traces
from tests.tracing.said import CLASSIFIER, answered, inference, keep, said

MEASURES = ["class_psi", "score_psi", "score_ks", "size_psi", "size_ks", "count_psi", "count_ks"]


def output(random, *, mean_count=3.0, classes=(0.5, 0.3, 0.15, 0.05), sureness=4.0, side_px=20.0):
    """What a detector says of a scene: the detections of one are alike, as they are of a real one."""
    count, of_scene = random.poisson(mean_count), random.normal(0, 0.2)
    corners = random.uniform(0, 80, (count, 2))
    sides = side_px * np.exp(of_scene + random.normal(0, 0.3, (count, 2)))
    scores = random.beta(sureness * np.exp(of_scene), 1.5, count)
    return said(np.concatenate([corners, corners + sides], 1), random.choice(len(classes), count, p=classes), scores)


def outputs(count, seed, **shift):
    random = np.random.default_rng(seed)
    return [output(random, **shift) for _ in range(count)]


@pytest.fixture(scope="module")
def everything():
    """All scenes that there are: baselines and windows that are as usual are drawn from them."""
    return [inference(said) for said in outputs(3000, 0)]


def drawn(everything, count, seed):
    return [everything[index] for index in np.random.default_rng(seed).integers(0, len(everything), count)]


def baseline(inferences):
    return baseline_of([seen_of(inference.output) for inference in inferences], "detection")


@pytest.fixture(scope="module")
def usual(everything):
    return baseline(drawn(everything, 1000, 1))


@pytest.fixture(scope="module")
def monitor_of(usual):
    """Returns a new monitor, of thresholds that were found out once for each size."""
    made = {}

    def monitor(window_size):
        if window_size not in made:
            made[window_size] = DriftMonitor(usual, window_size=window_size)
        return made[window_size]

    return monitor


# alarms


def test_of_2000_windows_that_are_as_usual_no_more_than_one_in_a_hundred_raises_an_alarm(everything):
    """Of 8 small baselines 250 windows each. Of 2,000 with a rate of 1 %, more than 35 are a chance of 1 in 1,000."""
    alarms = []
    for seed in range(8):
        monitor = DriftMonitor(baseline(drawn(everything, 60, seed)), window_size=20)
        alarms += [drift.is_alarm for drift in monitor.add(drawn(everything, 250 * 20, 100 + seed))]

    assert len(alarms) == 2000
    assert sum(alarms) <= binom.ppf(0.999, 2000, 0.01) == 35


@pytest.mark.parametrize(("window_size", "windows"), [(1, 500), (7, 200), (400, 30)])
def test_windows_of_any_size_have_thresholds_of_their_own(monitor_of, everything, window_size, windows):
    found = monitor_of(window_size).add(drawn(everything, windows * window_size, 7))

    assert [drift.num_inferences for drift in found] == [window_size] * windows
    assert sum(drift.is_alarm for drift in found) <= binom.ppf(0.999, windows, 0.01)


@pytest.mark.parametrize(
    ("shift", "measure"),
    [
        ({"classes": (0.2, 0.2, 0.2, 0.4)}, "class_psi"),
        ({"classes": (0.45, 0.27, 0.14, 0.04, 0.1)}, "class_psi"),
        ({"sureness": 2.0}, "score_ks"),
        ({"side_px": 30.0}, "size_ks"),
        ({"mean_count": 5.0}, "count_ks"),
        ({"mean_count": 0.0}, "count_ks"),
    ],
    ids=["class-mix", "unknown-class", "noisier", "larger", "more", "none"],
)
def test_each_shift_raises_an_alarm_in_every_window_by_the_measure_that_is_about_it(monitor_of, shift, measure):
    found = monitor_of(200).add([inference(said) for said in outputs(2 * 200, 9, **shift)])

    assert [drift.is_alarm for drift in found] == [True] * 2
    assert all(measure in drift.alarming for drift in found)


def test_a_rate_is_kept_by_all_measures_together_and_a_higher_one_alarms_sooner(usual, everything):
    strict, loose = (thresholds(usual, 50, false_alarm_rate=rate) for rate in (0.01, 0.2))

    assert list(strict) == MEASURES
    assert all(strict[name] > loose[name] for name in MEASURES)
    monitor = DriftMonitor(usual, window_size=10, false_alarm_rate=0.2)
    found = monitor.add(drawn(everything, 300 * 10, 11))
    assert 0.1 < np.mean([drift.is_alarm for drift in found]) <= binom.ppf(0.999, 300, 0.2) / 300


def test_thresholds_are_the_same_each_time_and_touch_no_random_state(usual):
    before = np.random.get_state()[1].tolist()

    assert thresholds(usual, 20, false_alarm_rate=0.01) == thresholds(usual, 20, false_alarm_rate=0.01)
    assert np.random.get_state()[1].tolist() == before


def test_larger_windows_than_the_baseline_can_be_judged(usual):
    small = Baseline(usual.bins, usual.images[:30])

    limits = thresholds(small, 500, false_alarm_rate=0.01)

    assert all(0 < limit < math.inf for limit in limits.values())
    assert limits["score_ks"] > thresholds(usual, 500, false_alarm_rate=0.01)["score_ks"]  # for it says less


@pytest.mark.parametrize(("window_size", "rate"), [(0, 0.01), (10, 0.0), (10, 0.6), (10, math.nan)])
def test_senseless_numbers_are_refused(usual, window_size, rate):
    with pytest.raises(ConfigError):
        DriftMonitor(usual, window_size=window_size, false_alarm_rate=rate)


# of a real detector


@pytest.fixture(scope="module")
def digits():
    seen = [seen_of(inference.output) for inference in digit_traces(8, 400, seed=2)]
    return DriftMonitor(baseline_of(seen, "detection"), window_size=100)


def test_scenes_as_they_were_raise_no_alarm_and_noisy_ones_do(digits):
    def noisy(images):
        random = np.random.default_rng(0)
        return (images + 0.3 * images.new_tensor(random.random(images.shape))).clamp(0, 1)

    usual, shifted = digit_traces(8, 300, seed=3), digit_traces(8, 300, seed=3, change=noisy)

    assert [drift.is_alarm for drift in digits.add(usual)] == [False] * 3
    assert [drift.is_alarm for drift in digits.add(shifted)] == [True] * 3


# the monitor


def test_measures_and_alarms_reach_the_logger(usual, tmp_path):
    memory, component = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("monitor")
    monitor = DriftMonitor(usual, component, window_size=100)
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        (drift,) = monitor.add([inference(said) for said in outputs(100, 1, side_px=40.0)])
        logs.write([component], State(num_steps=1))
        monitor.add([inference(said) for said in outputs(100, 2)])
        logs.write([component], State(num_steps=2), force=True)

    logged = {(entry.step, entry.key): float(entry.value) for entry in memory.entries}
    assert {entry.namespace for entry in memory.entries} == {"monitor"}
    assert [logged[step, "drift/alarm"] for step in (1, 2)] == [1.0, 0.0]
    assert {key for _, key in logged} == {f"drift/{name}" for name in [*MEASURES, "alarm"]}
    assert logged[1, "drift/score_ks"] == pytest.approx(drift.values["score_ks"])


def test_a_window_is_full_when_it_is_full_however_inferences_come(usual):
    inferences = [inference(said) for said in outputs(25, 3)]
    one_by_one, together = (DriftMonitor(usual, window_size=10) for _ in range(2))

    found = [drift for each in inferences for drift in one_by_one.add([each])]

    assert found == together.add(inferences)
    assert [(drift.number, drift.num_inferences) for drift in found] == [(1, 10), (2, 10)]
    last = one_by_one.finish()
    assert (last.number, last.num_inferences) == (3, 5)
    assert last.thresholds == thresholds(usual, 5, false_alarm_rate=0.01)
    assert one_by_one.finish() is None


def test_another_task_is_refused_and_nothing_of_it_counted(usual):
    monitor = DriftMonitor(usual, window_size=2)

    with pytest.raises(LogValueError, match="this is classification"):
        monitor.add([inference(said()), inference(answered(1, 2))])

    assert monitor.finish() is None


def test_strange_output_is_counted():
    strange = said([[math.nan] * 4, [5, 5, 1, 1]], [2**62, -3], [math.nan, 0.5])
    seen = replace(strange, image_size=(0, 0))
    monitor = DriftMonitor(baseline_of([seen_of(said())], "detection"), window_size=2)

    (drift,) = monitor.add([inference(strange), inference(seen)])

    assert all(math.isfinite(value) for value in drift.values.values())


# the measures


def test_the_population_stability_index_is_well_defined_whatever_is_empty():
    assert psi(np.array([10, 0, 0]), np.array([0, 0, 10])) == pytest.approx(2 * 10 / 11.5 * math.log(21))
    assert psi(np.array([5, 5, 0]), np.array([5, 5, 0])) == 0
    assert psi(np.zeros(3), np.array([1, 2, 3])) == 0
    assert psi(np.array([1, 2, 3]), np.zeros(3)) == 0
    assert psi(np.zeros(3), np.zeros(3)) == 0


def test_the_population_stability_index_is_its_formula():
    p, q = np.array([0.25, 0.75]), np.array([0.5, 0.5])
    expected = ((p - q) * np.log(p / q)).sum()

    assert psi(1e6 * p, 1e6 * q) == pytest.approx(expected, rel=1e-4)


counts = st.lists(st.integers(0, 50), min_size=6, max_size=6)


@given(counts, counts)
def test_the_statistic_of_kolmogorov_and_smirnov_is_that_of_scipy(usual, seen):
    first, second = (np.repeat(np.arange(6), number) for number in (usual, seen))
    expected = ks_2samp(first, second).statistic if len(first) and len(second) else 0.0

    assert ks(np.array(usual), np.array(seen)) == pytest.approx(expected)


def test_in_bins_the_statistic_is_that_of_the_numbers_themselves_within_a_hundredth(usual, everything):
    window = outputs(200, 5, sureness=3.0)
    seen = [seen_of(said) for said in window]
    usual_seen = [seen_of(inference.output) for inference in drawn(everything, 1000, 1)]
    scores = [np.concatenate([s.scores for s in of]) for of in (usual_seen, seen)]

    usual_counts, counted = (
        {name: c.sum(axis=0) for name, c in usual.bins.counts_of(images).items()}
        for images in (usual.images, [usual.bins.numbers_of(s) for s in seen])
    )

    assert measured("detection", usual_counts, counted)["score_ks"] == pytest.approx(
        ks_2samp(*scores).statistic, abs=0.015
    )


# baselines


def test_a_baseline_is_kept_as_a_result_and_read_back(tmp_path):
    file, of = tmp_path / "traces.db", Selection("fcos", "v1")
    usual = [inference(said, input_id=str(number)) for number, said in enumerate(outputs(60, 0))]
    keep(file, [*usual, inference(said(), input_id="other", dataset_type="train")])

    evaluator = Evaluator("fcos", "v1", database=file)
    result = evaluator.request_evaluation("drift", "usual")
    evaluator.request_evaluation("drift", "with train", options={"dataset_type": None})

    with open_traces(file) as traces:
        _, made = make_baseline(traces, of._replace(dataset_type="val"))
        with pytest.raises(
            ConfigError,
            match=r"no inferences with the dataset type 'test' .*There are: train \(epochs 0\), val \(epochs 0\)\.",
        ):
            make_baseline(traces, of._replace(dataset_type="test"))
    read = evaluator.baseline("usual")
    assert len(evaluator.baseline("with train").images) == 61
    with pytest.raises(ConfigError, match="There is no result 'none'"):
        evaluator.baseline("none")
    assert (result.method, result.epoch) == ("drift", 0)
    assert read.to_json() == made.to_json() == result.data
    assert len(read.images) == 60
    assert thresholds(read, 20, false_alarm_rate=0.01) == thresholds(made, 20, false_alarm_rate=0.01)


def test_an_evaluation_is_no_baseline(tmp_path):
    file = tmp_path / "traces.db"
    keep(file, digit_traces(8, 2, seed=2))
    evaluator = Evaluator("fcos", "v1", database=file)
    evaluator.request_evaluation("default", "first")

    with pytest.raises(ConfigError, match="'first' is one of 'default', not of 'drift'"):
        evaluator.baseline("first")


def test_a_classifier_has_a_baseline_of_classes_and_scores(tmp_path):
    file, random = tmp_path / "traces.db", np.random.default_rng(0)
    keep(file, [inference(answered(*random.normal(size=3)), input_id=str(n)) for n in range(300)], CLASSIFIER)
    result = Evaluator("cnn", "v1", database=file).request_evaluation("drift")

    monitor = DriftMonitor(baseline_from(result.data), window_size=100)
    (usual,) = monitor.add([inference(answered(*random.normal(size=3))) for _ in range(100)])
    (shifted,) = monitor.add([inference(answered(*random.normal((2, 0, 0)))) for _ in range(100)])

    assert list(usual.values) == ["class_psi", "score_psi", "score_ks"]
    assert (usual.is_alarm, "class_psi" in shifted.alarming) == (False, True)


def _seen(*labels):
    return Seen(
        np.array(labels, np.int64), np.full(len(labels), 0.5, np.float32), np.full(len(labels), 0.1, np.float32)
    )


def test_a_class_that_the_baseline_lacks_has_a_bin_behind_the_others():
    made = baseline_of([_seen(3, 7), _seen(7)], "detection")

    assert made.bins.numbers_of(_seen(7, 3, 5, 9, -1))[:, 0].tolist() == [1, 0, 2, 2, 2]
    assert made.bins.counts_of(made.images)["class"].tolist() == [[1, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", 2),
        ("task", "segmentation"),
        ("task", None),
        ("labels", [2, 1]),
        ("labels", ["1"]),
        ("labels", [2**63]),
        ("edges", {"score": [0.5], "size": [0.1]}),
        ("edges", {"score": [0.5, "NaN"], "size": [], "count": []}),
        ("edges", {"score": [0.5, 0.5], "size": [], "count": []}),
        ("images", []),
        ("images", 3),
        ("images", [[0, 0]]),
        ("images", [[0, 0, -1]]),
        ("images", [[0, 0, 2**70]]),
        ("images", [[0, 0, 1.5]]),
        ("images", [[99, 0, 0]]),
        ("images", [["0", 0, 0]]),
    ],
    ids=repr,
)
def test_what_is_no_baseline_is_a_format_error(name, value):
    data = json.loads(json.dumps(baseline_of([_seen(3, 7), _seen(7)], "detection").to_json()))

    with pytest.raises(FormatError):
        baseline_from({**data, name: value})


@pytest.mark.parametrize("data", [None, [], {}, "x"], ids=repr)
def test_what_is_no_mapping_is_a_format_error(data):
    with pytest.raises(FormatError):
        baseline_from(data)
