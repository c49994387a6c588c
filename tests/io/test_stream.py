"""A live stream between two ends of ours: what arrives, where it listens, who is let in."""

import os
import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from ml.core.errors import ClosedError, ConfigError
from ml.io.stream import Publisher
from ml.io.stream_keys import new_keys, public_key_of
from ml.io.stream_reader import Receiver
from tests.stream_peers import LIMIT_S, attend_until, cutting_proxy

TOPIC = "camera-1"


@pytest.fixture
def publish() -> Iterator[Callable[..., Publisher]]:
    """Makes publishers, which are closed in the end."""
    publishers: list[Publisher] = []

    def make(address: str = "127.0.0.1", **settings: object) -> Publisher:
        publishers.append(Publisher(address, 0, TOPIC, **settings))
        return publishers[-1]

    yield make
    for publisher in publishers:
        publisher.close()


@pytest.fixture
def publisher(publish: Callable[..., Publisher]) -> Publisher:
    return publish()


def reader_of(publisher: Publisher, **keys: str) -> Receiver:
    """A reader of the publisher, whose subscription has arrived."""
    before = publisher.subscriptions
    reader = Receiver(publisher.address, publisher.port, TOPIC, **keys)
    attend_until(publisher, lambda: publisher.subscriptions > before)
    return reader


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_messages_arrive_whole_and_in_order_as_topic_and_payload(publisher):
    reader = reader_of(publisher)
    payloads = [b"", b"\0", os.urandom(3_000_000), *(str(i).encode() for i in range(100))]

    for payload in payloads:
        publisher.send(payload)

    assert [reader.receive(LIMIT_S) for _ in payloads] == [[TOPIC.encode(), payload] for payload in payloads]
    reader.close()


def test_every_subscriber_is_sent_everything(publisher):
    readers = [reader_of(publisher) for _ in range(3)]

    publisher.send(b"one")

    assert [reader.receive(LIMIT_S) for reader in readers] == [[TOPIC.encode(), b"one"]] * 3
    for reader in readers:
        reader.close()


def test_port_0_is_a_free_port_that_is_told(publisher, publish):
    other = publish()

    assert publisher.port != other.port
    assert publisher.url == f"tcp://127.0.0.1:{publisher.port}"
    assert 0 < publisher.port < 65_536


def test_a_port_that_is_taken_is_an_error_at_the_start_that_names_it(publisher):
    with pytest.raises(ConfigError, match=rf"tcp://127\.0\.0\.1:{publisher.port}: Address already in use"):
        Publisher("127.0.0.1", publisher.port, TOPIC)


def test_a_port_is_free_again_after_close():
    first = Publisher("127.0.0.1", 0, TOPIC)
    first.close()

    Publisher("127.0.0.1", first.port, TOPIC).close()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("address", ["::1", "[::1]"])
def test_a_stream_runs_over_ipv6(address, publish):
    publisher = publish(address)
    reader = reader_of(publisher)

    publisher.send(b"one")

    assert reader.receive(LIMIT_S) == [TOPIC.encode(), b"one"]
    reader.close()


@pytest.mark.parametrize("address", ["0.0.0.0", "*", "::", "192.0.2.7"])
def test_what_other_machines_reach_needs_keys_and_the_error_says_how_to_make_them(address):
    with pytest.raises(ConfigError, match=r"needs keys.*new_keys\(\)") as raised:
        Publisher(address, 0, TOPIC)

    assert repr(address) in str(raised.value)


def test_with_keys_it_listens_for_other_machines(publish):
    public, secret = new_keys()
    publisher = publish("*", secret_key=secret)
    reader = Receiver("127.0.0.1", publisher.port, TOPIC, server_public_key=public)
    attend_until(publisher, lambda: publisher.subscriptions)

    publisher.send(b"one")

    assert publisher.address == "0.0.0.0"
    assert reader.receive(LIMIT_S) == [TOPIC.encode(), b"one"]
    reader.close()


def test_an_encrypted_stream_shows_nothing_on_the_wire(publish):
    public, secret = new_keys()
    publisher = publish(secret_key=secret)
    with cutting_proxy(publisher.port) as wire:
        reader = Receiver("127.0.0.1", wire.port, TOPIC, server_public_key=public)
        attend_until(publisher, lambda: publisher.subscriptions)
        publisher.send(b"plain text" * 10)

        assert reader.receive(LIMIT_S) == [TOPIC.encode(), b"plain text" * 10]
        assert wire.seen
        assert b"plain text" not in wire.seen
        assert TOPIC.encode() not in wire.seen
        reader.close()


def refused(publisher: Publisher, caplog: pytest.LogCaptureFixture, **keys: str) -> None:
    """Sees that a reader with these keys is refused, and that both ends say so."""
    reader = Receiver("127.0.0.1", publisher.port, TOPIC, **keys)

    def is_told() -> bool:
        publisher.send(b"secret")
        assert reader.receive(0.0) is None
        return publisher.refused > 0 and reader.refused > 0

    attend_until(publisher, is_told)
    reader.close()
    assert publisher.subscriptions == 0
    assert "refused, because of its key" in caplog.text
    assert "refuses this subscriber" in caplog.text


