"""Imports: what was exported comes back whole, and what anybody could have made of it does no harm."""

import hashlib
import json
import os

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.core.errors import ConfigError, FormatError
from ml.io.zips import ZipWriter
from ml.tracing.export import export
from ml.tracing.importing import import_traces
from ml.tracing.selection import Selection
from tests.io.hostile_zips import CORPUS, archive
from tests.tracing.traced_tables import TablesInMemory


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export(TablesInMemory(50), Selection("fcos", "v1"), tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def entries(exported, tmp_path_factory):
    into = tmp_path_factory.mktemp("imported") / "into"
    import_traces(exported, into)
    return {path.name: path.read_bytes() for path in into.iterdir()}


def repacked(path, entries):
    """An archive of these entries, as ours are."""
    with open(path, "w+b") as file:
        writer = ZipWriter(file)
        for name, data in entries.items():
            writer.add(name, data)
        writer.close()
    return path


def changed(entries, change):
    """The entries, with another manifest."""
    manifest = json.loads(entries["manifest.json"])
    change(manifest)
    return {**entries, "manifest.json": json.dumps(manifest).encode()}


def described(data, **more):
    return {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **more}


def test_what_was_exported_is_there_as_files_that_pandas_reads(exported, tmp_path):
    traces = import_traces(exported, tmp_path / "into")

    assert (traces.model_name, traces.version_name) == ("fcos", "v1")
    assert traces.rows == {"models": 1, "inferences": 50, "detections": 150, "features": 50}
    assert {name: len(pd.read_parquet(path)) for name, path in traces.tables.items()} == traces.rows
    assert {path.parent for path in traces.tables.values()} == {tmp_path / "into"}
    assert os.listdir(tmp_path) == ["into"]


def test_an_empty_directory_is_taken_and_one_that_holds_something_is_not(exported, tmp_path):
    (tmp_path / "empty").mkdir()
    import_traces(exported, tmp_path / "empty")
    before = sorted(os.listdir(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="holds something"):
        import_traces(exported, tmp_path / "empty")

    assert sorted(os.listdir(tmp_path / "empty")) == before


@pytest.mark.parametrize("name", CORPUS)
def test_an_archive_that_could_do_harm_is_refused_and_leaves_nothing(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.zip").write_bytes(CORPUS[name])
    with pytest.raises(FormatError):
        import_traces(tmp_path / "in" / "a.zip", tmp_path / "into")

    assert os.listdir(tmp_path) == ["in"]
    assert os.listdir(tmp_path / "in") == ["a.zip"]


def remove(name):
    return lambda entries: {key: data for key, data in entries.items() if key != name}


def said(table, **more):
    def change(manifest):
        manifest["tables"][table].update(more)

    return lambda entries: changed(entries, change)


def with_table(name, data, rows=1):
    def make(entries):
        entry = described(data, rows=rows)
        return {**changed(entries, lambda manifest: manifest["tables"].update({name: entry})), f"{name}.parquet": data}

    return make


WRONG = {
    "no manifest": (remove("manifest.json"), "no 'manifest.json'"),
    "a table is missing": (remove("detections.parquet"), "it is not there"),
    "an entry too many": (lambda entries: {**entries, "more": b"x"}, "knows nothing of it"),
    "an archive in it": (lambda entries: {**entries, "in.zip": archive(("a", b"x"))}, "knows nothing of it"),
    "a bad checksum": (said("detections", sha256="0" * 64), "checksum differs"),
    "no checksum": (said("detections", sha256="../x"), "no SHA-256"),
    "another size": (said("detections", size_bytes=1), "the manifest says 1"),
    "a size below zero": (said("detections", size_bytes=-1), "no number"),
    "more rows": (said("detections", rows=151), "150 rows, the manifest says 151"),
    "rows of a text": (said("detections", rows="1"), "no number"),
    "no Parquet": (with_table("more", b"hello"), "cannot be read"),
    "a name that leads elsewhere": (with_table("a/b", b"hello"), "no name of a table"),
    "another format": (lambda e: changed(e, lambda m: m.update(format="other")), "of format"),
    "a later version": (lambda e: changed(e, lambda m: m.update(version=2)), "of format"),
    "no identity": (lambda e: changed(e, lambda m: m.pop("identity")), "identity"),
    "tables that are a list": (lambda e: changed(e, lambda m: m.update(tables=[])), "no manifest"),
    "a manifest that is none": (lambda e: {**e, "manifest.json": b"[1]"}, "no manifest"),
    "a manifest without an end": (lambda e: {**e, "manifest.json": b"[" * 10_000}, "no manifest"),
    "a manifest that is too large": (lambda e: {**e, "manifest.json": b" " * (2**22 + 1)}, "are the most"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_archive_that_is_not_what_its_manifest_says_is_refused_and_leaves_nothing(tmp_path, entries, name):
    change, reason = WRONG[name]
    path = repacked(tmp_path / "a.zip", change(entries))
    with pytest.raises(FormatError, match=reason):
        import_traces(path, tmp_path / "into")

    assert os.listdir(tmp_path) == ["a.zip"]


def test_the_way_they_are_repacked_is_not_what_is_refused(tmp_path, entries):
    assert import_traces(repacked(tmp_path / "a.zip", entries), tmp_path / "into").rows["inferences"] == 50


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=4),
    in_table=st.booleans(),
)
def test_whatever_is_changed_it_is_imported_whole_or_not_at_all(exported, entries, tmp_path_factory, changes, in_table):
    base = tmp_path_factory.mktemp("mutated")
    path = base / "a.zip"
    if in_table:  # with a checksum that fits
        data = bytearray(entries["features.parquet"])
        for place, value in changes:
            data[-1 - place % min(len(data), 3000)] = value
        fitting = changed(entries, lambda manifest: manifest["tables"]["features"].update(described(data)))
        repacked(path, {**fitting, "features.parquet": bytes(data)})
    else:
        data = bytearray(exported.read_bytes())
        for place, value in changes:
            data[place % len(data)] = value
        path.write_bytes(data)
    try:
        traces = import_traces(path, base / "into")
    except FormatError:
        assert os.listdir(base) == ["a.zip"]
        return
    assert traces.rows == {name: pq.read_metadata(table).num_rows for name, table in traces.tables.items()}
