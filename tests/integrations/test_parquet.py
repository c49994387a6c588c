"""Scalars as Parquet, read back by pandas; killed and refused at every call that the disk is asked for."""

import errno
import math
import shutil
import sys
from contextlib import suppress

import pandas as pd
import pyarrow as pa
import pytest

from ml.core.errors import ConfigError, WriteError
from ml.core.run import RunContext
from ml.core.state import State
from ml.integrations import parquet
from ml.integrations.parquet import ParquetLogger, ParquetLoggerConfig, waiting_rows
from ml.loggers.kinds import SCALAR
from ml.loggers.replay import replay
from ml.reading import open_run
from ml.session import start_run
from ml.testing import FakeClock
from ml.testing.contract import Backend, LoggerContract, Written
from ml.testing.disk import FaultyDisk
from ml.testing.power import PowerCut
from tests.integrations.ending import end


def read_parquet(logger, directory) -> list[Written]:
    folder = directory / logger.id
    parts = pd.read_parquet(folder) if list(folder.glob("*.parquet")) else waiting_rows(folder).slice(0, 0).to_pandas()
    frame = pd.concat([parts, waiting_rows(folder).to_pandas()])
    return [
        (row.phase, row.step, *(row.key.partition("/")[::2] if "/" in row.key else ("", row.key)), row.value)
        for row in frame.itertuples()
    ]


class TestLoggerContract(LoggerContract):
    """The Parquet backend keeps the contract."""

    @pytest.fixture(params=[2**16, 2], ids=["at close", "every two rows"])
    def backend(self, request) -> Backend:
        def make():
            return ParquetLogger(ParquetLoggerConfig("parquet", rows_per_part=request.param))

        return Backend("parquet", make, read_parquet)


def logger_of(directory, attempt=1, rows_per_part=4):
    logger = ParquetLogger(ParquetLoggerConfig("parquet", write_every_n_seconds=0, rows_per_part=rows_per_part))
    logger.initialize(RunContext(directory, attempt=attempt, wall_clock=FakeClock(1.7e9)))
    return logger


def log(logger, step):
    logger.log_scalar("loss", lambda: step / 8, State(num_steps=step, time_s=1.7e9), "task")
    logger.write(State(num_steps=step))


def steps_of(directory):
    """The steps of all rows, in parts and beside them."""
    logger = logger_of(directory, attempt=99)
    return sorted(step for _, step, *_ in read_parquet(logger, directory))


def test_pandas_reads_what_open_run_reads(tmp_path):
    every = [{"name": "parquet", "write_every_n_seconds": 0, "rows_per_part": 16}, "json"]
    with start_run(tmp_path / "run", loggers=every, on_error="raise") as run:
        for step in range(1, 30):
            run.log({"task/loss": 1 / step, "nan": math.nan, "inf": (-1) ** step * math.inf, "=a\nb": 2**53 + step})
            run.step()
            if step % 10 == 0:
                with run.phase("valid"):
                    run.log({"task/loss": 2 / step})
                    run.step()
                assert run.flush()  # or one write hands over everything

    frame = pd.read_parquet(run.path / "parquet")
    assert len(list((run.path / "parquet").iterdir())) >= 3
    pd.testing.assert_frame_equal(frame, open_run(run.path).scalars(), check_exact=True)


def test_only_whole_parts_are_seen_while_a_run_is_running(tmp_path):
    logger = logger_of(tmp_path)
    for step in range(1, 7):
        log(logger, step)
    logger.flush()

    assert list(pd.read_parquet(tmp_path / "parquet").step) == [1, 2, 3, 4]
    assert waiting_rows(tmp_path / "parquet").column("step").to_pylist() == [5, 6]
    assert list(pd.read_csv(tmp_path / "parquet/_rows-0001-0002.csv").step) == [5, 6]
    logger.close()
    assert sorted(path.name for path in (tmp_path / "parquet").iterdir()) == [
        "part-0001-0001.parquet",
        "part-0001-0002.parquet",
    ]


class Killed(BaseException):
    """The process ends here."""


