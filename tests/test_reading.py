import json
import logging
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ml.core.errors import ConfigError, FormatError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.values import Plain
from ml.reading import open_run, open_runs
from ml.session import start_run


def line(step, *, phase="train", attempt=1, epoch=0, time="2026-01-02T03:04:05.678901Z", **sections):
    state = {"phase": phase, "step": step, "epoch": epoch, "samples": 0, "elapsed_s": 0.5, "time": time}
    return {"attempt": attempt, **state, **sections}


def loss(step, value=0.5, **state):
    return line(step, scalars={"task/loss": value}, **state)


def write_log(run, *lines):
    """Writes lines, given as objects or as text, as the log of a run."""
    (run / "json").mkdir(parents=True, exist_ok=True)
    texts = [entry if isinstance(entry, str) else json.dumps(entry) + "\n" for entry in lines]
    (run / "json/log.jsonl").write_text("".join(texts))
    return run


def write_attempt(run, number=1, *, config=None, **record):
    folder = run / "attempts" / str(number)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"id": "a1", "attempt": number, "status": "finished", **record}))
    if config is not None:
        (folder / "config.yaml").write_text(config)


def curve(run, phase="train", key="task/loss"):
    frame = open_run(run).scalars(key)
    frame = frame[frame.phase == phase]
    return list(zip(frame.attempt, frame.step, strict=True))


# one run


def test_what_the_backend_wrote_is_a_frame_with_real_numbers(tmp_path):
    logger = JsonLogger(JsonLoggerConfig())
    logger.initialize(RunContext(tmp_path, attempt=1))
    state = State(num_steps=3, num_epochs=1, time_s=1767323045.678901)
    for key, value in (("loss", 0.25), ("nan", math.nan), ("high", math.inf), ("low", -math.inf), ("count", 7)):
        logger.log_scalar(key, Plain(value), state, "task")
    logger.log_string("note", Plain("first"), state, "task")
    logger.log_string("note", Plain("second"), state, "task")
    logger.write(state)
    logger.close()

    run = open_run(tmp_path)

    frame = run.scalars()
    assert list(frame.columns) == ["phase", "step", "epoch", "key", "value", "time", "attempt"]
    assert frame.key.tolist() == ["task/loss", "task/nan", "task/high", "task/low", "task/count"]
    np.testing.assert_array_equal(frame.value, [0.25, math.nan, math.inf, -math.inf, 7])
    assert frame.loc[0, ["phase", "step", "epoch", "attempt"]].tolist() == ["train", 3, 1, 1]
    assert frame.time[0].isoformat() == "2026-01-02T03:04:05.678901+00:00"
    assert run.scalars("task/loss").value.tolist() == [0.25]
    assert run.strings("task/note").value.tolist() == ["first", "second"]


def test_an_empty_frame_has_the_columns_and_types_of_a_full_one(tmp_path):
    full = open_run(write_log(tmp_path, loss(1))).scalars()
    empty = open_run(tmp_path).scalars("task/other")

    assert len(empty) == 0
    assert empty.drop(columns=["phase", "key"]).dtypes.equals(full.drop(columns=["phase", "key"]).dtypes)


def test_a_run_that_has_logged_nothing_yet_is_empty(tmp_path):
    write_attempt(tmp_path)

    run = open_run(tmp_path)

    assert (len(run.scalars()), len(run.strings()), run.images(), run.config) == (0, 0, [], {})


def test_a_run_without_a_log_says_why_it_is_empty(tmp_path, caplog):
    write_attempt(tmp_path)

    assert len(open_run(tmp_path).scalars()) == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no JSON backend, or has logged nothing yet" in caplog.text


def test_the_log_of_a_json_backend_with_another_id_is_read(tmp_path, caplog):
    loggers = [{"name": "json", "id": "curves"}]
    with start_run(tmp_path / "run", loggers=loggers) as run:
        run.log({"task/loss": 0.25})
        run.logger.log_image("digits", np.zeros((200, 300)), keep_resolution=True)
        run.step()

    read = open_run(tmp_path / "run")

    assert read.scalars("task/loss").value.tolist() == [0.25]
    assert read.images("digits")[0].open().size == (300, 200)
    assert not caplog.records


