"""What a subscriber makes of what arrives: records, gaps, damage, other topics, and the ancestor's stream."""

import inspect
import os
import threading
from itertools import islice

import pytest
import zmq

from ml.core.errors import ConfigError
from ml.predictions.publishing import StreamConfig, StreamSink
from ml.predictions.record import numbered
from ml.predictions.subscriber import Subscriber
from tests.predictions.streams import TIMEOUT_S, record, subscriber_of
from tests.stream_peers import attend_until, cutting_proxy


class Foreign:
    """A publisher of ZeroMQ's own that sends whatever frames it is told to, as the ancestor's does."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")

    def subscriber(self, topic: str = "camera", **settings: object) -> Subscriber:
        subscriber = Subscriber("127.0.0.1", self.port, topic, **{"timeout_s": TIMEOUT_S} | settings)
        assert self._socket.poll(1000 * TIMEOUT_S)
        assert self._socket.recv() == b"\x01" + topic.encode()
        return subscriber

    def send(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def send_numbers(self, stream_id: int, *sequences: int) -> None:
        for sequence in sequences:
            self.send(b"camera", numbered(record(sequence).data, stream_id, sequence))

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def foreign():
    foreign = Foreign()
    yield foreign
    foreign.close()


def take(subscriber: Subscriber, count: int) -> list[int]:
    """The numbers of the next records."""
    return [int(read.record_id) for read in islice(subscriber, count)]


def test_its_arguments_are_those_of_the_ancestor_and_the_others_have_names():
    parameters = list(inspect.signature(Subscriber).parameters.values())

    assert [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == [
        ("address", inspect.Parameter.empty),
        ("port", inspect.Parameter.empty),
        ("topic", inspect.Parameter.empty),
        ("max_data_history", 10),
        ("context_io_threads", 1),
    ]


def test_records_of_a_topic_that_only_begins_alike_are_not_given(foreign):
    """The ancestor gave "device-10" to whoever asked for "device-1"."""
    with foreign.subscriber("camera") as subscriber:
        foreign.send(b"camera-10", record(1).data)
        foreign.send(b"camera10", b"no record", b"of three frames")
        foreign.send(b"camera", record(2).data)

        assert take(subscriber, 1) == [2]
        assert subscriber.damaged == 0


def test_what_is_no_record_is_counted_and_skipped(foreign):
    with foreign.subscriber() as subscriber:
        foreign.send(b"camera", b"\xff" * 100)
        foreign.send(b"camera", record(1).data[:-5])
        foreign.send(b"camera")
        foreign.send(b"camera", record(1).data, b"")
        foreign.send(b"camera", record(2).data)

        assert take(subscriber, 1) == [2]
        assert subscriber.damaged == 4


def test_a_gap_is_counted_exactly(foreign):
    with foreign.subscriber() as subscriber:
        foreign.send_numbers(7, 0, 1, 4, 5, 9)

        assert take(subscriber, 5) == [0, 1, 4, 5, 9]
        assert subscriber.missed == 2 + 3


def test_what_was_sent_before_the_first_record_is_not_missed(foreign):
    with foreign.subscriber() as subscriber:
        foreign.send_numbers(7, 1000, 1001)

        assert take(subscriber, 2) == [1000, 1001]
        assert subscriber.missed == 0


def test_a_publisher_that_was_restarted_is_a_new_stream_and_no_gap(foreign):
    with foreign.subscriber() as subscriber:
        foreign.send_numbers(7, 500, 501)
        foreign.send_numbers(8, 0, 1, 3)

        assert take(subscriber, 5) == [500, 501, 0, 1, 3]
        assert subscriber.missed == 1


def test_a_number_that_comes_again_is_no_gap(foreign):
    with foreign.subscriber() as subscriber:
        foreign.send_numbers(7, 3, 3, 2, 4)

        assert take(subscriber, 4) == [3, 3, 2, 4]
        assert subscriber.missed == 0


def test_the_ancestors_records_have_no_numbers_and_no_gaps(foreign):
    with foreign.subscriber() as subscriber:
        for i in (1, 5):
            foreign.send(b"camera", record(i).data)

        assert [read.stream_sequence for read in islice(subscriber, 2)] == [None, None]
        assert subscriber.missed == 0


def test_a_connection_that_is_cut_in_the_middle_of_a_record_is_a_counted_gap():
    sink = StreamSink(StreamConfig(), "camera")
    with cutting_proxy(sink.port) as proxy:
        subscriber = Subscriber("127.0.0.1", proxy.port, "camera", timeout_s=TIMEOUT_S)
        attend_until(sink.publisher, lambda: sink.publisher.subscriptions)
        sink.write([record(0)])
        assert take(subscriber, 1) == [0]

        proxy.cut_after(100)
        sink.write([record(1)])
        attend_until(sink.publisher, lambda: not sink.publisher.subscriptions)
        sink.write([record(2)])
        attend_until(sink.publisher, lambda: subscriber.data and sink.publisher.subscriptions)
        sink.write([record(3), record(4)])

        assert take(subscriber, 2) == [3, 4]
        assert subscriber.missed == 2
        assert subscriber.damaged == 0
        subscriber.close()
    sink.close()


def test_a_restarted_publisher_is_read_on_without_a_gap():
    first = StreamSink(StreamConfig(), "camera")
    subscriber = subscriber_of(first)
    first.write([record(0), record(1)])
    assert take(subscriber, 2) == [0, 1]
    first.close()

    second = StreamSink(StreamConfig(port=first.port), "camera")
    attend_until(second.publisher, lambda: subscriber.data and second.publisher.subscriptions)
    second.write([record(2)])

    assert take(subscriber, 1) == [2]
    assert subscriber.missed == 0
    subscriber.close()
    second.close()


def test_iterating_ends_when_no_record_comes_in_time_and_may_begin_again(foreign):
    with foreign.subscriber(timeout_s=0.0) as subscriber:
        assert list(subscriber) == []

        foreign.send(b"camera", record(1).data)
        while not subscriber.data:
            pass

        assert [read.record_id for read in subscriber] == [record(1).record_id]
        assert list(subscriber) == []


def test_what_is_skipped_does_not_begin_the_wait_anew(foreign):
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 1.0
        return now_s

    with foreign.subscriber(timeout_s=10.0, clock=clock) as subscriber:
        for _ in range(100):
            foreign.send(b"camera-10", b"x")

        assert list(subscriber) == []
        assert now_s < 40.0


def test_logged_data_is_the_next_record_or_none(foreign):
    with foreign.subscriber() as subscriber:
        foreign.send(b"camera", record(1).data)
        foreign.send(b"camera", record(2).data)

        read = [subscriber.logged_data, subscriber.logged_data]

        assert [int(one.record_id) for one in read if one is not None] == [1, 2]
        assert subscriber.logged_data is None


def test_data_is_the_newest_record_and_b_before_the_first(foreign):
    with foreign.subscriber() as subscriber:
        assert subscriber.data == b""

        foreign.send(b"camera", record(1).data)
        foreign.send(b"camera", record(2).data)
        seen = b""
        while seen != record(2).data:
            assert seen in (b"", record(1).data)
            seen = subscriber.data

        assert subscriber.data == record(2).data


def test_reading_data_in_a_loop_takes_nothing_from_who_iterates(foreign):
    """The ancestor's ``data`` hung for ever once a thousand records had come."""
    with foreign.subscriber(max_data_history=5) as subscriber:
        for i in range(3):
            foreign.send(b"camera", record(i).data)
        while subscriber.data != record(2).data:
            pass
        foreign.send(b"camera", record(3).data)

        assert take(subscriber, 4) == [0, 1, 2, 3]
        assert subscriber.passed_over == 0


