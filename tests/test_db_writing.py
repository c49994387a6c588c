"""The writer that all products share: items are committed in batches, in order, and one costs no other."""

import pytest

from ml.core.errors import LogValueError, WriteError
from ml.db.writing import BatchWriter
from ml.io.worker import Event


class Database:
    """Takes numbers in batches, unless it is away; refuses negative ones."""

    def __init__(self):
        self.batches, self.is_away = [], False
        self.entered, self.may_go_on = Event(), Event()
        self.may_go_on.set()

    def commit(self, numbers):
        self.entered.set()
        self.may_go_on.wait()
        if self.is_away:
            raise WriteError("It is away.")
        if min(numbers, default=0) < 0:
            raise LogValueError("a number is not negative")
        self.batches.append(list(numbers))

    @property
    def numbers(self):
        return [number for batch in self.batches for number in batch]


@pytest.fixture
def database():
    return Database()


def writer_to(database, **options):
    given = {
        "thread": "test",
        "size_of": lambda item: 10,
        "count_of": lambda item: 1,
        "unit": "rows",
        "max_bytes": 1000,
    }
    return BatchWriter("The database", database.commit, **given | options)


def test_what_waits_is_committed_together_up_to_a_size(database):
    database.may_go_on.clear()
    writer = writer_to(database, gather_bytes=50)
    writer.submit(0)
    database.entered.wait()
    for number in range(1, 13):
        writer.submit(number)
    database.may_go_on.set()
    writer.close(99, 10.0)

    assert database.numbers == [*range(13), 99]
    assert max(map(len, database.batches)) <= 6  # with the last, which weighs nothing
    assert len(database.batches) < 8


def test_one_that_is_refused_costs_no_other_and_is_told(database, caplog):
    writer = writer_to(database)
    writer.submit(1, -1, 2)
    assert writer.flush(10.0) is False
    writer.submit(3)
    assert writer.flush(10.0) is True
    writer.close(4, 10.0)

    assert database.numbers == [1, 2, 3, 4]
    assert writer.tally.stats().failed == {"value": 1}
    assert caplog.text.count("rows are lost") == 1


def test_what_is_being_committed_leaves_room_for_the_newest(database):
    database.may_go_on.clear()
    writer = writer_to(database, max_bytes=100, gather_bytes=1 << 20)
    for number in range(50):
        writer.submit(number)
    database.may_go_on.set()
    writer.close(99, 10.0)

    assert database.numbers[-2:] == [49, 99]
    stats = writer.tally.stats()
    assert stats.accepted == 50 == stats.written - 1 + stats.dropped["queue_full"]


def test_who_has_time_waits_for_room_and_loses_nothing(database):
    writer = writer_to(database, max_bytes=40)
    for number in range(100):
        writer.submit(number, room_timeout_s=60.0)
    writer.close(100, 10.0)

    assert database.numbers == list(range(101))


def test_what_is_not_taken_in_time_is_counted(database, caplog):
    writer = writer_to(database)
    database.is_away = True
    writer.submit(1, 2)
    writer.close(3, 0.0)

    stats = writer.tally.stats()
    assert stats.accepted == 2 == stats.dropped["deadline"]
    assert "lost 2 rows" in caplog.text
    writer.submit(4)
    assert writer.tally.stats().dropped["closed"] == 1
