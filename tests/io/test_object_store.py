"""What goes wrong between here and a bucket: with a scripted server, a clock that only sleeping moves, and Swift."""

import os
import re
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest

from ml.core.errors import ConfigError, FormatError, LogValueError, WriteError
from ml.io.object_store import ObjectStore
from ml.io.store import Entry, Refused, StoreConfig, open_store
from ml.io.store_errors import MAX_MESSAGE
from ml.io.store_probe import probe_conditional_create
from ml.testing import FakeClock
from tests.scripted_http import DROP, Answer, Request, ScriptedServer, in_turn, scripted

ROOT = Path(__file__).parents[2]
SECRET = "vErY/SeCrEt+KeY0123456789abcdefghijklmno"
TOKEN = "a-session-token-that-nobody-may-see"
FOUND = {"ETag": '"x"', "Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"}
OK = Answer(200, b"", FOUND)
LISTED = b"""<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>%s</ListBucketResult>"""
ATTEMPT_S = 0.3  # long enough for what answers at once, short enough to wait for


def error(code: str, message: str = "A message.") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def listed(*keys: str) -> Answer:
    of_each = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-11-29T00:00:00.000Z</LastModified><Size>1</Size></Contents>"
        for key in keys
    )
    return Answer(200, LISTED % of_each.encode())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_store(clock: FakeClock, tmp_path: Path) -> Callable[..., ObjectStore]:
    """Makes stores whose pauses move the clock alone, each the longest that it may be."""

    def make(server: ScriptedServer | str, *, attempts: int | None = None, **settings: float) -> ObjectStore:
        url = server if isinstance(server, str) else server.url
        config = StoreConfig(
            "s3://bucket",
            endpoint_url=url,
            access_key_id="KEYID",
            secret_access_key=SECRET,
            session_token=TOKEN,
            **({"timeout_s": 5.0} | settings),
        )
        return ObjectStore(
            config,
            attempts=attempts,
            environ={"HOME": str(tmp_path)},
            clock=clock,
            sleep=clock.advance,
            chance=lambda: 1.0,
        )

    return make


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "create": lambda store: store.create("a/b", b"data"),
    "put": lambda store: store.put("a/b", b"data"),
    "get": lambda store: store.get("a/b", max_bytes=100),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("a/b"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
WELL = {"GET": Answer(200, b"data", FOUND), "PUT": OK, "DELETE": Answer(204)}


def well(request: Request) -> Answer:
    return listed("a/b") if "list-type" in request.path else WELL[request.method]


# what passes


@every_call
@pytest.mark.parametrize(
    "fault",
    [
        Answer(500, b"oops"),
        Answer(502),
        Answer(503, error("SlowDown")),
        Answer(429, error("TooManyRequests"), {"Retry-After": "7"}),
        Answer(400, error("RequestTimeout")),
        DROP,
    ],
    ids=["500", "502", "503-slow-down", "429", "400-request-timeout", "dropped"],
)
def test_what_passes_is_tried_again_until_it_goes_well(make_store, clock, call, fault):
    faults = [fault, fault]

    with scripted(lambda request: faults.pop() if faults else well(request)) as server:
        call(make_store(server))

    assert len(server.requests) == 3
    assert clock.now_s == pytest.approx(0.2 + 0.4)


@every_call
def test_what_does_not_pass_in_time_is_told_when_the_deadline_is_near(make_store, clock, call):
    with (
        scripted(lambda request: Answer(503, error("SlowDown", "Please reduce your request rate."))) as server,
        pytest.raises(WriteError, match=r"Cannot .*s3://bucket: 503 SlowDown Please reduce") as caught,
    ):
        call(make_store(server, deadline_s=60.0))

    assert not isinstance(caught.value, Refused)
    assert 20.0 < clock.now_s < 60.0
    assert len(server.requests) < 12


@every_call
def test_with_one_attempt_nothing_is_sent_twice(make_store, clock, call):
    with scripted(lambda request: Answer(500)) as server, pytest.raises(WriteError):
        call(make_store(server, attempts=1))

    assert len(server.requests) == 1
    assert clock.now_s == 0.0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Answer(200, b"0123456789", FOUND, cut_at=4), "connection broke"),
        (Answer(200, b"0123456789", FOUND, cut_at=4, hangs=True), "did not answer in time"),
        (Answer(200, b"0123456789" * 100, FOUND, drips=True), "did not answer in time"),
    ],
    ids=["reset", "hang", "drip"],
)
def test_a_body_that_does_not_come_is_given_up_in_the_time_of_an_attempt(make_store, fault, reason):
    with scripted(in_turn(fault, Answer(200, b"whole", FOUND))) as server:
        store = make_store(server, timeout_s=ATTEMPT_S)
        with pytest.raises(WriteError, match=reason):
            make_store(server, timeout_s=ATTEMPT_S, attempts=1).get("a", max_bytes=10_000)
        assert store.get("a", max_bytes=100) == b"whole"


