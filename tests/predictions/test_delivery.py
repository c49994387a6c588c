"""Delivery to one sink: in order, again while it fails, alone with its troubles, exactly counted."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ml.core.errors import WriteError
from ml.core.redact import Redactor
from ml.core.run import RunContext
from ml.loggers.report import Reporter
from ml.predictions.config import OnFull
from ml.predictions.delivery import Delivery, Parcel
from ml.predictions.kinds import VisionModelType
from ml.predictions.receipt import Receipt
from ml.predictions.record import Record
from ml.predictions.sink import WRITTEN, Outcome

LIMIT_S = 20.0


class GatedSink:
    """A sink that stands still while its gate is shut, and answers each call of ``write`` as told."""

    name = "gated"

    def __init__(self, *answers: Exception | list[Outcome]) -> None:
        self.taken: list[str] = []
        self.answers = list(answers)
        self.gate, self.arrived = threading.Event(), threading.Event()
        self.gate.set()
        self.calls: list[str] = []
        self.flush_error: Exception | None = None

    def write(self, records: Sequence[Record]) -> list[Outcome]:
        self.arrived.set()
        assert self.gate.wait(LIMIT_S)
        answer = self.answers.pop(0) if self.answers else [WRITTEN] * len(records)
        if isinstance(answer, Exception):
            raise answer
        self.taken += [record.record_id for record in records]
        return answer

    def idle(self) -> float | None:
        self.calls.append("idle")
        return None

    def flush(self, timeout_s: float) -> None:
        self.flush_timeout_s = timeout_s
        self.calls.append("flush")
        if self.flush_error is not None:
            raise self.flush_error

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def reporter(tmp_path: Path) -> Reporter:
    return Reporter(RunContext(tmp_path / "none"), Redactor({}), "warn")


def delivery_to(
    sink: GatedSink, reporter: Reporter, *, max_bytes: int = 100, on_full: OnFull = "drop_oldest"
) -> Delivery:
    return Delivery(sink, max_bytes=max_bytes, on_full=on_full, reporter=reporter)


def put(delivery: Delivery, number: int, size_bytes: int = 10) -> Receipt:
    receipt = Receipt(str(number), "key", ["gated"])
    delivery.tally.accept(1)
    delivery.put(Parcel(Record(str(number), "key", b"x" * size_bytes), receipt))
    return receipt


def test_records_are_written_in_order_and_their_futures_resolve(reporter):
    sink = GatedSink()
    delivery = delivery_to(sink, reporter)

    receipts = [put(delivery, number) for number in range(5)]
    assert delivery.flush(LIMIT_S)
    delivery.close(LIMIT_S)

    assert sink.taken == ["0", "1", "2", "3", "4"]
    assert [receipt.future.result(0).record_id for receipt in receipts] == sink.taken
    assert sink.calls[-2:] == ["flush", "close"]


def test_what_cannot_be_written_now_is_offered_again_and_nothing_overtakes_it(reporter, caplog):
    sink = GatedSink(OSError(28, "No space left on device"), WriteError("not yet"))
    delivery = delivery_to(sink, reporter)

    first = put(delivery, 1)
    second = put(delivery, 2)
    while not delivery.flush(LIMIT_S):
        pass
    delivery.close(LIMIT_S)

    assert sink.taken == ["1", "2"]
    assert first.future.result(0)
    assert second.future.result(0)
    assert delivery.tally.stats().written == 2
    assert caplog.text.count("cannot write now") >= 1


def test_a_sink_that_breaks_costs_the_records_that_it_was_given(reporter):
    sink = GatedSink(ValueError("bug"))
    sink.gate.clear()
    delivery = delivery_to(sink, reporter)

    lost = put(delivery, 1)
    assert sink.arrived.wait(LIMIT_S)
    kept = put(delivery, 2)
    sink.gate.set()
    assert delivery.flush(LIMIT_S)
    delivery.close(LIMIT_S)

    with pytest.raises(WriteError, match=r"gated \(bug\)"):
        lost.future.result(0)
    assert kept.future.result(0)
    assert (delivery.tally.stats().written, delivery.tally.stats().failed) == (1, {"write": 1})


def test_a_record_that_a_sink_gives_up_is_counted(reporter):
    delivery = delivery_to(GatedSink([Outcome(False, "spool_full")]), reporter)

    receipt = put(delivery, 1)
    delivery.close(LIMIT_S)

    with pytest.raises(WriteError, match="spool_full"):
        receipt.future.result(0)
    assert delivery.tally.stats().failed == {"write": 1}


def test_a_sink_that_stands_still_costs_the_oldest_and_delays_nobody(reporter):
    sink = GatedSink()
    sink.gate.clear()
    delivery = delivery_to(sink, reporter, max_bytes=30)

    receipts = [put(delivery, 0)]
    assert sink.arrived.wait(LIMIT_S)
    receipts += [put(delivery, number) for number in range(1, 6)]
    sink.gate.set()
    delivery.close(LIMIT_S)

    assert sink.taken == ["0", "4", "5"]
    assert [receipt.future.exception(0) is None for receipt in receipts] == [True, False, False, False, True, True]
    assert delivery.tally.stats().dropped == {"queue_full": 3}


def test_a_sink_that_stands_still_costs_the_newest_where_that_is_asked_for(reporter):
    sink = GatedSink()
    sink.gate.clear()
    delivery = delivery_to(sink, reporter, max_bytes=30, on_full="drop_newest")

    receipts = [put(delivery, 0)]
    assert sink.arrived.wait(LIMIT_S)
    receipts += [put(delivery, number) for number in range(1, 6)]
    sink.gate.set()
    delivery.close(LIMIT_S)

    assert sink.taken == ["0", "1", "2"]
    assert [receipt.future.exception(0) is None for receipt in receipts] == [True] * 3 + [False] * 3
    assert delivery.tally.stats().dropped == {"queue_full": 3}


def test_a_patient_delivery_waits_for_room_until_the_sink_is_closed(reporter):
    sink = GatedSink()
    sink.gate.clear()
    delivery = delivery_to(sink, reporter, max_bytes=10, on_full="wait")
    first = put(delivery, 1)
    waiting: list[Receipt] = []
    thread = threading.Thread(target=lambda: waiting.append(put(delivery, 2)))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()

    delivery.close(0.0)
    thread.join(LIMIT_S)
    sink.gate.set()

    assert first.future.exception(LIMIT_S) is not None
    assert waiting[0].future.exception(0) is not None
    stats = delivery.tally.stats()
    assert stats.accepted == 2 == sum(stats.dropped.values())


def test_a_flush_that_fails_is_told_and_is_none(reporter, caplog):
    sink = GatedSink()
    sink.flush_error = WriteError("3 records wait")
    delivery = delivery_to(sink, reporter)

    assert not delivery.flush(LIMIT_S)
    assert "cannot flush: 3 records wait" in caplog.text
    sink.flush_error = None
    assert delivery.flush(LIMIT_S)
    delivery.close(LIMIT_S)
    assert not delivery.flush(LIMIT_S)


def test_the_sink_is_asked_for_work_before_the_first_record(reporter):
    sink = GatedSink()
    delivery = delivery_to(sink, reporter)

    delivery.close(LIMIT_S)

    assert "idle" in sink.calls


def test_a_sink_that_stands_still_keeps_nothing_from_another(make_logger, tmp_path):
    predictions = make_logger(on_error="warn", close_timeout_s=0.0)
    stuck = GatedSink()
    stuck.gate.clear()
    predictions._deliveries.append(delivery_to(stuck, predictions._reporter, max_bytes=10**6))

    futures = [predictions.log(np.zeros((4, 4), np.uint8), VisionModelType.NONE, "m", "1") for _ in range(5)]
    assert predictions._pool.drain(LIMIT_S)
    assert predictions._deliveries[0].flush(LIMIT_S)

    assert len(list(tmp_path.rglob("*.bin"))) == 5
    assert not any(future.done() for future in futures)
    predictions.close()
    stuck.gate.set()
    assert all("gated (deadline); it is in local" in str(future.exception(0)) for future in futures)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_that_raises_costs_no_other_record_its_answer(reporter, kind):
    sink = GatedSink()
    sink.gate.clear()
    delivery = delivery_to(sink, reporter, max_bytes=1000)

    def raise_it(future: object) -> None:
        raise kind("of a callback")

    receipts = [put(delivery, number) for number in range(5)]
    for receipt in receipts:
        receipt.future.add_done_callback(raise_it)
    sink.gate.set()

    assert [receipt.future.result(LIMIT_S).record_id for receipt in receipts] == list("01234")
    assert delivery.flush(LIMIT_S)
    assert delivery.tally.stats().written == 5
    delivery.close(LIMIT_S)


def test_whoever_is_interrupted_by_a_callback_has_told_all_others(reporter):
    sink = GatedSink(*[WriteError("not now")] * 100)
    sink.gate.clear()
    delivery = delivery_to(sink, reporter, max_bytes=1000)

    def interrupt(future: object) -> None:
        raise KeyboardInterrupt

    receipts = [put(delivery, number) for number in range(5)]
    receipts[0].future.add_done_callback(interrupt)
    with pytest.raises(KeyboardInterrupt):
        delivery.close(0.0)
    sink.gate.set()

    assert all(isinstance(receipt.future.exception(0), WriteError) for receipt in receipts)
    stats = delivery.tally.stats()
    assert (stats.dropped, stats.pending) == ({"deadline": 5}, 0)


def test_a_callback_that_flushes_does_not_wait_for_itself(reporter):
    delivery = delivery_to(GatedSink(), reporter)
    answers: list[bool] = []
    receipt = Receipt("1", "key", ["gated"])
    receipt.future.add_done_callback(lambda future: answers.append(delivery.flush(None)))
    delivery.tally.accept(1)
    delivery.put(Parcel(Record("1", "key", b"x"), receipt))

    assert delivery.flush(LIMIT_S)
    assert answers == [False]
    delivery.close(LIMIT_S)


def test_a_sink_that_is_closed_has_time_left_to_say_what_waits(reporter):
    sink = GatedSink()
    delivery_to(sink, reporter).close(5.0)

    assert 0 <= sink.flush_timeout_s <= 4.0
    assert sink.calls[-2:] == ["flush", "close"]