def test_records_that_data_went_past_are_kept_to_the_history_and_the_others_counted(foreign):
    with foreign.subscriber(max_data_history=2) as subscriber:
        for i in range(50):
            foreign.send(b"camera", record(i).data)
        while subscriber.data != record(49).data:
            pass

        assert subscriber.passed_over == 48
        assert take(subscriber, 2) == [48, 49]


def test_the_history_is_the_last_records_that_were_read(foreign):
    with foreign.subscriber(max_data_history=3) as subscriber:
        assert subscriber.history == ()
        for i in range(5):
            foreign.send(b"camera", record(i).data)

        take(subscriber, 5)

        assert [int(read.record_id) for read in subscriber.history] == [2, 3, 4]


@pytest.mark.parametrize("end", ["close", "shutdown"])
def test_closing_ends_whoever_iterates(foreign, end):
    subscriber = foreign.subscriber(timeout_s=None)
    read: list[int] = []
    iterating = threading.Thread(target=lambda: read.extend(int(one.record_id) for one in subscriber))
    iterating.start()
    foreign.send(b"camera", record(1).data)

    while not read and not subscriber.history:
        pass
    getattr(subscriber, end)()
    iterating.join(TIMEOUT_S)

    assert not iterating.is_alive()
    assert read == [1]
    assert subscriber.is_closed
    assert subscriber.logged_data is None


def test_a_forked_childs_copy_is_as_if_closed(foreign):
    with foreign.subscriber(timeout_s=None) as subscriber:
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(tell, f"{list(subscriber)} {subscriber.data!r} {subscriber.logged_data}".encode())
            subscriber.close()
            os._exit(0)
        os.waitpid(child, 0)
        foreign.send(b"camera", record(1).data)

        assert os.read(told, 1000) == b"[] b'' None"
        assert take(subscriber, 1) == [1]
        os.close(told)
        os.close(tell)


def test_a_history_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="max_data_history is at least 1, got 0"):
        Subscriber("127.0.0.1", 5555, "camera", 0)
