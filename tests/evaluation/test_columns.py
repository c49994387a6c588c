import json

import pytest

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.columns import KINDS, Column, checked
from ml.evaluation.references import TableRef


@pytest.mark.parametrize(
    "column", [Column("label"), Column(3, "number"), Column("é𝄞", "string"), Column("row", "reference", "val:v3/a/b")]
)
def test_a_column_comes_back_from_json(column):
    assert Column.from_json(json.loads(json.dumps(column.to_json()))) == column


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"name": "a"},
        {"kind": "number"},
        {"name": "a", "kind": "complex"},
        {"name": None, "kind": "number"},
        {"name": True, "kind": "number"},
        {"name": "a", "kind": ["number"]},
        {"name": "a", "kind": "number", "references": "val:v0/x"},
        {"name": "a", "kind": "reference", "references": "val"},
        {"name": "a", "kind": "reference", "references": 3},
        {"name": "a" * 1001, "kind": "number"},
        {"name": "a", "kind": "number", "more": 1},
    ],
)
def test_what_is_no_column_in_json_is_refused(value):
    with pytest.raises(FormatError):
        Column.from_json(value)


def test_every_kind_is_a_column():
    assert [Column("a", kind).kind for kind in KINDS] == list(KINDS)


@pytest.mark.parametrize(
    ("name", "problem"),
    [(1.5, "text or a number"), (True, "text or a number"), ("\ud800", "Unicode"), ("a" * 1001, "1000")],
)
def test_a_name_that_is_none_is_refused(name, problem):
    with pytest.raises(ConfigError, match=problem):
        Column(name)


@pytest.mark.parametrize("columns", [["a", "b", "a"], [1, "1"], [Column("a"), "a"]])
def test_two_columns_of_one_name_are_refused(columns):
    with pytest.raises(ConfigError, match="Two columns"):
        checked(columns)


def test_a_text_is_no_list_of_columns():
    with pytest.raises(ConfigError, match=r"\['label'\]"):
        checked("label")


@pytest.mark.parametrize("ref", [TableRef("val", 0, "data"), TableRef("a/b c", 12, "x:v1/y"), TableRef("é", 3, "#")])
def test_a_table_comes_back_from_its_name(ref):
    assert TableRef.parse(str(ref)) == ref


@pytest.mark.parametrize("text", ["", "val", "val:v1", "val:v1/", ":v1/x", "val:latest/x", "val:v01/x", "val:v-1/x"])
def test_what_names_no_table_is_refused(text):
    with pytest.raises(ConfigError, match="artifact"):
        TableRef.parse(text)
