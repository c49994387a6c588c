"""Configuration dataclasses: defaults are never shared."""

import dataclasses
from dataclasses import dataclass

import pytest
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from ml.core.config import BaseConfig, BaseObject, conf_field


@dataclass
class Config(BaseConfig):
    sizes: list[int] = conf_field([1, 2], help="Sizes in pixels.")
    nested: dict[str, list[int]] = conf_field({"a": [1]})
    made: list[str] = conf_field(lambda: ["x"])
    rate: float = conf_field(0.5)


def test_two_configurations_never_share_a_mutable_default():
    first, second = Config("x"), Config("x")
    first.sizes.append(3)
    first.nested["a"].append(2)
    first.made.append("y")
    assert second == Config("x", [1, 2], {"a": [1]}, ["x"], 0.5)


def test_a_field_keeps_its_help():
    helps = {field.name: field.metadata.get("help") for field in dataclasses.fields(Config)}
    assert helps == {"name": None, "sizes": "Sizes in pixels.", "nested": "", "made": "", "rate": ""}


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
