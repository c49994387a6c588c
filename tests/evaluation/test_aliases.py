"""What an alias stands for, whoever published last and whoever was killed."""

import math

import pytest

from ml.core.errors import ConfigError, FormatError
from ml.evaluation.aliases import Alias, best_number
from ml.evaluation.artifacts import Artifacts
from ml.evaluation.layout import Ref, parse_ref
from ml.testing.disk import TestDisk
from tests.evaluation.opaque import Content


@pytest.fixture(autouse=True)
def _unsynced():
    with TestDisk():
        yield


@pytest.fixture
def artifacts(tmp_path) -> Artifacts:
    return Artifacts(tmp_path / "store")


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("val", ("val", "latest", None)),
        ("val:latest", ("val", "latest", None)),
        ("val:v3", ("val", "v3", 3)),
        ("val:v0", ("val", "v0", 0)),
        ("val:v03", ("val", "v03", None)),
        ("a:b:v10", ("a:b", "v10", 10)),
        ("a b/c:best", ("a b/c", "best", None)),
        ("v3", ("v3", "latest", None)),
        ("val:", ("val", "", None)),
    ],
)
def test_a_reference_is_split_at_its_last_colon(ref, expected):
    parsed = parse_ref(ref)
    assert (*parsed, parsed.number) == expected
    assert isinstance(parsed, Ref)


@pytest.mark.parametrize(
    ("metrics", "greatest", "least"),
    [
        ({}, None, None),
        ({0: 1.0}, 0, 0),
        ({0: 1.0, 1: 3.0, 2: 2.0}, 1, 0),
        ({0: 1.0, 1: 1.0}, 0, 0),
        ({0: math.nan, 1: 1.0, 2: math.nan}, 1, 1),
        ({0: math.nan}, None, None),
        ({0: -math.inf, 1: math.inf}, 1, 0),
        ({3: 0.0, 7: -0.0}, 3, 3),
    ],
)
def test_the_best_is_the_first_with_the_greatest_or_least_metric_and_never_nan(metrics, greatest, least):
    assert best_number(metrics, "max") == greatest
    assert best_number(metrics, "min") == least


def test_best_is_right_even_where_its_publisher_was_killed_before_it_told(artifacts):
    """As when the manifest was made, and nothing after it."""
    for number, loss in enumerate([3.0, 1.0]):
        Content(b"%d" % number, metrics={"loss": loss}).publish(artifacts.store)
    artifacts._aliases.set_best("val", "loss", "min")
    Content(b"2", metrics={"loss": 0.5}).publish(artifacts.store)
    Content(b"3", metrics={"accuracy": 0.5}).publish(artifacts.store)

    assert artifacts.get("val:best").number == 2
    assert artifacts.aliases("val") == {"latest": 3, "best": 2}


def test_best_may_be_set_by_hand_and_is_found_again_when_it_is_told_how(artifacts):
    for number, loss in enumerate([3.0, 1.0]):
        Content(b"%d" % number, metrics={"loss": loss}).publish(artifacts.store)
    artifacts.set_alias("val", "best", 0)
    assert artifacts.get("val:best").number == 0
    artifacts._aliases.set_best("val", "loss", "min")
    assert artifacts.get("val:best").number == 1


def test_best_of_no_metric_is_not_there(artifacts):
    Content(b"0", metrics={"loss": math.nan}).publish(artifacts.store)
    artifacts._aliases.set_best("val", "loss", "min")

    with pytest.raises(ConfigError, match=r"no val:best .*There is v0, latest"):
        artifacts.get("val:best")
    assert artifacts.aliases("val") == {"latest": 0}


def test_an_alias_of_a_version_that_was_removed_says_so(artifacts):
    Content(b"0").publish(artifacts.store)
    artifacts.store.put("aliases/val/last.json", Alias("last", 7).to_bytes())

    with pytest.raises(ConfigError, match="no val:v7"):
        artifacts.get("val:last")


@pytest.mark.parametrize("alias", [Alias("epoch_4", 3), Alias("best", None, "loss/ü", "min"), Alias("\ud800", 0)])
def test_an_alias_is_read_as_it_was_written(alias):
    assert Alias.from_bytes(alias.to_bytes(), "key") == alias


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"alias":"a"}',
        b'{"alias":"a","version":-1}',
        b'{"alias":"a","version":true}',
        b'{"alias":"a","version":"3"}',
        b'{"alias":7,"version":3}',
        b'{"alias":"a","metric":"loss","mode":"least"}',
        b'{"alias":"a","metric":7,"mode":"min"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_alias_is_a_format_error_and_listed_with_a_warning(artifacts, data, caplog):
    with pytest.raises(FormatError):
        Alias.from_bytes(data, "key")
    Content(b"0").publish(artifacts.store)
    artifacts.store.put("aliases/val/odd.json", data)
    assert artifacts.aliases("val") == {"latest": 0}
    assert "An alias of 'val' is left out" in caplog.text
