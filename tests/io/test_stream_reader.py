"""The reading end of a stream: when it waits, when it ends, and what it does not accept."""

import os
import pickle
import signal
import threading
from collections.abc import Iterator

import pytest

from ml.core.errors import ConfigError
from ml.io.stream import Publisher
from ml.io.stream_keys import new_keys
from ml.io.stream_reader import Receiver
from ml.testing import FakeClock
from tests.stream_peers import LIMIT_S, attend_until

TOPIC = "camera-1"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    publisher = Publisher("127.0.0.1", 0, TOPIC)
    yield publisher
    publisher.close()


@pytest.fixture
def reader(publisher: Publisher) -> Iterator[Receiver]:
    reader = Receiver("127.0.0.1", publisher.port, TOPIC)
    attend_until(publisher, lambda: publisher.subscriptions)
    yield reader
    reader.close()


def test_no_message_in_time_is_none(reader):
    assert reader.receive(0.0) is None


def test_the_wait_is_over_when_the_clock_says_so(publisher):
    clock = FakeClock()
    reader = Receiver("127.0.0.1", publisher.port, TOPIC, clock=lambda: clock.advance(1.0) or clock.now_s)

    assert reader.receive(5.0) is None

    assert 5.0 <= clock.now_s < 20.0
    reader.close()


def test_close_on_another_thread_ends_a_wait(reader):
    waiting = threading.Thread(target=reader.receive)
    waiting.start()

    reader.close()

    waiting.join(LIMIT_S)
    assert not waiting.is_alive()
    assert reader.is_closed
    assert reader.receive() is None


def test_close_in_a_signal_handler_ends_a_wait(reader):
    signal.signal(signal.SIGUSR1, lambda *_: reader.close())
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))  # may come before the wait, which is as well
    timer.start()

    assert reader.receive(LIMIT_S) is None

    timer.join()
    assert reader.is_closed
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_closing_twice_is_the_same(reader):
    reader.close()
    reader.close()

    assert reader.is_closed


def test_a_message_that_is_too_large_is_not_taken_and_what_follows_is(publisher):
    clock = FakeClock()
    reader = Receiver("127.0.0.1", publisher.port, TOPIC, max_message_bytes=1000, clock=clock)
    attend_until(publisher, lambda: publisher.subscriptions)

    publisher.send(bytes(1001))
    attend_until(publisher, lambda: not publisher.subscriptions, waiting=(reader,))
    attend_until(publisher, lambda: clock.advance(1.0) or publisher.subscriptions, waiting=(reader,))
    publisher.send(b"small")
    clock.now_s = 0.0

    assert reader.receive(LIMIT_S) == [TOPIC.encode(), b"small"]
    reader.close()


def test_a_reader_that_was_refused_asks_again(publisher):
    """A key may be added to those that are admitted, and the publisher started again."""
    public, secret = new_keys()
    mine_public, mine_secret = new_keys()
    settings = {"secret_key": secret, "client_public_keys": [new_keys()[0]]}
    strict = Publisher("127.0.0.1", 0, TOPIC, **settings)
    clock = FakeClock()
    reader = Receiver(
        "127.0.0.1", strict.port, TOPIC, server_public_key=public, client_secret_key=mine_secret, clock=clock
    )
    attend_until(strict, lambda: reader.refused, waiting=(reader,))
    strict.close()

    kind = Publisher("127.0.0.1", strict.port, TOPIC, **settings | {"client_public_keys": [mine_public]})
    attend_until(kind, lambda: clock.advance(1.0) or kind.subscriptions, waiting=(reader,))
    kind.send(b"welcome")

    assert reader.receive(LIMIT_S) == [TOPIC.encode(), b"welcome"]
    reader.close()
    kind.close()


def test_it_may_start_before_its_publisher_and_outlive_it():
    first = Publisher("127.0.0.1", 0, TOPIC)
    port = first.port
    first.close()
    reader = Receiver("127.0.0.1", port, TOPIC)
    for i in range(2):
        publisher = Publisher("127.0.0.1", port, TOPIC)
        attend_until(publisher, lambda publisher=publisher: publisher.subscriptions, waiting=(reader,))
        publisher.send(b"%d" % i)

        assert reader.receive(LIMIT_S) == [TOPIC.encode(), b"%d" % i]
        publisher.close()
    reader.close()


@pytest.mark.parametrize("limit", ["io_threads", "max_queued", "max_message_bytes"])
def test_a_limit_is_at_least_one(limit):
    with pytest.raises(ConfigError, match=f"{limit} is at least 1, got 0"):
        Receiver("127.0.0.1", 5555, TOPIC, **{limit: 0})


def test_neither_end_can_be_pickled(publisher, reader):
    for end in (publisher, reader):
        with pytest.raises(TypeError, match=f"belongs to process {os.getpid()}"):
            pickle.dumps(end)
