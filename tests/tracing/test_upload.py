"""Uploads: every inference arrives exactly once, whoever dies in between, and nothing goes where it should not."""

import logging
import os
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from ml.core.errors import ConfigError, WriteError
from ml.io.breaker import FIRST_PROBE_S
from ml.io.lockfile import try_lock
from ml.io.store import open_store
from ml.testing import FakeClock
from ml.tracing import batches, sending
from ml.tracing.destination import Destination, destination_of
from ml.tracing.importing import import_traces
from ml.tracing.ledger import Ledger
from ml.tracing.reading import open_traces
from ml.tracing.selection import Selection
from ml.tracing.sending import SpoolBusy, TraceSender
from ml.tracing.upload import upload
from tests.scripted_http import Answer, in_turn, scripted
from tests.tracing.test_export import traced
from tests.tracing.traced_tables import TablesInMemory
from tests.upload_server import UploadServer, digest_of, upload_server

PROGRAM = Path(__file__).parent / "programs" / "uploading.py"
SELECTION = Selection("fcos", "v1")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
KEY = "open-sesame-open"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("ML_API_ENDPOINT", raising=False)
    monkeypatch.delenv("ML_API_KEY", raising=False)


@pytest.fixture
def make_sender(tmp_path):
    """Senders that never wait between attempts."""
    senders = []

    def make(destination, **settings):
        settings = {"inferences_per_batch": 5, "chance": lambda: 0.0} | settings
        senders.append(TraceSender(Destination(str(destination)), tmp_path / "spool", **settings))
        return senders[-1]

    yield make
    for sender in senders:
        sender.close()


def arrived(paths, tmp_path):
    """How often each inference is in the batches that arrived, and the newest latency of each."""
    counts, latencies = Counter(), {}
    for number, path in enumerate(paths):
        traces = import_traces(
            path, tmp_path / "read" / f"{path.parent.parent.parent.parent.name}-{number}-{os.urandom(4).hex()}"
        )
        frame = pd.read_parquet(traces.tables["inferences"])
        counts.update(frame["id"])
        latencies |= dict(zip(frame["id"], frame["latency_s"], strict=True))
        detections = pd.read_parquet(traces.tables["detections"])
        assert detections.groupby("inference_id").size().to_dict() == dict.fromkeys(frame["id"], 3)
    return counts, latencies


def once(numbers):
    return Counter(f"{number:032x}" for number in numbers)


def test_everything_arrives_once_and_sending_again_sends_nothing(tmp_path):
    with upload_server(tmp_path / "kept", key=KEY) as server:
        settings = {"endpoint": server.url, "api_key": KEY, "spool": tmp_path / "spool", "inferences_per_batch": 20}
        first = upload(TablesInMemory(50), SELECTION, **settings)
        again = upload(TablesInMemory(50), SELECTION, **settings)
        more = upload(TablesInMemory(60), SELECTION, **settings)
        size = sum(path.stat().st_size for path in server.objects())

    assert (first.sent, first.already_there, first.pending) == (50, 0, 0)
    assert again == (0, 50, 0, 0, 0, "")
    assert (more.sent, more.already_there, more.pending) == (10, 50, 0)
    assert first.bytes + more.bytes == size
    assert arrived(server.objects(), tmp_path)[0] == once(range(60))


def test_a_directory_is_an_endpoint_too(tmp_path):
    report = upload(TablesInMemory(30), SELECTION, endpoint=str(tmp_path / "kept"), spool=tmp_path / "spool")

    assert report.sent == 30
    assert arrived(sorted((tmp_path / "kept").rglob("*.zip")), tmp_path)[0] == once(range(30))


def test_a_bucket_is_an_endpoint_too(tmp_path, s3, monkeypatch):
    config = s3.config("prefix")
    monkeypatch.setenv("AWS_ENDPOINT_URL", config.endpoint_url)
    monkeypatch.setenv("AWS_REGION", config.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", config.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", config.secret_access_key)
    reports = [
        upload(TablesInMemory(30), SELECTION, endpoint=config.url, spool=tmp_path / spool, inferences_per_batch=10)
        for spool in ("spool", "spool", "another")
    ]
    store = open_store(config)
    (tmp_path / "kept").mkdir()
    for number, entry in enumerate(store.list("traces/fcos/v1/")):
        (tmp_path / "kept" / f"{number}.zip").write_bytes(store.get(entry.key, max_bytes=2**26))

    assert [report[:3] for report in reports] == [(30, 0, 0), (0, 30, 0), (0, 30, 0)]
    assert arrived(sorted((tmp_path / "kept").iterdir()), tmp_path)[0] == once(range(30))


