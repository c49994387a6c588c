"""What the caller of ``log`` is told."""

import pytest

from ml.core.errors import LogValueError, WriteError
from ml.predictions.receipt import Logged, Receipt
from ml.predictions.sink import Outcome


def test_it_resolves_when_every_sink_has_the_record():
    receipt = Receipt("id", "a/b.bin", ["local", "cloud"])

    receipt.settle("cloud", Outcome(True))
    assert not receipt.future.done()
    receipt.settle("local", Outcome(True, path="/data/a/b.bin"))

    assert receipt.future.result(0) == Logged("id", "a/b.bin", "/data/a/b.bin")


def test_a_loss_says_where_the_record_is_and_where_not():
    receipt = Receipt("id", "key", ["local", "cloud", "stream"])

    receipt.settle("local", Outcome(True))
    receipt.settle("cloud", Outcome(False, "queue_full"))
    receipt.give_up("closed")

    with pytest.raises(WriteError, match=r"id did not get to cloud \(queue_full\), stream \(closed\); it is in local"):
        receipt.future.result(0)


def test_where_a_record_was_lost_is_said_in_the_order_of_the_sinks():
    names = [f"sink {number}" for number in range(20)]
    receipt = Receipt("id", "key", names)

    receipt.give_up("closed")

    with pytest.raises(WriteError, match=r" \(closed\), ".join(names)):
        receipt.future.result(0)


def test_a_record_that_cannot_be_made_is_lost_for_that_reason():
    receipt, error = Receipt("id", "key", ["local", "cloud"]), LogValueError("too many boxes", "Log fewer.")

    receipt.refuse(error)
    receipt.settle("local", Outcome(True))

    assert receipt.future.exception(0) is error


def test_it_cannot_be_cancelled_and_is_settled_once():
    receipt = Receipt("id", "key", ["local"])

    assert not receipt.future.cancel()
    receipt.settle("local", Outcome(True))
    receipt.settle("local", Outcome(False, "late"))

    assert receipt.future.result(0).record_id == "id"
