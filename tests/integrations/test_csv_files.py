"""Tables of metrics that others wrote, and ours."""

import math

import pandas as pd
import pytest

from ml.cli.main import main
from ml.integrations.csv_files import is_source, read, sources
from ml.loggers.kinds import SCALAR, STRING
from ml.loggers.sources import Entry, Settings
from ml.reading import open_run
from ml.session import start_run


def entries(source, tell=pytest.fail):
    return [entry for entry in read(source, tell) if isinstance(entry, Entry)]


def rows(source, tell=pytest.fail):
    return [(e.state.num_steps, e.state.num_epochs, e.namespace, e.key, e.value) for e in entries(source, tell)]


def table(tmp_path, text, name="metrics.csv"):
    (tmp_path / name).write_bytes(text.encode())
    return tmp_path / name


def test_lightnings_own_file_is_read_with_its_settings(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path, name="demo", version=0)
    logger.log_hyperparams({"lr": 0.1, "width": 64})
    logger.log_metrics({"train_loss": 0.5, "epoch": 0}, step=9)
    logger.log_metrics({"val/loss": 0.25, "epoch": 0}, step=9)
    logger.log_metrics({"train_loss": float("nan"), "epoch": 1}, step=19)
    logger.finalize("success")
    folder = tmp_path / "demo/version_0"

    settings, *values = read(folder, pytest.fail)

    assert isinstance(settings, Settings)
    assert settings.config == {"lr": 0.1, "width": 64}
    assert [(e.state.num_steps, e.state.num_epochs, e.namespace, e.key) for e in values] == [
        (9, 0, "", "train_loss"),
        (9, 0, "val", "loss"),
        (19, 1, "", "train_loss"),
    ]
    assert values[1].value == 0.25
    assert math.isnan(values[2].value)
    assert {e.state.time_s for e in values} == {(folder / "metrics.csv").stat().st_mtime}


@pytest.mark.parametrize("step", ["step", "_step", "global_step", "trainer/global_step", "iteration", "iter"])
def test_the_column_of_steps_is_found(tmp_path, step):
    path = table(tmp_path, f"epoch,{step},loss\n1,5,0.5\n2.0,6.0,0.25\n")

    assert is_source(path)
    assert rows(path) == [(5, 1, "", "loss", 0.5), (6, 2, "", "loss", 0.25)]


def test_an_epoch_alone_is_the_step_as_in_the_file_of_keras(tmp_path):
    path = table(tmp_path, "epoch,loss,val_loss\n0,0.5,0.75\n1,0.25,0.5\n")

    assert [(step, key, value) for step, _, _, key, value in rows(path)] == [
        (0, "loss", 0.5),
        (0, "val_loss", 0.75),
        (1, "loss", 0.25),
        (1, "val_loss", 0.5),
    ]


def test_blanks_are_missing_numbers_are_exact_and_anything_else_is_a_text(tmp_path):
    path = table(tmp_path, f'\ufeffstep,a,b\r\n1,,{2**60 + 1}\r\n\r\n2,inf,"two\nlines"\r\n3,1_000,-1e-3\r\n')

    assert [(e.kind, e.key, e.value) for e in entries(path)] == [
        (SCALAR, "b", 2**60 + 1),
        (SCALAR, "a", math.inf),
        (STRING, "b", "two\nlines"),
        (STRING, "a", "1_000"),
        (SCALAR, "b", -1e-3),
    ]


@pytest.mark.parametrize("time", ["1700000000.5", "2023-11-14T22:13:20.500000Z", "2023-11-14 22:13:20.5+00:00"])
def test_a_time_is_seconds_or_iso_8601(tmp_path, time):
    path = table(tmp_path, f"step,_timestamp,loss\n1,{time},0.5\n")

    assert [e.state.time_s for e in entries(path)] == [1700000000.5]


def test_a_row_that_cannot_be_read_is_told_and_costs_no_other(tmp_path):
    path = table(tmp_path, "step,loss\n1,0.5\nx,0.5\n1.5,0.5\n2,0.5,7\n3,0.25\n")
    told = []

    assert rows(path, told.append) == [(1, 0, "", "loss", 0.5), (3, 0, "", "loss", 0.25)]
    assert [problem.split(" of ")[0] for problem in told] == ["Row 3", "Row 4", "Row 5"]