def test_what_a_tracer_wrote_arrives_as_it_is_in_the_database(tmp_path):
    database = traced(tmp_path / "traces.db", range(20))
    with open_traces(database) as traces:
        report = upload(traces, SELECTION, endpoint=str(tmp_path / "kept"), spool=tmp_path / "spool")
        expected = traces.detections(SELECTION)
    with open_traces(traced(database, [3])) as traces:  # again
        again = upload(traces, SELECTION, endpoint=str(tmp_path / "kept"), spool=tmp_path / "spool")
    paths = sorted((tmp_path / "kept").rglob("*.zip"), key=lambda path: path.stat().st_size)
    found = import_traces(paths[-1], tmp_path / "read")

    assert (report.sent, report.pending) == (20, 0)
    assert (again.sent, again.already_there) == (0, 20)  # the very same
    assert found.rows == {"models": 1, "inferences": 20, "detections": 40, "candidates": 100, "features": 20}
    columns = ["inference_id", "number"]
    pd.testing.assert_frame_equal(
        pd.read_parquet(found.tables["detections"]).sort_values(columns, ignore_index=True),
        expected.sort_values(columns, ignore_index=True),
    )


def test_an_inference_that_was_traced_anew_is_sent_anew_and_the_others_are_not(tmp_path, make_sender):
    traces, sender = TablesInMemory(20), make_sender(tmp_path / "kept")
    sender.upload(traces, SELECTION, timeout_s=60)
    traces.add(3, latency_s=9.0)
    report = sender.upload(traces, SELECTION, timeout_s=60)

    assert (report.sent, report.already_there) == (1, 19)
    batches_there = sorted((tmp_path / "kept").rglob("*.zip"), key=lambda path: path.stat().st_mtime_ns)
    counts, latencies = arrived(batches_there, tmp_path)
    assert counts == once(range(20)) + once([3])
    assert latencies[f"{3:032x}"] == 9.0


def test_each_endpoint_gets_everything(tmp_path, make_sender):
    for name in ("one", "two"):
        sender = make_sender(tmp_path / name)
        assert sender.upload(TablesInMemory(20), SELECTION, timeout_s=60).sent == 20


def test_what_the_endpoint_has_already_is_not_sent_though_nothing_is_remembered(tmp_path):
    with upload_server(tmp_path / "kept") as server:
        upload(TablesInMemory(50), SELECTION, endpoint=server.url, spool=tmp_path / "spool")
        report = upload(TablesInMemory(50), SELECTION, endpoint=server.url, spool=tmp_path / "another")

    assert report == (0, 50, 0, 0, 0, "")


def test_without_an_endpoint_nothing_leaves_the_machine_and_nothing_is_made(tmp_path):
    with pytest.raises(ConfigError, match="ML_API_ENDPOINT"):
        upload(TablesInMemory(1), SELECTION, spool=tmp_path / "spool")

    assert os.listdir(tmp_path) == []


def test_arguments_go_before_variables(monkeypatch):
    monkeypatch.setenv("ML_API_ENDPOINT", "https://variable")
    monkeypatch.setenv("ML_API_KEY", "key-of-the-variable")

    assert destination_of(None).url == "https://variable"
    assert destination_of("https://argument").url == "https://argument"
    with scripted(in_turn(Answer(404))) as server:
        destination_of(server.url).open().holds("a", b"")
        destination_of(server.url, "key-of-the-argument").open().holds("a", b"")
        said = [asked.headers["authorization"] for asked in server.requests]
    assert said == ["Bearer key-of-the-variable", "Bearer key-of-the-argument"]


