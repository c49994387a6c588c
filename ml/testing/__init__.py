"""For the tests of this package and of backends elsewhere: fakes, and the contract that every backend passes."""

from ml.testing.fakes import BlockingLogger, FailingLogger, FakeClock, Gate, RaisingLogger

__all__ = ["BlockingLogger", "FailingLogger", "FakeClock", "Gate", "RaisingLogger"]
