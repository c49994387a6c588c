"""The context of a run: which rank this is, and how time is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from ml.core.errors import ConfigError
from ml.core.run import RunContext, detect_rank, resolve_primary_rank


def test_a_context_says_where_when_and_who(tmp_path):
    context = RunContext(str(tmp_path), attempt=2, rank=1, world_size=4, clock=lambda: 5.0, wall_clock=lambda: 1e9)
    assert context.directory == Path(tmp_path)
    assert (context.attempt, context.rank, context.world_size) == (2, 1, 4)
    assert (context.clock(), context.wall_clock()) == (5.0, 1e9)
    assert repr(context) == f"RunContext({str(tmp_path)!r}, attempt=2, rank=1/4)"


def test_exactly_one_rank_is_the_primary_one(tmp_path):
    assert [RunContext(tmp_path, rank=rank, world_size=3).is_primary for rank in range(3)] == [True, False, False]


@pytest.mark.parametrize(("primary_rank", "expected"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_the_primary_rank_may_be_counted_from_the_end(tmp_path, primary_rank, expected):
    contexts = [RunContext(tmp_path, rank=rank, world_size=3, primary_rank=primary_rank) for rank in range(3)]

    assert [context.rank for context in contexts if context.is_primary] == [expected]
    assert {context.primary_rank for context in contexts} == {expected}


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        (None, {}, 0),
        (None, {"ML_PRIMARY_RANK": ""}, 0),
        (None, {"ML_PRIMARY_RANK": "-1"}, 3),
        (1, {"ML_PRIMARY_RANK": "-1"}, 1),
    ],
)
def test_what_is_configured_goes_before_the_environment(configured, environ, expected):
    assert resolve_primary_rank(configured, 4, environ) == expected


@pytest.mark.parametrize(
    ("configured", "environ", "problem"),
    [
        (4, {}, "primary_rank must lie in -4 ... 3 where there are 4 ranks, got 4"),
        (-5, {}, "got -5"),
        (None, {"ML_PRIMARY_RANK": "7"}, "ML_PRIMARY_RANK must lie in -4 ... 3"),
        (None, {"ML_PRIMARY_RANK": "last"}, "ML_PRIMARY_RANK must be a whole number, got 'last'"),
    ],
)
def test_a_primary_rank_that_is_not_there_is_refused(configured, environ, problem):
    with pytest.raises(ConfigError, match=problem):
        resolve_primary_rank(configured, 4, environ)


def test_a_context_makes_nothing(tmp_path):
    RunContext(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"attempt": 0}, {"rank": 1}, {"rank": -1}, {"rank": 2, "world_size": 2}])
def test_an_impossible_attempt_or_rank_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match=r"attempt is numbered from 1|rank lies in"):
        RunContext(tmp_path, **wrong)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (1, 2)),
        ({"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "6"}, (5, 6)),
        ({"RANK": "0", "WORLD_SIZE": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, (0, 2)),
        ({"RANK": "2"}, (2, 3)),
        ({"WORLD_SIZE": "4"}, (0, 1)),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, (1, 2)),  # what Lightning gives its children
        ({"LOCAL_RANK": "1", "NODE_RANK": "1", "WORLD_SIZE": "4"}, (0, 1)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, (0, 1)),
    ],
)
def test_the_rank_is_what_the_launcher_says(environ, expected):
    assert detect_rank(environ) == expected


@pytest.mark.parametrize("environ", [{"RANK": "two"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "-1"}, {"RANK": ""}])
def test_a_rank_that_makes_no_sense_is_named(environ):
    with pytest.raises(ConfigError, match="RANK"):
        detect_rank(environ)


def test_an_initialised_process_group_knows_better_than_the_environment(tmp_path):
    pytest.importorskip("torch")
    script = """
import os, sys
import torch.distributed as distributed
from ml.core.run import detect_rank
environ = {"RANK": "5", "WORLD_SIZE": "9"}
before = detect_rank(environ)
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
print(before, detect_rank(environ))
distributed.destroy_process_group()
"""
    command = [sys.executable, "-c", script, str(tmp_path / "store")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == "(5, 9) (0, 1)\n"
