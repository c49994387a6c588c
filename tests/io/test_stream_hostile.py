"""A publisher among subscribers that are slow, silent, gone or hostile: it goes on, and so do the others."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from ml.io.stream import Publisher
from ml.io.stream_reader import Receiver
from tests.stream_peers import (
    GREETING,
    LIMIT_S,
    READY,
    announced,
    attend_until,
    connected,
    cutting_proxy,
    is_cut,
    subscribed,
)

TOPIC = "camera-1"
MIB = 2**20
READING = """
import sys
from ml.io.stream_reader import Receiver
reader = Receiver("127.0.0.1", int(sys.argv[1]), "camera-1")
while reader.receive():
    pass
"""


@pytest.fixture
def publish() -> Iterator[Callable[..., Publisher]]:
    """Makes publishers, which are closed in the end."""
    publishers: list[Publisher] = []

    def make(**settings: int) -> Publisher:
        publishers.append(Publisher("127.0.0.1", 0, TOPIC, **settings))
        return publishers[-1]

    yield make
    for publisher in publishers:
        publisher.close(linger_s=0.0)


@pytest.fixture
def publisher(publish: Callable[..., Publisher]) -> Publisher:
    return publish()


@pytest.fixture
def reader(publisher: Publisher) -> Iterator[Receiver]:
    """A well-behaved subscriber."""
    reader = Receiver("127.0.0.1", publisher.port, TOPIC)
    attend_until(publisher, lambda: publisher.subscriptions)
    yield reader
    reader.close()


def sees_everything(publisher: Publisher, reader: Receiver, payload: bytes = b"payload", count: int = 20) -> bool:
    """Sends messages, and says whether the reader gets each of them."""
    for i in range(count):
        publisher.send(b"%d " % i + payload)
        publisher.attend()
        if reader.receive(LIMIT_S) != [TOPIC.encode(), b"%d " % i + payload]:
            return False
    return True


def test_one_that_never_reads_delays_nobody_and_what_waits_for_it_is_bounded(publish):
    publisher = publish(max_queued_bytes=8 * MIB)
    stalled = subscribed(publisher, TOPIC.encode(), receive_buffer_bytes=4096)
    reader = Receiver("127.0.0.1", publisher.port, TOPIC)
    attend_until(publisher, lambda: publisher.subscriptions == 2)
    before = psutil.Process().memory_info().rss

    assert sees_everything(publisher, reader, bytes(MIB), count=300)

    assert psutil.Process().memory_info().rss - before < 64 * MIB
    assert publisher.subscriptions == 2
    reader.close()
    stalled.close()


def test_one_that_reads_again_gets_what_was_kept_and_then_what_comes(publish):
    publisher = publish(max_queued=10)
    slow = subscribed(publisher, TOPIC.encode(), receive_buffer_bytes=4096)
    for i in range(300):
        publisher.send(b"No. %d." % i + bytes(120_000))

    received = bytearray()
    slow.setblocking(False)
    while not received.endswith(b"end"):
        try:
            received += slow.recv(MIB)
        except BlockingIOError:
            publisher.send(b"end")
    numbers = [int(number) for number in re.findall(rb"No\. (\d+)\.", received)]

    assert numbers[:10] == list(range(10))
    assert len(numbers) < 150
    slow.close()


def test_a_large_message_takes_no_room_from_the_small_ones_that_follow(publish):
    publisher = publish(max_queued_bytes=MIB)
    slow = subscribed(publisher, TOPIC.encode(), receive_buffer_bytes=4096)
    for size_bytes in (30 * MIB, *[1] * 500):  # the first fills every buffer of the connection
        publisher.send(b"x" * size_bytes)

    received = 0
    while received < 30 * MIB + 500 * (len(TOPIC) + 5):
        received += len(slow.recv(MIB))

    assert received == 10 + 30 * MIB + 9 - 10 + (2 + len(TOPIC)) + 500 * (len(TOPIC) + 5)
    slow.close()


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "zeros": bytes(10_000),
    "noise": bytes(range(256)) * 40,
    "half a greeting, then noise": GREETING[:30] + b"\xff" * 1000,
    "4 GiB as a handshake": GREETING + b"\x06" + (2**32).to_bytes(8, "big") + bytes(100),
    "2^63 bytes as a handshake": GREETING + b"\x06" + (2**63).to_bytes(8, "big") + bytes(100),
    "a subscription before the handshake": GREETING + b"\x00\x02\x01c",
    "an unknown mechanism": GREETING.replace(b"NULL", b"EVIL") + READY,
    "a version of the past": b"\x01\x00" * 50,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_cut_and_a_subscriber_is_not_disturbed(publisher, reader, garbage):
    hostile = connected(publisher)
    hostile.sendall(garbage)

    attend_until(publisher, lambda: is_cut(hostile))

    assert sees_everything(publisher, reader)
    attend_until(publisher, lambda: publisher.connections == 1)
    hostile.close()


@pytest.mark.parametrize("size_bytes", [513, 2**32, 2**63])
def test_a_subscriber_that_announces_more_than_a_subscription_is_cut(publisher, reader, size_bytes):
    before = psutil.Process().memory_info().rss
    dead = subscribed(publisher, b"c")  # answers nothing, and is cut for that only later
    hostile = subscribed(publisher, b"c")
    hostile.sendall(announced(size_bytes))

    attend_until(publisher, lambda: is_cut(hostile))

    assert not is_cut(dead)
    assert sees_everything(publisher, reader)
    assert psutil.Process().memory_info().rss - before < 16 * MIB
    hostile.close()
    dead.close()


def test_what_a_subscriber_says_beside_subscriptions_is_passed_over(publisher, reader):
    talker = subscribed(publisher, b"c")
    talker.sendall((b"\x00\xff\x07" + bytes(254)) * 300 + b"\x00\x02\x01x")

    attend_until(publisher, lambda: publisher.subscriptions == 3)

    assert sees_everything(publisher, reader)
    talker.close()


def test_hundreds_of_connections_that_say_nothing_disturb_no_subscriber_and_are_cut(publisher, reader):
    dead = subscribed(publisher, b"c")  # answers nothing, and is cut for that only later
    silent = [connected(publisher) for _ in range(300)]
    for client in silent[::2]:
        client.sendall(GREETING[:11])  # as a slow loris begins

    assert sees_everything(publisher, reader)
    attend_until(publisher, lambda: publisher.connections == 2)

    assert all(is_cut(client) for client in silent)
    assert not is_cut(dead)
    assert sees_everything(publisher, reader)
    for client in [dead, *silent]:
        client.close()


def test_more_subscribers_than_allowed_are_let_in_when_others_have_gone(publish, caplog):
    publisher = publish(max_subscribers=2)
    first, second = (subscribed(publisher, TOPIC.encode()) for _ in range(2))
    third = Receiver("127.0.0.1", publisher.port, TOPIC)
    attend_until(publisher, lambda: publisher.refused)
    assert publisher.subscriptions == 2
    assert "too many" in caplog.text

    first.close()
    attend_until(publisher, lambda: publisher.subscriptions == 1)
    attend_until(publisher, lambda: publisher.subscriptions == 2, waiting=(third,))

    assert sees_everything(publisher, third)
    second.close()
    third.close()


def test_one_that_subscribes_without_end_is_cut_and_the_others_come_again(publisher, reader, caplog):
    before = psutil.Process().memory_info().rss
    hostile = subscribed(publisher, b"c")
    hostile.settimeout(0.01)

    def is_over() -> bool:
        try:
            hostile.sendall(b"".join(b"\x00\xc8\x01" + os.urandom(199) for _ in range(100)))
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    attend_until(publisher, is_over)
    attend_until(publisher, lambda: publisher.subscriptions == 1, waiting=(reader,))

    assert sees_everything(publisher, reader)
    assert "more than 1024 subscriptions; all are cut" in caplog.text
    assert psutil.Process().memory_info().rss - before < 64 * MIB
    hostile.close()


def test_more_connections_than_the_process_can_afford_are_cut_and_subscribers_come_again(publish, monkeypatch, caplog):
    monkeypatch.setattr("ml.io.stream._MAX_CONNECTIONS", 20)
    publisher = publish()
    reader = Receiver("127.0.0.1", publisher.port, TOPIC)
    attend_until(publisher, lambda: publisher.subscriptions)
    silent = [connected(publisher) for _ in range(30)]

    attend_until(publisher, lambda: all(is_cut(client) for client in silent))
    attend_until(publisher, lambda: publisher.subscriptions, waiting=(reader,))

    assert sees_everything(publisher, reader)
    assert "more than 20 connections; all are cut" in caplog.text
    reader.close()


def test_connections_that_come_and_go_leave_nothing_behind(publisher, reader):
    for _ in range(20):
        clients = [connected(publisher) for _ in range(20)]
        for client in clients:
            client.close()
        publisher.attend()

    attend_until(publisher, lambda: publisher.connections == 1)
    assert sees_everything(publisher, reader)


def test_a_connection_cut_in_the_middle_of_a_message_is_made_again(publisher):
    with cutting_proxy(publisher.port) as proxy:
        reader = Receiver("127.0.0.1", proxy.port, TOPIC)
        attend_until(publisher, lambda: publisher.subscriptions)
        assert sees_everything(publisher, reader)

        proxy.cut_after(1000)
        publisher.send(bytes(100_000))
        attend_until(publisher, lambda: not publisher.subscriptions)
        attend_until(publisher, lambda: publisher.subscriptions, waiting=(reader,))

        assert sees_everything(publisher, reader)
        reader.close()


def test_close_waits_no_longer_than_it_may_for_one_that_does_not_read(publish):
    publisher = publish()
    stalled = subscribed(publisher, TOPIC.encode(), receive_buffer_bytes=4096)
    for _ in range(50):
        publisher.send(bytes(MIB))

    publisher.close(linger_s=0.1)  # for ever, if it waited for it: the test would time out

    stalled.close()


@pytest.mark.slow
@pytest.mark.parametrize("is_busy", [True, False], ids=["busy", "idle"])
def test_a_stopped_subscriber_is_cut_and_comes_again_when_it_goes_on(publisher, reader, is_busy):
    child = subprocess.Popen([sys.executable, "-c", READING, str(publisher.port)])
    attend_until(publisher, lambda: publisher.subscriptions == 2)
    os.kill(child.pid, signal.SIGSTOP)

    def is_alone() -> bool:
        if is_busy:
            assert sees_everything(publisher, reader, bytes(100_000), count=1)
        return publisher.connections == 1

    attend_until(publisher, is_alone)
    os.kill(child.pid, signal.SIGCONT)
    attend_until(publisher, lambda: publisher.subscriptions == 2)

    assert sees_everything(publisher, reader)
    child.kill()
    child.wait()


@pytest.mark.slow
@pytest.mark.parametrize("is_busy", [True, False], ids=["busy", "idle"])
def test_one_that_has_vanished_without_a_word_is_cut(publisher, reader, is_busy):
    # It reads nothing and answers nothing, as a machine without power; only its kernel still holds the connection.
    vanished = subscribed(publisher, TOPIC.encode(), receive_buffer_bytes=4096)

    def is_alone() -> bool:
        if is_busy:
            assert sees_everything(publisher, reader, bytes(100_000), count=1)
        return publisher.connections == 1

    attend_until(publisher, is_alone)

    assert sees_everything(publisher, reader)
    vanished.close()
