"""The sink of an object store: what it took arrives once, in order, whatever the store, the disk and the process do."""

import errno
import logging
import os

import numpy as np
import pytest

from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.io import breaker, spool_sender
from ml.io.store import MAX_KEY_BYTES, Refused
from ml.predictions.cloud import CloudSink, CloudStats
from ml.predictions.kinds import VisionModelType
from ml.predictions.logged import LoggedPrediction
from ml.predictions.record import Draft, Record, encode_record
from ml.predictions.sink import WRITTEN, Outcome
from ml.testing import FakeClock, FaultyDisk, Gate
from tests.predictions.buckets import AWAY, REFUSED, Bucket


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def clock():
    return FakeClock(1000.0)


class AlwaysFor(dict):
    """Answers for keys that a ``Bucket`` gives every time."""

    def pop(self, key, default=None):
        return self.get(key, default)


@pytest.fixture
def make_sink(tmp_path, bucket, clock):
    sinks = []

    def make(open_store=bucket.open, **settings):
        settings = {"max_spool_bytes": 2**30, "clock": clock, "chance": lambda: 1.0} | settings
        sinks.append(CloudSink(open_store, tmp_path / "spool", **settings))
        return sinks[-1]

    yield make
    bucket.gate = None
    for sink in sinks:
        sink.close()


def records(*numbers, size_bytes=10):
    return [Record(f"{number}", f"key/{number:04d}", b"%d " % number * size_bytes) for number in numbers]


def keys(*numbers):
    return [f"key/{number:04d}" for number in numbers]


def settle(sink):
    """Lets the sink work until it wants to be left alone; returns for how long."""
    while (wanted_s := sink.idle()) == 0.0:
        pass
    return wanted_s


def with_image(number=1, size=64):
    """A record with a picture that takes a few kB."""
    noise = np.random.default_rng(number).integers(0, 255, (size, size, 3), np.uint8)
    draft = Draft(
        record_id=f"{number}",
        run_id="run",
        timestamp_ms=0,
        logged_at_us=0,
        model_type=VisionModelType.CLASSIFICATION,
        model_name="model",
        model_version="1",
        device_name="device",
        device_group="group",
        image=noise,
        prediction=None,
        latency_ms=12.5,
        inference_device=None,
        error_message="",
        classification=(),
        detection=(),
        codec="png",
    )
    return encode_record(draft, f"key/{number:04d}")


# all is well


def test_what_was_written_is_acknowledged_at_once_and_sent_when_there_is_time(make_sink, bucket, caplog):
    sink = make_sink()

    assert sink.write(records(1, 2)) == [WRITTEN, WRITTEN]
    assert bucket.calls == []
    assert settle(sink) == spool_sender.LOOK_EVERY_S
    assert bucket.objects == {record.key: record.data for record in records(1, 2)}
    assert sink.stats == CloudStats(2, 0, 0, 0, 0, 0, {}, {}, "closed")
    assert caplog.messages == []


def test_several_are_under_way_at_a_time_and_no_more_than_may_be(make_sink, bucket):
    sink = make_sink(max_uploads=5)
    sink.write(records(*range(200)))
    bucket.gate = Gate()
    assert sink.idle() == 0.0
    bucket.gate.open()
    settle(sink)

    assert bucket.most_at_once == 5
    assert sorted(bucket.calls) == keys(*range(200))


def test_a_store_that_hangs_keeps_no_record_from_being_taken(make_sink, bucket):
    sink = make_sink(max_uploads=2)
    sink.write(records(1, 2, 3))
    bucket.gate = Gate()
    assert sink.idle() == 0.0  # and does not wait for the store

    assert sink.write(records(4)) == [WRITTEN]
    assert sink.stats.pending == 4
    bucket.gate.open()
    settle(sink)
    assert len(bucket.objects) == 4


def test_one_that_hangs_is_not_run_away_from(make_sink, bucket):
    sink = make_sink()
    sink.write(records(*range(500)))
    bucket.by_key[keys(0)[0]] = AWAY  # the first one fails, and the others do not come back to it
    bucket.gate = Gate()
    sink.idle()
    assert len(bucket.calls) <= spool_sender.MAX_REQUESTS
    bucket.gate.open()
    while sink.idle() == 0.0:
        pass

    assert len(set(bucket.calls)) <= spool_sender._MAX_HANDED_OUT


