"""Arrays as bytes: as documented, and whatever is damaged is found."""

import struct

import numpy as np
import pytest

from ml.core.errors import FormatError
from ml.tracing.output import DetectionOutput
from ml.tracing.packing import halved, pack_array, pack_candidates, unpack_array, unpack_candidates
from tests.tracing.made_up import output, same


def test_candidates_are_laid_out_as_documented():
    candidates = output(9, visible=2, classes=3)
    data = pack_candidates(candidates)

    assert struct.unpack_from("<4sBII", data) == (b"MLC1", 3, 9, 3)
    assert data[13 : 13 + 9 * 16] == candidates.boxes.astype("<f4").tobytes()
    assert data[13 + 9 * 28 : -2] == candidates.logits.astype("<f2").tobytes()
    assert data[-2:] == b"\x03\x00"
    assert len(data) == 13 + 9 * (16 + 4 + 4 + 4 + 6) + 2


@pytest.mark.parametrize("count", [0, 1, 8, 9, 300])
@pytest.mark.parametrize("wide", [0, 2**40], ids=["32 bits", "64 bits"])
@pytest.mark.parametrize("without", [(), ("logits",), ("visible",)], ids=str)
def test_candidates_come_back(count, wide, without):
    given = vars(output(count, visible=count // 2)) | dict.fromkeys(without)
    candidates = DetectionOutput(**given | {"candidates": given["candidates"] + wide})

    assert same(unpack_candidates(pack_candidates(candidates), (48, 64)), candidates)


def test_every_cut_and_every_other_beginning_is_found():
    data = pack_candidates(output(3))
    for length in range(len(data)):
        with pytest.raises(FormatError):
            unpack_candidates(data[:length], (1, 1))
    with pytest.raises(FormatError):
        unpack_candidates(b"MLC2" + data[4:], (1, 1))
    with pytest.raises(FormatError):
        unpack_candidates(struct.pack("<4sBII", b"MLC1", 1, 2**32 - 1, 2**32 - 1), (1, 1))


def test_logits_in_16_bits_are_never_made_infinite():
    numbers = np.array([1e6, -1e6, np.inf, -np.inf, np.nan, 0.5], np.float32)

    assert same(halved(numbers), np.array([65504, -65504, np.inf, -np.inf, np.nan, 0.5], np.float16))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4"])
def test_arrays_come_back(shape, dtype):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)

    assert same(unpack_array(*pack_array(array)), array.astype(array.dtype.newbyteorder("=")))


@pytest.mark.parametrize(
    "packed",
    [("float32", "2", b"1234"), ("object", "1", b"12345678"), ("float32", "-1x-1", b"1234"), ("float16", "a", b"")],
)
def test_an_array_that_is_damaged_is_found(packed):
    with pytest.raises(FormatError):
        unpack_array(*packed)
