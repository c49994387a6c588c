"""What is installed: every package, every file of configuration, every version."""

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _setup_cfg() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _normalized(requirement: str) -> str:
    """The name of a requirement, as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_every_package_is_named_in_setup_cfg():
    modules = (path.relative_to(ROOT) for path in (ROOT / "ml").rglob("*.py"))
    directories = {".".join(path.parent.parts) for path in modules}

    assert set(_setup_cfg()["options"]["packages"].split()) == directories | {"ml.configs"}


def test_every_configuration_file_is_installed():
    patterns = _setup_cfg()["options.package_data"]["ml.configs"].split(", ")
    installed = {path for pattern in patterns for path in (ROOT / "configs").glob(pattern)}

    assert set((ROOT / "configs").rglob("*.y*ml")) == installed


def test_every_requirement_has_an_exact_version():
    parser = _setup_cfg()
    apart = {"dev-peers": "constraints-peers.txt", "dev-babylog": "constraints-babylog.txt"}
    required = {file: [] for file in apart.values()}
    required["constraints.txt"] = parser["options"]["install_requires"].split("\n")
    for name, extra in parser["options.extras_require"].items():
        required[apart.get(name, "constraints.txt")] += extra.split("\n")

    for file, requirements in required.items():
        lines = (ROOT / "scripts" / file).read_text().splitlines()
        pinned = {_normalized(line) for line in lines if re.fullmatch(r"[\w.-]+==[\w.]+", line)}
        assert {_normalized(requirement) for requirement in requirements if requirement} <= pinned, file
