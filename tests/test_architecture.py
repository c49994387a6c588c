"""Who may import whom, and what no module may do: read from the source, so nothing of ``ml`` is run.

``violations`` takes a module's path and source; the second half of this file
shows each rule a source that breaks it.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From left to right: a unit imports its own group and what lies left of it.
LAYERS: list[list[set[str]]] = [
    [{"core"}],
    [{"io"}],
    [{"media"}],
    [{"loggers"}],
    [{"trainers", "tasks", "models"}, {"db", "detection", "report"}],
    [{"benchmarks"}, {"predictions"}, {"tracing"}, {"evaluation"}],
    [{"session", "reading", "integrations"}],
    [{"hydra"}],
    [{"train", "cli", "__main__"}],
    [{"__init__"}, {"testing"}],
]
GROUP_OF = {
    unit: (level, group) for level, groups in enumerate(LAYERS) for group in map(frozenset, groups) for unit in group
}

CONCURRENCY = {"_thread", "concurrent", "multiprocessing", "queue", "socket", "subprocess", "threading"}
PICKLING = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {
    "pandas.read_pickle",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
}
# The only libraries that these units may import.
LIBRARIES = {
    "core": {"omegaconf", *sys.stdlib_module_names},
    "media": {"numpy", "PIL", *sys.stdlib_module_names},
}
# The only units that may import these libraries.
IMPORTERS = {"hydra": {"hydra", "train"}}
# Where torch may be missing: it is imported for type checkers alone, and inside functions of the one module that
# knows tensors best.
WITHOUT_TORCH = {"core", "io", "media", "loggers"}
KNOWS_TENSORS = "ml/loggers/tensors.py"


def violations(path: str, source: str) -> list[str]:
    """Returns what a module breaks, one line each.

    Args:
        path: Of the module, from the root of the project: ``ml/io/worker.py``.
        source: Its text.
    """
    tree = ast.parse(source)
    broken = [*_import_violations(path, tree), *_safety_violations(tree)]
    return [f"{path}:{line}: {problem}" for line, problem in broken]


def _import_violations(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    unit = _unit(Path(path).with_suffix("").parts)
    if unit not in GROUP_OF:
        yield 1, f"ml.{unit} has no place in LAYERS"
        return
    level, group = GROUP_OF[unit]
    deferred = _lines_for_types_only(tree) | (_lines_of_functions(tree) if path == KNOWS_TENSORS else set())
    for line, module in _imports(path, tree):
        library = module.split(".")[0]
        if library == "ml":
            target = _unit(tuple(module.split(".")))
            target_level, target_group = GROUP_OF.get(target, (len(LAYERS), frozenset()))
            if target_group != group and target_level >= level:
                yield line, f"{unit} must not import {module}"
            if unit == "media" and target == "io":
                yield line, f"media is pure and must not import {module}"
        elif library in CONCURRENCY and unit != "io":
            yield line, f"only ml.io may import {module}"
        elif library in PICKLING:
            yield line, f"{module} runs code that it reads"
        elif unit not in IMPORTERS.get(library, {unit}) or library not in LIBRARIES.get(unit, {library}):
            yield line, f"{unit} must not import {module}"
        elif library == "torch" and unit in WITHOUT_TORCH and line not in deferred:
            yield line, f"{unit} must work without {module}"


def _safety_violations(tree: ast.Module) -> Iterator[tuple[int, str]]:
    names = _imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.alias | ast.Attribute) and _last_name(node) == "SummaryWriter":
            yield node.lineno, "SummaryWriter is not used"
        if not isinstance(node, ast.Call):
            continue
        called = _dotted(node.func, names)
        if called in UNSAFE_CALLS or called.endswith(".to_pickle"):
            yield node.lineno, f"{called} runs code that it reads"
        if called == "torch.load" and _constant(node, "weights_only") is not True:
            yield node.lineno, "torch.load needs weights_only=True"
        if called == "numpy.load" and _constant(node, "allow_pickle") is not False:
            yield node.lineno, "numpy.load needs allow_pickle=False"


def _unit(parts: tuple[str, ...]) -> str:
    """The module or package directly under ``ml`` that a path or dotted name lies in."""
    return parts[1] if len(parts) > 1 else "__init__"


def _imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    package = Path(path).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from ml import session` is the module ml.session, `from ml import start_run` the package itself.
            submodules = [alias.name for alias in node.names if module == "ml" and alias.name in GROUP_OF]
            yield from ((node.lineno, f"ml.{name}") for name in submodules)
            if len(submodules) < len(node.names):
                yield node.lineno, module
        elif isinstance(node, ast.Call) and _last_name(node.func) in {"import_module", "__import__"}:
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def _lines_for_types_only(tree: ast.Module) -> set[int]:
    """The lines inside ``if TYPE_CHECKING:``."""
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING")
    return {line for block in blocks for statement in block.body for line in _lines(statement)}


def _lines_of_functions(tree: ast.Module) -> set[int]:
    return {line for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for line in _lines(node)}


def _lines(statement: ast.stmt) -> range:
    return range(statement.lineno, statement.end_lineno + 1)


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """What each imported name of a module stands for: ``np`` for ``numpy``."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def _last_name(node: ast.AST) -> str:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name):
            return name
    return ""


