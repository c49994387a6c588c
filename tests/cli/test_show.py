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


def test_a_message_of_several_lines_is_one(mlog, make_run):
    path = make_run(config={"seed": 1})
    (path / "attempts/1/config.yaml").write_text("seed: [")

    said = mlog("show", path).err

    assert said.count("\n") == 1
    assert r"\n" not in said


def test_a_record_that_somebody_made_up_is_strict_json_all_the_same(mlog, make_run):
    record = make_run() / "attempts/1/run.json"
    made_up = '{"elapsed_time_s": 1e999, "a": NaN, "b": ' + "[" * 900 + "]" * 900 + "}"
    record.write_text(made_up)

    said = mlog("show", "run", "--json")

    (attempt,) = json.loads(said.out, parse_constant=pytest.fail)["attempts"]
    assert attempt == {"elapsed_time_s": "Infinity", "a": "NaN", "status": "unknown", "commit": "-"}
    assert mlog("runs", ".", "--json").status == 0


@pytest.mark.parametrize("word", [("show", "run"), ("runs", "."), ("export", "run", "--to", "json")])
def test_a_glob_that_matches_no_key_names_those_that_there_are(mlog, make_run, word):
    make_run()

    said = mlog(*word, "--keys", "zzz")

    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("mlog: No key matches 'zzz'. There are: task/loss, task/rate")
    assert said.err.count("\n") == 1


def test_a_run_that_logged_nothing_yet_refuses_no_glob(mlog, make_run):
    make_run(steps=0)

    for word in (("show", "run"), ("runs", "."), ("export", "run", "--to", "csv")):
        assert mlog(*word, "--keys", "zzz").status == 0


def test_a_run_without_a_log_that_mlog_reads_has_no_number_of_steps_and_says_why(mlog, make_run):
    make_run(loggers=("tensorboard",))

    said = mlog("show", "run")

    assert said.status == 0
    assert said.out.splitlines()[1].endswith("  - steps")
    assert "no JSON lines and no journal" in said.out
    assert json.loads(mlog("show", "run", "--json").out)["steps"] is None
    assert mlog("runs", ".").out.splitlines()[1].split()[-1] == "-"


def test_a_directory_of_runs_is_no_run_and_the_command_that_lists_them_is_named(mlog, make_run):
    make_run("runs/one")

    said = mlog("show", "runs")

    assert said.status == 2
    assert "mlog runs" in said.err


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
    assert sparkline(range(0, 10 * len(values), 10), values, width) == curve


@pytest.mark.parametrize(
    ("steps", "values", "width", "curve"),
    [
        ([*range(1, 1001), *range(2000, 10_001, 1000)], [8] * 1000 + [7, 6, 5, 4, 3, 2, 1, 0, 0], 10, "██▇▆▅▄▃▂▁▁"),
        ([1, 2, 3, 4, 100], [0, 0, 0, 0, 1], 5, "▁▁▁▁█"),  # nothing was logged between: it stays where it was
        ([1, 2, 3, 100], [math.nan, 0, 0, 1], 2, "▁█"),
        ([9, 1, 5], [9, 1, 5], 3, "▁▅█"),  # a log that went back
        ([7, 7], [1, 3], 5, "▅▅"),
        ([-(2**63) + 1, 0, 2**63 - 1], [0, 1, 2], 3, "▁▅█"),
    ],
)
def test_a_curve_is_drawn_over_steps_not_over_points(steps, values, width, curve):
    assert sparkline(steps, values, width) == curve


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats())), st.integers(1, 50))
def test_every_curve_fits_its_width(points, width):
    curve = sparkline([step for step, _ in points], [value for _, value in points], width, has_unicode=False)

    assert len(curve) == min(width, len(points))
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