def test_large_records_are_not_held_in_memory_by_the_dozen(make_sink, bucket):
    sink = make_sink()
    for number in range(3):
        sink.write([Record(f"{number}", keys(number)[0], bytes(33 * 2**20))])
    bucket.gate = Gate()
    sink.idle()

    assert len(bucket.calls) <= 2
    bucket.gate.open()
    settle(sink)
    assert len(bucket.objects) == 3


# the store is away


def test_what_waits_while_the_store_is_away_is_sent_in_order_when_it_is_back(make_sink, bucket, clock, caplog):
    caplog.set_level(logging.INFO)
    sink = make_sink(max_uploads=1)
    bucket.error = AWAY
    for number in range(30):
        assert sink.write(records(number)) == [WRITTEN]
        clock.advance(settle(sink))
    assert bucket.objects == {}
    assert sink.stats.pending == 30
    bucket.error = None
    clock.advance(breaker.LAST_RETRY_S)
    settle(sink)

    assert list(bucket.objects) == keys(*range(30))
    assert (sink.stats.uploaded, sink.stats.pending) == (30, 0)
    assert len([line for line in caplog.messages if "connection refused" in line]) == 1
    assert "s3://bucket takes records again." in caplog.messages


def test_there_is_one_request_a_pause_while_the_store_is_away_whatever_waits(make_sink, bucket, clock):
    sink = make_sink()
    bucket.error = AWAY
    sink.write(records(*range(100)))
    settle(sink)
    assert len(bucket.calls) <= spool_sender.MAX_REQUESTS
    before = len(bucket.calls)
    began_s = clock.now_s
    while clock.now_s < began_s + 3600:
        clock.advance(settle(sink))

    assert 3600 / breaker.LAST_RETRY_S < len(bucket.calls) - before < 3600 / breaker.LAST_RETRY_S + 10


def test_the_first_one_after_an_outage_goes_alone(make_sink, bucket, clock):
    sink = make_sink()
    bucket.error = AWAY
    sink.write(records(*range(50)))
    wanted_s = settle(sink)
    bucket.error, bucket.most_at_once, bucket.gate = None, 0, Gate()
    clock.advance(wanted_s)
    sink.idle()
    assert bucket.most_at_once == 1

    bucket.gate.open()
    settle(sink)
    assert sorted(bucket.objects) == keys(*range(50))


def test_one_that_failed_is_sent_again_before_those_behind_it(make_sink, bucket, clock):
    sink = make_sink(max_uploads=1)
    sink.write(records(*range(5)))
    bucket.by_key[keys(2)[0]] = AWAY
    clock.advance(settle(sink))
    settle(sink)

    assert bucket.calls == keys(0, 1, 2, 2, 3, 4)


def test_those_that_failed_in_any_order_are_sent_again_in_theirs(make_sink, bucket, clock):
    sink = make_sink(max_uploads=2)
    sink.write(records(0, 1))
    bucket.by_key = dict.fromkeys(keys(0, 1), AWAY)
    bucket.gates[keys(0)[0]] = gate = Gate()
    sink.idle()
    gate.open()
    clock.advance(settle(sink))
    settle(sink)

    assert list(bucket.objects) == keys(0, 1)


def test_a_store_that_keeps_the_record_and_drops_the_connection_has_it_once(make_sink, bucket, clock):
    sink = make_sink()
    bucket.error_after = AWAY
    sink.write(records(*range(20)))
    wanted_s = settle(sink)
    bucket.error_after = None
    clock.advance(wanted_s)
    settle(sink)

    assert sorted(bucket.objects) == keys(*range(20))
    assert (sink.stats.uploaded, sink.stats.already_there, sink.stats.pending) == (20, 0, 0)
    assert sink.stats.failures >= 1


def test_what_stands_under_the_key_already_is_left_as_it_is_and_counted(make_sink, bucket):
    bucket.objects[keys(1)[0]] = b"something else"
    sink = make_sink()
    sink.write(records(1, 2))
    settle(sink)

    assert bucket.objects[keys(1)[0]] == b"something else"
    assert (sink.stats.uploaded, sink.stats.already_there, sink.stats.pending) == (1, 1, 0)


