"""How versions come to be: dense numbers, equal content once, nothing visible before it is whole, no blob lost."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier, Condition

import pytest

from ml.core.errors import ConfigError, FormatError, LogValueError, WriteError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.checking import fsck
from ml.evaluation.collection import gc
from ml.evaluation.layout import manifest_key
from ml.evaluation.manifest import MAX_MANIFEST_BYTES, Manifest
from ml.evaluation.markers import Marker
from ml.evaluation.publishing import WAIT_S, WAITS
from ml.io.local_store import LocalStore
from ml.io.store import Store
from ml.testing import FakeClock
from ml.testing.disk import TestDisk
from tests.evaluation.opaque import DAY_S, NOW_S, Content, Hooked, keys


@pytest.fixture(autouse=True)
def _unsynced():
    with TestDisk():
        yield


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_S)


def problems(store: Store) -> list[object]:
    return [problem for problem in fsck(Artifacts(store), deep=True) if problem.severity == "problem"]


def notes(store: Store) -> list[object]:
    return [problem for problem in fsck(Artifacts(store), deep=True) if problem.severity == "note"]


def numbers(store: Store) -> list[int]:
    return [Manifest.from_bytes(store.get(key, max_bytes=10**6)).number for key in keys(store, "artifacts/")]


def test_versions_are_numbered_from_0_without_gaps_and_say_when(store, clock):
    published = [Content(b"%d" % number).publish(store, clock) for number in range(3)]

    assert [manifest.number for manifest in published] == numbers(store) == [0, 1, 2]
    assert keys(store, "artifacts/") == [f"artifacts/val/v0000000{number}.json" for number in range(3)]
    assert {manifest.created_s for manifest in published} == {NOW_S}
    assert fsck(Artifacts(store), deep=True) == []


def test_the_same_content_is_the_same_version_whichever_it_was(store):
    for rows in (b"a", b"b", b"c"):
        Content(rows).publish(store)
    before = keys(store)

    again = [Content(rows, metrics={"loss": 1.0}).publish(store).number for rows in (b"b", b"a", b"c")]

    assert again == [1, 0, 2]
    assert keys(store) == before


def test_the_manifest_is_what_is_created_last_and_after_it_nothing_is_missing(store):
    calls = []
    Content(b"rows", [b"x", b"y"]).publish(Hooked(store, lambda call, key: calls.append((call, key))))

    written = [key for call, key in calls if call in ("create", "put")]
    assert written[0].startswith("pending/")
    assert all(key.startswith("blobs/") for key in written[1:-1])
    assert len(written) == 6
    assert written[-1] == "artifacts/val/v00000000.json"
    assert calls[-1] == ("delete", written[0])


def test_who_loses_the_race_for_a_number_takes_the_next_one(store):
    Content(b"0").publish(store)

    def race(call: str, key: str) -> None:
        if call == "create" and key == manifest_key("val", 1):
            Content(b"faster").publish(store)

    assert Content(b"slower").publish(Hooked(store, race)).number == 2
    assert numbers(store) == [0, 1, 2]


def test_who_loses_the_race_against_the_same_content_has_that_version(store):
    def race(call: str, key: str) -> None:
        if call == "create" and key == manifest_key("val", 0):
            Content(b"same").publish(store)

    assert Content(b"same").publish(Hooked(store, race)).number == 0
    assert numbers(store) == [0]


@pytest.mark.parametrize(("rows", "expected"), [(b"same", [0]), (b"other", [0, 1])])
def test_at_whatever_call_another_one_publishes_no_content_is_there_twice_and_no_number_is_lost(
    tmp_path, rows, expected
):
    for position in count():
        store = LocalStore(tmp_path / str(position))
        calls = count()

        def race(call: str, key: str, at=position, calls=calls, store=store) -> None:
            if next(calls) == at:
                Content(rows, [b"x"]).publish(store)

        first = Content(b"same", [b"x"]).publish(Hooked(store, race))
        second = Content(rows, [b"x"]).publish(store)
        assert numbers(store) == expected
        assert sorted({first.number, second.number}) == expected
        assert problems(store) == []
        if next(calls) <= position:
            break
    assert position > 5


def test_eight_publishers_at_once_get_eight_numbers(store):
    at_once = Barrier(8)

    def publish(number: int) -> int:
        at_once.wait(30)
        return Content(b"%d" % number, [b"shared"]).publish(store).number

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(publish, range(8))) == list(range(8))
    assert fsck(Artifacts(store), deep=True) == []


def test_eight_publishers_of_the_same_content_get_one_number(store):
    at_once = Barrier(8)

    def publish(_: int) -> int:
        at_once.wait(30)
        return Content(b"same").publish(store).number

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(publish, range(8))) == {0}
    assert numbers(store) == [0]


def test_a_number_whose_manifest_is_damaged_is_taken(store, caplog):
    Content(b"0").publish(store)
    store.put(manifest_key("val", 0), b"{")

    assert Content(b"0").publish(store).number == 1
    assert "val:v0 is left out" in caplog.text


def test_an_answer_that_was_lost_is_no_second_version(store):
    """As when the connection breaks after the manifest was kept, and the call is made again."""

    class Twice(Hooked):
        def create(self, key: str, data: bytes) -> bool:
            super().create(key, data)
            return super().create(key, data)

    assert Content(b"a").publish(Twice(store, lambda call, key: None)).number == 0
    assert numbers(store) == [0]


def test_a_failed_publication_leaves_no_mark_and_is_made_good_by_the_next_try(tmp_path):
    content = Content(b"rows", [b"x"])
    for position in count():
        store = LocalStore(tmp_path / str(position))
        calls = count()

        def fail(call: str, key: str, at=position, calls=calls) -> None:
            if next(calls) == at and call != "delete":
                raise WriteError("the disk is full")

        try:
            content.publish(Hooked(store, fail))
        except WriteError:
            assert problems(store) == []
            assert keys(store, "pending/") == []
        assert content.publish(store).number == 0
        assert fsck(Artifacts(store), deep=True) == []
        if next(calls) <= position:
            break
    assert position > 5


def test_a_manifest_that_is_too_large_is_refused_and_nothing_is_visible(store):
    content = Content(b"a")
    content.draft.metadata["text"] = "x" * MAX_MANIFEST_BYTES

    with pytest.raises(LogValueError, match="Keep large metadata in a table"):
        content.publish(store)
    assert numbers(store) == []


# beside collections


def collect_or_refuse(store: Store, clock: FakeClock, grace_s: float = DAY_S) -> bool:
    """Returns whether the collection refused, as it must beside a publication.

    One that was taken for dead at its last call may be visible while it keeps its blobs once more: then it is not known
    what is needed, and that is a refusal too.
    """
    try:
        gc(Artifacts(store, wall_clock=clock), grace_s=grace_s)
    except (ConfigError, FormatError):
        return True
    return False


def test_whenever_a_collection_comes_the_publication_loses_no_blob(tmp_path, clock):
    refused = 0
    for position in count():
        store = LocalStore(tmp_path / str(position))
        content = Content(b"rows", [b"x", b"y"])
        content.upload(store)  # as a publication that was killed has left them: this one counts on them
        calls = count()

        def interrupt(call: str, key: str, at=position, calls=calls, store=store) -> None:
            nonlocal refused
            if next(calls) == at:
                refused += collect_or_refuse(store, clock)

        assert content.publish(Hooked(store, interrupt), clock).number == 0
        assert problems(store) == []
        if next(calls) <= position:
            break
    assert position > 5
    assert refused > position - 6


def test_a_publication_that_is_taken_for_dead_at_whatever_call_loses_no_blob(tmp_path):
    removed = 0
    for position in count():
        store, clock = LocalStore(tmp_path / str(position)), FakeClock(NOW_S)
        content = Content(b"rows", [b"x", b"y"])
        content.upload(store)
        calls = count()

        def interrupt(call: str, key: str, at=position, calls=calls, store=store, clock=clock) -> None:
            nonlocal removed
            if next(calls) == at:
                clock.advance(2 * DAY_S)
                removed += gc(Artifacts(store, wall_clock=clock)).blobs

        assert content.publish(Hooked(store, interrupt), clock).number == 0
        assert fsck(Artifacts(store), deep=True) == []
        if next(calls) <= position:
            break
    assert removed > 10


def test_a_publication_that_is_taken_for_dead_again_and_again_says_so(store, clock):
    def interrupt(call: str, key: str) -> None:
        if key.startswith("blobs/"):
            clock.advance(2 * DAY_S)
            gc(Artifacts(store, wall_clock=clock))

    with pytest.raises(WriteError, match="took it for dead 3 times"):
        Content(b"rows").publish(Hooked(store, interrupt), clock)
    assert numbers(store) == []


def test_whenever_a_publication_comes_the_collection_takes_no_blob_of_it(tmp_path, clock):
    outcomes = set()
    for position in count():
        store = LocalStore(tmp_path / str(position))
        Content(b"kept", [b"x"]).publish(store, clock)
        content = Content(b"rows", [b"x", b"y"])
        content.upload(store)
        calls = count()

        def interrupt(call: str, key: str, at=position, calls=calls, store=store, content=content) -> None:
            if next(calls) == at:
                try:
                    content.publish(store, clock)
                    outcomes.add("published")
                except WriteError:
                    outcomes.add("waited in vain")

        gc(Artifacts(Hooked(store, interrupt), wall_clock=clock))
        assert problems(store) == []
        assert keys(store, "pending/") == keys(store, "collecting/") == []
        assert content.publish(store, clock).number == 1
        assert problems(store) == []
        if next(calls) <= position:
            break
    assert position > 5
    assert outcomes == {"published", "waited in vain"}


def test_a_publication_waits_for_a_collection_and_goes_on_when_it_has_ended(store, clock):
    other = Marker(store, "collecting", "a collection", wall_clock=clock)
    other.set()
    waited = []

    def wait(seconds: float) -> None:
        assert keys(store, "pending/") == [], "the collection must not see it"
        waited.append(seconds)
        if len(waited) == 3:
            other.remove()

    assert Content(b"a").publish(store, clock, wait).number == 0
    assert waited == [WAIT_S] * 3


def test_a_publication_does_not_wait_for_ever_nor_for_a_dead_collection(store, clock):
    other = Marker(store, "collecting", "a collection", wall_clock=clock)
    other.set()
    waited = []

    with pytest.raises(WriteError, match=r"collection of blobs is under way.*remove collecting/"):
        Content(b"a").publish(store, clock, waited.append)
    assert len(waited) == WAITS
    assert numbers(store) == []
    clock.advance(3601)
    assert Content(b"a").publish(store, clock, waited.append).number == 0
    assert len(waited) == WAITS


@pytest.mark.parametrize("grace_s", [DAY_S, -1.0], ids=["alive", "taken for dead"])
@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_two_publishers_and_a_collection_take_turns_all_versions_are_whole(tmp_path, seed, grace_s):
    store, clock = LocalStore(tmp_path / "store"), FakeClock(NOW_S)
    Content(b"left", [b"y", b"z"]).upload(store)
    turns = Turns(3, random.Random(seed))

    def publish(player: int, contents: list[Content]) -> None:
        with turns.playing(player) as take:
            for content in contents:
                content.publish(Hooked(store, take), clock, lambda seconds: take("wait", ""))

    def collect_twice(player: int) -> None:
        with turns.playing(player) as take:
            for _ in range(2):
                collect_or_refuse(Hooked(store, take), clock, grace_s)

    with ThreadPoolExecutor(3) as pool:
        done = [
            pool.submit(publish, 0, [Content(b"left", [b"y", b"z"]), Content(b"a", [b"y"])]),
            pool.submit(publish, 1, [Content(b"b", [b"z"]), Content(b"left", [b"y", b"z"])]),
            pool.submit(collect_twice, 2),
        ]
        for one in done:
            one.result(30)

    assert numbers(store) == [0, 1, 2]
    assert problems(store) == []


class Turns:
    """Lets one of several threads go on at a time, from one call of a store to its next, in an order that is drawn."""

    def __init__(self, players: int, chance: random.Random) -> None:
        self._chance, self._changed = chance, Condition()
        self._waiting: set[int] = set()
        self._playing = set(range(players))
        self._turn: int | None = None

    def playing(self, player: int) -> "_Player":
        return _Player(self, player)

    def take(self, player: int) -> None:
        """Ends the player's turn, and returns when it has the next one."""
        with self._changed:
            self._waiting.add(player)
            self._turn = None
            self._next()
            assert self._changed.wait_for(lambda: self._turn == player, 30), "nobody ended a turn"
            self._waiting.discard(player)

    def leave(self, player: int) -> None:
        """Ends the player's last turn."""
        with self._changed:
            self._playing.discard(player)
            self._turn = None
            self._next()

    def _next(self) -> None:
        if self._turn is None and self._playing and self._waiting >= self._playing:
            self._turn = self._chance.choice(sorted(self._playing))
            self._changed.notify_all()


class _Player:
    def __init__(self, turns: Turns, player: int) -> None:
        self._turns, self._player = turns, player

    def __enter__(self) -> Callable[[str, str], None]:
        self._turns.take(self._player)
        return lambda call, key: self._turns.take(self._player)

    def __exit__(self, *_: object) -> None:
        self._turns.leave(self._player)
