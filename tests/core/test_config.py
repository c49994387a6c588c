"""Configuration dataclasses: defaults are never shared."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from ml.core.config import BaseConfig, BaseObject, check_types, conf_field
from ml.core.errors import ConfigError
from ml.core.plain import escaped, unescaped


@dataclass
class Config(BaseConfig):
    sizes: list[int] = conf_field([1, 2])
    nested: dict[str, list[int]] = conf_field({"a": [1]})
    made: list[str] = conf_field(lambda: ["x"])
    rate: float = conf_field(0.5)


def test_two_configurations_never_share_a_mutable_default():
    first, second = Config("x"), Config("x")
    first.sizes.append(3)
    first.nested["a"].append(2)
    first.made.append("y")
    assert second == Config("x", [1, 2], {"a": [1]}, ["x"], 0.5)


def test_a_configuration_has_no_name_until_it_is_given_one():
    assert Config().name == MISSING
    with pytest.raises(MissingMandatoryValue):
        _ = OmegaConf.structured(Config).name


def test_fields_have_their_type_on_a_command_line():
    config = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.from_dotlist(["name=x", "rate=2", "sizes=[5]"]))
    assert OmegaConf.to_object(config).rate == 2.0
    assert OmegaConf.to_object(config).sizes == [5]


def test_an_object_keeps_the_configuration_that_it_was_built_from():
    config = Config("x")
    assert BaseObject(config).config is config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"made": "x"}, "made of 'x' must be of type list[str], got 'x'. Write ['x']."),
        ({"rate": "5"}, "rate of 'x' must be of type float, got '5'. Write 5.0."),
        ({"rate": None}, "rate of 'x' must be of type float, got None."),
        ({"sizes": ["a"]}, "sizes of 'x' must be of type list[int], got ['a']."),
        ({"nested": {"a": 1}}, "nested of 'x' must be of type dict[str, list[int]], got {'a': 1}."),
    ],
    ids=str,
)
def test_a_setting_made_in_python_has_its_type(settings, message):
    with pytest.raises(ConfigError) as raised:
        check_types(Config("x", **settings))
    assert str(raised.value) == message


@dataclass
class Strange(BaseConfig):
    call: Callable[[], int] = len


@pytest.mark.parametrize(
    "config",
    [Config(), Config("x", (1,), {}, ("y",), 2), Strange("x")],
    ids=["no name", "whole", "made in Python alone"],
)
def test_a_setting_that_has_its_type_passes(config):
    check_types(config)


@pytest.mark.parametrize("text", ["${x}", r"\${x}", r"\\${x}", "a ${b} ${c}", "$x", r"C:\dir", ""])
def test_what_was_escaped_is_had_back(text):
    assert unescaped(escaped(text)) == text