@every_call
def test_a_server_that_never_answers_is_given_up(make_store, call):
    with (
        scripted(lambda request: Answer(0, hangs=True)) as server,
        pytest.raises(WriteError, match="did not answer in time"),
    ):
        call(make_store(server, timeout_s=ATTEMPT_S, attempts=1))


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://127.0.0.1:9", "cannot be connected to"), ("https://nowhere.invalid", "name cannot be resolved")],
)
@every_call
def test_a_server_that_is_not_there_is_told(make_store, call, url, reason):
    with pytest.raises(WriteError, match=reason) as caught:
        call(make_store(url, attempts=1))

    assert not isinstance(caught.value, Refused)


def test_a_list_goes_on_after_the_last_key_that_came(make_store):
    pages = [
        Answer(
            200,
            listed(*(f"k{i:04}" for i in range(1000))).body.replace(
                b"false</IsTruncated>", b"true</IsTruncated><NextContinuationToken>next</NextContinuationToken>"
            ),
        ),
        Answer(500),
        listed("k1000", "k1001"),
    ]

    with scripted(lambda request: pages.pop(0) if pages else listed()) as server:
        entries = list(make_store(server).list())

    assert entries == [Entry(f"k{i:04}", 1) for i in range(1002)]
    assert "continuation-token=next" in server.requests[1].path
    assert "start-after=k0999" in server.requests[2].path


def test_a_list_in_another_order_is_refused(make_store):
    with scripted(lambda request: listed("b", "a")) as server, pytest.raises(Refused, match="another order"):
        list(make_store(server).list())


# what does not pass


@every_call
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ExpiredToken"),
        (401, "Unauthorized"),
        (403, "SignatureDoesNotMatch"),
        (403, "AccessDenied"),
        (404, "NoSuchBucket"),
        (405, "MethodNotAllowed"),
        (501, "NotImplemented"),
    ],
)
def test_what_does_not_pass_is_refused_at_once(make_store, clock, call, status, code):
    with (
        scripted(lambda request: Answer(status, error(code, "Because."))) as server,
        pytest.raises(Refused, match=f"s3://bucket: {status} {code} Because"),
    ):
        call(make_store(server))

    assert len(server.requests) == 1
    assert clock.now_s == 0.0


@pytest.mark.parametrize(("status", "code"), [(400, "KeyTooLongError"), (400, "EntityTooLarge"), (413, "X")])
def test_what_one_key_is_at_fault_for_is_no_refusal_of_the_others(make_store, status, code):
    with scripted(lambda request: Answer(status, error(code))) as server, pytest.raises(LogValueError, match=code):
        make_store(server).create("a", b"x")


def echo(request: Request) -> bytes:
    """What servers say of a signature that does not match: all that was signed, and with what."""
    parts = [f"{name}={value}" for name, value in request.headers.items()]
    return f"{SECRET} {request.headers.get('authorization')} {' '.join(parts)} {SECRET}".encode()


