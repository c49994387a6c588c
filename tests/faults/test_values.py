"""Values of every kind, size and misfortune: each is written as documented, or costs itself alone.

Through real backends, read back: strict JSON, and TensorBoard's own reader. What
an encoder makes of a value is tested at length in ``tests/media`` and ``tests/loggers``.
"""

import asyncio
import json
import math
import random
import threading
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.testing import FakeClock, Gate
from tests.faults.reading_back import lines_of, points_of, run_program, scalars_of

EVERY_STEP = {"write_every_n_seconds": 0, "write_media_every_n_seconds": 0}
MEDIA = ["log_image", "log_images", "log_audio", "log_video", "log_histogram", "log_point_cloud"]


@pytest.fixture
def component():
    return MultiLogger("model")


def started(directory, **settings):
    backends = [
        JsonLogger(JsonLoggerConfig("json", **{**EVERY_STEP, **settings})),
        TensorBoardLogger(TensorBoardLoggerConfig("tensorboard", **{**EVERY_STEP, **settings})),
    ]
    clock = FakeClock()
    return LoggerGroup(backends, RunContext(directory, clock=clock, wall_clock=clock))


# rows 40 and 52: size


def test_a_value_beyond_the_limit_is_refused_before_it_is_copied_and_the_others_are_written(tmp_path):
    result = run_program("huge_values.py", tmp_path)

    assert result.stdout == "10 {'value': 7}\n", result.stderr
    assert "Error" not in result.stderr, "each was refused before memory was asked for"
    for key in ("image", "broad", "batch", "video", "audio", "text", "shape"):
        assert f"Cannot log 'model/{key}'" in result.stderr
    last = lines_of(tmp_path)[1]
    assert last["scalars"] == {"model/good": 0.5}
    assert {key: bins["count"] for key, bins in last["histograms"].items()} == {
        "model/contiguous": 2**28,
        "model/transposed": 2**28,
        "model/expanded": 2**30,
        "model/half": 2**29,
        "model/half_transposed": 2**29,
    }
    assert (set(last["images"]), set(last["point_clouds"])) == ({"model/many"}, {"model/points"})


def test_a_long_list_of_numbers_is_one_array_before_anyone_waits_for_it(tmp_path, component):
    numbers = [index / 1000 for index in range(100_000)]
    memory = MemoryLogger(BaseLoggerConfig("memory"))
    with LoggerGroup([memory], RunContext(tmp_path)) as group:
        component.log_audio("clip", numbers)
        component.log_image("rows", [[0.0, 1.0], [1.0, 0.0]], boxes=[[0, 0, 1, 1]])
        group.write([component], State(num_steps=1))

    clip = next(entry.value for entry in memory.entries if entry.key == "clip")
    assert (clip.shape, clip.dtype) == ((100_000,), np.float32)
    assert len(memory.entries) == 2


# row 41: callables


async def coroutine():
    return 1.0


BAD_CALLABLES = {
    "raises": (lambda: 1 / 0, "callable"),
    "gives nothing": (lambda: None, "value"),
    "is a generator": (lambda: (number for number in [1.0]), "value"),
    "is a coroutine": (coroutine, "value"),
    "gives a future": (lambda: asyncio.Future(loop=asyncio.new_event_loop()), "value"),
    "gives itself": (lambda: BAD_CALLABLES["gives itself"][0], "value"),
    "recurses": (lambda: BAD_CALLABLES["recurses"][0](), "callable"),
    "wants an argument": (lambda wanted: wanted, "callable"),
}


