"""Marks of what is under way, among what else file systems leave."""

import pytest

from ml.evaluation.artifacts import Artifacts
from ml.evaluation.collection import gc
from tests.evaluation.tables import ground_truth


@pytest.mark.parametrize("name", [".DS_Store", ".nfs0000000000000042", "._a.json.swp"])
def test_what_a_file_system_leaves_among_the_marks_holds_nobody_up(tmp_path, name):
    for kind in ("pending", "collecting"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_bytes(b'{"format":1,"what":"a collection","time":1e9}')
    artifacts = Artifacts(tmp_path, wall_clock=lambda: 1e9)

    assert artifacts.publish("val", {"t": ground_truth()}, type="dataset").number == 0
    assert gc(artifacts).blobs == 0
