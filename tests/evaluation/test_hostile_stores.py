"""Stores that others may write to as well, and clocks that nobody set."""

import pytest

from ml.cli.main import main
from ml.core.errors import FormatError
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.blobs import BlobRef
from ml.evaluation.checking import fsck
from ml.evaluation.columns import Column
from ml.evaluation.layout import alias_key, manifest_key
from ml.evaluation.manifest import Manifest, TableEntry
from ml.evaluation.stored import StoredPart
from tests.evaluation.tables import ground_truth, predictions

INTEGER = Column("a", "integer")
ENTRIES = {
    "columns of one name": TableEntry("t", (INTEGER, INTEGER), ()),
    "more columns than a table has": TableEntry("t", tuple(Column(n, "integer") for n in range(10_001)), ()),
    "rows beyond any machine": TableEntry("t", (INTEGER,), (StoredPart(BlobRef("0" * 64, "parquet", 1), 10**30),)),
    "bytes beyond any float": TableEntry("t", (INTEGER,), (), media_bytes=10**400),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_a_manifest_that_no_table_could_have_is_none(tmp_path, entry, capsys):
    artifacts = Artifacts(tmp_path)
    manifest = Manifest("val", 0, "dataset", {"t": entry}, {}, {}, (), "", 1e9, "p")
    artifacts.store.create(manifest_key("val", 0), manifest.to_bytes())

    with pytest.raises(FormatError, match="no manifest of a version"):
        artifacts.get("val")
    assert [problem.severity for problem in fsck(artifacts)] == ["problem"]
    assert main(["artifacts", "ls", str(tmp_path)]) == 0
    assert main(["artifacts", "fsck", str(tmp_path)]) == 1


def test_a_check_of_a_store_with_a_damaged_manifest_ends_with_what_it_found(tmp_path, capsys):
    Artifacts(tmp_path).publish("my val", {"t": ground_truth()}, type="dataset")
    Artifacts(tmp_path).store.put(manifest_key("my val", 0), b"{")

    assert main(["artifacts", "fsck", str(tmp_path)]) == 1
    assert "problem: artifacts/my%20val/v00000000.json" in capsys.readouterr().out


def test_an_alias_that_lies_under_another_name_is_none(tmp_path, caplog):
    artifacts = Artifacts(tmp_path)
    for epoch in (1, 2):
        artifacts.publish("pred", {"t": predictions(epoch)}, type="evaluation")
    artifacts.store.put(alias_key("pred", "best"), b'{"alias":"latest","version":0}')

    assert artifacts.aliases("pred") == {"latest": 1}
    with pytest.raises(FormatError, match="it is the alias 'latest'"):
        artifacts.get("pred:best")
    assert [problem.key for problem in fsck(artifacts)] == [alias_key("pred", "best")]


@pytest.mark.parametrize(("now_s", "year"), [(-5.0, 1970), (1e12, 9998)], ids=["before 1970", "after 9999"])
def test_a_clock_that_is_wrong_costs_no_version(tmp_path, now_s, year):
    Artifacts(tmp_path, run_id="r", wall_clock=lambda: now_s).publish("val", {"t": ground_truth()}, type="dataset")

    assert Artifacts(tmp_path).get("val").created.year == year
    assert fsck(Artifacts(tmp_path)) == []
