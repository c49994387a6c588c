"""Artifacts over a directory and over a bucket of a real S3 server: versions, references, aliases, lineage."""

from pathlib import Path

import numpy as np
import pytest

from ml.cli.main import main
from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.checking import fsck
from ml.evaluation.collection import gc
from ml.evaluation.columns import Column
from ml.evaluation.table import Table
from ml.io.store import Refused, StoreConfig
from ml.testing import FakeClock
from tests.evaluation.opaque import NOW_S, Hooked, keys
from tests.evaluation.tables import ground_truth, predictions


@pytest.fixture(params=["directory", "s3"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> StoreConfig:
    if request.param == "directory":
        return StoreConfig(str(tmp_path / "store"))
    return request.getfixturevalue("s3").config("evaluations")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_S)


@pytest.fixture
def artifacts(config: StoreConfig, clock: FakeClock) -> Artifacts:
    return Artifacts(config, run_id="run 1", wall_clock=clock)


@pytest.fixture
def local(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "store", run_id="run 1", wall_clock=FakeClock(NOW_S))


def publish(artifacts: Artifacts, epoch: int, **settings: object):
    return artifacts.publish("pred", {"eval_data": predictions(epoch)}, type="evaluation", **settings)


class TestArtifactsContract:
    def test_what_was_published_is_read_back_by_whoever_opens_the_store(self, config, artifacts):
        version = artifacts.publish(
            "val",
            {"val_data": ground_truth()},
            type="dataset",
            metadata={"split": 1},
            metrics={"loss": np.float32(0.5)},
        )

        read = Artifacts(config).get("val")
        assert read == version
        assert (read.name, read.number, read.ref, read.type) == ("val", 0, "val:v0", "dataset")
        assert (read.metadata, read.metrics, read.used) == ({"split": 1}, {"loss": 0.5}, ())
        assert read.created.timestamp() == NOW_S
        assert read.tables == ["val_data"]
        rows = list(read.table("val_data").data)
        assert [row["label"] for row in rows] == ["class 0", "class 1"] * 2
        assert [row["image"].array()[0, 0, 0] for row in rows] == [0, 50, 100, 150]
        assert fsck(artifacts, deep=True) == []

    def test_epochs_refer_to_the_ground_truth_whose_media_are_kept_once(self, artifacts):
        data = artifacts.publish("val", {"val_data": ground_truth()}, type="dataset")
        blobs = keys(artifacts.store, "blobs/")
        stored = data.table()
        for epoch in range(2):
            table = Table(["row", "image", "score"])
            for index in stored.get_index():
                table.add_data(index, stored.data[index][0], epoch + 0.5)
            version = artifacts.publish("pred", {"eval_data": table}, type="evaluation", aliases=[f"epoch_{epoch}"])
            assert version.used == ("val:v0",), "its rows are named, and its media are taken from there"

        added = set(keys(artifacts.store, "blobs/")) - set(blobs)
        assert [key.rpartition(".")[2] for key in added] == ["parquet"] * 2
        row = artifacts.get("pred:epoch_1").table().data[3]
        assert row["image"].array()[0, 0, 0] == 150
        assert artifacts.get("pred").table().row(row["row"])["label"] == "class 1"
        assert artifacts.used_by(data) == ["run 1"]
        assert fsck(artifacts, deep=True) == []

    def test_the_same_evaluation_again_is_the_same_version(self, config, artifacts, clock):
        first = publish(artifacts, 0, metadata={"b": float("nan"), "a": [1, 2.5, None]}, metrics={"loss": 1.0})
        before = keys(artifacts.store)
        clock.advance(100)

        again = publish(
            Artifacts(config, run_id="run 1"), 0, metadata={"a": (1, 2.5, None), "b": np.nan}, metrics={"loss": 2.0}
        )

        assert again == first
        assert again.metrics == {"loss": 1.0}
        assert keys(artifacts.store) == before
        assert publish(artifacts, 0).number == 1, "without its metadata it is another one"

    def test_latest_moves_by_itself_best_by_its_metric_and_others_when_they_are_set(self, config, artifacts):
        for epoch, accuracy in enumerate([0.5, 0.9, 0.7]):
            version = publish(
                artifacts, epoch, aliases=["latest", f"epoch_{epoch}", "candidate"], metrics={"accuracy": accuracy},
                best=("accuracy", "max"),
            )  # fmt: skip
            assert "latest" in version.aliases
            assert "candidate" in version.aliases

        expected = {"latest": 2, "best": 1, "candidate": 2, **{f"epoch_{epoch}": epoch for epoch in range(3)}}
        assert Artifacts(config).aliases("pred") == expected
        assert {alias: artifacts.get(f"pred:{alias}").number for alias in expected} == expected
        assert artifacts.get("pred").number == 2
        assert artifacts.get("pred:v1").number == 1
        artifacts.set_alias("pred", "candidate", 0)
        assert artifacts.get("pred:candidate").number == 0
        assert artifacts.get("pred:best").aliases == ["best", "epoch_1"]
        assert fsck(artifacts) == []

    def test_who_made_and_who_used_a_version_is_kept(self, config, artifacts):
        first, second = publish(artifacts, 0), publish(artifacts, 1)
        other = Artifacts(config, run_id="run/2 ü")
        publish(other, 0)
        other.use(other.get("pred:v0"))
        other.use(other.get("pred:v0"))
        other.publish("report", {"table": predictions(9)}, type="report", used=[other.get("pred:v1")])

        assert artifacts.logged_by(first) == ["run 1", "run/2 ü"]
        assert artifacts.logged_by(second) == ["run 1"]
        assert artifacts.used_by(first) == artifacts.used_by(second) == ["run/2 ü"]
        assert other.get("report").used == ("pred:v1",)
        assert fsck(artifacts) == []


def test_the_command_reads_a_bucket(s3, capsys, monkeypatch):
    publish(Artifacts(s3.config("kept")), 0)
    for name, value in s3.server.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    place = [f"s3://{s3.name}/kept", "--endpoint-url", s3.server.endpoint_url, "--region", s3.server.region]

    assert main(["artifacts", "ls", *place]) == main(["artifacts", "fsck", *place, "--deep"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["pred:v0", "evaluation"]
    assert lines[2] == "Everything is whole; every blob was read."


def test_names_aliases_tables_and_runs_are_any_text(local):
    names = ["a", "a-b", "a.b", "a b", "ä/ö", "../x", "a:b", "%41", "x" * 300, "日本語", ".", "<script>"]
    artifacts = Artifacts(local.store, run_id="../\u202e")
    for name in names:
        version = artifacts.publish(name, {name: predictions(0)}, type=name, aliases=[name.replace(":", "")])
        assert artifacts.get(version.ref).table(name).data[1]["score"] == 0.125

    assert Artifacts(local.store).names() == sorted(names)
    assert artifacts.get("a:b:latest").name == "a:b"
    assert artifacts.logged_by(artifacts.get("../x:../x")) == ["../\u202e"]
    assert fsck(artifacts, deep=True) == []


def test_versions_are_listed_from_the_first_to_the_latest(local):
    assert local.names() == local.versions("pred") == []
    assert local.aliases("pred") == {}
    for epoch in range(12):
        publish(local, epoch)

    assert [version.number for version in local.versions("pred")] == list(range(12))
    assert local.names() == ["pred"]


def test_what_is_not_there_is_told_with_what_is(local):
    with pytest.raises(ConfigError, match=r"no artifact 'val'. Those there: none"):
        local.get("val")
    publish(local, 0, aliases=["epoch_0"])
    with pytest.raises(ConfigError, match=r"no artifact 'val'. Those there: 'pred'"):
        local.get("val:v0")
    for ref in ("pred:v1", "pred:best", "pred:epoch_1"):
        with pytest.raises(ConfigError, match=rf"no {ref} in .*There is v0, latest, epoch_0\."):
            local.get(ref)
    with pytest.raises(ConfigError, match=r"no table 'x' in pred:v0\? There is 'eval_data'"):
        local.get("pred").table("x")
    with pytest.raises(ConfigError, match="no pred:v7"):
        local.set_alias("pred", "release", 7)


# what makes no sense


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"aliases": ["v3"]}, "'v3' cannot be set"),
        ({"aliases": ["a:b"]}, "without a colon"),
        ({"aliases": [""]}, "without a colon"),
        ({"best": ("accuracy", "max")}, r"told by 'accuracy', but metrics has \['loss'\]"),
        ({"best": ("loss", "least")}, "'max' or its 'min', got 'least'"),
        ({"best": "loss"}, r"as in \('accuracy', 'max'\), got 'loss'"),
        ({"aliases": "best"}, r"got the text 'best'\. Write \['best'\]"),
        ({"used": ["pred:v0"]}, r"get\('pred:v0'\)"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(local, settings, problem):
    with pytest.raises(ConfigError, match=problem):
        publish(local, 0, metrics={"loss": 1}, **settings)
    assert keys(local.store) == []


def test_an_artifact_needs_a_name_a_type_and_a_table(local):
    for name, tables, type_, problem in [
        ("", {"t": predictions(0)}, "x", "name of an artifact"),
        ("a", {"t": predictions(0)}, "", "type of an artifact"),
        ("a", {}, "x", "needs tables by name"),
        ("a", {"": predictions(0)}, "x", "could be taken for another"),
        ("a:v1/b", {"t": predictions(0)}, "x", "could be taken for another"),
        ("a", predictions(0), "x", r"got Table\(.*as in \{'eval_data': table\}"),
        ("a", {"t": {"row": [1]}}, "x", r"'t' of 'a' is a dict"),
    ]:
        with pytest.raises(ConfigError, match=problem):
            local.publish(name, tables, type=type_)
    assert keys(local.store) == []


def test_a_published_table_is_no_table_to_publish_and_a_reference_no_version_to_use(local):
    stored = publish(local, 0).table()

    with pytest.raises(ConfigError, match=r"'t' of 'copy' is a StoredTable.*Add its rows to a Table"):
        local.publish("copy", {"t": stored}, type="x")
    with pytest.raises(ConfigError, match=r"get\('pred:v0'\)"):
        local.use("pred:v0")
    assert local.names() == ["pred"]


def test_what_is_no_metadata_and_no_metric_is_refused(local):
    circle: list[object] = []
    circle.append(circle)
    for metadata in ({"model": object()}, {"a": {"b": [b"bytes"]}}, {"circle": circle}, {1: 3, "1": 4}):
        with pytest.raises(LogValueError, match="metadata"):
            publish(local, 0, metadata=metadata)
    for metric in ("0.5", None, [1, 2], np.ones(2)):
        with pytest.raises(LogValueError, match="metric 'loss' is"):
            publish(local, 0, metrics={"loss": metric})
    assert keys(local.store) == []


def test_secrets_in_metadata_are_masked_before_they_are_written(local, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "correct horse battery")
    publish(local, 0, metadata={"config": {"api_key": "abcdefgh"}, "note": "use correct horse battery", "tokens": 7})

    assert local.get("pred").metadata == {"config": {"api_key": "***"}, "note": "use ***", "tokens": 7}


def test_a_version_of_another_store_cannot_be_used(local, tmp_path):
    other = Artifacts(tmp_path / "other")
    version = publish(other, 0)

    with pytest.raises(ConfigError, match="and not in"):
        publish(local, 0, used=[version])
    with pytest.raises(ConfigError, match="run_id"):
        other.use(version)


def test_without_a_run_nothing_is_kept_of_one(tmp_path):
    artifacts = Artifacts(tmp_path)
    version = publish(artifacts, 0)

    assert artifacts.logged_by(version) == []
    assert keys(artifacts.store, "lineage/") == []


def test_a_table_may_grow_and_be_published_again(local):
    table = predictions(0)
    first = local.publish("pred", {"t": table}, type="evaluation")
    table.add_data(9, 9.0)
    second = local.publish("pred", {"t": table}, type="evaluation")

    assert [len(version.table()) for version in (first, second)] == [4, 5]


def test_several_tables_are_one_version(local):
    version = local.publish("all", {"b": predictions(0), "a": ground_truth()}, type="evaluation")

    assert version.tables == ["b", "a"]
    assert len(version.table("a")) == 4
    with pytest.raises(ConfigError, match=r"Which table of all:v0\? There is 'b', 'a'"):
        version.table()
    same = local.publish("all", {"a": ground_truth(), "b": predictions(0)}, type="evaluation")
    assert same == version, "their order is no content"


def test_an_empty_table_is_a_version(local):
    local.publish("empty", {"t": Table([Column("score", "number")])}, type="evaluation")

    assert len(local.get("empty").table()) == 0
    assert fsck(local, deep=True) == []


def test_pictures_of_a_version_that_was_removed_are_not_taken_for_granted(local, tmp_path):
    data = local.publish("val", {"val_data": ground_truth()}, type="dataset")
    kept = list(data.table().data)
    for key in keys(local.store, "artifacts/"):
        local.store.delete(key)
    assert gc(local).blobs == 6

    table = Table(["image"])
    table.add_data(kept[0][0])
    with pytest.raises(LogValueError, match="was removed since it was read"):
        local.publish("pred", {"t": table}, type="evaluation")
    assert keys(local.store, "artifacts/") == keys(local.store, "pending/") == []


def test_a_name_that_differs_in_capitals_alone_is_refused_where_the_store_ignores_them(local):
    class IgnoresCase(Hooked):
        def create(self, key: str, data: bytes) -> bool:
            return super().create(key.lower(), data)

        def get(self, key: str, *, max_bytes: int) -> bytes:
            return super().get(key.lower(), max_bytes=max_bytes)

        def list(self, prefix: str = "", *, after: str = ""):
            return super().list(prefix.lower(), after=after.lower())

    artifacts = Artifacts(IgnoresCase(local.store, lambda call, key: None))
    publish(artifacts, 0)
    with pytest.raises(ConfigError, match="ignores capitals, and holds an artifact 'pred'"):
        artifacts.publish("Pred", {"t": predictions(1)}, type="evaluation")


# a store that does not know conditional creates


class Bucket(Hooked):
    """A store that looks like a bucket."""

    url = "s3://bucket/evaluations"


class Overwrites(Bucket):
    """A server that takes the condition, and overwrites all the same."""

    def create(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True


def test_a_store_that_overwrites_is_refused_at_the_first_publication_and_asked_once(local):
    probes = []
    artifacts = Artifacts(Overwrites(local.store, lambda call, key: call == "delete" and probes.append(key)))

    for _ in range(2):
        with pytest.raises(Refused, match="Writers would overwrite"):
            publish(artifacts, 0)
    assert len(probes) == 1
    assert keys(local.store) == []


def test_a_store_that_keeps_what_was_first_is_asked_once_and_readers_never_ask(local):
    probes = []
    store = Bucket(local.store, lambda call, key: key.startswith("probe-") and call == "delete" and probes.append(key))
    artifacts = Artifacts(store)
    publish(artifacts, 0)
    publish(artifacts, 1)
    Artifacts(store).get("pred").table().to_arrow()

    assert len(probes) == 1


def test_a_store_that_cannot_be_asked_now_is_asked_again(local):
    is_away = True

    def away(call: str, key: str) -> None:
        if is_away:
            raise WriteError("The server is away.")

    artifacts = Artifacts(Bucket(local.store, away))
    with pytest.raises(WriteError, match="away"):
        publish(artifacts, 0)
    is_away = False
    assert publish(artifacts, 0).number == 0
