"""What fsck finds: everything that is missing, damaged or dangling, and nothing else."""

from dataclasses import replace

import pytest

from ml.evaluation.artifacts import Artifacts
from ml.evaluation.checking import fsck
from ml.evaluation.manifest import Manifest
from ml.evaluation.markers import Marker
from ml.evaluation.table import Table
from ml.testing import FakeClock
from ml.testing.disk import TestDisk
from tests.evaluation.opaque import NOW_S, Content, Hooked, keys
from tests.evaluation.tables import ground_truth, predictions


@pytest.fixture(autouse=True)
def _unsynced():
    with TestDisk():
        yield


@pytest.fixture
def artifacts(tmp_path) -> Artifacts:
    """A dataset, and two evaluations that refer to its rows."""
    artifacts = Artifacts(tmp_path / "store", run_id="run", wall_clock=FakeClock(NOW_S))
    data = artifacts.publish("val", {"val_data": ground_truth()}, type="dataset").table()
    for epoch in range(2):
        table = Table(["row", "score"])
        for index in data.get_index():
            table.add_data(index, float(epoch))
        artifacts.publish(
            "pred",
            {"eval_data": table},
            type="evaluation",
            aliases=["last"],
            metrics={"loss": 1.0},
            best=("loss", "min"),
        )
    assert fsck(artifacts, deep=True) == []
    return artifacts


def blob(artifacts: Artifacts, ext: str) -> tuple[str, bytes]:
    """Returns the key and the content of a blob."""
    key = next(key for key in keys(artifacts.store, "blobs/") if key.endswith(ext))
    return key, artifacts.store.get(key, max_bytes=10**6)


def found(artifacts: Artifacts, *, deep: bool = False) -> dict[str, str]:
    """Returns what is wrong, by key."""
    listed = fsck(artifacts, deep=deep)
    assert all(problem.severity == "problem" for problem in listed)
    return {problem.key: problem.text for problem in listed}


@pytest.mark.parametrize("ext", [".png", ".parquet", ".media"])
def test_a_blob_that_was_deleted_is_found(artifacts, ext):
    key, _ = blob(artifacts, ext)
    artifacts.store.delete(key)

    problems = found(artifacts)
    assert problems[key].startswith("it is missing; artifacts/")
    assert len(problems) == 1


@pytest.mark.parametrize("ext", [".png", ".parquet", ".media"])
def test_a_blob_that_was_cut_off_is_found(artifacts, ext):
    key, data = blob(artifacts, ext)
    artifacts.store.put(key, data[:-5])

    assert f"it has {len(data) - 5} bytes in the place of {len(data)}" in " ".join(
        problem.text for problem in fsck(artifacts) if problem.key == key
    )


@pytest.mark.parametrize("ext", [".png", ".parquet"])
def test_a_byte_that_was_changed_is_found_by_a_deep_check(artifacts, ext):
    key, data = blob(artifacts, ext)
    artifacts.store.put(key, bytes([data[0] ^ 1]) + data[1:])

    assert found(artifacts) == {}
    assert "damaged" in found(artifacts, deep=True)[key]


def test_an_alias_of_no_version_is_found(artifacts):
    artifacts.store.put("aliases/pred/last.json", b'{"alias":"last","version":7}')
    artifacts.store.put("aliases/absent/last.json", b'{"alias":"last","version":0}')
    artifacts.store.put("aliases/pred/best.json", b'{"alias":"best","metric":"accuracy","mode":"max"}')
    artifacts.store.put("aliases/pred/odd.json", b"[]")

    problems = found(artifacts)
    assert problems["aliases/pred/last.json"] == "it stands for v7, which is missing"
    assert problems["aliases/absent/last.json"] == "it stands for v0, which is missing"
    assert problems["aliases/pred/best.json"] == "no version has the metric 'accuracy' that decides on it"
    assert problems["aliases/pred/odd.json"].startswith("no alias: ")
    assert len(problems) == 4


def test_a_gap_in_the_numbers_is_found_with_what_refers_to_it(artifacts):
    artifacts.store.delete("artifacts/pred/v00000000.json")
    artifacts.store.delete("artifacts/val/v00000000.json")

    listed = fsck(artifacts)
    assert ("problem", "artifacts/pred/", "v0 is missing: numbers have no gaps") in listed
    texts = {(problem.key, problem.text) for problem in listed}
    assert ("artifacts/pred/v00000001.json", "it was made of val:v0, which is missing") in texts
    assert ("lineage/val/v00000000/used-run.json", "it is about v0, which is missing") in texts
    assert ("lineage/pred/v00000000/logged-run.json", "it is about v0, which is missing") in texts
    assert [problem.key for problem in listed if problem.severity == "note"] == ["blobs/"]