@pytest.mark.parametrize("moment", ["body", "stored", "answer"])
def test_an_endpoint_that_is_killed_in_the_middle_and_comes_back_has_everything_once(tmp_path, moment):
    def send_all(url):
        sender = TraceSender(Destination(url), tmp_path / "spool", inferences_per_batch=4, chance=lambda: 0.1)
        try:
            return sender.upload(TablesInMemory(40), SELECTION, timeout_s=60)
        finally:
            sender.close()

    server = UploadServer(tmp_path / "kept", pause=f"{moment}:3")
    try:
        with ThreadPoolExecutor(1) as pool:
            sending_all = pool.submit(send_all, server.url)
            server.wait_until_paused()
            server.kill()
            server = server.restarted()
            report = sending_all.result()
        objects = server.objects()
    finally:
        server.kill()

    assert (report.sent + report.already_there, report.pending) == (40, 0)
    assert arrived(objects, tmp_path)[0] == once(range(40))


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_process_that_is_killed_at_any_moment_has_sent_everything_once_when_the_last_one_has_ended(tmp_path, kills):
    chance, start = random.Random(kills), 0
    with upload_server(tmp_path / "kept") as server:
        for _ in range(kills):
            arguments = [sys.executable, PROGRAM, server.url, tmp_path / "spool", str(start)]
            with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
                for _ in range(chance.randrange(1, 4)):
                    start = int(process.stdout.readline())
                process.kill()
                start = max([start, *(int(line) for line in process.stdout if line.endswith("\n"))])
        start += 20  # what the last one may have begun with
        report = upload(TablesInMemory(start), SELECTION, endpoint=server.url, spool=tmp_path / "spool")
        objects = server.objects()

    assert report.pending == 0
    assert arrived(objects, tmp_path)[0] == once(range(start))


class DeathError(Exception):
    """Is raised where a process dies."""


@pytest.mark.parametrize("place", ["before the spool", "after the spool", "after it arrived"])
def test_a_process_that_dies_between_two_files_loses_nothing_and_sends_nothing_twice(
    tmp_path, make_sender, monkeypatch, place
):
    traces, sender = TablesInMemory(12), make_sender(tmp_path / "kept")

    def die(*arguments):
        raise DeathError

    with monkeypatch.context() as patched:
        if place == "before the spool":
            patched.setattr(sender._spool, "append", die)
        elif place == "after the spool":
            patched.setattr(sender._spool, "sync", die)
        else:
            patched.setattr(sender._spool, "done", die)
        with pytest.raises(DeathError):
            sender.upload(traces, SELECTION, timeout_s=60)
    _abandon(sender)
    traces.add(99)
    report = make_sender(tmp_path / "kept").upload(traces, SELECTION, timeout_s=60)

    assert report.pending == 0
    assert arrived(sorted((tmp_path / "kept").rglob("*.zip")), tmp_path)[0] == once([*range(12), 99])


def test_a_batch_that_changed_while_its_process_was_dead_is_cut_anew(tmp_path, make_sender, monkeypatch):
    traces, sender = TablesInMemory(5), make_sender(tmp_path / "kept")
    with monkeypatch.context() as patched:
        patched.setattr(sender._ledger, "move", lambda *arguments: (_ for _ in ()).throw(DeathError))
        with pytest.raises(DeathError):
            sender.upload(traces, SELECTION, timeout_s=60)
    _abandon(sender)
    traces.add(2, latency_s=9.0)
    make_sender(tmp_path / "kept").upload(traces, SELECTION, timeout_s=60)

    counts, latencies = arrived(sorted((tmp_path / "kept").rglob("*.zip")), tmp_path)
    assert counts == once(range(5))
    assert latencies[f"{2:032x}"] == 9.0


def _abandon(sender):
    """Does to its files what the end of its process does."""
    for lock in [*sender._spool._left, *(each.lock for each in sender._spool._adopted), sender._lock]:
        lock.release()
    if sender._spool._own is not None:
        sender._spool._own.lock.release()
    sender._sender._is_closed = True


def test_batches_that_the_disk_has_lost_are_cut_anew(tmp_path, make_sender):
    with scripted(in_turn(Answer(500))) as server:
        sender = make_sender(server.url, clock=FakeClock(0.0), sleep=lambda seconds: None)
        sender.cut(TablesInMemory(10), SELECTION)
        sender.close()
    for path in (tmp_path / "spool").rglob("*.journal"):
        path.unlink()
    with upload_server(tmp_path / "kept", key="") as again:
        # The same place, as far as the spool knows.
        (directory,) = (tmp_path / "spool").iterdir()
        directory.rename(tmp_path / "spool" / _directory_of(again.url))
        report = make_sender(again.url).upload(TablesInMemory(10), SELECTION, timeout_s=60)

    assert (report.sent, report.pending) == (10, 0)