def test_values_are_in_the_order_of_their_steps(tmp_path):
    write_log(tmp_path, loss(1), loss(9), loss(4))

    assert open_run(tmp_path).scalars().step.tolist() == [1, 4, 9]


def test_the_last_of_two_values_at_one_step_counts(tmp_path):
    write_log(tmp_path, loss(1, 0.5), loss(1, 0.25), loss(1, 0.75, phase="valid"))

    assert open_run(tmp_path).scalars().value.tolist() == [0.25, 0.75]


def test_a_whole_number_beyond_every_float_is_infinite(tmp_path):
    write_log(tmp_path, loss(1, 10**400), loss(2, -(10**400)), loss(3, str(2**60)))

    assert open_run(tmp_path).scalars().value.tolist() == [math.inf, -math.inf, 2.0**60]


def test_half_a_surrogate_pair_in_a_key_or_a_text_is_an_escape_in_a_frame(tmp_path):
    odd = {**loss(1), "scalars": {"a\ud800": 0.5}, "strings": {"note": ["b\udfff"]}}
    run = open_run(write_log(tmp_path, odd))

    assert run.scalars().key.tolist() == ["a\\ud800"]
    assert run.strings().value.tolist() == ["b\\udfff"]


# resumed runs


def test_a_run_killed_at_700_and_resumed_from_600_is_one_curve(tmp_path):
    first = [loss(step) for step in range(1, 701)]
    second = [loss(step, attempt=2) for step in range(601, 801)]

    assert curve(write_log(tmp_path, *first, *second)) == [
        *((1, step) for step in range(1, 601)),
        *((2, step) for step in range(601, 801)),
    ]


def test_validation_of_weights_that_were_thrown_away_is_left_out_before_the_next_pass(tmp_path):
    first = [loss(600), loss(600, phase="valid"), loss(650), loss(650, phase="valid")]
    second = [loss(601, attempt=2)]

    assert curve(write_log(tmp_path, *first, *second), "valid") == [(1, 600)]


def test_a_resume_that_begins_with_a_validation_keeps_the_training_point_of_that_step(tmp_path):
    first = [loss(600), loss(600, phase="valid"), loss(601)]
    second = [loss(600, phase="valid", attempt=2), loss(601, attempt=2)]

    write_log(tmp_path, *first, *second)

    assert curve(tmp_path) == [(1, 600), (2, 601)]
    assert curve(tmp_path, "valid") == [(2, 600)]


def test_an_attempt_that_only_tests_leaves_the_training_curve_as_it_was(tmp_path):
    write_log(tmp_path, loss(5), loss(6), loss(6, phase="test"), loss(5, phase="test", attempt=2))

    assert curve(tmp_path) == [(1, 5), (1, 6)]
    assert curve(tmp_path, "test") == [(2, 5)]


def test_a_key_that_a_later_attempt_has_not_logged_again_is_overtaken_too(tmp_path):
    write_log(tmp_path, line(7, scalars={"task/rare": 1}), loss(6, attempt=2))

    assert curve(tmp_path, key="task/rare") == []


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 5)), min_size=1, max_size=5))
def test_every_curve_has_each_step_once_and_ends_with_the_last_attempt(tmp_path_factory, attempts):
    run = tmp_path_factory.mktemp("run")
    spans = [(n, range(start, start + length + 1)) for n, (start, length) in enumerate(attempts, start=1)]

    points = curve(write_log(run, *(loss(step, attempt=n) for n, span in spans for step in span)))

    steps = [step for _, step in points]
    assert steps == sorted(set(steps))
    assert points[-1] == (len(attempts), spans[-1][1][-1])
    assert [n for n, _ in points] == sorted(n for n, _ in points)


# damage


def test_a_last_line_that_is_being_written_is_left_alone(tmp_path, caplog):
    write_log(tmp_path, loss(1), json.dumps(loss(2))[:-5])

    assert curve(tmp_path) == [(1, 1)]
    assert not caplog.records


