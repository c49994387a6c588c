"""Bins that were made where the values lie, read as the histogram of an array is."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ml.loggers.device import binned, device_histogram
from ml.media.histogram import histogram

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    "values",
    [[0.1] * 10, [-7.0], [2.5, 2.5, NAN, INF], [NAN, INF, INF, -INF], [1.0, 2.0, 4.0], [0.0, 1.0, NAN, -INF]],
    ids=str,
)
def test_bins_of_a_device_are_those_of_an_array(monkeypatch, values):
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace())  # one without streams
    made = binned(device_histogram(torch.tensor(values, dtype=torch.float64)).arrived())
    expected = histogram(np.array(values))

    for name, value in expected._asdict().items():
        np.testing.assert_allclose(getattr(made, name), value, rtol=1e-12, err_msg=name)