class KillingDisk(FaultyDisk):
    """Ends the process at one call: no later one is made, as no finally of a killed process runs."""

    is_dead = False

    def _count(self, name, subject):
        if self.is_dead:
            raise Killed
        try:
            super()._count(name, subject)
        except (OSError, WriteError):
            self.is_dead = True
            raise Killed from None


def test_killed_at_any_call_no_row_is_lost_and_none_is_there_twice(tmp_path):
    for call in range(1, 10**6):
        directory = tmp_path / str(call)
        written, disk = [], KillingDisk({call})
        with disk:
            try:
                logger = logger_of(directory)
                for step in range(1, 11):
                    log(logger, step)
                    written.append(step)
                logger.close()
            except Killed:
                pass
        found = steps_of(directory)
        assert found in (written, [*written, len(written) + 1]), disk.calls_made

        again = logger_of(directory, attempt=2)
        log(again, 20)
        again.close()

        frame = pd.read_parquet(directory / "parquet")
        assert sorted(frame.step) == [*found, 20]
        assert not list(directory.glob("parquet/_rows*.csv"))
        if not disk.is_dead:
            break
        shutil.rmtree(directory)
    assert call > 30


def test_an_attempt_that_is_killed_while_it_takes_over_rows_loses_none_and_doubles_none(tmp_path):
    for call in range(1, 10**6):
        directory = tmp_path / str(call)
        logger = logger_of(directory, rows_per_part=100)
        for step in (1, 2, 3):
            log(logger, step)
        logger.flush()  # and is killed

        disk = KillingDisk({call})
        with disk, suppress(Killed):
            logger_of(directory, attempt=2).close()
        assert steps_of(directory) == [1, 2, 3]
        logger_of(directory, attempt=3).close()
        assert list(pd.read_parquet(directory / "parquet").step) == [1, 2, 3]
        if not disk.is_dead:
            break
    assert call > 5


def test_rows_in_two_files_of_which_a_kill_left_one_are_those_of_their_part(tmp_path):
    logger = logger_of(tmp_path, rows_per_part=100)
    log(logger, 1)
    logger.flush()
    with FaultyDisk({1}, errno.EIO, calls=("sync",)):
        log(logger, 2)
        logger.flush()
    log(logger, 3)
    assert len(list(tmp_path.glob("parquet/_rows*.csv"))) == 2
    with KillingDisk({2}, calls=("unlink",)), suppress(Killed):
        logger.close()
    assert len(list(tmp_path.glob("parquet/_rows*.csv"))) == 1

    assert steps_of(tmp_path) == [1, 2, 3]
    logger_of(tmp_path, attempt=2).close()
    assert list(pd.read_parquet(tmp_path / "parquet").step) == [1, 2, 3]
    assert not list(tmp_path.glob("parquet/_rows*.csv"))


def test_a_power_cut_after_any_call_takes_nothing_that_was_flushed_and_doubles_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    with PowerCut(tmp_path / "run") as disk:
        logger = logger_of(tmp_path / "run")
        for step in range(1, 11):
            log(logger, step)
            if step % 3 == 0:
                logger.flush()
                disk.note(str(step))
        logger.close()
        disk.note("10")

    for call in disk.calls():
        directory = tmp_path / "found"
        noted = max((int(note) for note in disk.crash(call, directory)), default=0)
        found = steps_of(directory)
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= noted
        logger_of(directory, attempt=2).close()
        assert steps_of(directory) == found
        shutil.rmtree(directory)


def test_a_call_that_fails_at_any_time_loses_no_row_and_doubles_none(tmp_path, caplog):
    for call in range(1, 10**6):
        directory = tmp_path / str(call)
        logger = logger_of(directory)
        disk, taken = FaultyDisk({call}), 0
        with disk:
            while taken < 10:
                try:
                    log(logger, taken + 1)
                    taken += 1
                except (OSError, WriteError):
                    logger._rows.clear()
            try:
                logger.close()
            except (OSError, WriteError):
                logger_of(directory, attempt=2).close()
        assert steps_of(directory) == list(range(1, 11)), disk.calls_made
        if not disk.failures:
            break
    assert call > 20