@pytest.mark.parametrize(
    "damage",
    [
        "\0\0\0\n",
        '{"attempt": 1, "pha\n',
        "[1]\n",
        "{}\n",
        "[" * 100_000 + "\n",
        json.dumps(loss(2, [1])) + "\n",
        json.dumps(loss(2, "many")) + "\n",
        json.dumps(loss("2")) + "\n",
        json.dumps(loss(2, phase="training")) + "\n",
        json.dumps(loss(2, time="yesterday")) + "\n",
        json.dumps(loss(2, math.nan)) + "\n",
    ],
)
def test_damaged_lines_are_counted_and_the_others_read(tmp_path, caplog, damage):
    write_log(tmp_path, loss(1), damage, loss(3), damage)

    assert curve(tmp_path) == [(1, 1), (1, 3)]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "2 lines of" in caplog.text
    assert "Line 2" in caplog.text


def test_a_directory_that_is_no_run_is_refused_with_what_was_looked_for(tmp_path):
    write_log(tmp_path / "digits/first", loss(1))

    with pytest.raises(FileNotFoundError, match="it is no directory"):
        open_run(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"neither attempts/ nor json/log\.jsonl.*first; open_runs"):
        open_run(tmp_path / "digits")
    with pytest.raises(FileNotFoundError, match="no run below"):
        open_runs(tmp_path / "digits/first/json")


def test_a_missing_pandas_names_the_extra(tmp_path, monkeypatch):
    run = write_log(tmp_path, loss(1))
    monkeypatch.setitem(sys.modules, "pandas", None)

    for read in (open_run(run).scalars, open_run(run).strings, open_runs(run).scalars, lambda: open_runs(run).config):
        with pytest.raises(ConfigError, match=r"ml-logbook\[train\]"):
            read()


# pictures


def test_a_picture_is_opened_when_asked_for_and_shown_by_a_notebook(tmp_path):
    (tmp_path / "json/media").mkdir(parents=True)
    Image.new("RGB", (4, 3), "red").save(tmp_path / "json/media/a.png")
    entry = {"path": "media/a.png", "shape": [3, 3, 4], "sha256": "0" * 64}
    write_log(tmp_path, line(7, phase="valid", images={"task/digits": entry, "task/other": entry}))

    (picture,) = open_run(tmp_path).images("task/digits")

    assert (picture.key, picture.phase, picture.step, picture.attempt) == ("task/digits", "valid", 7, 1)
    assert picture.open().getpixel((0, 0)) == (255, 0, 0)
    assert picture._repr_png_() == (tmp_path / "json/media/a.png").read_bytes()
    assert len(open_run(tmp_path).images()) == 2


@pytest.mark.parametrize("path", ["/etc/hostname", "../../secret.png", "media/../../secret.png"])
def test_a_picture_outside_of_the_run_is_damage(tmp_path, caplog, path):
    write_log(tmp_path, line(1, images={"task/digits": {"path": path, "sha256": "0" * 64}}))

    assert open_run(tmp_path).images() == []
    assert "no path of a file of this run" in caplog.text


# what a run was


def test_configuration_and_status_are_those_of_the_last_attempt(tmp_path):
    for number in (1, 2, 10):
        write_attempt(
            tmp_path, number, config=f"model: {{width: {number}, twice: '${{model.width}}'}}", status=f"s{number}"
        )

    run = open_run(tmp_path)

    assert (run.config.model.width, run.config.model.twice) == (10, 10)
    assert run.status == "s10"
    assert [attempt["attempt"] for attempt in run.attempts] == [1, 2, 10]
    assert run.path == tmp_path


def test_a_run_without_attempts_has_an_unknown_status(tmp_path):
    assert open_run(write_log(tmp_path, loss(1))).status == "unknown"