def test_longer_gaps_are_told_as_one(artifacts):
    for epoch in range(2, 6):
        artifacts.publish("pred", {"eval_data": predictions(epoch)}, type="evaluation")
    for number in (1, 2, 4):
        artifacts.store.delete(f"artifacts/pred/v0000000{number}.json")

    texts = [problem.text for problem in fsck(artifacts) if problem.key == "artifacts/pred/"]
    assert texts == ["v1 to v2 is missing: numbers have no gaps", "v4 is missing: numbers have no gaps"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: b"", "no manifest"),
        (lambda data: data[:-9], "no manifest"),
        (lambda data: b"[" * 100_000, "no manifest"),
        (lambda data: data.replace(b'"format":1', b'"format":2'), "read it with a newer release"),
        (lambda data: data.replace(b'"rows":4', b'"rows":5'), "it was changed"),
        (lambda data: data.replace(b'"name":"pred"', b'"name":"other"'), "it is that of 'other', version 1"),
        (lambda data: data.replace(b'"version":1', b'"version":0'), "it is that of 'pred', version 0"),
        (lambda data: data.replace(b'"created":1', b'"created":1e400,"x":1'), "no manifest"),
        (lambda data: data.replace(b'"kind":"number"', b'"kind":"object"'), "no kind 'object'"),
        (lambda data: data.replace(b'"sha256":"', b'"sha256":"../'), "there is no blob"),
    ],
)
def test_a_manifest_that_was_changed_is_found(artifacts, change, text):
    key = "artifacts/pred/v00000001.json"
    data = artifacts.store.get(key, max_bytes=10**6)
    assert change(data) != data
    artifacts.store.put(key, change(data))

    problems = {problem.key: problem.text for problem in fsck(artifacts) if problem.severity == "problem"}
    assert text in problems[key]
    assert set(problems) == {key}


def test_the_same_content_under_two_numbers_is_found(artifacts):
    manifest = Manifest.from_bytes(artifacts.store.get("artifacts/pred/v00000001.json", max_bytes=10**6))
    artifacts.store.put("artifacts/pred/v00000002.json", replace(manifest, number=2).to_bytes())

    assert found(artifacts) == {"artifacts/pred/v00000002.json": "it has the content of v1"}


def test_what_is_in_the_way_is_found(artifacts):
    for key in ("artifacts/pred/v1.json", "artifacts/stray", "blobs/00/x.png", "aliases/x", "lineage/pred/x.json"):
        artifacts.store.put(key, b"{}")
    artifacts.store.put("pending/x.json", b"{}")

    listed = fsck(artifacts)
    assert {problem.key for problem in listed if problem.severity == "note"} == {"blobs/00/x.png"}
    assert {problem.key for problem in listed if problem.severity == "problem"} == {
        "artifacts/pred/v1.json", "artifacts/stray", "aliases/x", "lineage/pred/x.json",
        "pending/x.json",
    }  # fmt: skip


def test_a_column_that_refers_to_no_table_is_found(artifacts):
    key = "artifacts/pred/v00000001.json"
    manifest = Manifest.from_bytes(artifacts.store.get(key, max_bytes=10**6))
    data = manifest.to_bytes().replace(b"val:v0/val_data", b"val:v0/gone")
    changed = Manifest.from_bytes(data.replace(manifest.digest.encode(), _digest_of(data).encode()))
    artifacts.store.put(key, changed.to_bytes())

    assert found(artifacts) == {key: "column 'row' refers to val:v0/gone, which is missing"}


def _digest_of(data: bytes) -> str:
    """Returns the digest that a manifest should have: the message about the one that it has says it."""
    with pytest.raises(ValueError, match="its content's ") as caught:
        Manifest.from_bytes(data)
    return str(caught.value).partition("its content's ")[2][:64]


def test_what_killed_ones_have_left_is_a_note(artifacts):
    Content(b"rows", [b"x"]).upload(artifacts.store)
    Marker(artifacts.store, "pending", "'val', of run 'r'", wall_clock=lambda: 0.0).set()
    Marker(artifacts.store, "collecting", "a collection", wall_clock=lambda: 0.0).set()

    listed = fsck(artifacts, deep=True)
    assert {problem.severity for problem in listed} == {"note"}
    assert [problem.text for problem in listed] == [
        "no version names 3 blobs of 76 bytes; 'gc' removes them",
        "a publication is under way, or was killed: 'val', of run 'r'",
        "a collection is under way, or was killed: a collection",
    ]


def test_a_check_beside_a_publication_finds_nothing_wrong_at_whatever_call_it_is(artifacts):
    """Another one publishes before each call of the check; what it finds then is whole, or not looked at."""
    checks = iter(range(1000))
    contents = iter(range(1000))

    def publish(call: str, key: str) -> None:
        if next(checks) % 3 == 0:
            other.publish("pred", {"eval_data": predictions(next(contents))}, type="evaluation", aliases=["last"])

    other = Artifacts(artifacts.store, run_id="other", wall_clock=FakeClock(NOW_S))
    watched = Artifacts(Hooked(artifacts.store, publish))
    assert [problem for problem in fsck(watched) if problem.severity == "problem"] == []
    assert next(contents) > 3