def test_rows_that_cannot_become_a_part_wait_and_training_goes_on(tmp_path, caplog):
    logger = logger_of(tmp_path)
    with FaultyDisk(range(1, 10**6), calls=("rename",)):
        for step in range(1, 9):
            log(logger, step)
        assert steps_of(tmp_path) == list(range(1, 9))
    log(logger, 9)
    logger.close()

    assert list(pd.read_parquet(tmp_path / "parquet").step) == list(range(1, 10))
    assert caplog.text.count("wait to become a Parquet file") == 2


def test_damaged_rows_stay_as_they_are_and_hold_up_nothing(tmp_path, caplog):
    logger = logger_of(tmp_path, rows_per_part=100)
    log(logger, 1)
    logger.flush()
    path = tmp_path / "parquet/_rows-0001-0001.csv"
    damaged = path.read_bytes().replace(b"0.125", b"0.1x5")
    path.write_bytes(damaged)

    again = logger_of(tmp_path, attempt=2)
    log(again, 2)
    again.close()

    assert path.read_bytes() == damaged
    assert list(pd.read_parquet(tmp_path / "parquet").step) == [2]
    assert "0.1x5" in caplog.text


def test_rows_of_an_attempt_that_is_running_are_left_to_it(tmp_path):
    with start_run(tmp_path / "run", loggers=["parquet"]) as first:
        first.log({"loss": 0.5})
        first.step()
        assert first.flush()
        with start_run(tmp_path / "run", loggers=["parquet"], resume=True, state=first.state) as second:
            second.log({"loss": 0.25})
            second.step()
        assert (first.path / "parquet/_rows-0001-0001.csv").exists()
        first.log({"loss": 0.125})
        first.step()

    frame = pd.read_parquet(first.path / "parquet")
    assert [(row.attempt, row.value) for row in frame.itertuples()] == [(1, 0.5), (1, 0.125), (2, 0.25)]


def test_an_attempt_that_was_wrongly_taken_for_dead_loses_no_row(tmp_path):
    zombie = logger_of(tmp_path, rows_per_part=100)
    log(zombie, 1)
    zombie.flush()
    logger_of(tmp_path, attempt=2).close()
    log(zombie, 2)
    zombie.close()

    assert list(pd.read_parquet(tmp_path / "parquet").step) == [1, 2]


def test_a_part_ends_by_its_bytes_too(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_PART_BYTES", 200)
    logger = logger_of(tmp_path, rows_per_part=10**6)
    for step in range(1, 10):
        log(logger, step)
    logger.close()

    assert len(list((tmp_path / "parquet").glob("part-*.parquet"))) >= 3
    assert list(pd.read_parquet(tmp_path / "parquet").step) == list(range(1, 10))


def test_a_replay_completes_what_a_killed_run_left(tmp_path):
    with start_run(tmp_path / "run", loggers=["json"]) as run:
        for step in range(3):
            run.log({"loss": step / 8})
            run.step()

    replay(run.path, "parquet", tmp_path / "again")

    frame = pd.read_parquet(tmp_path / "again/parquet")
    pd.testing.assert_frame_equal(frame, open_run(run.path).scalars(), check_exact=True)


def test_every_part_has_the_same_columns_and_is_for_its_owner_alone(tmp_path):
    logger = logger_of(tmp_path)
    for step in range(1, 6):
        log(logger, step)
    logger.close()

    for path in (tmp_path / "parquet").iterdir():
        assert pa.parquet.read_schema(path) == parquet.schema()
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_pyarrow_names_the_extra_before_training_starts(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(ConfigError, match=r"pip install 'ml-logbook\[parquet\]'"):
        start_run(tmp_path / "run", loggers=["parquet"])


def test_a_part_of_no_rows_is_refused():
    with pytest.raises(ConfigError, match="rows_per_part"):
        ParquetLogger(ParquetLoggerConfig("parquet", rows_per_part=0))


def test_it_takes_numbers_alone():
    assert ParquetLogger(ParquetLoggerConfig("parquet")).kinds == {SCALAR}


@pytest.mark.parametrize("how", ["not closed", "an exception"])
def test_a_program_that_ends_without_close_leaves_whole_files(tmp_path, how):
    number = end(how, {"name": "parquet"}, tmp_path / "run")

    assert list(pd.read_parquet(tmp_path / "run/parquet")["value"]) == list(range(1, number + 1))
