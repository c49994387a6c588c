"""Values of the user's own columns have their type, or are told."""

import numpy as np
import pytest
import torch

from ml.core.errors import ConfigError, LogValueError
from ml.tracing.fields import FieldSpec, field_specs, value_of


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        ("str", "", ""),
        ("str", np.str_("a"), "a"),
        ("int", np.int64(3), 3),
        ("int", torch.tensor(-3), -3),
        ("int", 2**63 - 1, 2**63 - 1),
        ("float", 3, 3.0),
        ("float", np.float32(0.5), 0.5),
        ("bool", np.bool_(False), False),
        ("json", None, None),
        ("json", {"a": (1, torch.tensor([2.5]))}, {"a": [1, [2.5]]}),
        ("json", [{"b": "ü"}], [{"b": "ü"}]),
    ],
    ids=repr,
)
def test_a_value_of_its_type_is_one_of_pythons(kind, given, kept):
    found = value_of(FieldSpec("field", kind), given)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("str", 1),
        ("str", b"a"),
        ("int", True),
        ("int", 1.0),
        ("int", 2**63),
        ("int", "1"),
        ("float", True),
        ("float", 10**400),
        ("bool", 0),
        ("json", float("nan")),
        ("json", {"a": Ellipsis}),
        ("json", {(1, 2): 3}),
        ("int", torch.tensor([1, 2])),
    ],
    ids=repr,
)
def test_a_value_of_another_type_is_told(kind, given):
    with pytest.raises(LogValueError, match="the field 'field' takes"):
        value_of(FieldSpec("field", kind), given)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "ü", "a" * 64, None, 3, "a.b", "x;--"], ids=repr)
def test_a_field_is_named_by_an_identifier(name):
    with pytest.raises(ConfigError, match="is named by up to 63 letters"):
        field_specs("additional_fields", [{"name": name, "type": "str"}])


def test_no_fields_are_none():
    assert field_specs("additional_fields", None) == field_specs("additional_fields", []) == ()
