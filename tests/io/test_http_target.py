"""What a client of an endpoint does whatever the endpoint says: never hangs, never follows, never tells its key."""

import base64
import hashlib
import logging
import socket
import threading
from contextlib import contextmanager, suppress

import pytest

from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.io.http_request import MAX_BODY_BYTES, request
from ml.io.http_target import MAX_RETRY_AFTER_S, HttpTarget
from ml.io.sending import NotNow
from ml.io.store import Refused
from tests.scripted_http import DROP, Answer, in_turn, scripted

KEY = "correct horse".replace(" ", "-") + "-battery"
DATA = b"hello" * 1000


def digest(data=DATA):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def kept(status=201, data=DATA):
    return Answer(status, headers={"Content-Digest": digest(data)})


def target_of(server, **settings):
    return HttpTarget(server.url, KEY, **{"timeout_s": 20.0} | settings)


@contextmanager
def raw_server(speak):
    """Yields the URL of a server that does to a connection whatever ``speak`` does."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                speak(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def test_an_object_is_sent_with_its_digest_and_only_to_be_made():
    with scripted(in_turn(kept())) as server:
        assert target_of(server).create("a b/ü.zip", DATA)
        (asked,) = server.requests

    assert (asked.method, asked.path) == ("PUT", "/v1/objects/a%20b/%C3%BC.zip")
    assert asked.body == DATA
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["if-none-match"] == "*"
    assert asked.headers["content-digest"] == digest()
    assert asked.headers["content-length"] == str(len(DATA))


@pytest.mark.parametrize(
    ("answer", "result"),
    [(kept(200), True), (kept(412), True), (kept(412, b"other"), False)],
    ids=["again", "there", "other"],
)
def test_what_is_there_already_counts_if_it_is_the_same(answer, result):
    with scripted(in_turn(answer)) as server:
        assert target_of(server).create("a", DATA) is result


@pytest.mark.parametrize(
    ("answer", "result"),
    [(kept(200), True), (kept(200, b"other"), False), (Answer(404), False)],
    ids=["there", "other", "not there"],
)
def test_it_can_be_asked_what_it_has(answer, result):
    with scripted(in_turn(answer)) as server:
        assert target_of(server).holds("a", DATA) is result
        assert [asked.method for asked in server.requests] == ["HEAD"]


@pytest.mark.parametrize("status", [200, 201, 204, 412])
def test_an_answer_without_the_digest_of_what_was_kept_is_no_success(status):
    answer = Answer(status, b"" if status == 204 else b"<html>Welcome to the hotel")
    with scripted(in_turn(answer)) as server, pytest.raises(Refused):
        target_of(server).create("a", DATA)


def test_an_answer_with_another_digest_is_no_success():
    with scripted(in_turn(kept(201, b"half"))) as server, pytest.raises(WriteError, match="something else"):
        target_of(server).create("a", DATA)


@pytest.mark.parametrize("status", [408, 422, 425, 429, 500, 502, 503, 504])
def test_what_passes_by_itself_is_to_be_tried_again(status):
    with scripted(in_turn(Answer(status, b"later"))) as server, pytest.raises(WriteError, match=f"{status}") as caught:
        target_of(server).create("a", DATA)

    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 501])
def test_what_does_not_is_refused(status):
    with scripted(in_turn(Answer(status))) as server, pytest.raises(Refused, match=f"{status}"):
        target_of(server).create("a", DATA)


def test_what_is_too_large_is_the_fault_of_the_object_alone():
    with scripted(in_turn(Answer(413))) as server, pytest.raises(LogValueError, match="413"):
        target_of(server).create("a", DATA)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999", MAX_RETRY_AFTER_S),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
    ids=["seconds", "none", "days", "date", "past"],
)
def test_how_long_the_server_wants_to_be_left_alone_is_heard(said, seconds):
    with scripted(in_turn(Answer(429, headers={"Retry-After": said}))) as server, pytest.raises(NotNow) as caught:
        target_of(server, wall_clock=lambda: 1000.0).create("a", DATA)

    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize("said", ["", "-1", "soon", "1e9", "Thu, 99 Foo"])
def test_what_is_no_time_is_not(said):
    with scripted(in_turn(Answer(503, headers={"Retry-After": said}))) as server, pytest.raises(WriteError) as caught:
        target_of(server).create("a", DATA)

    assert not isinstance(caught.value, NotNow)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_is_followed_anywhere_and_no_other_host_sees_the_key(status):
    with scripted(in_turn(kept())) as other:
        answer = Answer(status, headers={"Location": f"{other.url}/v1/objects/a"})
        with scripted(in_turn(answer)) as server, pytest.raises(Refused, match=r"127\.0\.0\.1, which is not followed"):
            target_of(server).create("a", DATA)
        assert other.requests == []


def test_the_key_is_in_no_message_log_or_repr_even_if_the_server_quotes_it(caplog):
    caplog.set_level(logging.DEBUG)
    quoted = [KEY, base64.b64encode(KEY.encode()).decode(), KEY.encode().hex(), f"Bearer {KEY}"]
    messages = []
    for said in quoted:
        with scripted(in_turn(Answer(401, f"no such key: {said}".encode()))) as server:
            target = target_of(server)
            with pytest.raises(Refused) as caught:
                target.create("a", DATA)
            messages += [str(caught.value), repr(target)]
            with pytest.raises(Refused, match="Check the key") as caught:
                target.holds("a", DATA)

    text = "\n".join([*messages, caplog.text])
    assert not any(said in text for said in quoted)
    assert "401" in text


def test_a_server_that_quotes_the_key_in_a_redirect_does_not_get_it_into_a_message():
    answer = Answer(307, headers={"Location": f"http://{KEY}.example.com/"})
    with scripted(in_turn(answer)) as server, pytest.raises(Refused) as caught:
        HttpTarget(server.url, KEY.upper()).create("a", DATA)

    assert KEY not in str(caught.value).lower()


def test_of_a_huge_answer_only_the_start_is_read():
    with scripted(in_turn(Answer(500, b"x" * 2**24))) as server:
        answer = request("PUT", server.url, {}, b"", timeout_s=20.0)

    assert len(answer.body) == MAX_BODY_BYTES


@pytest.mark.parametrize(
    "answer",
    [DROP, Answer(500, b"x" * 100, cut_at=10), Answer(500, headers={"Content-Length": "-1"})],
    ids=["dropped", "cut", "strange length"],
)
def test_a_connection_that_breaks_is_to_be_tried_again(answer):
    with scripted(in_turn(answer)) as server, pytest.raises(WriteError) as caught:
        target_of(server).create("a", DATA)

    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize(
    "answer",
    [Answer(0, hangs=True), Answer(500, b"x" * 1000, hangs=True, cut_at=1), Answer(500, b"x" * 1000, drips=True)],
    ids=["says nothing", "hangs", "drips"],
)
def test_the_deadline_is_for_the_whole_answer(answer):
    with scripted(in_turn(answer)) as server, pytest.raises(WriteError):
        target_of(server, timeout_s=0.2).create("a", DATA)


def test_a_server_that_drips_its_headers_has_no_more_time_than_the_others():
    def speak(connection):
        connection.recv(100)
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000:
            connection.sendall(bytes([byte]))
            if waiting.wait(0.02):
                return

    waiting = threading.Event()
    with raw_server(speak) as url:
        with pytest.raises(WriteError, match=r"within 0\.3 s"):
            HttpTarget(url, timeout_s=0.3).create("a", DATA)
        waiting.set()


def test_a_server_that_reads_nothing_has_no_more_time_than_the_others():
    waiting = threading.Event()
    with raw_server(lambda connection: waiting.wait()) as url:
        with pytest.raises(WriteError, match=r"within 0\.3 s"):
            HttpTarget(url, timeout_s=0.3).create("a", b"x" * 2**26)
        waiting.set()


def test_what_a_server_says_before_it_hangs_up_on_a_large_body_is_heard():
    def speak(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")  # and is closed, with most unread

    with raw_server(speak) as url, pytest.raises(Refused, match="401"):
        HttpTarget(url, KEY, timeout_s=20.0).create("a", b"x" * 2**23)


@pytest.mark.parametrize(
    "said", [b"hello\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0" * 100_000, b"HTTP/1.1 200" + b"x" * 100_000]
)
def test_what_is_no_http_is_to_be_tried_again(said):
    def speak(connection):
        connection.recv(2**16)
        connection.sendall(said)

    with raw_server(speak) as url, pytest.raises(WriteError):
        HttpTarget(url, timeout_s=20.0).create("a", b"")


def test_a_host_that_nobody_knows_is_to_be_tried_again():
    with pytest.raises(WriteError, match="resolved") as caught:
        HttpTarget("https://no-such-host.invalid", KEY, timeout_s=20.0).create("a", DATA)

    assert not isinstance(caught.value, Refused)


def test_a_port_where_nobody_listens_is_to_be_tried_again():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(WriteError, match="refused"):
        HttpTarget(f"http://127.0.0.1:{port}", KEY).create("a", DATA)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host", "https://", "https://user:password@host", "https://host/?key=x", "https://host/#x",
        "https://host:x", "https://host:0", "https://[", "https://hö.st", "https://host/a b", "http://example.com",
        "http://localhost.example.com", "http://127.0.0.1.example.com",
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused_at_once_and_without_what_it_may_hold(url):
    with pytest.raises(ConfigError) as caught:
        HttpTarget(url, KEY)

    assert "password" not in str(caught.value).replace("user and password", "")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1", "http://[::1]:8080/a", "https://host/a/b/"])
def test_what_is_an_endpoint_is_taken(url):
    assert HttpTarget(url).url == url.rstrip("/")


def test_http_to_another_machine_has_to_be_allowed():
    assert HttpTarget("http://example.com", KEY, allow_http=True).url == "http://example.com"


@pytest.mark.parametrize("key", ["", "a b", "a\r\nX: y", "ü", "x" * 5000])
def test_a_key_that_cannot_be_sent_is_refused_and_not_told(key):
    with pytest.raises(ConfigError) as caught:
        HttpTarget("https://host", key)

    assert not key or key not in str(caught.value)
