"""Private copies: of every dtype and kind of tensor, without a graph."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

from ml.core.errors import LogValueError
from ml.loggers.snapshot import Snapshots
from ml.loggers.tensors import MAX_BYTES, arrived, copy_bytes, nbytes, take, tensor, version

REAL_DTYPES = [
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32, torch.int64),
    torch.bool,
]


@pytest.fixture
def snapshots():
    return Snapshots()


# scalars


@pytest.mark.parametrize("dtype", REAL_DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)], ids=str)
def test_a_scalar_may_be_a_tensor_of_any_real_dtype_with_one_element(snapshots, dtype, shape):
    number = snapshots.scalar(torch.ones(shape).to(dtype))

    assert number == 1
    assert type(number) is (float if dtype.is_floating_point else int)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        (0.1, 0.1),
        (True, 1),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.float16(2), 2.0),
        (np.longdouble(0.5), 0.5),
        (np.int64(7), 7),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), 1),
        (np.array(4), 4),
        (np.array([[0.25]]), 0.25),
        (Decimal("0.1"), 0.1),
        (Fraction(1, 4), 0.25),
        (2**1000, 2**1000),
        (torch.tensor(2**53 + 1), 2**53 + 1),
    ],
    ids=repr,
)
def test_a_scalar_is_read_exactly(snapshots, value, expected):
    number = snapshots.scalar(value)

    assert number == expected
    assert type(number) in (int, float)


@pytest.mark.parametrize("value", [math.inf, -math.inf, Decimal("Infinity"), torch.tensor(math.inf)], ids=repr)
def test_infinities_are_numbers(snapshots, value):
    assert math.isinf(snapshots.scalar(value))


@pytest.mark.parametrize("value", [math.nan, np.float32("nan"), torch.tensor(math.nan), Decimal("NaN")], ids=repr)
def test_nan_is_a_number(snapshots, value):
    assert math.isnan(snapshots.scalar(value))


@pytest.mark.parametrize(
    "value",
    [
        torch.nn.Parameter(torch.tensor(1.0)),
        torch.tensor(1.0, requires_grad=True) * 1,
        torch.ones(1).to_sparse(),
        torch.quantize_per_tensor(torch.tensor(1.0), 0.5, 0, torch.quint8),
        torch.tensor([3.0, 1.0, 2.0])[1:2],
        torch.tensor(1.0).expand(1, 1),
        torch.tensor(-1j).conj().imag,
    ],
    ids=["parameter", "with a graph", "sparse", "quantized", "view", "expanded", "negative view"],
)
def test_a_scalar_may_be_any_kind_of_tensor_that_holds_a_number(snapshots, value):
    assert snapshots.scalar(value) == 1


def test_a_scalar_may_be_an_inference_tensor(snapshots):
    with torch.inference_mode():
        value = torch.tensor(0.5) * 2
        assert snapshots.scalar(value) == 1
    assert snapshots.scalar(value) == 1


def test_a_scalar_is_read_under_autocast(snapshots):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert snapshots.scalar(torch.ones(1, 2) @ torch.ones(2, 1)) == 2


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (torch.zeros(2, 3), "shape (2, 3)"),
        (torch.zeros(0), "shape (0,)"),
        (np.zeros((2, 1)), "shape (2, 1)"),
        (np.zeros(0), "shape (0,)"),
        (torch.tensor(1j), "complex"),
        (np.complex64(1j), "complex"),
        (1j, "complex"),
        (torch.zeros((), device="meta"), "meta"),
        (None, "None"),
        ("0.5", "'0.5'"),
        (b"1", "b'1'"),
        (np.str_("1"), "'1'"),
        ([1.0], "a list"),
        ({}, "a dict"),
        pytest.param(object(), "a object", id="object"),
        (2**2000, "2001 bits"),
        (np.datetime64("2020-01-01"), "a date"),
    ],
    ids=str,
)
def test_what_is_no_real_number_is_refused_and_named(snapshots, value, problem):
    with pytest.raises(LogValueError) as refused:
        snapshots.scalar(value)

    assert problem in str(refused.value)


def test_a_fake_tensor_is_refused(snapshots):
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(torch.zeros(()))
    for take_copy in (snapshots.scalar, snapshots.copy, snapshots.histogram):
        with pytest.raises(LogValueError, match="holds no values"):
            take_copy(fake)


def test_a_refused_shape_comes_with_its_cure(snapshots):
    with pytest.raises(LogValueError) as refused:
        snapshots.scalar(torch.zeros(2, 3))

    assert refused.value.problem == "a scalar holds 1 number, got shape (2, 3)"
    assert refused.value.fix == "Reduce it first, e.g. with .mean()."


# copies


@pytest.mark.parametrize("dtype", REAL_DTYPES, ids=str)
def test_a_copy_of_any_real_dtype_is_a_numpy_array_of_the_same_numbers(snapshots, dtype):
    made = snapshots.copy(torch.tensor([[0, 1], [1, 0]]).to(dtype))

    assert isinstance(made, np.ndarray)
    assert made.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("dtype", REAL_DTYPES, ids=str)
def test_a_histogram_may_be_of_any_real_dtype(snapshots, dtype):
    values, count, binned = snapshots.histogram(torch.ones(2, 3).to(dtype))

    assert (np.asarray(arrived(snapshots.copy(values))).tolist(), count, binned) == ([1] * 6, 6, False)


@pytest.mark.parametrize(
    "value",
    [torch.ones(2), torch.ones(2, 2)[0], torch.ones(2, requires_grad=True) * 1, np.ones(2), np.ones((2, 4))[0, ::2]],
    ids=["tensor", "view", "graph", "array", "strided array"],
)
def test_a_copy_shares_no_memory_with_what_was_logged(snapshots, value):
    made = snapshots.copy(value)

    with torch.no_grad():
        value[:] = 7

    assert made.tolist() == [1, 1]


def test_a_copy_of_a_picture_is_its_pixels(snapshots):
    made = snapshots.copy(Image.new("RGB", (4, 2), (1, 2, 3)))

    assert made.shape == (2, 4, 3)
    assert made[0, 0].tolist() == [1, 2, 3]


def test_a_copy_of_a_sequence_copies_its_items(snapshots):
    items = [torch.zeros(2), np.zeros(2), Image.new("L", (2, 2)), "a text", None, 3]

    made = snapshots.copy(items)

    assert [type(item) for item in made] == [np.ndarray, np.ndarray, np.ndarray, str, type(None), int]


def test_sparse_and_quantized_tensors_are_made_dense(snapshots):
    sparse = torch.tensor([[0.0, 0.0], [5.0, 0.0]]).to_sparse()
    compressed = sparse.to_sparse_csr()
    quantized = torch.quantize_per_tensor(torch.tensor([0.0, 1.0]), 0.5, 0, torch.qint8)

    assert snapshots.copy(sparse).tolist() == [[0, 0], [5, 0]]
    assert snapshots.copy(compressed).tolist() == [[0, 0], [5, 0]]
    assert snapshots.copy(quantized).tolist() == [0, 1]


def test_a_sparse_tensor_that_is_huge_when_dense_is_refused(snapshots):
    sparse = torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6))

    for take_copy in (snapshots.copy, snapshots.histogram):
        with pytest.raises(LogValueError, match="MiB"):
            take_copy(sparse)


def test_more_than_64_mib_is_refused_with_the_cure(snapshots):
    with pytest.raises(LogValueError, match="65 MiB, and more than 64 MiB is refused") as refused:
        snapshots.copy(torch.zeros(65, 2**20, dtype=torch.uint8))

    assert refused.value.fix


def test_64_mib_are_taken(snapshots):
    assert snapshots.copy(np.zeros(MAX_BYTES - 64, np.uint8)).nbytes == MAX_BYTES - 64


def test_an_expanded_tensor_counts_as_large_as_its_copy_would_be():
    assert nbytes(torch.zeros(1).expand(10**6)) == 4 * 10**6


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1.0] * 1000, 8016),
        ([[1, 2], [3, 4]], 80),
        ([np.zeros(10), torch.zeros(10)], 136),
        ("text", 4),
        (b"bytes", 5),
        (torch.zeros(10, dtype=torch.bfloat16), 40),
        (torch.zeros(10, dtype=torch.float16), 20),
        (memoryview(bytes(100)), 100),
        (Image.new("RGB", (10, 20)), 800),
        (object(), 64),
    ],
    ids=["numbers", "rows", "items", "text", "bytes", "bfloat16", "half", "buffer", "picture", "unknown"],
)
def test_a_value_counts_what_its_copy_would_take(value, expected):
    assert nbytes(value) == expected


def test_a_list_of_numbers_is_copied_as_one_array(snapshots):
    made = snapshots.copy([[1, 2, 3], [True, 5.5, 6]])

    assert [row.tolist() for row in made] == [[1, 2, 3], [1, 5.5, 6]]
    with pytest.raises(LogValueError):
        snapshots.copy([1.0, "text"])


def test_elements_that_are_too_many_are_refused_before_they_are_copied():
    for broad in (torch.zeros(1).expand(10, 2**28), np.broadcast_to(np.float32(0), (10, 2**28))):
        with pytest.raises(LogValueError, match="more than 64 MiB is refused"):
            take(broad, [0, 1])


def test_a_histogram_of_many_values_takes_a_millionth_and_keeps_the_count(snapshots):
    values, count, _ = snapshots.histogram(torch.arange(2_500_000, dtype=torch.float32))

    assert count == 2_500_000
    assert 500_000 <= len(values) <= 10**6
    assert values[1] - values[0] == 3
    assert values[-1] > 2_499_990


def test_an_empty_tensor_has_a_histogram_of_no_values(snapshots):
    values, count, _ = snapshots.histogram(torch.zeros(0))

    assert (len(values), count) == (0, 0)


@pytest.mark.parametrize("make", [torch.arange, np.arange], ids=["torch", "numpy"])
def test_a_sample_of_what_is_not_in_order_is_spread_over_all_of_it(snapshots, make):
    values = make(2_400_000).reshape(1200, 2000)

    sample, count, _ = snapshots.histogram(values.T)

    assert (count, len(sample)) == (2_400_000, 800_000)
    assert len(np.unique(np.asarray(sample) // 2000)) == 400, "every third of 1,200 rows"
    assert len(np.unique(np.asarray(sample) % 2000)) == 2000, "every column"


def test_a_tensor_whose_memory_was_given_back_is_refused(snapshots):
    freed = torch.ones(4)
    freed.untyped_storage().resize_(0)

    for take_copy in (snapshots.copy, snapshots.histogram):
        with pytest.raises(LogValueError, match="its memory was given back"):
            take_copy(freed)


def test_a_tensor_of_a_function_transform_is_refused_with_the_cure(snapshots):
    inside = []
    torch.func.vmap(lambda row: inside.append(row) or row)(torch.ones(3, 1))

    for take_copy in (snapshots.scalar, snapshots.copy, snapshots.histogram):
        with pytest.raises(LogValueError, match=r"lives inside of torch.func.*Return it from there"):
            take_copy(inside[0])


def test_complex_numbers_are_refused(snapshots):
    for take_copy in (snapshots.copy, snapshots.histogram):
        with pytest.raises(LogValueError, match="it is complex"):
            take_copy(torch.zeros(2, dtype=torch.complex64))


# numbers that are accumulated


def test_a_number_to_accumulate_is_a_python_number_on_the_cpu(snapshots):
    assert snapshots.number(torch.tensor(0.5, requires_grad=True)) == 0.5
    assert type(snapshots.number(torch.tensor(0.5, requires_grad=True))) is float


# other pieces


def test_the_version_of_a_tensor_changes_with_it_in_sequences_too():
    value = torch.zeros(2)
    before = version([value, "text"]), version(value)

    value.add_(1)

    assert version([value, "text"]) != before[0]
    assert version(value) != before[1]


@pytest.mark.parametrize("value", [np.zeros(2), 1.0, "text", None], ids=repr)
def test_what_shows_no_change_has_no_version(value):
    assert version(value) is None


def test_an_inference_tensor_has_no_version():
    with torch.inference_mode():
        value = torch.zeros(2)
        value.add_(1)

    assert version(value) is None


@pytest.mark.parametrize("batch", [torch.arange(5), np.arange(5), list(range(5))], ids=type)
def test_elements_are_taken_in_the_order_asked_for_and_as_often(batch):
    assert [int(item) for item in take(batch, [0, 2, 4, 4])] == [0, 2, 4, 4]


def test_a_copy_counts_the_bytes_that_it_holds(snapshots):
    assert copy_bytes(snapshots.copy([torch.zeros(10), np.zeros(3)])) == 40 + 24


def test_a_tensor_is_made_with_its_scale():
    assert tensor(np.array([0, 255], np.uint8), scale=1 / 255).tolist() == [0.0, 1.0]
    assert tensor(np.array([0, 255], np.uint8)).dtype == torch.uint8
