import json
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.cli.names import told_apart
from ml.session import start_run


def rewrite(path: Path, **changes: object) -> None:
    """Changes what an attempt says of itself."""
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **changes}))


def as_json(said):
    assert said.status == 0, said
    return json.loads(said.out)


def test_a_run_is_listed_with_its_start_steps_last_values_and_what_was_overridden(mlog, make_run):
    make_run("first", config={"model": {"width": 8, "act": "relu"}})
    make_run("second", steps=10, config={"model": {"width": 16, "act": "relu"}})

    first, second = as_json(mlog("runs", ".", "--json"))

    assert (first["run"], first["status"], first["steps"], first["attempts"]) == ("first", "finished", 20, 1)
    assert first["last"] == {"train": {"task/loss": 0.05, "task/rate": 0.5}, "valid": {"task/loss": 0.1}}
    assert (first["settings"], second["settings"]) == ({"model.width": 8}, {"model.width": 16})
    assert abs(datetime.fromisoformat(first["start"]) - datetime.now(UTC)) < timedelta(minutes=5)
    table = mlog("runs", ".").out.splitlines()
    assert [line.split()[0] for line in table[1:]] == ["run", "first", "second"]
    assert "0.05000" in table[2]


@pytest.mark.parametrize(
    ("key", "order"),
    [
        (("start",), ["b", "c", "a"]),
        (("run",), ["a", "b", "c"]),
        (("run", "--reverse"), ["c", "b", "a"]),
        (("steps",), ["a", "c", "b"]),
        (("task/loss",), ["b", "a", "c"]),  # of validation, where there was one
        (("train:task/loss",), ["b", "c", "a"]),
        (("model.width",), ["c", "b", "a"]),
    ],
)
def test_runs_are_in_the_order_that_is_asked_for(mlog, make_run, sorted_runs, key, order):
    assert [run["run"] for run in as_json(mlog("runs", sorted_runs, "--json", "--sort", *key))] == order


@pytest.fixture(scope="module")
def sorted_runs(tmp_path_factory):
    """Runs b, c, a: 30, 20 and 10 steps; c has no validation, and the widths fall to the first letter."""
    root = tmp_path_factory.mktemp("sorted")
    for name, steps, passes, width in (("b", 30, True, 16), ("c", 20, False, 8), ("a", 10, True, 32)):
        with start_run(root / name, config={"model": {"width": width}}, loggers=["json"]) as run:
            run.log({"task/loss": 1 / steps})
            run.step(step=steps)
            if passes:
                with run.phase("valid"):
                    run.log({"task/loss": 2 / steps})
    return root


def test_a_sort_key_that_no_run_has_names_those_that_there_are(mlog, make_run):
    make_run()

    said = mlog("runs", ".", "--sort", "task/lss")

    assert said.status == 2
    assert said.err == (
        "mlog: No run has 'task/lss' to sort by."
        " There are: run, status, start, duration, steps, task/loss, task/rate.\n"
    )


def test_keys_are_chosen_by_a_glob(mlog, make_run):
    make_run()

    (run,) = as_json(mlog("runs", ".", "--json", "--keys", "*/ra*"))

    assert run["last"] == {"train": {"task/rate": 0.5}}
    assert "task/loss" not in mlog("runs", ".", "--keys", "*/ra*").out


def test_a_setting_that_a_run_does_not_have_is_not_there(mlog, make_run):
    make_run("a", config={"lr": 0.1})
    make_run("b", config={"seed": None, "lr": 0.1})
    make_run("c", config={"lr": 0.1, "width": 8})

    a, b, c = as_json(mlog("runs", ".", "--json"))

    assert (a["settings"], b["settings"], c["settings"]) == ({}, {"seed": None}, {"width": 8})
    rows = [line.split()[-2:] for line in mlog("runs", ".").out.splitlines()[2:]]
    assert rows == [["-", "-"], ["None", "-"], ["-", "8"]]
    assert "width" in mlog("runs", ".", "--sort", "wdth").err


@pytest.mark.parametrize(
    ("names", "width", "shown"),
    [
        (["short", "shorter"], 7, ["short", "shorter"]),
        (["a-long-name-of-a-run"], 9, ["a-lo…-run"]),
        (["a-long-name-of-run-1", "a-long-name-of-run-2", "b"], 9, ["a-lo…un-1", "a-lo…un-2", "b"]),
        (
            ["long-name/lr=0.1,adam,seed=1", "long-name/lr=0.3,adam,seed=2"],
            18,
            ["l…lr=0.1,a…seed=1", "l…lr=0.3,a…seed=2"],
        ),
        (["a-name-b1c-of-the-run", "a-name-b2c-of-the-run", "b"], 9, ["a…b1c-o…", "a…b2c-o…", "b"]),
        (["x" * 9 + "1" + "y" * 9, "x" * 9 + "2" + "y" * 9], 9, ["x" * 9 + "1" + "y" * 9, "x" * 9 + "2" + "y" * 9]),
        (["a" * 20, "b" + "a" * 19], 4, ["aa…a", "ba…a"]),
        (["same" * 5, "same" * 5], 9, ["same…same", "same…same"]),
        (["", "x" * 9], 3, ["", "x…x"]),
    ],
)
def test_long_names_of_runs_keep_what_tells_them_apart(names, width, shown):
    assert told_apart(names, width, "…") == shown


