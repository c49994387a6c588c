"""Ranks that start at different moments share one run directory."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "skewed_start.py"


def start_two_ranks(directory: Path, seed: int) -> None:
    """Starts two ranks with a random skew, and checks that they agreed on one directory that one of them wrote."""
    before = {path.name for path in directory.parent.iterdir()}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*launcher, str(PROGRAM), str(directory), "0.5", str(seed)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    told = dict(re.findall(r"rank (\d) in (\S+)", result.stdout))
    assert set(told) == {"0", "1"}
    assert told["0"] == told["1"]
    made = {path.name for path in directory.parent.iterdir()} - before
    assert made == {Path(told["0"]).name}
    assert len((Path(told["0"]) / "json" / "log.jsonl").read_text().splitlines()) == 3


def test_two_ranks_share_one_directory(tmp_path):
    start_two_ranks(tmp_path / "demo", seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_starts_of_two_ranks_make_twenty_directories(tmp_path):
    for seed in range(20):
        start_two_ranks(tmp_path / "demo", seed)

    names = {"demo", *(f"demo-{number}" for number in range(2, 21))}
    assert {path.name for path in tmp_path.iterdir()} == names
