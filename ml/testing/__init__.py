"""For the tests of this package and of backends elsewhere: fakes, and the contract that every backend passes.

The contract is ``ml.testing.contract``, which needs pytest.
"""

from contextlib import suppress

from ml.testing.disk import FaultyDisk
from ml.testing.fakes import BlockingLogger, FailingLogger, FakeClock, Gate, RaisingLogger
from ml.testing.power import PowerCut

__all__ = ["BlockingLogger", "FailingLogger", "FakeClock", "FaultyDisk", "Gate", "PowerCut", "RaisingLogger"]

with suppress(ImportError):
    import pytest

    # Or a broken promise says no more than that it is broken.
    pytest.register_assert_rewrite("ml.testing.contract", "ml.testing.runs")
