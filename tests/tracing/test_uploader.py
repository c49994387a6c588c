"""Sending beside the model: as inferences come, without anybody waiting, whatever the endpoint does."""

import logging
from contextlib import contextmanager

import pytest

from ml.core.errors import ConfigError, WriteError
from ml.testing import Gate
from ml.tracing import upload as upload_module
from ml.tracing.destination import Destination
from ml.tracing.importing import import_traces
from ml.tracing.selection import Selection
from ml.tracing.sending import directory_of
from ml.tracing.upload import Uploader
from tests.scripted_http import Answer, in_turn, scripted
from tests.tracing.traced_tables import TablesInMemory
from tests.upload_server import upload_server

SELECTION = Selection("fcos", "v1")
LONG_S = 60.0


class Traced:
    """Traces that can be opened, and that count how often they were."""

    def __init__(self, count=0):
        self.tables, self.opened, self.error = TablesInMemory(count), 0, None

    @contextmanager
    def open(self):
        self.opened += 1
        if self.error is not None:
            raise self.error
        yield self.tables


@pytest.fixture
def make_uploader(tmp_path):
    uploaders = []

    def make(traced, where, **settings):
        uploaders.append(
            Uploader(traced.open, SELECTION, Destination(str(where)), tmp_path / "spool", cut_every_s=0.0, **settings)
        )
        return uploaders[-1]

    yield make
    for uploader in uploaders:
        uploader.close(0.5)


def there(directory):
    return sorted(directory.rglob("*.zip"))


def test_what_was_traced_is_sent_when_it_is_woken_and_when_it_is_waited_for(tmp_path, make_uploader):
    traced = Traced(10)
    with upload_server(tmp_path / "kept") as server:
        uploader = make_uploader(traced, server.url)
        uploader.wake()
        assert uploader.flush(LONG_S)
        assert (uploader.report.sent, uploader.report.pending) == (10, 0)
        for number in range(10, 15):
            traced.tables.add(number)
        assert uploader.flush(LONG_S)
        assert uploader.close() == uploader.report

    assert uploader.report.sent == 15


def test_it_sends_by_itself_what_it_is_woken_for(tmp_path, make_uploader, monkeypatch):
    gate = Gate()
    original = upload_module.TraceSender.arrived

    def arrived(sender, key, size_bytes):
        original(sender, key, size_bytes)
        gate.open()

    monkeypatch.setattr(upload_module.TraceSender, "arrived", arrived)
    make_uploader(Traced(3), tmp_path / "kept").wake()
    gate.wait()

    assert len(there(tmp_path / "kept")) == 1


def test_closing_sends_what_there_is_time_for_and_closing_twice_is_closing_once(tmp_path, make_uploader):
    traced = Traced(10)
    uploader = make_uploader(traced, tmp_path / "kept")
    report = uploader.close(LONG_S)
    opened = traced.opened

    assert report.sent == 10
    assert uploader.close() == report
    assert traced.opened == opened
    assert not uploader.flush(LONG_S)
    uploader.wake()


def test_what_is_left_is_sent_by_the_next_one(tmp_path, make_uploader, caplog):
    with scripted(in_turn(Answer(401))) as server:
        uploader = make_uploader(Traced(10), server.url)
        assert not uploader.flush(LONG_S)
        assert uploader.report.pending == 10
        assert "401" in uploader.report.problem
        uploader.close(0.5)
    with upload_server(tmp_path / "kept") as again:
        spool = tmp_path / "spool"
        (directory,) = spool.iterdir()
        directory.rename(directory_of(spool, Destination(again.url)))
        uploader = make_uploader(Traced(0), again.url)  # the database is gone by now
        assert uploader.flush(LONG_S)

    (path,) = there(tmp_path / "kept")
    assert import_traces(path, tmp_path / "read").rows["inferences"] == 10


def test_a_database_that_is_away_is_told_once_and_looked_for_again(tmp_path, make_uploader, caplog):
    caplog.set_level(logging.WARNING)
    traced = Traced(5)
    traced.error = WriteError("the database is away")
    uploader = make_uploader(traced, tmp_path / "kept")
    assert not uploader.flush(LONG_S)
    assert not uploader.flush(LONG_S)
    assert "the database is away" in uploader.report.problem
    traced.error = None
    assert uploader.flush(LONG_S)

    assert uploader.report.sent == 5
    assert len([line for line in caplog.messages if "the database is away" in line]) == 1


def test_a_wrong_endpoint_is_told_at_once(make_uploader):
    with pytest.raises(ConfigError, match="no TLS"):
        make_uploader(Traced(), "http://example.com")


def test_it_waits_for_nobody_while_the_endpoint_hangs(tmp_path, make_uploader):
    with scripted(in_turn(Answer(0, hangs=True))) as server:
        uploader = make_uploader(Traced(5), server.url)
        uploader.wake()
        assert not uploader.flush(0.2)
        uploader.close(0.1)