def test_a_wrong_key_of_the_server_is_refused_and_told_at_both_ends(caplog, publish):
    publisher = publish(secret_key=new_keys()[1])

    refused(publisher, caplog, server_public_key=new_keys()[0])


def test_no_key_is_refused_where_one_is_needed(caplog, publish):
    publisher = publish(secret_key=new_keys()[1])

    refused(publisher, caplog)


def test_a_key_is_refused_where_there_is_none(caplog, publish):
    publisher = publish()

    refused(publisher, caplog, server_public_key=new_keys()[0])


def test_with_known_clients_others_are_refused(caplog, publish):
    public, secret = new_keys()
    friend, _ = new_keys()
    publisher = publish(secret_key=secret, client_public_keys=[friend])

    refused(publisher, caplog, server_public_key=public, client_secret_key=new_keys()[1])


def test_with_known_clients_they_are_let_in(publish):
    public, secret = new_keys()
    friend_public, friend_secret = new_keys()
    publisher = publish(secret_key=secret, client_public_keys=[friend_public, new_keys()[0]])
    reader = reader_of(publisher, server_public_key=public, client_secret_key=friend_secret)

    publisher.send(b"one")

    assert reader.receive(LIMIT_S) == [TOPIC.encode(), b"one"]
    assert publisher.refused == reader.refused == 0
    reader.close()


def test_the_public_key_is_found_from_the_secret_one(publish):
    public, secret = new_keys()
    publisher = publish(secret_key=secret)

    assert publisher.public_key == public_key_of(secret) == public


@pytest.mark.parametrize("key", ["planted", "planted".ljust(41, "x"), "planted".ljust(40, "~"), "#" * 40, "é" * 40])
def test_what_is_no_key_is_refused_and_not_shown(key):
    calls = [
        lambda: Publisher("127.0.0.1", 0, TOPIC, secret_key=key),
        lambda: Publisher("127.0.0.1", 0, TOPIC, secret_key=new_keys()[1], client_public_keys=[key]),
        lambda: Receiver("127.0.0.1", 5555, TOPIC, server_public_key=key),
        lambda: Receiver("127.0.0.1", 5555, TOPIC, server_public_key=new_keys()[0], client_secret_key=key),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="is no CURVE key of 40 characters") as raised:
            call()

        assert "planted" not in str(raised.value)
        assert key not in str(raised.value)


def test_keys_that_check_nothing_are_an_error():
    with pytest.raises(ConfigError, match="client_public_keys need the publisher's own secret key"):
        Publisher("127.0.0.1", 0, TOPIC, client_public_keys=[new_keys()[0]])
    with pytest.raises(ConfigError, match="client_secret_key needs server_public_key"):
        Receiver("127.0.0.1", 5555, TOPIC, client_secret_key=new_keys()[1])


def test_a_secret_is_in_no_repr(publish):
    secret = new_keys()[1]
    publisher = publish(secret_key=secret)

    assert secret not in f"{publisher!r} {publisher}"


@pytest.mark.parametrize("topic", ["", "x" * 256, "é" * 128])
def test_what_is_no_topic_is_refused(topic):
    with pytest.raises(ConfigError, match="1 to 255 bytes"):
        Publisher("127.0.0.1", 0, topic)
    with pytest.raises(ConfigError, match="1 to 255 bytes"):
        Receiver("127.0.0.1", 5555, topic)


@pytest.mark.parametrize("limit", ["max_subscribers", "max_queued", "max_queued_bytes"])
def test_a_limit_is_at_least_one(limit):
    with pytest.raises(ConfigError, match=f"{limit} is at least 1, got 0"):
        Publisher("127.0.0.1", 0, TOPIC, **{limit: 0})


def test_what_is_closed_takes_nothing_and_closes_again(publisher):
    publisher.close()

    for call in (lambda: publisher.send(b"late"), publisher.attend):
        with pytest.raises(ClosedError, match="is closed"):
            call()
    publisher.close()


def test_what_was_sent_before_close_still_arrives(publisher):
    reader = reader_of(publisher)
    for i in range(50):
        publisher.send(str(i).encode())
    publisher.close()

    assert [reader.receive(LIMIT_S) for i in range(50)] == [[TOPIC.encode(), str(i).encode()] for i in range(50)]
    reader.close()


def test_in_a_forked_child_both_ends_are_inert_and_the_parents_go_on(publisher):
    reader = reader_of(publisher)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            publisher.send(b"from the child")
        except ClosedError as error:
            said = str(error)
        is_silent = reader.is_closed and reader.receive() is None
        reader.close()
        publisher.close()
        os.write(tell, f"{said} {is_silent}".encode())
        os._exit(0)
    os.waitpid(child, 0)

    publisher.send(b"from the parent")

    assert os.read(told, 1000).decode() == (
        f"The stream at {publisher.url} belongs to process {os.getpid()}; a forked child cannot send. True"
    )
    assert reader.receive(LIMIT_S) == [TOPIC.encode(), b"from the parent"]
    reader.close()
    os.close(told)
    os.close(tell)


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "zmq", None)

    for make in (lambda: Publisher("127.0.0.1", 0, TOPIC), lambda: Receiver("127.0.0.1", 5555, TOPIC), new_keys):
        with pytest.raises(ConfigError, match=r"needs pyzmq.*ml-logbook\[stream\]"):
            make()