def _directory_of(url):
    return sending.directory_of(Path(), Destination(url)).name


def test_an_answer_that_is_lost_after_the_endpoint_has_kept_it_makes_no_second_one(tmp_path, make_sender):
    kept = {}

    def answer(asked):
        if asked.method == "HEAD":
            data = kept.get(asked.path)
            return Answer(404) if data is None else Answer(200, headers={"Content-Digest": digest_of(data)})
        assert asked.path not in kept
        kept[asked.path] = asked.body
        return Answer(0)

    with scripted(answer) as server:
        report = make_sender(server.url).upload(TablesInMemory(20), SELECTION, timeout_s=60)

    assert (report.sent + report.already_there, report.pending, len(kept)) == (20, 0, 4)


def test_while_the_endpoint_is_away_everything_waits_and_the_report_says_why(tmp_path, make_sender, caplog):
    clock = FakeClock(0.0)
    with scripted(in_turn(Answer(503))) as server:
        sender = make_sender(server.url, clock=clock, sleep=clock.advance, chance=lambda: 1.0)
        report = sender.upload(TablesInMemory(20), SELECTION, timeout_s=600)
        asked = len(server.requests)

    assert (report.sent, report.pending) == (0, 20)
    assert "503" in report.problem
    assert asked < 600 / 60 + 20
    assert len([line for line in caplog.messages if "503" in line]) == 1


def test_retry_after_is_honoured(tmp_path, make_sender):
    clock, times = FakeClock(0.0), []

    def answer(asked):
        times.append(clock())
        return Answer(429, headers={"Retry-After": "100"})

    with scripted(answer) as server:
        sender = make_sender(server.url, clock=clock, sleep=clock.advance)
        sender.upload(TablesInMemory(1), SELECTION, timeout_s=350)

    assert times == [0.0, 100.0, 200.0, 300.0]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_ends_it_at_once_tells_the_cure_and_never_the_key(tmp_path, make_sender, monkeypatch, caplog, status):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ML_API_KEY", KEY)
    with scripted(lambda asked: Answer(status, asked.headers["authorization"].encode())) as server:
        sender = make_sender(server.url, clock=FakeClock(0.0))
        report = sender.upload(TablesInMemory(100), SELECTION, timeout_s=600)
        asked = len(server.requests)

    assert report.pending == 100
    assert asked <= 8
    assert "Check the key: the argument api_key, or ML_API_KEY." in report.problem
    assert KEY not in report.problem + caplog.text + repr(Destination(server.url, KEY))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_a_new_key_is_read_before_the_endpoint_is_asked_again(tmp_path, make_sender, monkeypatch):
    clock = FakeClock(0.0)
    monkeypatch.setenv("ML_API_KEY", "an-old-key-of-ours")
    with upload_server(tmp_path / "kept", key=KEY) as server:
        sender = make_sender(server.url, clock=clock)
        assert sender.upload(TablesInMemory(10), SELECTION, timeout_s=600).pending == 10
        monkeypatch.setenv("ML_API_KEY", KEY)
        clock.advance(FIRST_PROBE_S)
        assert sender.upload(TablesInMemory(10), SELECTION, timeout_s=600).sent == 10


def test_what_the_endpoint_finds_too_large_is_refused_and_holds_nobody_up(tmp_path, make_sender):
    def answer(asked):
        if asked.method == "HEAD":
            return Answer(404)
        if len(asked.body) > 30_000:
            return Answer(413)
        return Answer(201, headers={"Content-Digest": digest_of(asked.body)})

    traces = TablesInMemory(4)
    traces.rows["features"][0]["data"] = os.urandom(40_000)
    with scripted(answer) as server:
        sender = make_sender(server.url, inferences_per_batch=1)
        first, again = (sender.upload(traces, SELECTION, timeout_s=60) for _ in range(2))

    assert (first.sent, first.refused, first.pending) == (3, 1, 0)
    assert (again.sent, again.already_there, again.refused, again.pending) == (0, 3, 1, 0)


