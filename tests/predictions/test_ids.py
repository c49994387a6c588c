"""Laws of the ids of records."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import FormatError
from ml.predictions.ids import RecordIds, time_of

NOON_S = 1_767_355_200.0


class Clock:
    """A clock that shows what it is told."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def test_an_id_is_26_characters_that_tell_its_time():
    record_id = RecordIds(Clock(NOON_S + 0.123)).next()
    assert len(record_id) == 26
    assert set(record_id) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
    assert time_of(record_id) == datetime(2026, 1, 2, 12, 0, 0, 123_000, tzinfo=UTC)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30))
def test_ids_increase_whatever_the_clock_does(changes_s):
    clock = Clock(NOON_S)
    ids = RecordIds(clock)
    made = []
    for change_s in changes_s:
        clock.now_s += change_s
        made.append(ids.next())
    assert made == sorted(made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("now_s", [-5.0, 0.0, 1e12, 1e300])
def test_a_clock_that_is_set_wrong_gives_ids_all_the_same(now_s):
    ids = RecordIds(Clock(now_s))
    first, second = ids.next(), ids.next()
    assert first < second
    assert len(first) == len(second) == 26


def test_ids_of_several_threads_differ():
    ids = RecordIds(Clock(NOON_S))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: ids.next(), range(2000)))
    assert len(set(made)) == 2000


def test_ids_of_a_forked_child_differ_from_those_of_its_parent():
    ids = RecordIds(Clock(NOON_S))
    before = ids.next()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, " ".join(ids.next() for _ in range(100)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = pipe.read().split()
    os.waitpid(child, 0)
    ours = [ids.next() for _ in range(100)]
    assert len(theirs) == 100
    assert not set(theirs) & {before, *ours}
    assert theirs == sorted(theirs)
    assert theirs[0] > before


def test_ids_of_two_makers_differ():
    one, other = RecordIds(Clock(NOON_S)), RecordIds(Clock(NOON_S))
    assert not {one.next() for _ in range(100)} & {other.next() for _ in range(100)}


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "8" + "0" * 25, "0" * 25 + "I", "0" * 25 + "ü", "7" + "Z" * 25]
)
def test_what_is_no_id_is_a_format_error(text):
    with pytest.raises(FormatError):
        time_of(text)