@every_call
@pytest.mark.parametrize("form", ["xml", "message", "at-the-cut", "text", "huge"])
@pytest.mark.parametrize("status", [403, 500])
def test_no_secret_is_in_an_error_whatever_the_server_quotes(make_store, call, status, form):
    signatures = []

    def answer(request: Request) -> Answer:
        signatures.append(re.search("Signature=(.*)", request.headers["authorization"])[1])
        said = echo(request)
        quoted = b"<Error><Code>Bad</Code><Message>No.</Message><StringToSign>%s</StringToSign></Error>" % said
        if form == "at-the-cut":
            quoted = error("Bad", "x" * (MAX_MESSAGE - 40) + SECRET)
        if form == "message":
            quoted = error("Bad", said.decode().replace("<", ""))
        return Answer(status, {"text": said, "huge": said * 5000}.get(form, quoted))

    with scripted(answer) as server, pytest.raises(WriteError) as caught:
        call(make_store(server, attempts=1))

    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 3 * MAX_MESSAGE
    for secret in (SECRET, TOKEN, *signatures):
        assert secret not in told
        assert secret[:12] not in told


def test_after_a_refusal_the_keys_are_read_anew(clock, tmp_path):
    def write(secret: str) -> None:
        path.write_text(f"[default]\naws_access_key_id = {secret}\naws_secret_access_key = {secret}\n")

    def answer(request: Request) -> Answer:
        is_renewed = "Credential=renewed/" in request.headers["authorization"]
        return OK if is_renewed else Answer(403, error("ExpiredToken"))

    path = tmp_path / "keys"
    write("expired")
    with scripted(answer) as server:
        config = StoreConfig("s3://bucket", endpoint_url=server.url)
        store = ObjectStore(config, environ={"AWS_SHARED_CREDENTIALS_FILE": str(path), "HOME": str(tmp_path)})
        for _ in range(2):
            with pytest.raises(Refused, match="ExpiredToken"):
                store.put("a", b"")
        write("renewed")
        store.put("a", b"")

    assert [request.method for request in server.requests] == ["PUT"] * 3


def test_keys_of_the_environment_are_not_mixed_with_those_of_the_configuration(make_store, monkeypatch):
    with scripted(well) as other, scripted(well) as server:
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
            monkeypatch.setenv(name, other.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OTHER")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other-secret")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "other-token")
        make_store(server).put("a", b"")

    assert other.requests == []
    assert server.requests[0].headers["x-amz-security-token"] == TOKEN
    assert "Credential=KEYID/" in server.requests[0].headers["authorization"]


# another host


@every_call
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_never_takes_the_authorization_to_another_host(make_store, call, status):
    with scripted(well) as other:
        elsewhere = f"http://localhost:{other.port}"
        redirect = lambda request: Answer(status, b"", {"Location": elsewhere + request.path})  # noqa: E731
        with scripted(redirect) as server, suppress(Refused):  # of what has a body no redirect is followed
            call(make_store(server, attempts=1))

    for request in other.requests:
        assert request.method != "PUT"
        assert request.body == b""
        assert "authorization" not in request.headers
        assert SECRET not in str(request)


def test_a_redirect_to_nowhere_is_refused(make_store):
    with (
        scripted(lambda request: Answer(301, error("PermanentRedirect"))) as server,
        pytest.raises(Refused, match="the region or the endpoint is another one"),
    ):
        make_store(server).put("a", b"")

    assert len(server.requests) == 1


# success in doubt


class Bucket:
    """A server that keeps objects, and does to answers what a test says."""

    def __init__(self, *, honours_conditions: bool = True) -> None:
        self.objects: dict[str, bytes] = {}
        self.lose_answers = 0
        self._honours_conditions = honours_conditions

    def __call__(self, request: Request) -> Answer:
        if request.method == "PUT":
            if self._honours_conditions and "if-none-match" in request.headers and request.path in self.objects:
                return Answer(412, error("PreconditionFailed"))
            self.objects[request.path] = request.body
            if self.lose_answers:
                self.lose_answers -= 1
                return DROP
            return OK
        if request.method == "DELETE":
            self.objects.pop(request.path, None)
            return Answer(204)
        if request.path not in self.objects:
            return Answer(404, error("NoSuchKey"))
        return Answer(200, self.objects[request.path], FOUND)