@given(st.sets(st.text("ab-", max_size=12)), st.integers(5, 12), st.sampled_from(["…", "..."]))
def test_no_two_names_of_runs_become_the_same(names, width, mark):
    in_order = sorted(names)

    shown = told_apart(in_order, width, mark)

    assert len(set(shown)) == len(names)
    assert all(short == name or mark in short for short, name in zip(shown, in_order, strict=True))
    assert [short for short, name in zip(shown, in_order, strict=True) if len(name) <= width] == [
        name for name in in_order if len(name) <= width
    ]


@pytest.mark.parametrize(
    ("record", "status"),
    [
        ({"pid": os.getpid(), "start": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}, "running"),
        ({"pid": 2**22 + 1}, "killed?"),  # above the largest that Linux gives
        ({"pid": os.getpid(), "start": "2020-01-02T03:04:05.000000Z"}, "killed?"),  # it is another one's now
        ({"pid": 2**22 + 1, "host": "elsewhere"}, "running"),
        ({"pid": "many"}, "running"),
    ],
)
def test_a_run_whose_process_is_gone_from_this_machine_was_killed(mlog, make_run, record, status):
    path = make_run()
    rewrite(path / "attempts/1/run.json", **{"status": "running", "end": None, "host": platform.node(), **record})

    assert as_json(mlog("runs", ".", "--json"))[0]["status"] == status


def test_a_resumed_run_has_the_steps_of_its_last_attempt_and_one_curve(mlog, tmp_path):
    for resume, steps in ((False, (1, 2, 9)), (True, (2, 3))):
        with start_run(tmp_path / "run", loggers=["json"], resume=resume) as run:
            for step in steps:
                run.log({"loss": float(step)})
                run.step(step=step)

    (run,) = as_json(mlog("runs", ".", "--json"))

    assert (run["steps"], run["attempts"], run["last"]) == (3, 2, {"train": {"loss": 3.0}})
    (loss,) = as_json(mlog("show", "run", "--json"))["keys"]
    assert (loss["count"], loss["max"]) == (3, 3.0)  # steps 2 and 9 of the first attempt were overtaken


def test_one_broken_run_never_stops_the_others(mlog, make_run, tmp_path):
    for name in ("whole", "record", "config", "log"):
        make_run(name, config={"seed": name})
    (tmp_path / "record/attempts/1/run.json").write_text("[" * 100_000)
    (tmp_path / "config/attempts/1/config.yaml").write_text("seed: [")
    (tmp_path / "log/json/log.jsonl").unlink()
    os.mkfifo(tmp_path / "log/json/log.jsonl")

    said = mlog("runs", ".", "--json")

    assert [run["run"] for run in as_json(said)] == ["whole", "config"]
    assert "record is left out" in said.err
    assert "log is left out" in said.err
    assert "config.yaml" in said.err


def test_lines_that_are_damaged_are_left_out_and_counted(mlog, make_run):
    path = make_run()
    with (path / "json/log.jsonl").open("a") as log:
        log.write("[" * 100_000 + "\n{}\n" + '{"attempt": 1')

    said = mlog("runs", ".", "--json")

    assert as_json(said)[0]["steps"] == 20
    assert "2 records of run cannot be read" in said.err
    assert said.err.count("\n") == 1


def test_a_run_without_a_log_is_listed(mlog, make_run):
    shutil.rmtree(make_run() / "json")

    assert as_json(mlog("runs", ".", "--json"))[0]["last"] == {}
    assert "finished" in mlog("runs", ".").out


def test_a_run_that_has_a_journal_alone_is_read_from_it(mlog, make_run):
    for name in ("json", "journal"):
        make_run(name, loggers=(name,))

    of_json, of_journal = as_json(mlog("runs", ".", "--json", "--sort", "run", "--reverse"))

    assert of_journal["last"] == of_json["last"] != {}
    assert of_journal["steps"] == of_json["steps"] == 20
    shown = [json.loads(mlog("show", name, "--json").out)["keys"] for name in ("json", "journal")]
    places = [
        [(key["kind"], key["phase"], key["key"], key["count"], key["last_step"]) for key in keys] for keys in shown
    ]
    assert places[0] == places[1]


@pytest.mark.slow
def test_a_line_without_end_is_not_held_in_memory(make_run, tmp_path):
    log = make_run() / "json/log.jsonl"
    with log.open("ab") as file:
        file.truncate(log.stat().st_size + 5 * 2**29)  # zeros, of which the disk keeps none
    limited = f"ulimit -v {2**21}; exec {sys.executable} -m ml runs . --json"

    said = subprocess.run(["bash", "-c", limited], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert said.returncode == 0, said.stderr[-500:]
    assert json.loads(said.stdout)[0]["steps"] == 20