def test_any_error_of_a_store_costs_no_record(make_sink, bucket, clock):
    sink = make_sink()
    sink.write(records(1))
    bucket.by_key[keys(1)[0]] = ZeroDivisionError("a bug of the store")
    clock.advance(settle(sink))
    settle(sink)

    assert list(bucket.objects) == keys(1)


def test_a_record_that_the_store_cannot_have_is_set_aside_and_blocks_nothing(make_sink, bucket, caplog, tmp_path):
    sink = make_sink()
    sink.write(records(1, 2, 3))
    bucket.by_key[keys(2)[0]] = LogValueError("no such key can be")
    settle(sink)

    assert sorted(bucket.objects) == keys(1, 3)
    assert (sink.stats.set_aside, sink.stats.dropped, sink.stats.pending) == (1, {}, 0)
    assert (tmp_path / "spool" / "refused" / keys(2)[0]).read_bytes() == records(2)[0].data
    assert "no such key can be" in caplog.text


def test_a_record_that_is_refused_while_others_are_taken_is_set_aside(make_sink, bucket, clock, tmp_path):
    sink = make_sink(max_uploads=1)
    sink.write(records(1, 2, 3, 4))
    bucket.by_key = AlwaysFor({keys(2)[0]: REFUSED})
    for _ in range(8):
        settle(sink)
        clock.advance(breaker.LAST_PROBE_S)

    assert sorted(bucket.objects) == keys(1, 3, 4)
    assert (sink.stats.set_aside, sink.stats.pending, sink.stats.breaker) == (1, 0, "closed")
    assert (tmp_path / "spool" / "refused" / keys(2)[0]).read_bytes() == records(2)[0].data


def test_a_record_that_cannot_be_set_aside_waits(make_sink, bucket, clock, tmp_path):
    sink = make_sink()
    sink.write(records(1))
    (tmp_path / "spool" / "refused").write_text("in the way")
    bucket.by_key = AlwaysFor({keys(1)[0]: LogValueError("no such key can be")})
    settle(sink)
    assert (sink.stats.set_aside, sink.stats.pending) == (0, 1)
    (tmp_path / "spool" / "refused").unlink()
    clock.advance(breaker.LAST_PROBE_S)
    settle(sink)

    assert (sink.stats.set_aside, sink.stats.pending) == (1, 0)


def test_what_is_set_aside_is_bounded_and_what_is_beyond_is_dropped_and_counted(make_sink, bucket):
    sink = make_sink(max_spool_bytes=100)
    bucket.by_key = AlwaysFor({key: LogValueError("too large") for key in keys(1, 2, 3)})
    for number in (1, 2, 3):
        sink.write(records(number, size_bytes=20))
        settle(sink)

    assert (sink.stats.set_aside, sink.stats.dropped) == (2, {"refused": 1})


# the store refuses


def test_a_refusal_is_told_once_and_probed_after_a_minute_with_a_store_opened_anew(make_sink, bucket, clock, caplog):
    sink = make_sink()
    bucket.error = REFUSED
    sink.write(records(*range(50)))
    assert settle(sink) == spool_sender.LOOK_EVERY_S
    assert sink.stats.breaker == "open"
    calls = len(bucket.calls)
    assert calls <= spool_sender.MAX_REQUESTS
    clock.advance(59)
    settle(sink)
    assert len(bucket.calls) == calls
    clock.advance(1)
    settle(sink)
    assert (len(bucket.calls), bucket.opened) == (calls + 1, 2)
    clock.advance(119)
    settle(sink)
    assert len(bucket.calls) == calls + 1
    bucket.error = None
    clock.advance(1)
    settle(sink)

    assert (sorted(bucket.objects), bucket.opened) == (keys(*range(50)), 3)
    assert sink.stats.breaker == "closed"
    assert len([line for line in caplog.messages if "403 Forbidden" in line]) == 1
    assert "50 records wait in" in caplog.text


def test_a_store_that_cannot_be_opened_anew_is_one_that_refuses(make_sink, bucket, clock):
    broken = []

    def open_store():
        if broken:
            raise broken[0]
        return bucket.open()

    sink = make_sink(open_store)
    bucket.error = REFUSED
    sink.write(records(1))
    settle(sink)
    bucket.error = None
    for error, pause_s in ((ConfigError("no credentials"), 60), (Refused("401"), 120), (WriteError("no answer"), 240)):
        broken[:] = [error]
        clock.advance(pause_s)
        settle(sink)
        assert (bucket.objects, sink.stats.pending) == ({}, 1)
    broken.clear()
    clock.advance(breaker.LAST_RETRY_S)
    settle(sink)

    assert list(bucket.objects) == keys(1)