def test_what_was_kept_though_the_answer_was_lost_is_created_once(make_store):
    bucket = Bucket()
    bucket.lose_answers = 1

    with scripted(bucket) as server:
        assert make_store(server).create("a", b"mine") is True

    assert [request.method for request in server.requests] == ["PUT", "PUT", "GET"]
    assert bucket.objects == {"/bucket/a": b"mine"}


def test_it_is_known_again_by_a_later_call_too(make_store):
    bucket = Bucket()
    bucket.lose_answers = 1

    with scripted(bucket) as server:
        store = make_store(server, attempts=1)
        with pytest.raises(WriteError):
            store.create("a", b"mine")
        assert store.create("a", b"mine") is True
        assert store.create("a", b"else") is False


def test_a_conflict_with_nothing_kept_is_tried_again(make_store):
    bucket = Bucket()
    conflicts = [Answer(409, error("ConditionalRequestConflict"))]

    def answer(request: Request) -> Answer:
        return conflicts.pop() if conflicts and request.method == "PUT" else bucket(request)

    with scripted(answer) as server:
        assert make_store(server).create("a", b"mine") is True

    assert [request.method for request in server.requests] == ["PUT", "GET", "PUT"]


def test_creates_are_conditional_and_every_object_is_one_request_with_its_hash(make_store):
    with scripted(well) as server:
        store = make_store(server, timeout_s=30.0)
        store.create("a", b"x" * 20 * 2**20)
        store.put("a", b"x" * 20 * 2**20)

    assert [(request.method, request.path) for request in server.requests] == [("PUT", "/bucket/a")] * 2
    assert server.requests[0].headers["if-none-match"] == "*"
    assert "if-none-match" not in server.requests[1].headers
    assert len(server.requests[0].headers["x-amz-content-sha256"]) == 64


def test_a_server_that_ignores_the_condition_is_found(make_store):
    bucket = Bucket(honours_conditions=False)

    with scripted(bucket) as server, pytest.raises(Refused, match=r"s3://bucket does not keep .* 8 were told"):
        probe_conditional_create(make_store(server))

    assert bucket.objects == {}


def test_a_server_that_looks_first_and_writes_then_is_found(make_store):
    bucket, together = Bucket(honours_conditions=False), Barrier(8)

    def answer(request: Request) -> Answer:
        if request.method == "PUT":
            is_there = request.path in bucket.objects
            together.wait(30)
            if is_there:
                return Answer(412)
        return bucket(request)

    with scripted(answer) as server, pytest.raises(Refused, match="does not keep"):
        probe_conditional_create(make_store(server))


def test_a_server_that_honours_it_passes(make_store):
    with scripted(Bucket()) as server:
        probe_conditional_create(make_store(server))