def test_columns_of_one_name_are_told_apart_as_pandas_does(tmp_path):
    path = table(tmp_path, "step,loss,loss,step,loss.1,loss\n1,0.5,0.25,7,2,3\n")

    expected = pd.read_csv(path).drop(columns="step").iloc[0].to_dict()
    assert {key: value for _, _, _, key, value in rows(path)} == expected
    assert len(expected) == 5


def test_settings_that_would_run_code_are_told_and_never_run(tmp_path):
    path = table(tmp_path, "step,loss\n1,0.5\n")
    (tmp_path / "hparams.yaml").write_text("x: !!python/object/apply:os.mkdir [/tmp/never]\n")
    told = []

    assert len(rows(path, told.append)) == 1
    assert len(told) == 1
    assert "settings are left out" in told[0]


def run_with(tmp_path, attempts=1):
    state = None
    for attempt in range(attempts):
        every = [{"name": name, "write_every_n_seconds": 0} for name in ("csv", "json")]
        with start_run(tmp_path / "run", loggers=every, resume="auto", state=state, on_error="raise") as run:
            for step in range(3):
                run.log({"task/loss": 1 / (step + 1), "=x\ny": math.nan, "nan": math.nan, "count": 2**60 + attempt})
                run.step()
            state = run.state
            with run.phase("valid"):
                run.log({"task/loss": 0.5})
                run.step()
    return run.path


def as_frame(found):
    columns = [
        (e.state.phase, e.state.num_steps, e.state.num_epochs, f"{e.namespace}/{e.key}".lstrip("/"), e.value, e.attempt)
        for e in found
    ]
    return pd.DataFrame(columns, columns=["phase", "step", "epoch", "key", "value", "attempt"])


def test_our_own_file_is_what_open_run_reads(tmp_path):
    run = run_with(tmp_path, attempts=2)

    frame = as_frame(entries(run / "csv"))

    expected = open_run(run).scalars().drop(columns="time")
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False, check_exact=True)


def test_a_table_that_pandas_made_of_open_run_is_read_and_attempts_come_one_after_the_other(tmp_path):
    frame = open_run(run_with(tmp_path, attempts=2)).scalars()
    frame.iloc[::-1].to_csv(tmp_path / "table.csv", index=False)

    found = as_frame(entries(tmp_path / "table.csv"))

    assert list(found.attempt) == sorted(found.attempt)
    assert len(found) == len(frame)
    assert found["value"].isna().sum() == frame["value"].isna().sum()


ODD = ["=x\ny", 'a,"b"\r\nc\n', '"quoted"', '"', "'=a", "\n", "train,3,0,x", "a\r"]


def test_what_mlog_exports_is_read_with_every_key_as_it_is(tmp_path):
    with start_run(tmp_path / "run", loggers=["json"], on_error="raise") as run:
        run.log({key: number for number, key in enumerate(ODD)})
        run.step()
    assert main(["export", str(run.path), "--to", "csv", "-o", str(tmp_path / "table.csv")]) == 0

    found = as_frame(entries(tmp_path / "table.csv"))

    assert dict(zip(found.key, found.value, strict=True)) == {key: number for number, key in enumerate(ODD)}


def test_a_line_that_is_torn_within_a_key_costs_no_other(tmp_path):
    path = run_with(tmp_path) / "csv/log.csv"
    header, first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([header, first, b'train,2,0,"torn\n', *others]))
    told = []

    assert len(rows(path, told.append)) == 1 + len(others)
    assert [problem.partition(" of ")[0] for problem in told] == ["Line 3"]


def test_a_row_of_ours_that_is_damaged_or_has_no_end_is_told(tmp_path):
    path = run_with(tmp_path) / "csv/log.csv"
    path.write_bytes(path.read_bytes().replace(b",0.5,2", b",0.x,2", 1) + b"train,9,0,loss,0.1")
    told = []

    assert 9 not in [step for step, *_ in rows(path, told.append)]
    assert len(told) == 2
    assert "no number: '0.x'" in told[0]
    assert "has no end" in told[1]


def test_what_is_no_table_of_steps_is_no_source(tmp_path):
    assert not is_source(table(tmp_path, "name,loss\na,1\n"))
    assert not is_source(table(tmp_path, "", "empty.csv"))
    assert not is_source(tmp_path / "absent.csv")
    assert not is_source(table(tmp_path, "step,loss\n", "other.txt"))
    assert sources(tmp_path) == [tmp_path / "metrics.csv"]