def _constant(call: ast.Call, argument: str) -> object:
    value = next((keyword.value for keyword in call.keywords if keyword.arg == argument), None)
    return value.value if isinstance(value, ast.Constant) else None


def test_every_module_keeps_to_the_architecture():
    modules = sorted((ROOT / "ml").rglob("*.py"))

    broken = [line for m in modules for line in violations(m.relative_to(ROOT).as_posix(), m.read_text("utf-8"))]

    assert modules
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("path", "source", "problem"),
    [
        ("ml/core/run.py", "import ml.io.worker", "core must not import ml.io.worker"),
        ("ml/core/run.py", "def f():\n    from ml.io import worker", "core must not import ml.io"),
        ("ml/core/run.py", "from ..io import worker", "core must not import ml.io"),
        ("ml/core/run.py", "from importlib import import_module\nimport_module('ml.io')", "core must not import ml.io"),
        ("ml/core/run.py", "import numpy", "core must not import numpy"),
        ("ml/media/image.py", "import torch", "media must not import torch"),
        ("ml/media/image.py", "from ml.io.files import AppendFile", "media is pure"),
        ("ml/io/files.py", "from ml.media import image", "io must not import ml.media"),
        ("ml/loggers/base.py", "from ml import start_run", "loggers must not import ml"),
        ("ml/loggers/base.py", "from ml import session", "loggers must not import ml.session"),
        ("ml/loggers/tensors.py", "import torch", "loggers must work without torch"),
        ("ml/loggers/values.py", "def f():\n    import torch", "loggers must work without torch"),
        ("ml/loggers/tensors.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch", "must work without torch"),
        ("ml/trainers/base.py", "from ml.benchmarks import latency", "trainers must not import ml.benchmarks"),
        ("ml/trainers/base.py", "from ml.db import engine", "trainers must not import ml.db"),
        ("ml/tracing/hooks.py", "import ml.evaluation", "tracing must not import ml.evaluation"),
        ("ml/session.py", "from ml.train import main", "session must not import ml.train"),
        ("ml/session.py", "from hydra import compose", "session must not import hydra"),
        ("ml/train.py", "from ml.testing import FakeClock", "train must not import ml.testing"),
        ("ml/session.py", "import ml.unheard_of", "session must not import ml.unheard_of"),
        ("ml/unheard_of.py", "", "ml.unheard_of has no place"),
        *(
            ("ml/loggers/group.py", f"import {module}", f"only ml.io may import {module}")
            for module in sorted(CONCURRENCY)
        ),
        ("ml/loggers/group.py", "from concurrent.futures import Future", "only ml.io may import concurrent.futures"),
        *(("ml/io/files.py", f"import {module}", f"{module} runs code") for module in sorted(PICKLING)),
        ("ml/reading.py", "import yaml\nyaml.load(text)", "yaml.load runs code"),
        ("ml/reading.py", "from yaml import unsafe_load as load\nload(text)", "yaml.unsafe_load runs code"),
        ("ml/reading.py", "import pandas as pd\npd.read_pickle(path)", "pandas.read_pickle runs code"),
        ("ml/reading.py", "frame.to_pickle(path)", "frame.to_pickle runs code"),
        ("ml/trainers/base.py", "import torch\ntorch.load(path)", "weights_only"),
        ("ml/trainers/base.py", "import torch as t\nt.load(path, weights_only=False)", "weights_only"),
        ("ml/trainers/base.py", "from torch import load\nload(path, weights_only=safe)", "weights_only"),
        ("ml/reading.py", "import numpy as np\nnp.load(path, allow_pickle=True)", "allow_pickle"),
        ("ml/reading.py", "import numpy as np\nnp.load(path)", "allow_pickle"),
        ("ml/trainers/base.py", "from torch.utils.tensorboard import SummaryWriter", "SummaryWriter"),
        ("ml/trainers/base.py", "import torch\ntorch.utils.tensorboard.SummaryWriter()", "SummaryWriter"),
    ],
)
def test_a_module_that_breaks_a_rule_is_found(path, source, problem):
    assert any(problem in line for line in violations(path, source))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ml/core/run.py", "import time\nfrom omegaconf import OmegaConf\nfrom ml.core.errors import ConfigError"),
        ("ml/io/worker.py", "import threading\nfrom ml.core.run import RunContext"),
        ("ml/media/image.py", "import numpy as np\nfrom PIL import Image\nnp.load(path, allow_pickle=False)"),
        ("ml/loggers/values.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor"),
        ("ml/loggers/tensors.py", "def f():\n    import torch"),
        ("ml/trainers/base.py", "import torch\nfrom ml.tasks.base import BaseTask\ntorch.load(p, weights_only=True)"),
        ("ml/evaluation/table.py", "from ml.db import engine\nfrom ml.evaluation.row import Row"),
        ("ml/train.py", "import hydra\nfrom ml import session\nfrom ml.hydra import register_configs"),
        ("ml/testing/clock.py", "from ml.loggers.base import BaseLogger\nfrom ml.testing import gate"),
        ("ml/__init__.py", "from ml.session import start_run"),
        ("ml/reading.py", "import json\nimport yaml\njson.load(file)\nyaml.safe_load(file)"),
    ],
)
def test_a_module_that_keeps_the_rules_is_not_accused(path, source):
    assert violations(path, source) == []


