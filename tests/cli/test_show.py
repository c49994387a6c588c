import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.cli.numbers import compact, short_duration, size
from ml.cli.sparkline import sparkline


def test_keys_are_shown_by_kind_with_their_range_and_a_curve(mlog, make_run):
    path = make_run(config={"model": {"width": 8}, "layers": [1, 2]})

    said = mlog("show", path)

    assert said.status == 0
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert lines["train"].startswith("train  ")
    rows = [line.split() for line in said.out.splitlines()]
    loss = next(row for row in rows if row[:2] == ["train", "task/loss"])
    assert loss[2:6] == ["20", "0.05000", "0.05000", "1"]
    rate = next(row for row in rows if row[:1] == ["task/rate"])
    assert rate[1:5] == ["20", "0.5000", "0.5000", "0.5000"]
    assert rate[5][1] == "×"  # the NaN of step 2
    assert ["valid", "task/loss", "2", "0.1000", "0.1000", "0.2000", "█▁"] in rows
    assert ["train", "task/note", "1", "1", "started"] in rows
    assert any(row[:2] == ["train", "task/digits"] and row[-1].startswith("media/image/task/digits/") for row in rows)
    assert ["train", "task/weights", "1", "1", "count", "9", "min", "0", "mean", "4", "max", "8"] in rows
    assert ["model.width", "8"] in rows
    assert ["layers", "[1,", "2]"] in rows


def test_the_same_as_json(mlog, make_run):
    path = make_run()

    shown = json.loads(mlog("show", path, "--json", "--keys", "*/loss").out)

    assert shown["keys"] == [
        {"kind": "scalar", "phase": "train", "key": "task/loss", "count": 20, "last_step": 20}
        | {"last": 0.05, "min": 0.05, "max": 1.0},
        {"kind": "scalar", "phase": "valid", "key": "task/loss", "count": 2, "last_step": 20}
        | {"last": 0.1, "min": 0.1, "max": 0.2},
    ]  # fmt: skip
    assert (shown["status"], shown["steps"], len(shown["attempts"])) == ("finished", 20, 1)


def test_settings_that_cannot_be_read_cost_only_themselves(mlog, make_run):
    path = make_run(config={"seed": 1})
    (path / "attempts/1/config.yaml").write_text("a: &a [1]\nb: *a\n")

    said = mlog("show", path)

    assert said.status == 0
    assert "task/loss" in said.out
    assert said.err.startswith("mlog: The settings cannot be read: ")


def test_a_record_that_somebody_made_up_is_strict_json_all_the_same(mlog, make_run):
    record = make_run() / "attempts/1/run.json"
    made_up = '{"elapsed_time_s": 1e999, "a": NaN, "b": ' + "[" * 900 + "]" * 900 + "}"
    record.write_text(made_up)

    said = mlog("show", "run", "--json")

    (attempt,) = json.loads(said.out, parse_constant=pytest.fail)["attempts"]
    assert attempt == {"elapsed_time_s": "Infinity", "a": "NaN", "status": "unknown", "commit": "-"}
    assert mlog("runs", ".", "--json").status == 0


# curves and numbers


@pytest.mark.parametrize(
    ("values", "width", "curve"),
    [
        ([], 5, ""),
        ([1.0], 5, "▅"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 20, "▁▂▃▄▅▆▇█"),
        ([7, 0, math.nan, 7], 20, "█▁×█"),
        ([math.nan, math.inf, 1.0, 2.0], 2, "×▅"),
        ([0, 0, 4, 4, 8, 8], 3, "▁▅█"),
        ([-1.7e308, 1.7e308], 5, "▁█"),
        ([math.nan], 5, "×"),
    ],
)
def test_a_curve_goes_from_the_least_to_the_greatest_value(values, width, curve):
    assert sparkline(values, width) == curve


@given(st.lists(st.floats()), st.integers(1, 50))
def test_every_curve_fits_its_width(values, width):
    curve = sparkline(values, width, has_unicode=False)

    assert len(curve) == min(width, len(values))
    assert curve.isascii()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-5, "0s"), (59.9, "59s"), (60, "1m  0s"), (3725, "1h  2m"), (200_000, "2d  7h")],
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert short_duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (128.0, "128"), (0.123456, "0.1235"), (1e-9, "1.000e-09"), (math.nan, "nan"), (-math.inf, "-inf")],
)
def test_a_number_has_four_digits_a_whole_one_all(number, text):
    assert compact(number) == text


@pytest.mark.parametrize(("size_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2**40, "1.1 TB")])
def test_a_size_has_the_unit_that_suits_it(size_bytes, text):
    assert size(size_bytes) == text
