"""What a collection removes: what no version names, exactly that; and when it refuses."""

import pytest

from ml.core.errors import ConfigError, FormatError, WriteError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.blobs import Blobs
from ml.evaluation.checking import fsck
from ml.evaluation.collection import Collected, gc
from ml.evaluation.markers import Marker
from ml.testing import FakeClock
from ml.testing.disk import TestDisk
from tests.evaluation.opaque import DAY_S, NOW_S, Content, Hooked, keys
from tests.evaluation.tables import ground_truth, predictions


@pytest.fixture(autouse=True)
def _unsynced():
    with TestDisk():
        yield


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_S)


@pytest.fixture
def artifacts(tmp_path, clock) -> Artifacts:
    artifacts = Artifacts(tmp_path / "store", run_id="run", wall_clock=clock)
    artifacts.publish("val", {"val_data": ground_truth()}, type="dataset")
    artifacts.publish("pred", {"eval_data": predictions(0)}, type="evaluation", aliases=["last"])
    return artifacts


def test_exactly_what_no_version_names_is_removed(artifacts):
    before = keys(artifacts.store)
    Content(b"rows", [b"x", b"yy"]).upload(artifacts.store)
    assert len(keys(artifacts.store)) == len(before) + 4

    dry = gc(artifacts, dry_run=True)
    assert len(keys(artifacts.store)) == len(before) + 4
    assert gc(artifacts) == dry
    assert dry[0] == 4
    assert dry.kept == len([key for key in before if key.startswith("blobs/")])
    assert keys(artifacts.store) == before
    assert gc(artifacts) == Collected(0, 0, 0, dry.kept)
    assert fsck(artifacts, deep=True) == []


def test_what_a_removed_version_alone_named_is_removed(artifacts):
    artifacts.publish("val", {"val_data": ground_truth(5)}, type="dataset")
    artifacts.store.delete("artifacts/val/v00000001.json")

    assert gc(artifacts).blobs == 3, "a part, a list, and the one picture that only it had"
    assert len(list(artifacts.get("val:v0").table().data)) == 4


def test_a_publication_under_way_is_named_and_nothing_is_removed(artifacts, clock):
    Blobs(artifacts.store).put(b"left", "png")
    marker = Marker(artifacts.store, "pending", "'val', of run 'r1'", wall_clock=clock)
    marker.set()
    before = keys(artifacts.store)
    clock.advance(DAY_S)

    for dry_run in (False, True):
        with pytest.raises(ConfigError, match=r"'val', of run 'r1', for 86400 s.*remove pending/"):
            gc(artifacts, dry_run=dry_run)
    assert keys(artifacts.store) == before


def test_a_publication_that_is_older_than_the_grace_is_dead_and_its_mark_is_removed(artifacts, clock):
    Blobs(artifacts.store).put(b"left", "png")
    for kind in ("pending", "collecting"):
        Marker(artifacts.store, kind, "killed", wall_clock=clock).set()
    clock.advance(3 * 3600)

    assert gc(artifacts, grace_s=7200) == Collected(1, 4, 2, 7)
    assert keys(artifacts.store, "pending/") == keys(artifacts.store, "collecting/") == []


def test_a_mark_of_a_clock_that_is_days_ahead_is_dead_too(artifacts, clock):
    Marker(artifacts.store, "pending", "killed", wall_clock=lambda: NOW_S + 2 * DAY_S).set()

    assert gc(artifacts).marks == 1


def test_two_collections_at_once_do_not_disturb_each_other(artifacts, clock):
    Content(b"rows", [b"x"]).upload(artifacts.store)
    inner = []

    def interrupt(call: str, key: str) -> None:
        if call == "delete" and not inner:
            inner.append(gc(artifacts))

    outer = gc(Artifacts(Hooked(artifacts.store, interrupt), wall_clock=clock))
    assert (outer.blobs, inner[0].blobs) == (1, 3), "the list of blobs is read as it is gone through"
    assert len(keys(artifacts.store, "blobs/")) == outer.kept == 7
    assert fsck(artifacts, deep=True) == []


@pytest.mark.parametrize("ext", ["json", "media"])
def test_where_it_is_not_known_what_is_needed_nothing_is_removed(artifacts, ext):
    Blobs(artifacts.store).put(b"left", "png")
    prefix = "artifacts/val" if ext == "json" else "blobs/"
    key = next(key for key in keys(artifacts.store, prefix) if key.endswith(ext))
    artifacts.store.put(key, b"damaged")
    before = keys(artifacts.store)

    with pytest.raises(FormatError):
        gc(artifacts)
    assert keys(artifacts.store) == before
    if ext == "media":
        artifacts.store.delete(key)
        with pytest.raises(FormatError, match="nobody knows which blobs are not needed"):
            gc(artifacts)


def test_what_is_no_blob_is_left_where_it_is(artifacts):
    artifacts.store.put("blobs/README", b"mine")

    assert gc(artifacts).blobs == 0
    assert "blobs/README" in keys(artifacts.store)


def test_a_collection_that_takes_long_says_that_it_goes_on(artifacts, clock):
    Content(b"rows", [b"%d" % number for number in range(40)]).upload(artifacts.store)
    alive = []

    def slow(call: str, key: str) -> None:
        if call == "delete" and key.startswith("blobs/"):
            clock.advance(600)
            [key] = keys(artifacts.store, "collecting/")
            alive.append(artifacts.store.get(key, max_bytes=1000))

    assert gc(Artifacts(Hooked(artifacts.store, slow), wall_clock=clock)).blobs == 42
    assert len(set(alive)) == 42, "each time with a new time"


def test_a_collection_that_stood_still_for_longer_than_others_believe_it_alive_removes_nothing_more(artifacts, clock):
    Content(b"rows", [b"x"]).upload(artifacts.store)
    removed = []

    def sleep(call: str, key: str) -> None:
        if call == "delete" and key.startswith("blobs/"):
            removed.append(key)
            clock.advance(3600)

    with pytest.raises(WriteError, match="stood still for too long"):
        gc(Artifacts(Hooked(artifacts.store, sleep), wall_clock=clock))
    assert len(removed) == 1
    assert keys(artifacts.store, "collecting/") == []
