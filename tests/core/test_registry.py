"""Registries: a name stands for one type, wherever that comes from, and mistakes are found before anything starts."""

import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import pytest
from omegaconf import MISSING, OmegaConf

from ml.core.config import BaseConfig, BaseObject, conf_field
from ml.core.errors import ConfigError
from ml.core.registry import LOGGERS, Registry


@dataclass
class ToolConfig(BaseConfig):
    size: int = 1
    tags: list[str] = conf_field([])


@dataclass
class NeedyConfig(BaseConfig):
    size: int = MISSING


class Tool(BaseObject[ToolConfig]):
    pass


@pytest.fixture
def tools():
    registry = Registry("tool", "surely.no.such.group")
    registry.register("hammer", ToolConfig)(Tool)
    return registry


def test_a_name_stands_for_the_type_that_was_registered(tools):
    assert tools.lookup("hammer") == (Tool, ToolConfig)
    assert tools.name_of(Tool) == "hammer"
    assert tools.name_of(BaseObject) is None
    assert tools.names() == ["hammer"]


def test_registering_returns_the_class_itself(tools):
    class Saw(Tool):
        pass

    assert tools.register("saw", ToolConfig)(Saw) is Saw


def test_an_unknown_name_is_answered_with_the_nearest_one(tools):
    with pytest.raises(ConfigError, match=r"^No tool is registered as 'hamer'\. Did you mean 'hammer'\?$"):
        tools.lookup("hamer")
    with pytest.raises(ConfigError, match=r"^No tool is registered as 'xyz'\. Known: hammer\.$"):
        tools.lookup("xyz")
    with pytest.raises(ConfigError, match=r"Did you mean 'memory'\?"):
        LOGGERS.lookup("memroy")


def test_two_types_cannot_have_one_name_and_one_type_may_be_registered_again(tools):
    class Other(Tool):
        pass

    with pytest.raises(ConfigError, match=r"Two tools are called 'hammer': .*Tool and .*Other\. Rename one"):
        tools.register("hammer", ToolConfig)(Other)
    tools.register("hammer", ToolConfig)(Tool)
    assert tools.lookup("hammer").cls is Tool


def test_a_configuration_must_be_a_dataclass():
    class Plain:
        pass

    with pytest.raises(ConfigError, match=r"The tool 'x' needs a dataclass derived from BaseConfig"):
        Registry("tool", "surely.no.such.group").register("x", Plain)


@pytest.mark.parametrize("wrap", [dict, OmegaConf.create])
def test_a_mapping_becomes_the_typed_configuration(tools, wrap):
    tool = tools.build(wrap({"name": "hammer", "size": "3"}))
    assert isinstance(tool, Tool)
    assert tool.config == ToolConfig("hammer", 3, [])


def test_a_typed_configuration_is_used_as_it_is(tools):
    config = ToolConfig("hammer", 3)
    assert tools.build(config).config is config


def test_settings_may_refer_to_the_rest_of_the_configuration(tools):
    whole = OmegaConf.create({"size": 5, "tools": {"first": {"name": "hammer", "size": "${size}"}}})
    assert tools.build(whole.tools.first).config.size == 5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "hammer", "sise": 1}, r"has no setting 'sise'\. Did you mean 'size'\? Valid: name, size, tags\."),
        ({"name": "hammer", "xyz": 1}, r"has no setting 'xyz'\. Valid: name, size, tags\."),
        ({"name": "hammer", "size": "big"}, r"The tool 'hammer' cannot be configured: .*'big'.*Integer"),
        ({"name": "needy"}, r"The tool 'needy' cannot be configured: .*size"),
        ({"name": "hammer", "size": "${absent}"}, r"The tool 'hammer' cannot be configured: .*absent"),
        ({"size": 1}, r"A tool needs a name: one of hammer, needy\."),
        ({"name": "???"}, r"A tool needs a name"),
        (ToolConfig(), r"A tool needs a name"),
        (ToolConfig("needy"), r"The tool 'needy' is configured by a NeedyConfig, got a ToolConfig\."),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_built(tools, config, message):
    tools.register("needy", NeedyConfig)(type("Needy", (Tool,), {}))
    with pytest.raises(ConfigError, match=message):
        tools.build(config)


def test_a_type_that_lacks_a_method_is_named_with_it(tools):
    class Unfinished(Tool, ABC):
        @abstractmethod
        def hit(self): ...

    tools.register("unfinished", ToolConfig)(Unfinished)
    with pytest.raises(ConfigError, match=r"The tool 'unfinished' .*Unfinished does not implement hit\."):
        tools.build({"name": "unfinished"})


def test_a_builtin_type_is_imported_when_it_is_first_asked_for():
    script = """
import sys
from ml.core.registry import LOGGERS
assert {"journal", "json", "memory", "stdout", "tensorboard"} < set(LOGGERS.names()), LOGGERS.names()
assert "ml.loggers.memory" not in sys.modules
print(LOGGERS.lookup("memory").cls.__name__)
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output == "MemoryLogger\n"


@pytest.mark.parametrize("target", ["foreign_tools", "foreign_tools:Wrench"])
def test_a_type_of_another_package_is_found_by_its_entry_point(tmp_path, target):
    (tmp_path / "foreign_tools.py").write_text(
        """
from ml.core.config import BaseConfig, BaseObject
from ml.core.registry import register_task

@register_task("wrench", BaseConfig)
class Wrench(BaseObject[BaseConfig]):
    pass
"""
    )
    _install(tmp_path, f"[ml.tasks]\nwrench = {target}\nother = surely_not_there\n")
    script = """
from ml.core.registry import TASKS
assert "wrench" in TASKS.names()
print(type(TASKS.build({"name": "wrench"})).__module__)
"""
    command = [sys.executable, "-c", f"import sys; sys.path.append({str(tmp_path)!r}){script}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "foreign_tools\n"


def _install(directory: Path, entry_points: str) -> None:
    metadata = directory / "foreign_tools-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-tools\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
