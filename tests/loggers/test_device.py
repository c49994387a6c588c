"""Bins that were made where the values lie, read as the histogram of an array is."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ml.core.errors import LogValueError
from ml.loggers import device
from ml.loggers.device import binned, device_histogram
from ml.media.histogram import histogram

INF, NAN = math.inf, math.nan


@pytest.fixture(autouse=True)
def _no_streams(monkeypatch):
    """A device that copies at once."""
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace())


@pytest.mark.parametrize(
    "values",
    [[0.1] * 10, [-7.0], [2.5, 2.5, NAN, INF], [NAN, INF, INF, -INF], [1.0, 2.0, 4.0], [0.0, 1.0, NAN, -INF]],
    ids=str,
)
def test_bins_of_a_device_are_those_of_an_array(values):
    made = binned(device_histogram(torch.tensor(values, dtype=torch.float64)).arrived())
    expected = histogram(np.array(values))

    for name, value in expected._asdict().items():
        np.testing.assert_allclose(getattr(made, name), value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool], ids=str)
def test_bins_made_in_parts_are_those_of_the_whole(monkeypatch, dtype):
    values = (torch.arange(1000) % 37 - 5).to(dtype)
    whole = device_histogram(values).arrived()
    monkeypatch.setattr(device, "_CHUNK", 64)

    np.testing.assert_allclose(device_histogram(values).arrived(), whole, rtol=1e-12)


def test_a_device_that_was_not_started_captures_nothing():
    def refuse():
        raise RuntimeError("there is no such device")

    built_without = SimpleNamespace(is_initialized=lambda: False, is_current_stream_capturing=refuse)

    assert not device.is_capturing(built_without)
    assert not device.is_capturing(SimpleNamespace())
    assert device.is_capturing(SimpleNamespace(is_current_stream_capturing=lambda: True))


def test_indices_are_sent_to_where_they_are_needed():
    assert device.on_device([2, 0], torch.device("cpu")).tolist() == [2, 0]
    assert device.on_device([2, 0], torch.device("meta")).device.type == "meta"


def test_a_number_is_accumulated_in_the_widest_floats_and_shares_nothing():
    tensor = torch.ones(1, 1)
    made = device.accumulator(tensor)
    tensor.fill_(7)

    assert (made.dtype, made.shape, made.tolist()) == (torch.float64, (), 1.0)


def test_a_number_whose_copy_was_not_made_fails_as_a_value():
    scalars = device.DeviceScalars()
    number = scalars.add(torch.ones(()))

    with pytest.raises(LogValueError, match="its copy was not made: its step was interrupted"):
        number.arrived()
    scalars.launch()
    assert number.arrived() == 1.0