def test_a_store_that_cannot_be_opened_at_the_start_is_told_at_once(make_sink, tmp_path):
    def open_store():
        raise ConfigError("no such scheme")

    with pytest.raises(ConfigError, match="no such scheme"):
        make_sink(open_store)
    assert not (tmp_path / "spool").exists()


# flush and close


def test_flush_sends_all_that_waits_whatever_pause_there_is(make_sink, bucket):
    sink = make_sink()
    bucket.error = REFUSED
    sink.write(records(*range(100)))
    settle(sink)
    bucket.error = None
    sink.flush()

    assert sorted(bucket.objects) == keys(*range(100))


@pytest.mark.parametrize("error", [AWAY, REFUSED], ids=["away", "refused"])
def test_flush_says_what_waits_when_the_store_fails(make_sink, bucket, error, tmp_path):
    sink = make_sink()
    bucket.error = error
    sink.write(records(1, 2))

    with pytest.raises(WriteError, match=f"2 records wait in {tmp_path / 'spool'}"):
        sink.flush()


def test_flush_ends_when_a_store_hangs(make_sink, bucket, clock):
    def late():  # a second goes by with every look, once the store hangs
        clock.advance(0.0 if bucket.gate is None else 1.0)
        return clock.now_s

    sink = make_sink(clock=late)
    sink.write(records(1))
    bucket.gate = Gate()

    with pytest.raises(WriteError, match="1 records wait"):
        sink.flush()
    bucket.gate.open()


def test_what_is_left_at_the_end_is_told_and_sent_by_the_next_one(make_sink, bucket, caplog, tmp_path):
    sink = make_sink()
    bucket.error = AWAY
    sink.write(records(*range(10)))
    settle(sink)
    sink.close()
    sink.close()
    assert [line for line in caplog.messages if f"10 records wait in {tmp_path / 'spool'}." in line][-1:] != []
    bucket.error = None
    following = make_sink()
    assert following.stats.pending == 10
    following.write(records(10))
    settle(following)

    assert sorted(bucket.objects) == keys(*range(11))
    assert following.stats.uploaded == 11


def test_what_is_under_way_at_the_end_is_not_sent_again(make_sink, bucket):
    sink = make_sink()
    bucket.gate = Gate()
    sink.write(records(1))
    sink.idle()
    bucket.gate.open()
    sink.close()

    assert sink.stats.pending == 0
    assert bucket.calls == keys(1)


def test_a_sink_without_records_leaves_nothing(make_sink, tmp_path, caplog):
    make_sink().close()

    assert list((tmp_path / "spool").iterdir()) == []
    assert caplog.messages == []


# room