@pytest.mark.parametrize("content", ["a: [", "- 1\n- 2\n", "a: !!python/object:os.system {}"])
def test_a_damaged_configuration_is_named(tmp_path, content):
    write_attempt(tmp_path, config=content)

    with pytest.raises(FormatError, match=r"config\.yaml"):
        _ = open_run(tmp_path).config


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_record_of_an_attempt_is_named(tmp_path, content):
    write_attempt(tmp_path)
    (tmp_path / "attempts/1/run.json").write_text(content)

    with pytest.raises(FormatError, match=r"run\.json"):
        _ = open_run(tmp_path).attempts


def test_a_run_without_a_configuration_has_no_settings(tmp_path):
    write_attempt(tmp_path)
    assert open_run(tmp_path).settings == {}
    (tmp_path / "attempts/1/config.yaml").write_text("model: {}")
    assert open_run(tmp_path).settings == {"model": "{}"}


# several runs


def make_runs(root, *configs):
    for number, config in enumerate(configs):
        run = write_log(root / f"sweep/{number}", loss(1, number), loss(2, number))
        write_attempt(run, config=config)
    return root


def test_runs_are_stacked_with_the_settings_in_which_they_differ(tmp_path):
    make_runs(tmp_path, "model: {width: 8, act: relu}\nlayers: [1]", "model: {width: 16, act: relu}\nlayers: [1, 2]")

    runs = open_runs(tmp_path)

    frame = runs.scalars("task/loss")
    assert frame[["run", "step", "value", "model.width", "layers"]].values.tolist() == [
        ["sweep/0", 1, 0.0, 8, "[1]"],
        ["sweep/0", 2, 0.0, 8, "[1]"],
        ["sweep/1", 1, 1.0, 16, "[1, 2]"],
        ["sweep/1", 2, 1.0, 16, "[1, 2]"],
    ]
    assert "model.act" not in frame
    assert runs.config.to_dict("index") == {
        "sweep/0": {"model.width": 8, "layers": "[1]"},
        "sweep/1": {"model.width": 16, "layers": "[1, 2]"},
    }
    assert list(runs) == ["sweep/0", "sweep/1"]
    assert runs["sweep/1"].config.model.width == 16


def test_what_lies_inside_a_run_is_no_run_of_its_own(tmp_path):
    make_runs(tmp_path, "{}")
    write_attempt(tmp_path / "sweep/0/copies/of-another")

    assert list(open_runs(tmp_path)) == ["sweep/0"]


def test_a_run_that_is_being_made_out_of_sight_is_none_yet(tmp_path):
    make_runs(tmp_path, "{}")
    (tmp_path / ".again.1a2b" / "again" / "attempts").mkdir(parents=True)

    assert not [name for name in open_runs(tmp_path) if "again" in name]


def test_a_setting_called_like_a_column_does_not_hide_it(tmp_path):
    frame = open_runs(make_runs(tmp_path, "step: 8", "step: 16")).scalars()

    assert frame.step.tolist() == [1, 2, 1, 2]
    assert frame["config.step"].tolist() == [8, 8, 16, 16]


def test_a_setting_that_only_some_runs_have_differs(tmp_path):
    settings = open_runs(make_runs(tmp_path, "{}", "seed: 1", "seed: null")).config

    assert settings.seed.isna().tolist() == [True, False, True]


def test_one_broken_run_never_stops_the_others(tmp_path, caplog):
    make_runs(tmp_path, "seed: 1", "seed: [", "seed: 3")
    (tmp_path / "sweep/2/json/log.jsonl").unlink()
    (tmp_path / "sweep/2/json/log.jsonl").mkdir()

    runs = open_runs(tmp_path)

    assert runs.config.index.tolist() == ["sweep/0", "sweep/2"]
    assert set(runs.scalars().run) == {"sweep/0", "sweep/1"}
    assert "sweep/1 is left out" in caplog.text
    assert "sweep/2 is left out" in caplog.text


def test_runs_that_never_logged_a_key_leave_an_empty_frame(tmp_path):
    frame = open_runs(make_runs(tmp_path, "seed: 1", "seed: 2")).scalars("task/absent")

    assert len(frame) == 0
    assert {"run", "step", "value", "seed"} <= set(frame.columns)
