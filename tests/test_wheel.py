"""The wheel is whole: installed where nothing of the sources is, it logs, and has its configuration files."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("ml", "configs", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def call(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the wheel, built from a copy of the sources, since building leaves files behind."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, source]
    call(*build, cwd=directory)
    [path] = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """Returns the interpreter of a new environment that has the wheel, and borrows the libraries of this one."""
    environment = wheel.parent / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=wheel.parent)
    packages = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=wheel.parent).strip()
    # A path file's directory comes after that of the file, and no path file in it is read.
    (Path(packages) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_has_every_module_and_every_configuration_file(wheel):
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ml").rglob("*.py")}
    expected |= {f"ml/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}

    assert expected | {"ml/py.typed", "ml/configs/__init__.py"} <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_has_nothing_beside_the_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"ml"}
    assert any(name.endswith("LICENSE") for name in names)


def test_an_installed_wheel_logs_a_run(python, tmp_path):
    program = """
import ml
from ml import open_run, start_run

with start_run("demo", config={"lr": 0.1}) as run:
    run.log({"task/loss": 0.5})
    run.logger.log_image("task/picture", [[0.0, 1.0]])
    run.step()
assert open_run("demo").scalars("task/loss")["value"].tolist() == [0.5]
assert all(stats.written == stats.accepted > 0 for stats in run.stats().values()), run.stats()
print(ml.__file__)
"""
    said = call(python, "-c", program, cwd=tmp_path)

    assert Path(said.splitlines()[-1]).is_relative_to(python.parents[1])
    assert {path.name for path in (tmp_path / "demo").iterdir()} >= {"attempts", "json", "stdout.log", "tensorboard"}


def test_an_installed_wheel_finds_its_configuration(python, tmp_path):
    said = call(python, "-m", "ml.train", "--cfg", "job", "trainer.max_steps=7", "logger=[json]", cwd=tmp_path)

    assert "max_steps: 7" in said
    assert "json:" in said
    assert "stdout:" not in said
