"""What is content and what is not; what is kept is what is read; what is said of it is strict JSON without secrets."""

import json
import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.errors import FormatError, LogValueError
from ml.evaluation.blobs import BlobRef
from ml.evaluation.columns import Column
from ml.evaluation.manifest import Manifest, TableEntry, digest_of, used_of
from ml.evaluation.media_lists import decode_list, encode_lists
from ml.evaluation.metadata import clean_metadata, clean_metrics
from ml.evaluation.stored import StoredPart

PART = StoredPart(BlobRef.of(b"rows", "parquet"), 3)
TABLE = TableEntry(
    "t", (Column("a", "number"), Column(1, "string"), Column("r", "reference", "val:v0/d")), (PART,),
    (BlobRef.of(b"list", "media"),), 2, 77,
)  # fmt: skip
MANIFEST = Manifest(
    name="val", number=3, type="dataset", tables={"t": TABLE}, metadata={"a": [1, 2.5, None, {"b": "ü\ud800"}]},
    metrics={"loss": math.nan, "accuracy": 0.5}, used=("val:v0",), run_id="run", created_s=1.5, publication="x",
)  # fmt: skip


def test_a_manifest_is_read_as_it_was_written():
    read = Manifest.from_bytes(MANIFEST.to_bytes())

    assert math.isnan(read.metrics["loss"])
    assert replace(read, metrics={}) == replace(MANIFEST, metrics={})
    assert read.digest == MANIFEST.digest
    assert json.loads(MANIFEST.to_bytes(), parse_constant=pytest.fail)["digest"] == MANIFEST.digest


def test_neither_time_run_metrics_name_nor_the_order_of_names_is_content():
    other = {"u": replace(TABLE, name="u")}
    for changed in (
        replace(MANIFEST, created_s=9.0, run_id="other", publication="y", metrics={}, used=(), number=7, name="z"),
        replace(MANIFEST, tables={"t": replace(TABLE, media_lists=(), media_count=0, media_bytes=0)}),
    ):
        assert changed.digest == MANIFEST.digest
    assert digest_of("x", {"t": TABLE, **other}, {"a": 1, "b": 2}) == digest_of(
        "x", {**other, "t": TABLE}, {"b": 2, "a": 1}
    )


@pytest.mark.parametrize(
    "changed",
    [
        replace(MANIFEST, type="evaluation"),
        replace(MANIFEST, metadata={}),
        replace(MANIFEST, tables={"u": TABLE}),
        replace(MANIFEST, tables={"t": replace(TABLE, columns=TABLE.columns[::-1])}),
        replace(MANIFEST, tables={"t": replace(TABLE, columns=TABLE.columns[:2])}),
        replace(MANIFEST, tables={"t": replace(TABLE, parts=())}),
        replace(MANIFEST, tables={"t": replace(TABLE, parts=(StoredPart(BlobRef.of(b"x", "parquet"), 3),))}),
    ],
)
def test_type_metadata_columns_and_rows_are_content(changed):
    assert changed.digest != MANIFEST.digest


def test_a_digest_stays_what_it_is():
    """Stores outlive releases: another digest for the same content would publish everything again."""
    assert MANIFEST.digest == "dfc30c6a38d70c79dc97fadba50c9a2b4b83f5fc27a4def13bd0507a03436525"


def test_the_versions_whose_rows_are_named_were_used():
    assert used_of([TABLE, TABLE], ["a:v1", "val:v0"]) == ("a:v1", "val:v0")
    assert used_of([TABLE], []) == ("val:v0",)


@given(st.binary(max_size=60), st.integers(0, 2000))
def test_whatever_is_read_is_a_manifest_or_a_format_error(noise, position):
    data = MANIFEST.to_bytes()
    for damaged in (noise, data[:position] + noise + data[position + len(noise) :]):
        with suppress(FormatError):
            Manifest.from_bytes(damaged)


def test_equal_metadata_is_equal_json_whatever_library_its_numbers_are_of():
    cleaned = clean_metadata(
        {
            "i": np.int64(3),
            "f": np.float32(0.5),
            "a": np.arange(3),
            "n": np.nan,
            "inf": -math.inf,
            "t": (True, None),
            7: "x",
        }
    )

    assert cleaned == {
        "i": 3, "f": 0.5, "a": [0, 1, 2], "n": "NaN", "inf": "-Infinity", "t": [True, None], "7": "x"
    }  # fmt: skip


def test_metrics_are_floats_of_whatever_is_one_number():
    assert clean_metrics({"loss": np.array(0.5), "n": np.int8(3), "huge": 10**400, "yes": True}) == {
        "loss": 0.5, "n": 3.0, "huge": math.inf, "yes": 1.0
    }  # fmt: skip


@pytest.mark.parametrize("value", [object(), b"bytes", {"deep": {"set": {1}}}, 1j, np.array([object()])])
def test_what_json_has_not_is_refused_with_its_place(value):
    with pytest.raises(LogValueError, match=r"metadata\['key'\]"):
        clean_metadata({"key": value})


@pytest.mark.parametrize("name", ["api_key", "password", "AWS_SECRET_ACCESS_KEY"])
def test_a_secret_is_known_by_its_name(name):
    assert clean_metadata({"a": [{name: "hunter2hunter2"}]}) == {"a": [{name: "***"}]}


def test_lists_of_media_are_the_same_for_the_same_media_and_short():
    media = [BlobRef.of(b"%d" % number, "png" if number % 2 else "wav") for number in range(65_537)]

    lists = list(encode_lists([*reversed(media), media[0]]))
    decoded = [list(decode_list(data)) for data in lists]
    assert [len(some) for some in decoded] == [65_536, 1]
    assert [ref for some in decoded for ref in some] == sorted(media)
    assert lists == list(encode_lists(media))
    assert list(encode_lists([])) == []


@pytest.mark.parametrize(
    "data", [b"x", b"\n", b"0" * 64 + b".png 7", b"0" * 64 + b".p/g 7\n", b"0" * 63 + b".png 7\n", b"\xff\n"]
)
def test_what_is_no_list_of_media_is_a_format_error(data):
    with pytest.raises(FormatError, match="no line of a list of media"):
        list(decode_list(data))
