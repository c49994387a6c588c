import os
import signal

import pytest

from ml.trainers.signals import StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_next_acts_as_before(number):
    acted = []
    previous = signal.signal(number, lambda *_: acted.append(number))
    try:
        with StopSignals() as signals:
            assert signals.received is None
            os.kill(os.getpid(), number)
            assert (signals.received, acted) == (number, [])
            os.kill(os.getpid(), number)
            assert acted == [number]
    finally:
        signal.signal(number, previous)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) is not before[1]

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
