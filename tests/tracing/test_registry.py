"""Of the classes that handle a model the most derived one is taken, and one that is broken costs itself alone."""

import importlib
import sys

import pytest
from torch import nn

from ml.tracing.registry import GROUP, Handlers


def made(handlers, name, base=object, detects=lambda model: True):
    cls = type(name, (base,), {"detect": staticmethod(detects)})
    handlers.register(cls)
    return cls


@pytest.fixture
def handlers():
    return Handlers()


def test_the_most_derived_one_is_taken_then_the_newest(handlers):
    base = made(handlers, "Base")
    derived = made(handlers, "Derived", base)
    assert handlers.handling(nn.Identity()) is derived

    made(handlers, "Other", detects=lambda model: False)
    newest = made(handlers, "Newest")
    assert handlers.handling(nn.Identity()) is newest


def test_one_that_is_made_again_replaces_the_one_before(handlers):
    made(handlers, "Cell", detects=lambda model: False)
    again = made(handlers, "Cell")
    assert handlers.known() == [again]


def test_one_that_fails_to_look_is_told_and_passed_over(handlers, caplog):
    made(handlers, "Broken", detects=lambda model: model.no_such_thing)
    assert handlers.handling(nn.Identity()) is None
    assert "Broken.detect failed on Identity" in caplog.text


def test_a_family_whose_library_is_missing_is_left_out():
    assert Handlers(("ml.tracing.no_such_module",)).known() == []


def test_entry_points_of_other_packages_are_imported_and_a_broken_one_is_told(tmp_path, monkeypatch, caplog):
    (tmp_path / "traced_elsewhere.py").write_text("from ml.tracing.registry import GROUP\nloaded = GROUP\n")
    info = tmp_path / "elsewhere-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nbroken = no_such_package\nfine = traced_elsewhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    Handlers().known()

    assert sys.modules.pop("traced_elsewhere").loaded == GROUP
    assert "The entry point broken of ml.tracing could not be loaded" in caplog.text
