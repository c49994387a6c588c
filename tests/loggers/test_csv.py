"""Scalars as CSV, read back by pandas, by the csv module, and as ``mlog export`` writes them."""

import csv
import errno
import io
import math

import pandas as pd
import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.csv import CsvLogger, CsvLoggerConfig
from ml.loggers.csv_rows import COLUMNS, HEADER, key_cell, key_of
from ml.loggers.group import LoggerGroup
from ml.loggers.multi import MultiLogger
from ml.reading import open_run
from ml.session import start_run
from ml.testing import FakeClock
from ml.testing.disk import FaultyDisk
from ml.testing.hostile import ALIKE, NAMES

EVERY_STEP = 0.0


def logger_of(directory, attempt=1):
    logger = CsvLogger(CsvLoggerConfig("csv", write_every_n_seconds=EVERY_STEP))
    logger.initialize(RunContext(directory, attempt=attempt, wall_clock=FakeClock(1.7e9)))
    return logger


def log(logger, step, **values):
    for key, value in values.items():
        logger.log_scalar(key, lambda value=value: value, State(num_steps=step, time_s=1.7e9), "task")
    logger.write(State(num_steps=step))


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def read(path):
    """Reads as the documentation says: a key that is called 'nan' or 'NA' is a key."""
    return pd.read_csv(
        path, parse_dates=["time"], dtype={"value": float}, keep_default_na=False, na_values={"value": ["nan"]}
    )


def test_pandas_reads_what_open_run_reads(tmp_path):
    every = [{"name": name, "write_every_n_seconds": 0} for name in ("csv", "json")]
    with start_run(tmp_path / "run", loggers=every, on_error="raise") as run:
        for step in range(1, 30):
            run.log({"task/loss": 1 / step, "nan": math.nan, "inf": (-1) ** step * math.inf, "count": 2**60 + step})
            run.step(samples=4)
            if step % 10 == 0:
                run.end_epoch()
                with run.phase("valid"):
                    run.log({"task/loss": 2 / step})
                    run.step()

    frame = read(run.path / "csv/log.csv")
    pd.testing.assert_frame_equal(frame, open_run(run.path).scalars(), check_exact=True)


def test_it_has_what_mlog_export_writes(tmp_path, capsys):
    from ml.cli.main import main

    with start_run(tmp_path / "run", loggers=["csv", "json"], on_error="raise") as run:
        run.log({"a": 0.1, '=1+1,"x"': math.nan, "b c": 3})
        run.step()

    assert main(["export", str(run.path), "--to", "csv"]) == 0
    exported = capsys.readouterr().out.splitlines()
    written = (run.path / "csv/log.csv").read_text().splitlines()
    assert written == [line.replace(",3.0,", ",3,") for line in exported]  # which has floats alone


def test_a_whole_number_has_all_of_its_digits(tmp_path):
    logger = logger_of(tmp_path)
    log(logger, 1, large=2**63 + 1, negative=-(10**300))
    logger.close()

    assert [row[4] for row in rows_of(tmp_path / "csv/log.csv")[1:]] == [str(2**63 + 1), str(-(10**300))]


@pytest.mark.parametrize("name", [*NAMES, "formula", "apostrophe", "json"])
def test_a_hostile_key_is_one_line_no_formula_and_read_back(name):
    more = {"formula": "=1+1", "apostrophe": "'=1+1", "json": '"a\\nb"'}
    key = {**NAMES, **more}[name]

    cell = key_cell(key).encode("utf-8", "backslashreplace").decode()
    (row,) = csv.reader(io.StringIO(f"1,{cell},2\n", newline=""))

    assert len(cell.splitlines()) == 1
    assert not row[1].startswith(("=", "+", "-", "@", "\t", "\r"))
    if name != "half a surrogate pair":
        assert key_of(row[1]) == key


def test_no_two_keys_have_one_cell():
    keys = [
        "=a",
        "'=a",
        "''=a",
        '"=a',
        '"\\u003da"',
        "'a",
        "a",
        "a\n",
        '"a\\n"',
        *(key for pair in ALIKE for key in pair),
    ]

    assert len({key_cell(key) for key in keys}) == len(keys)


def test_a_resumed_run_goes_on_in_the_same_file_under_one_header(tmp_path):
    for attempt in (1, 2):
        logger = logger_of(tmp_path, attempt)
        log(logger, attempt, loss=0.5)
        logger.close()

    header, *rows = rows_of(tmp_path / "csv/log.csv")
    assert header == list(COLUMNS)
    assert [(row[1], row[6]) for row in rows] == [("1", "1"), ("2", "2")]


def test_a_torn_last_line_is_set_aside_also_where_a_key_has_a_line_break(tmp_path):
    logger = logger_of(tmp_path)
    log(logger, 1, loss=0.5)
    log(logger, 2, **{"a\nb": 0.5})
    logger.close()
    path = tmp_path / "csv/log.csv"
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for size in range(1, len(last)):
        path.write_bytes(whole[:-size])
        again = logger_of(tmp_path, 2)
        log(again, 3, loss=0.25)
        again.close()

        assert [row[1] for row in rows_of(path)[1:]] == ["1", "3"]
        assert b"".join(aside.read_bytes() for aside in path.parent.glob("*.torn-*")) == last[:-size]
        for aside in path.parent.glob("*.torn-*"):
            aside.unlink()


def test_what_goes_on_after_a_failed_sync_has_a_header_and_every_row(tmp_path):
    logger = logger_of(tmp_path)
    with FaultyDisk({1}, errno.EIO, calls=("sync",)):
        log(logger, 1, loss=0.5)
        logger.flush()
        log(logger, 2, loss=0.25)
        logger.close()

    _, second = sorted((tmp_path / "csv").iterdir(), key=lambda path: len(path.name))
    assert second.name == f"log-2-{len(HEADER)}.csv"
    assert rows_of(second)[0] == list(COLUMNS)
    assert [row[1] for row in rows_of(second)[1:]] == ["1", "2"]


def test_values_that_a_full_disk_refused_from_the_first_call_on_are_there_once(tmp_path):
    logger, component = CsvLogger(CsvLoggerConfig("csv", write_every_n_seconds=EVERY_STEP)), MultiLogger("task")
    logger.initialize(RunContext(tmp_path))
    logs = LoggerGroup.in_place([logger])
    with FaultyDisk(range(1, 10**9), calls=("open", "write", "make_directory")):
        component.log_scalar("loss", 0.5)
        logs.write([component], State(num_steps=1))
    component.log_scalar("loss", 0.25)
    logs.write([component], State(num_steps=2), force=True)
    logs.close()

    assert [(row[1], row[4]) for row in rows_of(tmp_path / "csv/log.csv")[1:]] == [("1", "0.5"), ("2", "0.25")]


def test_a_run_without_values_has_no_file(tmp_path):
    logger_of(tmp_path).close()

    assert list((tmp_path / "csv").iterdir()) == []
