"""Which versions a store holds, where some of what lies there is damaged or was put there by others."""

import pytest

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.layout import manifest_key
from tests.evaluation.opaque import Hooked, local
from tests.evaluation.tables import ground_truth, predictions


@pytest.fixture
def artifacts(tmp_path):
    return Artifacts(tmp_path)


def publish(artifacts, name, table):
    return artifacts.publish(name, {"t": table}, type="evaluation")


def test_a_damaged_manifest_costs_no_other_artifact_its_name(artifacts, caplog):
    for name in ("my val", "my pred", "plain"):
        publish(artifacts, name, ground_truth())
    artifacts.store.put(manifest_key("my val", 0), b"{")
    found = artifacts.names()
    publish(artifacts, "my val", predictions(1))

    assert found == ["my pred", "plain"]
    assert artifacts.names() == ["my pred", "my val", "plain"], "its second version says the name"
    assert "my%20val/v00000000.json" in caplog.text
    with pytest.raises(ConfigError, match="has no artifact 'other'"):
        artifacts.get("other")


def test_a_manifest_under_the_number_of_another_version_is_none(artifacts):
    publish(artifacts, "val", ground_truth())
    key = manifest_key("val", 0)
    artifacts.store.create(manifest_key("val", 1), artifacts.store.get(key, max_bytes=2**20))

    with pytest.raises(FormatError, match="it is the manifest of v0"):
        artifacts.get("val:v1")
    assert [version.number for version in artifacts.versions("val")] == [0]


def test_a_version_that_was_removed_and_whose_number_another_one_has_now_is_not_the_answer(artifacts):
    publish(artifacts, "pred", predictions(1))
    artifacts.store.delete(manifest_key("pred", 0))
    publish(Artifacts(artifacts.store), "pred", predictions(2))
    again = publish(artifacts, "pred", predictions(1))

    assert again.number == 1
    assert again.table("t").data[0]["score"] == 1.0


def test_a_publication_reads_no_manifest_twice_however_many_versions_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr("ml.evaluation.catalog._MAX_KEPT", 3)
    read = []
    artifacts = Artifacts(Hooked(local(tmp_path), lambda call, key: read.append(key) if call == "get" else None))
    for epoch in range(8):
        artifacts.publish(
            "pred", {"t": predictions(epoch)}, type="evaluation", metrics={"loss": -epoch}, best=("loss", "min")
        )
        assert artifacts.aliases("pred")["best"] == epoch

    manifests = [key for key in read if key.startswith("artifacts/")]
    assert sorted(manifests) == [manifest_key("pred", number) for number in range(8)]
