"""A third party's backend of at most 25 lines, in a package of its own, keeps the contract."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "tsv_backend"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a directory that the package is installed into."""
    directory = tmp_path_factory.mktemp("third_party")
    source, target = directory / "source", directory / "target"
    shutil.copytree(PACKAGE, source)  # building leaves files behind
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", "--target", target, source], check=True)
    return target


def run(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=100
    )


def test_a_backend_takes_no_more_than_25_lines():
    assert len((PACKAGE / "tsv_backend.py").read_text().splitlines()) <= 25


def test_a_backend_in_a_package_of_its_own_keeps_the_contract(installed, tmp_path):
    check = PACKAGE / "keeps_the_contract.py"
    done = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", str(check), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_a_backend_is_found_by_its_entry_point(installed, tmp_path):
    program = """
from ml import start_run

with start_run("run", loggers=["tsv"]) as run:
    run.log({"task/loss": 0.5})
    run.step()
"""
    done = run(installed, "-c", program, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "tsv" / "log.tsv").read_text() == "train\t1\ttask\tloss\t0.5\n"
