"""Records on their way to subscribers: numbered, in another process, and never waited for."""

import json
import subprocess
import sys
from itertools import islice

import pytest

from ml.core.errors import ClosedError, ConfigError
from ml.io.stream_keys import new_keys
from ml.predictions.publishing import StreamConfig, StreamSink
from ml.predictions.record import Record
from ml.predictions.sink import WRITTEN
from ml.predictions.subscriber import Subscriber
from tests.predictions.streams import record, subscriber_of
from tests.stream_peers import LIMIT_S, attend_until

# Says what it was sent, as JSON, until it has seen the error that ends it.
READING = """
import json, sys
from ml.predictions import Subscriber
with Subscriber("127.0.0.1", int(sys.argv[1]), "camera", timeout_s=30) as subscriber:
    for record in subscriber:
        pixel = None if record.image is None else record.image[0, 0].tolist()
        print(json.dumps([record.record_id, record.detection, pixel, record.error_message]))
        if record.is_error:
            break
    print(json.dumps([subscriber.missed, subscriber.damaged]))
"""


@pytest.fixture
def sink():
    sink = StreamSink(StreamConfig(), "camera")
    yield sink
    sink.close()


def test_another_process_reads_every_record_as_it_was_logged(sink):
    child = subprocess.Popen([sys.executable, "-c", READING, str(sink.port)], stdout=subprocess.PIPE)
    attend_until(sink.publisher, lambda: sink.publisher.subscriptions)

    outcomes = sink.write([*(record(i) for i in range(200)), record(200, error_message="camera is dark")])
    said, _ = child.communicate(timeout=LIMIT_S)
    *records, (missed, damaged) = [json.loads(line) for line in said.splitlines()]

    assert outcomes == [WRITTEN] * 201
    assert [read[0] for read in records] == [record(i).record_id for i in range(201)]
    assert records[7][1] == [
        {
            "x": 7.5,
            "y": 2.0,
            "width": 3.0,
            "height": 4.0,
            "confidence": 0.5,
            "classification": [{"class_name": "cat", "probability": 0.5}],
        }
    ]
    assert records[7][2] == [7, 7, 7]
    assert records[200][3] == "camera is dark"
    assert (missed, damaged) == (0, 0)


def test_records_are_numbered_from_0_under_one_number_of_the_stream(sink):
    with subscriber_of(sink) as subscriber:
        sink.write([record(0), record(1)])
        sink.write([record(2)])

        numbers = [(read.stream_id, read.stream_sequence) for read in islice(subscriber, 3)]

    assert numbers == [(sink.stream_id, 0), (sink.stream_id, 1), (sink.stream_id, 2)]


def test_every_stream_has_a_number_of_its_own(sink):
    other = StreamSink(StreamConfig(), "camera")

    assert sink.stream_id != other.stream_id
    other.close()


def test_the_topic_is_the_device_unless_another_is_set():
    sink = StreamSink(StreamConfig(topic="line 4"), "camera")
    with subscriber_of(sink, "line 4") as subscriber:
        sink.write([record(0)])

        assert subscriber.logged_data is not None
    sink.close()


def test_idle_wants_to_be_called_again_soon_as_it_is_what_lets_subscribers_in(sink):
    delay_s = sink.idle()

    assert delay_s is not None
    assert 0 < delay_s <= 0.1


def test_a_sink_without_subscribers_keeps_nothing_and_fails_not(sink):
    assert sink.write([record(i) for i in range(1000)]) == [WRITTEN] * 1000
    sink.flush()


def test_a_closed_sink_says_so(sink):
    sink.close()

    with pytest.raises(ClosedError, match="is closed"):
        sink.write([record(0)])


def test_a_port_that_is_taken_is_an_error_at_the_start(sink):
    with pytest.raises(ConfigError, match=f"127.0.0.1:{sink.port}"):
        StreamSink(StreamConfig(port=sink.port), "camera")


def test_the_configured_port_is_the_one_that_is_bound(sink):
    """The ancestor gave its address for its port, and bound port 127."""
    sink.close()
    again = StreamSink(StreamConfig(address="127.0.0.1", port=sink.port), "camera")

    assert again.publisher.url == f"tcp://127.0.0.1:{sink.port}"
    again.close()


def test_by_default_nobody_else_can_listen():
    assert StreamConfig().address == "127.0.0.1"
    with pytest.raises(ConfigError, match="needs keys"):
        StreamSink(StreamConfig(address="0.0.0.0"), "camera")


def test_the_secret_key_is_in_no_repr_and_no_error():
    secret = new_keys()[1]
    config = StreamConfig(server_secret_key=secret)

    with pytest.raises(ConfigError) as raised:
        StreamSink(StreamConfig(server_secret_key=secret + "x"), "camera")

    assert secret not in repr(config)
    assert secret not in str(raised.value)


def test_with_keys_records_are_read_by_those_who_have_them():
    public, secret = new_keys()
    friend_public, friend_secret = new_keys()
    sink = StreamSink(StreamConfig(server_secret_key=secret, client_public_keys=[friend_public]), "camera")
    friend = Subscriber("127.0.0.1", sink.port, "camera", server_public_key=public, client_secret_key=friend_secret)
    stranger = Subscriber("127.0.0.1", sink.port, "camera", server_public_key=public)
    attend_until(sink.publisher, lambda: sink.publisher.subscriptions and stranger.data == b"" and stranger.refused)

    sink.write([record(0)])

    read = friend.logged_data
    assert read is not None
    assert read.record_id == record(0).record_id
    assert stranger.data == b""
    friend.close()
    stranger.close()
    sink.close()


def test_the_number_does_not_change_the_record(sink):
    sent = record(0)
    with subscriber_of(sink) as subscriber:
        sink.write([sent])
        read = subscriber.logged_data

        assert read is not None
        assert subscriber.data.startswith(sent.data)
        assert read.detection == type(read).from_bytes(sent.data).detection
    assert isinstance(sent, Record)