def test_past_the_budget_images_are_left_out_and_results_are_kept(make_sink, bucket, caplog):
    given = [with_image(number) for number in range(10)]
    size_bytes = len(given[0].data)
    bucket.error = AWAY
    sink = make_sink(max_spool_bytes=9 * size_bytes // 2)
    assert sink.write(given) == [WRITTEN] * 10
    bucket.error = None
    sink.flush()

    kept = [LoggedPrediction.from_bytes(bucket.objects[record.key]) for record in given]
    assert [prediction.omitted for prediction in kept] == [""] * 4 + ["spool_budget"] * 6
    assert kept[9].image_shape == (64, 64, 3)
    assert kept[9].inference_stats["latency_ms"] == 12.5
    assert sink.stats.images_left_out == {"spool_budget": 6}
    assert len([line for line in caplog.messages if "spool_budget" in line]) == 1


def test_when_there_is_no_room_at_all_records_are_dropped_and_counted_until_there_is(make_sink, bucket, caplog):
    bucket.error = AWAY
    given = [with_image(number) for number in range(60)]
    sink = make_sink(max_spool_bytes=8000)
    outcomes = [sink.write([record])[0] for record in given]
    dropped = outcomes.count(Outcome(False, "spool_full"))
    assert outcomes == [WRITTEN] * (60 - dropped) + [Outcome(False, "spool_full")] * dropped
    assert 0 < dropped < 59
    assert sink.stats.dropped == {"spool_full": dropped}
    assert len([line for line in caplog.messages if "spool_full" in line]) == 1
    bucket.error = None
    sink.flush()

    assert len(bucket.objects) == 60 - dropped
    assert sink.write([with_image(60)]) == [WRITTEN]
    assert sink.stats.images_left_out == {"spool_budget": 60 - dropped + 1}


def test_when_the_disk_is_nearly_full_images_are_left_out(make_sink, bucket):
    sink = make_sink(min_free_bytes=2**62)
    sink.write([with_image()])
    settle(sink)

    assert LoggedPrediction.from_bytes(bucket.objects[keys(1)[0]]).omitted == "disk_low"
    assert sink.stats.images_left_out == {"disk_low": 1}


def test_a_record_with_a_key_that_no_store_takes_is_dropped_alone(make_sink, bucket):
    sink = make_sink()
    long = Record("long", "k" * (MAX_KEY_BYTES + 1), b"data")
    assert sink.write([*records(1), long, *records(2)]) == [WRITTEN, Outcome(False, "bad_key"), WRITTEN]
    settle(sink)

    assert sorted(bucket.objects) == keys(1, 2)
    assert sink.stats.dropped == {"bad_key": 1}


# the disk


def test_a_full_disk_takes_none_and_once_there_is_room_every_record_arrives_once(make_sink, bucket):
    sink = make_sink()
    sink.write(records(1))
    with FaultyDisk(range(1, 10**9), errno.ENOSPC, calls=("write",)):
        with pytest.raises(WriteError):
            sink.write(records(2, 3))
        settle(sink)
    sink.write(records(2, 3))
    settle(sink)

    assert bucket.calls == keys(1, 2, 3)
    assert sink.stats.uploaded == 3


def test_what_waits_is_synced_twice_a_minute_and_when_it_is_flushed(make_sink, bucket, clock):
    sink = make_sink()
    bucket.error = AWAY
    with FaultyDisk((), calls=("sync",)) as disk:
        sink.write(records(1))
        settle(sink)
        assert disk.calls_made == []
        clock.advance(spool_sender.SYNC_EVERY_S)
        settle(sink)
        assert disk.calls_made == ["sync"]
        sink.write(records(2))
        with pytest.raises(WriteError):
            sink.flush()
        assert disk.calls_made == ["sync", "sync"]


def test_a_disk_whose_sync_fails_is_told_and_costs_no_record(make_sink, bucket, clock):
    sink = make_sink()
    bucket.error = AWAY
    sink.write(records(1))
    with FaultyDisk(range(1, 10**9), errno.EIO, calls=("sync",)):
        clock.advance(spool_sender.SYNC_EVERY_S)
        settle(sink)
        with pytest.raises(WriteError):
            sink.flush()
    bucket.error = None
    sink.flush()

    assert bucket.objects == {record.key: record.data for record in records(1)}


def test_damaged_records_block_nothing_and_are_counted(make_sink, bucket, tmp_path):
    sink = make_sink()
    bucket.error = AWAY
    sink.write(records(*range(10)))
    sink.close()
    (path,) = (tmp_path / "spool").glob("*/*.journal")
    path.write_bytes(path.read_bytes().replace(b"5 5 5", b"5 6 5"))
    bucket.error = None
    following = make_sink()
    settle(following)

    assert sorted(bucket.objects) == keys(0, 1, 2, 3, 4, 6, 7, 8, 9)
    assert (following.stats.damaged, following.stats.pending) == (1, 0)


def test_flush_sends_what_any_number_of_processes_has_left(make_sink, bucket, tmp_path):
    bucket.error = AWAY
    left = [make_sink() for _ in range(40)]
    for number, sink in enumerate(left):
        sink.write(records(number))
    for sink in left:
        sink.close()
    bucket.error = None
    make_sink().flush()

    assert sorted(bucket.objects) == keys(*range(40))


def test_two_sinks_share_a_spool_directory(make_sink, bucket, tmp_path):
    sinks = [make_sink(), make_sink()]
    for number in range(20):
        sinks[number % 2].write(records(number))
    for sink in sinks:
        settle(sink)
        sink.close()

    assert sorted(bucket.objects) == keys(*range(20))
    assert len(bucket.calls) == 20
    assert os.listdir(tmp_path / "spool") == []