LOOK_AT_IMPORT = """
import importlib, json, os, sys

written = []

def note_what_is_opened_for_writing(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        written.append(str(arguments[0]))

sys.addaudithook(note_what_is_opened_for_writing)
importlib.import_module(sys.argv[1])
import threading
print(json.dumps({"modules": list(sys.modules), "threads": threading.active_count(), "written": written}))
"""
HEAVY = {"torch", "tensorboard", "google.protobuf", "rich", "hydra", "PIL", "pandas", "matplotlib"}


def _look_at_import(module: str, directory: Path) -> dict[str, object]:
    command = [sys.executable, "-B", "-c", LOOK_AT_IMPORT, module]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_importing_the_loggers_loads_no_heavy_library_starts_no_thread_and_writes_nothing(tmp_path):
    seen = _look_at_import("ml.loggers", tmp_path)

    assert "ml.loggers.base" in seen["modules"]
    assert HEAVY.isdisjoint(seen["modules"])
    assert {"ml.session", "ml.reading", "ml.testing"}.isdisjoint(seen["modules"])
    assert seen["threads"] == 1
    assert seen["written"] == []


def test_a_heavy_library_a_thread_and_a_written_file_are_seen(tmp_path):
    (tmp_path / "offender.py").write_text(
        "import threading, PIL\n"
        "open('left_behind.txt', 'w').close()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )

    seen = _look_at_import("offender", tmp_path)

    assert "PIL" in seen["modules"]
    assert seen["threads"] == 2
    assert seen["written"] == ["left_behind.txt"]