@pytest.mark.filterwarnings(
    "ignore:coroutine", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
@pytest.mark.parametrize("name", BAD_CALLABLES)
def test_a_bad_callable_costs_its_value_is_told_once_and_the_others_are_written(tmp_path, component, name, caplog):
    function, reason = BAD_CALLABLES[name]
    with started(tmp_path) as group:
        for step in (1, 2, 3):
            component.log_scalars({"before": 1.0, "bad": function, "after": 2.0})
            group.write([component], State(num_steps=step))

    assert scalars_of(tmp_path) == [{"model/before": 1.0, "model/after": 2.0}] * 3
    assert points_of(tmp_path, "model/after") == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert [stats.failed for stats in group.stats().values()] == [{reason: 3}] * 2
    assert caplog.text.count("Cannot log 'model/bad'") >= 1
    assert sum("Cannot log" in record.getMessage() for record in caplog.records) == 1


def test_a_callable_may_log_flush_close_and_end_steps(tmp_path, component):
    with started(tmp_path) as group:

        def meddle():
            component.log_scalar("inner", 7.0)
            assert group.flush() is False
            group.write([component], State(num_steps=99))
            group.close()
            return 3.0

        component.log_scalars({"meddler": meddle, "after": 2.0})
        group.write([component], State(num_steps=1))
        group.write([component], State(num_steps=2))

    assert scalars_of(tmp_path) == [{"model/meddler": 3.0, "model/after": 2.0}, {"model/inner": 7.0}]


def test_while_a_callable_takes_its_time_other_threads_log(tmp_path, component):
    gate = Gate()

    def slow():
        gate.wait()
        return 1.0

    def others():
        gate.wait_for_arrival()
        for number in range(100):
            component.log_scalar("fast", float(number))
        gate.open()

    with started(tmp_path) as group:
        thread = threading.Thread(target=others)
        thread.start()
        component.log_scalar("slow", slow)
        group.write([component], State(num_steps=1))
        thread.join(30)
        group.write([component], State(num_steps=2))

    assert scalars_of(tmp_path) == [{"model/slow": 1.0}, {"model/fast": 99.0}]


# row 42: how often


def test_a_callable_runs_once_for_all_backends_and_not_at_all_when_none_is_due(tmp_path, component):
    called = []
    with started(tmp_path, write_every_n_seconds=10, write_media_every_n_seconds=10) as group:
        for step in range(1, 51):
            component.log_scalar("loss", lambda step=step: called.append(step) or float(step))
            component.log_image("image", lambda step=step: called.append(-step) or np.zeros((8, 8)))
            group.write([component], State(num_steps=step))

    assert called == [1, -1], "the first step is due, and no other of these ten seconds"
    assert scalars_of(tmp_path)[0] == {"model/loss": 1.0}
    assert points_of(tmp_path, "model/loss")[0] == (1, 1.0)


# rows 43 and 44: numbers


def test_numbers_that_are_not_finite_are_kept_and_json_stays_strict(tmp_path, component):
    with started(tmp_path) as group:
        component.log_scalars({"nan": math.nan, "inf": lambda: math.inf, "low": torch.tensor(-math.inf)})
        component.log_histogram("some", np.array([1.0, 2.0, math.nan, math.inf, -math.inf]))
        component.log_histogram("none", torch.full((3,), math.nan))
        group.write([component], State(num_steps=1))

    (line,) = lines_of(tmp_path)
    assert line["scalars"] == {"model/nan": "NaN", "model/inf": "Infinity", "model/low": "-Infinity"}
    some, none = line["histograms"]["model/some"], line["histograms"]["model/none"]
    assert (some["count"], some["min"], some["max"]) == (2, 1.0, 2.0)
    assert (some["nan"], some["pos_inf"], some["neg_inf"]) == (1, 1, 1)
    assert (none["count"], none["nan"], none["min"]) == (0, 3, "NaN")
    assert math.isnan(points_of(tmp_path, "model/nan")[0][1])
    assert points_of(tmp_path, "model/inf") == [(1, math.inf)]
    assert points_of(tmp_path, "model/some.nonfinite") == [(1, 3.0)]


NUMBERS = {
    "2^24 + 1": (16_777_217, 16_777_216.0),
    "2^53 + 1": (2**53 + 1, float(2**53)),
    "2^64": (2**64, float(2**64)),
    "-2^63 - 1": (-(2**63) - 1, -float(2**63)),
    "10^300": (10**300, math.inf),
    "1e39": (1e39, math.inf),
    "-1e39": (-1e39, -math.inf),
    "denormal": (5e-324, 0.0),
    "decimal": (Decimal("0.1"), pytest.approx(0.1)),
    "fraction": (Fraction(1, 3), pytest.approx(1 / 3)),
    "uint64": (np.uint64(2**64 - 1), float(2**64)),
    "bool": (True, 1.0),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_json_keeps_a_number_exactly_and_tensorboard_as_a_float_of_32_bits(tmp_path, component, name, caplog):
    number, in_tensorboard = NUMBERS[name]
    with started(tmp_path) as group:
        for step in (1, 2):
            component.log_scalar("number", number)
            group.write([component], State(num_steps=step))

    exact = (
        float(number)
        if isinstance(number, (Decimal, Fraction))
        else int(number)
        if not isinstance(number, float)
        else number
    )
    assert scalars_of(tmp_path) == [{"model/number": exact}] * 2
    assert points_of(tmp_path, "model/number") == [(1, in_tensorboard), (2, in_tensorboard)]
    assert caplog.text.count("becomes infinite") == (in_tensorboard in (math.inf, -math.inf)), "said once"


def test_a_number_beyond_every_format_costs_itself_alone(tmp_path, component, caplog):
    with started(tmp_path) as group:
        component.log_scalars({"huge": 10**5000, "good": 1.0})
        group.write([component], State(num_steps=1))

    assert scalars_of(tmp_path) == [{"model/good": 1.0}]
    assert "an integer of 16610 bits is beyond every number format. Log its logarithm." in caplog.text


# row 45: every dtype by every method

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
WHOLE = [
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.bool,
]
SHAPES = {"log_image": (3, 4, 4), "log_images": (2, 4, 4), "log_audio": (8,), "log_video": (2, 4, 4)}
PCM = {torch.uint8, torch.int16, torch.int32}


@pytest.mark.parametrize("dtype", [*FLOATS, *WHOLE], ids=str)
def test_every_dtype_is_logged_by_every_method_or_refused_with_itself_named(tmp_path, component, dtype, caplog):
    ones = torch.ones((3, 3)).to(dtype)
    with started(tmp_path) as group:
        component.log_scalar("scalar", ones[0, 0])
        for log in MEDIA:
            getattr(component, log)(log, torch.ones(SHAPES.get(log, (3, 3))).to(dtype))
        group.write([component], State(num_steps=1))

    (line,) = lines_of(tmp_path)
    written = [key.removeprefix("model/") for kind in line.values() if isinstance(kind, dict) for key in kind]
    assert line["scalars"] == {"model/scalar": 1}
    refused = set(MEDIA) - set(written)
    assert refused == (set() if dtype in PCM or dtype.is_floating_point else {"log_audio"})
    assert ("PCM of dtype uint8, int16 or int32" in caplog.text) == bool(refused)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (0,), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize("make", [np.ones, torch.ones], ids=["numpy", "torch"])
def test_a_scalar_has_one_element_of_any_shape_or_is_refused_with_its_shape(tmp_path, component, shape, make, caplog):
    with started(tmp_path) as group:
        component.log_scalars({"scalar": make(shape), "good": 1.0})
        group.write([component], State(num_steps=1))

    has_one = math.prod(shape) == 1
    assert scalars_of(tmp_path) == [{"model/scalar": 1.0, "model/good": 1.0} if has_one else {"model/good": 1.0}]
    assert (f"a scalar holds 1 number, got shape {shape}" in caplog.text) == (not has_one)


# row 47: what is changed after it was logged


@pytest.mark.parametrize("log", ["log_scalar", "log_histogram", "log_image"])
def test_a_tensor_that_is_changed_before_the_step_ends_is_refused_with_the_cure(tmp_path, component, log, caplog):
    tensor = torch.zeros(1, 1)
    with started(tmp_path) as group:
        getattr(component, log)("changed", tensor)
        component.log_scalar("good", 1.0)
        tensor.fill_(7)
        group.write([component], State(num_steps=1))

    assert group.stats()["json"].failed == {"mutated": 1}
    assert "changed in place before the step ended. Log a callable, or a copy: .clone()." in caplog.text
    assert scalars_of(tmp_path) == [{"model/good": 1.0}]


def test_what_is_changed_after_the_step_ended_was_copied(tmp_path, component):
    array, tensor, boxes = np.zeros((8, 8)), torch.zeros(4), np.array([[0.0, 0.0, 4.0, 4.0]])
    memory = MemoryLogger(BaseLoggerConfig("memory"))
    with LoggerGroup([memory], RunContext(tmp_path)) as group:
        component.log_image("image", array, boxes=boxes)
        component.log_histogram("histogram", tensor)
        component.log_scalar("scalar", tensor[:1])
        group.write([component], State(num_steps=1))
        array.fill(1), tensor.fill_(9), boxes.fill(np.nan)

    made = {entry.key: entry.value for entry in memory.entries}
    assert made["image"][:, 63, 63].tolist() == [0, 0, 0]
    assert made["image"].max() > 0, "the box was drawn"
    assert (made["histogram"].tolist(), made["scalar"]) == ([0, 0, 0, 0], 0)


def test_where_a_change_cannot_be_seen_the_value_is_that_of_the_end_of_the_step(tmp_path, component):
    """As documented: arrays have no version. A callable or a copy is the cure there too."""
    array = np.zeros(1)
    with started(tmp_path) as group:
        component.log_scalar("held", array)
        component.log_scalar("copied", array.copy())
        array.fill(7)
        group.write([component], State(num_steps=1))

    assert scalars_of(tmp_path) == [{"model/held": 7.0, "model/copied": 0.0}]


# row 50: shapes

_SIDES = st.sampled_from([0, 1, 2, 3, 4, 5, 17])
_SHAPES = st.lists(_SIDES, min_size=0, max_size=5).map(tuple)


def log_shapes(directory, shapes, make):
    """Logs an array of each shape by every method; each is written, or refused by us and with its key."""
    component = MultiLogger("model")
    memory = MemoryLogger(BaseLoggerConfig("memory", write_media_every_n_seconds=0))
    directory = directory / make.__module__.partition(".")[0]
    directory.mkdir()
    with LoggerGroup([memory], RunContext(directory)) as group:
        for step, shape in enumerate(shapes, start=1):
            for log in MEDIA:
                getattr(component, log)(log, make(shape))
            component.log_images("sequence", [make(shape), make(shape)])
            component.log_image("boxed", np.zeros((9, 9)), boxes=make(shape))
            component.log_point_cloud("coloured", np.zeros((5, 3)), colors=make(shape))
            group.write([component], State(num_steps=step))

    counts = group.stats()["memory"]
    assert set(counts.failed) <= {"value"}
    assert counts.accepted == 9 * len(shapes) == counts.written + counts.failed.get("value", 0)
    errors = directory / "errors.jsonl"
    for line in errors.read_text().splitlines() if errors.exists() else ():
        message = json.loads(line)["message"]
        assert message.startswith("Cannot log 'model/"), message
        assert "raised" not in message, message
        assert "cannot be shown" not in message, message


@settings(max_examples=5)
@given(shapes=st.lists(_SHAPES, min_size=10, max_size=10))
def test_an_array_of_any_shape_is_written_or_refused_with_its_key(tmp_path_factory, shapes):
    log_shapes(tmp_path_factory.mktemp("shapes"), shapes, np.zeros)
    log_shapes(tmp_path_factory.mktemp("shapes"), shapes, torch.zeros)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=200)
@given(shapes=st.lists(_SHAPES, min_size=10, max_size=10))
def test_an_array_of_any_shape_is_written_or_refused_with_its_key_at_length(tmp_path_factory, shapes):
    log_shapes(tmp_path_factory.mktemp("shapes"), shapes, np.zeros)
    log_shapes(tmp_path_factory.mktemp("shapes"), shapes, torch.zeros)


@pytest.mark.parametrize(
    ("log", "shape"),
    [("log_image", (2, 9, 9)), ("log_image", (1, 2, 3, 4, 5)), ("log_image", (0, 9)), ("log_video", (2, 2, 9, 9))],
    ids=str,
)
def test_a_wrong_shape_is_refused_with_shape_and_key(tmp_path, component, log, shape, caplog):
    with started(tmp_path) as group:
        getattr(component, log)("wrong", torch.zeros(shape))
        component.log_scalar("good", 1.0)
        group.write([component], State(num_steps=1))

    assert "Cannot log 'model/wrong'" in caplog.text
    assert f"got shape {shape}" in caplog.text
    assert scalars_of(tmp_path) == [{"model/good": 1.0}]


# row 51: ranges


@pytest.mark.parametrize(
    ("values", "pixels"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 0.5, 2.0], [0, 64, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([7.0, 7.0, 7.0], [255, 255, 255]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
        ([-3.0, -3.0, -3.0], [0, 0, 0]),
        ([math.nan, math.inf, -math.inf], [0, 255, 0]),
        ([math.nan, 0.0, 4.0], [0, 0, 255]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
        ([math.nan, math.nan, math.nan], [0, 0, 0]),
    ],
    ids=str,
)
def test_a_picture_of_any_range_has_defined_pixels(tmp_path, component, values, pixels):
    picture = torch.tensor(values).reshape(1, 1, 3).expand(1, 64, 3)
    with started(tmp_path) as group:
        component.log_image("image", picture, keep_resolution=True)
        group.write([component], State(num_steps=1))

    (line,) = lines_of(tmp_path)
    file = tmp_path / "json" / line["images"]["model/image"]["path"]
    assert np.asarray(Image.open(file))[0].tolist() == pixels


# row 53: random numbers


def test_no_log_call_and_no_write_draws_a_random_number(tmp_path, component):
    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    calls = {
        "log_scalar": lambda: torch.ones(1),
        "log_string": lambda: "text",
        "log_image": lambda: torch.ones(3, 600, 600),
        "log_images": lambda: torch.ones(100, 8, 8),
        "log_audio": lambda: np.linspace(-2, 2, 1000),
        "log_video": lambda: np.ones((300, 8, 8)),
        "log_histogram": lambda: torch.linspace(0, 1, 2_000_000),
        "log_point_cloud": lambda: torch.ones(5000, 3),
    }
    with started(tmp_path) as group:
        before = states()
        for step, (log, make) in enumerate(calls.items(), start=1):
            getattr(component, log)("held", make())
            getattr(component, log)("lazy", make)
            group.write([component], State(num_steps=step))
            assert group.flush(30)
            assert states() == before, log
    assert group.stats()["json"].written == 2 * len(calls)