def test_a_batch_that_is_too_large_is_cut_in_two_and_an_inference_that_is_is_refused(
    tmp_path, make_sender, monkeypatch, caplog
):
    monkeypatch.setattr(batches, "LARGE_BYTES", 50_000)
    monkeypatch.setattr(batches, "MAX_BATCH_BYTES", 60_000)
    traces = TablesInMemory(4, feature_bytes=20_000)
    traces.rows["features"][0]["data"] = os.urandom(100_000)
    report = make_sender(tmp_path / "kept").upload(traces, SELECTION, timeout_s=60)

    assert (report.sent, report.refused, report.pending) == (3, 1, 0)
    assert "Reduce the features" in caplog.text
    assert all(path.stat().st_size < 60_000 for path in (tmp_path / "kept").rglob("*.zip"))


def test_a_spool_that_is_full_is_filled_again_as_it_empties(tmp_path, make_sender):
    sender = make_sender(tmp_path / "kept", max_spool_bytes=1)

    assert sender.upload(TablesInMemory(40), SELECTION, timeout_s=60).sent == 40


def test_a_spool_that_is_full_keeps_the_rest_in_the_database(tmp_path, make_sender):
    clock = FakeClock(0.0)
    with scripted(in_turn(Answer(500))) as server:
        sender = make_sender(server.url, max_spool_bytes=1, clock=clock, sleep=clock.advance, chance=lambda: 1.0)
        report = sender.upload(TablesInMemory(43), SELECTION, timeout_s=60)

    assert report.pending == 43


def test_of_two_that_would_send_from_one_spool_the_second_waits_for_the_first(tmp_path, make_sender):
    sender = make_sender(tmp_path / "kept")
    with pytest.raises(SpoolBusy, match="sends from"):
        make_sender(tmp_path / "kept")
    with pytest.raises(SpoolBusy):
        upload(TablesInMemory(1), SELECTION, endpoint=str(tmp_path / "kept"), spool=tmp_path / "spool", timeout_s=0.0)
    sender.close()

    assert make_sender(tmp_path / "kept").upload(TablesInMemory(3), SELECTION, timeout_s=60).sent == 3


def test_a_destination_that_cannot_be_one_leaves_no_lock(tmp_path):
    with pytest.raises(ConfigError, match="no TLS"):
        TraceSender(Destination("http://example.com"), tmp_path / "spool")

    assert not (tmp_path / "spool").exists()


def test_the_same_inferences_make_the_same_batch_whatever_was_asked_for():
    traces, digests = TablesInMemory(10), {f"{number:032x}": "" for number in range(3)}
    chosen = Selection("fcos", "v1", "val", 3, "run")

    assert batches.make_batch(traces, SELECTION, digests) == batches.make_batch(traces, chosen, digests)


def test_a_ledger_forgets_what_it_is_told_to_and_says_each_thing_once(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    ids = [f"{number:032x}" for number in range(1200)]
    ledger.seal("a", dict.fromkeys(ids[:1000], "x"))
    ledger.seal("b", dict.fromkeys(ids[1000:], "y"))

    assert (ledger.waiting(), ledger.batches("sealed")) == (1200, ["a", "b"])
    assert (ledger.move("a", "arrived"), ledger.move("a", "arrived"), ledger.move("c", "arrived")) == (1000, 0, 0)
    assert {known.state for known in ledger.known(ids[:1000]).values()} == {"arrived"}
    ledger.forget(["b"])
    assert (len(ledger.known(ids)), ledger.state_of("b"), ledger.waiting()) == (1000, None, 0)
    ledger.close()


def test_a_ledger_that_is_no_database_is_an_error_that_frees_the_lock(tmp_path, make_sender):
    directory = sending.directory_of(tmp_path / "spool", Destination(str(tmp_path / "kept")))
    directory.mkdir(parents=True)
    (directory / "ledger.db").write_bytes(b"hello" * 1000)
    with pytest.raises((WriteError, ConfigError, ValueError)):
        make_sender(tmp_path / "kept")

    lock = try_lock(directory / "lock")
    assert lock is not None
    lock.release()