FORKS = """
import os
from ml.core.errors import ClosedError
from ml.io.store import StoreConfig, open_store

def put(store):
    try:
        store.put("a", b"x")
    except ClosedError as error:
        print(error, flush=True)

config = StoreConfig(os.environ["URL"], endpoint_url=os.environ["ENDPOINT"], access_key_id="KEYID",
                     secret_access_key="very-secret", timeout_s=5.0)
store = open_store(config)
store.put("a", b"x")
if (child := os.fork()) == 0:
    put(store)
    put(open_store(config))
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_forked_child_is_told_that_it_cannot_ask_instead_of_waiting_for_ever():
    with scripted(well) as server:
        environ = os.environ | {"URL": "s3://bucket", "ENDPOINT": server.url}
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FORKS], env=environ, capture_output=True, text=True, timeout=60
        )

    assert ran.stderr == ""
    assert ran.stdout.count("belongs to the process") == 2
    assert len(server.requests) == 1


# limits


def test_what_is_too_large_is_refused_before_its_body_comes(make_store):
    endless = Answer(200, b"x", FOUND | {"Content-Length": str(2**40)}, cut_at=1, hangs=True)

    with scripted(lambda request: endless) as server, pytest.raises(FormatError, match="1099511627776 bytes"):
        make_store(server).get("a", max_bytes=2**20)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
def test_a_timeout_that_is_none_is_refused(make_store, timeout_s):
    with pytest.raises(ConfigError, match="timeout_s"):
        make_store("http://127.0.0.1:1", timeout_s=timeout_s)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.9.1"])
def test_without_tls_only_this_machine_is_asked(make_store, host):
    make_store(f"http://{host}:1")


@pytest.mark.parametrize("host", ["192.0.2.1", "example.com", "127.0.0.1.example.com"])
def test_without_tls_another_machine_is_asked_only_where_that_is_allowed(make_store, host):
    with pytest.raises(ConfigError, match=r"has no TLS.*allow_http=True"):
        make_store(f"http://{host}:1")
    make_store(f"http://{host}:1", allow_http=True)
    make_store(f"https://{host}:1")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "host:9000",
        "https://user:very-secret@host",
        "http://user:very-secret/and-more@host",
        "http://[very-secret",
        "https://",
    ],
)
def test_an_endpoint_that_is_none_is_refused_without_telling_it(make_store, url):
    with pytest.raises(ConfigError, match="endpoint_url") as caught:
        make_store(url)

    assert "very-secret" not in str(caught.value)


def test_an_endpoint_without_tls_is_told_without_its_path(make_store):
    with pytest.raises(ConfigError, match=r"http://example\.com has no TLS") as caught:
        make_store("http://example.com/very-secret")

    assert "very-secret" not in str(caught.value)


def test_google_and_azure_are_opened_by_url(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "dmVyeS1zZWNyZXQ=")

    assert open_store("gs://bucket/some/prefix").url == "gs://bucket/some/prefix"
    azure = open_store("az://container/prefix")
    assert azure.url == "az://container/prefix"
    assert "dmVyeS1zZWNyZXQ" not in repr(azure)


def test_azure_without_an_account_says_so(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)

    with pytest.raises(ConfigError, match=r"Cannot open az://container.*[Aa]ccount"):
        open_store("az://container/prefix")


# a real server


def test_a_wrong_secret_and_a_missing_bucket_are_refused_by_a_real_server(s3):
    config = s3.config()
    config.secret_access_key = SECRET
    with pytest.raises(Refused, match="403 SignatureDoesNotMatch"):
        open_store(config).create("a", b"")

    config = s3.config()
    config.url += "-none"
    for call in CALLS.values():
        with pytest.raises(Refused, match="404 NoSuchBucket"):
            call(open_store(config))


def test_everything_is_found_in_the_environment(s3, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in s3.server.environ.items():
        monkeypatch.setenv(name, value)

    assert open_store(f"s3://{s3.name}").create("a", b"x")


def test_a_server_that_was_killed_and_came_back_has_what_it_said_that_it_keeps(s3):
    store = open_store(s3.config(), attempts=1)
    store.create("before", b"x")
    s3.server.kill()
    with pytest.raises(WriteError, match="cannot be connected to"):
        store.create("while", b"x")
    s3.server.start()

    assert store.create("while", b"x")
    assert [entry.key for entry in store.list()] == ["before", "while"]


STARTS = """
import sys, time
from pathlib import Path
from tests.s3_server import s3_server

with s3_server(Path(sys.argv[1])) as server:
    print((server.directory / "pids").read_text(), flush=True)
    time.sleep(600)
"""


def test_no_process_of_the_server_outlives_who_started_it(tmp_path):
    starter = subprocess.Popen([sys.executable, "-c", STARTS, tmp_path], stdout=subprocess.PIPE, cwd=ROOT)
    processes = [int(number) for number in starter.stdout.readline().split()]
    watched = [os.pidfd_open(process) for process in processes]

    starter.send_signal(signal.SIGKILL)

    starter.communicate()
    assert len(watched) == 4
    for descriptor in watched:
        assert select.select([descriptor], [], [], 30)[0], "it is still there"
        os.close(descriptor)
