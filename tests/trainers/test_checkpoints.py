import resource

import pytest
import torch

from ml.core.errors import FormatError
from ml.trainers.checkpoints import Checkpoints


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_what_was_saved_is_loaded_from_the_newest(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for step in (9, 100_000_000, 99_999_999):
        checkpoints.save(step, {"step": step, "weights": torch.full((2,), float(step)), "nested": [{"a": None}]})

    content = checkpoints.load_newest()

    assert content["step"] == 100_000_000
    assert torch.equal(content["weights"], torch.full((2,), 1e8))
    assert content["nested"] == [{"a": None}]


def test_the_newest_few_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 6):
        checkpoints.save(step, {})

    assert names(tmp_path) == ["step-00000004.pt", "step-00000005.pt"]


def test_there_may_be_none(tmp_path):
    assert Checkpoints(tmp_path / "none", keep=1).load_newest() is None


def test_a_disk_that_fills_up_costs_one_checkpoint_and_leaves_the_others_whole(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        checkpoints.save(2, {"step": 2, "weights": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert names(tmp_path) == ["step-00000001.pt"]
    assert checkpoints.load_newest() == {"step": 1}
    assert "step-00000002.pt" in caplog.text


def test_a_checkpoint_is_durable_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(names(tmp_path)))

    Checkpoints(tmp_path, keep=1).save(1, {"step": 1})

    assert ["step-00000001.pt" in seen for seen in synced] == [False, True]


def test_what_a_killed_process_left_half_written_is_not_a_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {"step": 1})
    (tmp_path / "step-00000002.4711.tmp").write_bytes(b"half")

    assert checkpoints.load_newest() == {"step": 1}


class Canary:
    """Would touch a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_loading_never_runs_code_from_the_file(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    torch.save({"step": Canary(tmp_path / "touched")}, tmp_path / "step-00000001.pt")

    with pytest.raises(FormatError, match="Start a new run"):
        checkpoints.load_newest()
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no checkpoint"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, content):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, {})
    (tmp_path / "step-00000002.pt").write_bytes(content)

    with pytest.raises(FormatError, match=r"step-00000002\.pt.*Remove it to resume from the one before"):
        checkpoints.load_newest()
