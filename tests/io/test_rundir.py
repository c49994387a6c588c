"""Run directories: who gets which, what each attempt records, and what the other ranks learn."""

import json
import logging
import multiprocessing
import os
import re
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from ml.core.errors import ConfigError
from ml.io.claim import claim_attempt
from ml.io.git import read_git
from ml.io.rundir import RunDirectory, default_name, start_run_directory

START_S = 1_700_000_000.25


class FakeStore:
    """What ``torch.distributed.Store`` is, between threads: ``get`` waits until the key is set."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._counts: dict[str, int] = {}
        self._changed = threading.Condition()

    def add(self, key: str, amount: int) -> int:
        with self._changed:
            self._counts[key] = self._counts.get(key, 0) + amount
            return self._counts[key]

    def set(self, key: str, value: str) -> None:
        with self._changed:
            self._values[key] = value.encode()
            self._changed.notify_all()

    def get(self, key: str) -> bytes:
        with self._changed:
            assert self._changed.wait_for(lambda: key in self._values, timeout=30), f"{key} was never set"
            return self._values[key]


def start(directory: Path | None, environ: dict[str, str] | None = None, **options: object) -> RunDirectory:
    options = {"argv": ["train.py"], "wall_clock": lambda: START_S, **options}
    return start_run_directory(directory, environ={"PATH": os.environ["PATH"], **(environ or {})}, **options)


def record(run: RunDirectory) -> dict[str, object]:
    return json.loads((run.path / "attempts" / str(run.attempt) / "run.json").read_text())


def tree(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.fixture(autouse=True)
def _outside_of_any_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, as the current directory."""
    path = tmp_path / "repository"
    path.mkdir()
    monkeypatch.chdir(path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git("init", "--quiet", "--initial-branch=trunk")
    (path / "train.py").write_text("lr = 1\n")
    git("add", "train.py")
    git("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "first")
    return path


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


# --- which directory --------------------------------------------------------------------------------------------------


def test_a_run_is_started_in_the_directory_that_was_asked_for(tmp_path):
    run = start(tmp_path / "runs" / "demo")
    assert (run.path, run.attempt, run.started_s, run.elapsed_time_s) == (tmp_path / "runs" / "demo", 1, START_S, 0.0)
    assert tree(tmp_path) == [
        "runs",
        "runs/demo",
        "runs/demo/attempts",
        "runs/demo/attempts/1",
        "runs/demo/attempts/1/run.json",
    ]


def test_a_directory_that_holds_a_run_is_never_joined_by_accident(tmp_path, caplog):
    first = start(tmp_path / "demo")
    before = tree(first.path)
    with caplog.at_level(logging.WARNING, "ml"):
        second, third = start(tmp_path / "demo"), start(tmp_path / "demo")
    assert [second.path.name, third.path.name] == ["demo-2", "demo-3"]
    assert second.attempt == third.attempt == 1
    assert tree(first.path) == before
    assert f"{first.path} holds a run, so this one goes to {second.path}" in caplog.text


def test_a_directory_without_a_run_is_used_and_what_lies_in_it_is_kept(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "notes.txt").write_text("mine")
    assert start(tmp_path / "demo").path == tmp_path / "demo"
    assert (tmp_path / "demo" / "notes.txt").read_text() == "mine"


def test_a_numbered_directory_that_nobody_asked_for_is_left_alone(tmp_path):
    start(tmp_path / "demo")
    (tmp_path / "demo-2").mkdir()
    assert start(tmp_path / "demo").path.name == "demo-3"
    assert tree(tmp_path / "demo-2") == []


def test_resuming_joins_as_the_next_attempt_and_changes_no_earlier_one(tmp_path):
    first = start(tmp_path / "demo", config={"lr": 1})
    first.finish("interrupted", elapsed_time_s=12.5)
    before = {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file()}
    second = start(tmp_path / "demo", resume=True, config={"lr": 2}, wall_clock=lambda: START_S + 1000)
    third = start(tmp_path / "demo", resume=True, wall_clock=lambda: START_S + 2000)
    assert [run.attempt for run in (second, third)] == [2, 3]
    assert {run.path for run in (first, second, third)} == {tmp_path / "demo"}
    assert second.started_s == third.started_s == START_S
    assert second.elapsed_time_s == third.elapsed_time_s == 12.5
    assert {path: path.read_bytes() for path in before} == before
    assert len({record(run)["id"] for run in (first, second, third)}) == 1
    assert record(second)["start"] == "2023-11-14T22:30:00.250000Z"


def test_there_must_be_a_run_to_resume(tmp_path):
    (tmp_path / "empty").mkdir()
    for directory in (tmp_path / "absent", tmp_path / "empty", None):
        with pytest.raises(ConfigError, match="no run to resume"):
            start(directory, resume=True, root=tmp_path)
    assert tree(tmp_path) == ["empty"]


def test_resuming_where_there_may_be_a_run_joins_it_or_starts_it(tmp_path):
    first, second = start(tmp_path / "demo", resume="auto"), start(tmp_path / "demo", resume="auto")

    assert (first.path, first.attempt) == (tmp_path / "demo", 1)
    assert (second.path, second.attempt) == (tmp_path / "demo", 2)


@pytest.mark.parametrize("resume", ["yes", "", None, 1, [True]], ids=repr)
def test_what_says_neither_to_resume_nor_not_to_is_refused(tmp_path, resume):
    with pytest.raises(ConfigError, match=f"resume is True, False or 'auto', got {re.escape(repr(resume))}"):
        start(tmp_path / "demo", resume=resume)
    assert tree(tmp_path) == []


def test_resuming_perhaps_needs_the_name_of_a_directory(tmp_path):
    with pytest.raises(ConfigError, match="resume='auto' needs the directory"):
        start(None, resume="auto", root=tmp_path)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("directory", ["", 3, ["demo"], b"demo", "de\0mo"], ids=repr)
def test_what_is_no_path_is_refused_by_name(tmp_path, directory):
    with pytest.raises(ConfigError, match=f"got {re.escape(repr(directory))}"):
        start(directory, root=tmp_path)
    assert tree(tmp_path) == []


_GOES_ON = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from ml.io.rundir import start_run_directory
start_run_directory(sys.argv[1])
print("started", flush=True)
sys.stdin.read()
"""


def test_resuming_a_run_whose_process_still_writes_names_that_process(tmp_path, caplog):
    command = [sys.executable, "-c", _GOES_ON, str(tmp_path / "demo")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"started\n"
        first_start = start(tmp_path / "demo", resume=True, wall_clock=time.time)
        warnings = [entry.getMessage() for entry in caplog.records]
        process.stdin.close()
    caplog.clear()
    first_start.finish("interrupted")
    start(tmp_path / "demo", resume=True)

    (warning,) = warnings
    assert f"{tmp_path / 'demo'} is still written by process {process.pid}, started " in warning
    assert not caplog.records  # killed, whatever its record says


def test_the_default_name_is_the_local_time_and_is_made_exclusively(tmp_path):
    first, second = start(None, root=tmp_path), start(None, root=tmp_path)
    assert re.fullmatch(r"2023-11-1[45]_\d\d-\d\d-20", first.path.name)
    assert first.path.name == default_name(lambda: START_S)
    assert second.path == first.path.with_name(first.path.name + "-2")
    assert first.path.parent == tmp_path


def test_a_relative_directory_stays_where_it_was_when_the_process_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = start(Path("runs/demo"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run.finish("finished")
    assert run.path == tmp_path / "runs" / "demo"
    assert record(run)["status"] == "finished"


@pytest.mark.parametrize("inside", [".", "below"])
def test_a_file_in_the_way_is_a_wrong_configuration(tmp_path, inside):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"Cannot make the run directory .*file.*\. Name another directory"):
        start(tmp_path / "file" / inside)
    assert (tmp_path / "file").read_text() == "mine"


# --- restarted jobs ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize(("mode", "is_refused"), [(0o777, True), (0o1777, False), (0o775, False)])
def test_somebody_elses_directory_that_everybody_can_write_to_is_refused(tmp_path, mode, is_refused):
    run = tmp_path / "run"
    run.mkdir()
    os.chown(run, 65534, 65534)
    run.chmod(mode)
    if is_refused:
        with pytest.raises(ConfigError, match="belongs to user 65534 and everybody may replace files in it"):
            start(run)
        assert os.listdir(run) == []
    else:
        assert start(run).path == run


@pytest.mark.parametrize("counter", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_restarted_job_joins_and_a_first_start_does_not(tmp_path, counter):
    start(tmp_path / "demo", {counter: "0"})
    assert start(tmp_path / "demo", {counter: "1"}).attempt == 2
    assert start(tmp_path / "demo", {counter: "2"}).attempt == 3
    assert start(tmp_path / "demo", {counter: "0"}).path.name == "demo-2"
    assert start(tmp_path / "new", {counter: "1"}).attempt == 1


def test_a_restarted_job_finds_its_own_run_where_its_directory_was_taken(tmp_path):
    start(tmp_path / "demo", {"SLURM_JOB_ID": "1"})
    own = start(tmp_path / "demo", {"SLURM_JOB_ID": "2", "SLURM_RESTART_COUNT": "0"})
    start(tmp_path / "demo", {"SLURM_JOB_ID": "3"})
    again = start(tmp_path / "demo", {"SLURM_JOB_ID": "2", "SLURM_RESTART_COUNT": "1"})
    assert (again.path, again.attempt) == (own.path, 2)
    stranger = start(tmp_path / "demo", {"SLURM_JOB_ID": "4", "SLURM_RESTART_COUNT": "1"})
    assert (stranger.path.name, stranger.attempt) == ("demo-4", 1)


def test_a_restarted_job_finds_its_own_run_among_those_with_default_names(tmp_path):
    own = start(None, {"TORCHELASTIC_RUN_ID": "mine", "TORCHELASTIC_RESTART_COUNT": "0"}, root=tmp_path)
    start(None, {"TORCHELASTIC_RUN_ID": "theirs"}, root=tmp_path)
    start(None, root=tmp_path)
    later = {"TORCHELASTIC_RUN_ID": "mine", "TORCHELASTIC_RESTART_COUNT": "1"}
    again = start(None, later, root=tmp_path, wall_clock=lambda: START_S + 100)
    assert (again.path, again.attempt) == (own.path, 2)
    nameless = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "1"}
    assert start(None, nameless, root=tmp_path).attempt == 1


# --- many at once -----------------------------------------------------------------------------------------------------


def _claim_at_barrier(
    barrier: "threading.Barrier", results: "multiprocessing.Queue[tuple[str, int]]", path: Path, resume: bool
) -> None:
    barrier.wait(30)
    for _ in range(40):  # so many that some surely claim in the same instant
        run, attempt = claim_attempt(path, path.parent, {}, lambda: START_S, resume=resume, exactly=False)
        results.put((run.name, attempt))


@pytest.mark.parametrize("resume", [False, True])
def test_processes_that_start_at_once_each_get_their_own(tmp_path, resume):
    if resume:
        (tmp_path / "demo" / "attempts").mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    arguments = (barrier, results, tmp_path / "demo", resume)
    processes = [context.Process(target=_claim_at_barrier, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    claimed = sorted(results.get(timeout=60) for _ in range(320))
    for process in processes:
        process.join(60)
    names = ["demo", *(f"demo-{number}" for number in range(2, 321))]
    expected = [("demo", number) for number in range(1, 321)] if resume else sorted((name, 1) for name in names)
    assert claimed == expected


def test_a_start_that_was_killed_at_any_point_leaves_a_directory_that_nothing_trips_over(tmp_path):
    for number, left in enumerate([["attempts"], ["attempts/1"], ["attempts/1", "attempts/notes"]]):
        path = tmp_path / f"run{number}"
        for name in left:
            (path / name).mkdir(parents=True)
    (tmp_path / "run2" / "attempts" / "1" / "run.json").write_text('{"id": "torn')
    assert [start(tmp_path / f"run{number}", resume=True).attempt for number in range(3)] == [1, 2, 2]
    assert start(tmp_path / "run0").path.name == "run0-2"


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_all_ranks_learn_what_the_first_decided_and_make_nothing(tmp_path):
    (tmp_path / "demo" / "attempts").mkdir(parents=True)
    store = FakeStore()
    with ThreadPoolExecutor(4) as pool:
        options = {"world_size": 4, "store": store}
        others = [pool.submit(start, tmp_path / "wrong", rank=rank, **options) for rank in (1, 2, 3)]
        first = start(tmp_path / "demo", rank=0, **options)
        learned = [other.result(30) for other in others]
    assert learned == [first] * 3
    assert first.path.name == "demo-2"
    assert sorted(os.listdir(tmp_path)) == ["demo", "demo-2"]
    before = tree(tmp_path)
    learned[0].finish("failed")
    assert tree(tmp_path) == before
    assert record(first)["status"] == "running"


def test_the_primary_rank_decides_also_where_it_is_not_the_first(tmp_path):
    options = {"world_size": 2, "primary_rank": 1, "store": FakeStore()}
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(start, tmp_path / "wrong", rank=0, **options)
        primary = start(tmp_path / "demo", rank=1, **options)

    assert other.result(30) == primary
    assert record(primary)["rank"] == 1
    assert os.listdir(tmp_path) == ["demo"]


def test_several_runs_of_the_same_ranks_are_told_apart(tmp_path):
    store = FakeStore()
    options = {"world_size": 2, "store": store}
    made = [start(tmp_path / "demo", rank=0, **options) for _ in range(3)]
    learned = [start(tmp_path / "demo", rank=1, **options) for _ in range(3)]
    assert learned == made
    assert len({run.path for run in made}) == 3


def test_ranks_that_were_restarted_do_not_learn_what_is_out_of_date(tmp_path):
    store = FakeStore()
    start(tmp_path / "demo", {"TORCHELASTIC_RESTART_COUNT": "0"}, rank=0, world_size=2, store=store)
    with ThreadPoolExecutor(1) as pool:  # rank 1 died before it asked for the first time
        options = {"world_size": 2, "store": store}
        other = pool.submit(start, tmp_path / "demo", {"TORCHELASTIC_RESTART_COUNT": "1"}, rank=1, **options)
        start(tmp_path / "demo", {"TORCHELASTIC_RESTART_COUNT": "1"}, rank=0, **options)
        assert other.result(30).attempt == 2


def test_when_the_first_rank_cannot_start_no_other_waits_for_it(tmp_path):
    store = FakeStore()
    with pytest.raises(ConfigError, match="no run to resume"):
        start(tmp_path / "absent", resume=True, rank=0, world_size=2, store=store)
    with pytest.raises(ConfigError, match="no run to resume"):
        start(tmp_path / "absent", resume=True, rank=1, world_size=2, store=store)


def test_without_a_store_the_environment_names_the_directory_for_every_rank(tmp_path):
    environ = {"ML_RUN_DIR": str(tmp_path / "named")}
    first = start(tmp_path / "ignored", environ, rank=0, world_size=2)
    other = start(tmp_path / "ignored", environ, rank=1, world_size=2)
    assert first == other
    assert os.listdir(tmp_path) == ["named"]
    with pytest.raises(ConfigError, match=r"ML_RUN_DIR names .*, which holds a run"):
        start(None, environ, rank=0, world_size=2)
    again = start(None, environ, rank=0, world_size=2, resume=True)
    assert (again.attempt, start(None, environ, rank=1, world_size=2).attempt) == (2, 2)


def test_a_rank_that_cannot_learn_the_directory_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"Rank 1 cannot learn .*init_process_group.*ML_RUN_DIR"):
        start(tmp_path / "demo", rank=1, world_size=2)
    assert tree(tmp_path) == []


def test_one_process_uses_the_directory_of_the_environment_where_none_is_given(tmp_path):
    environ = {"ML_RUN_DIR": str(tmp_path / "named")}
    assert start(None, environ).path.name == "named"
    assert start(tmp_path / "given", environ).path.name == "given"


# --- run.json, config.yaml, git.patch ---------------------------------------------------------------------------------


def test_the_record_says_who_where_when_and_how_it_ended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    times = iter([START_S, START_S + 60])
    run = start(tmp_path / "demo", {"USER": "ada"}, argv=["train.py", "lr=1"], wall_clock=lambda: next(times))
    begun = record(run)
    run.finish("finished", elapsed_time_s=59.5)
    ended = record(run)
    assert re.fullmatch("[0-9a-f]{16}", begun.pop("id"))
    assert begun.pop("host")
    versions = begun.pop("versions")
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "omegaconf" in versions
    assert begun == {
        "attempt": 1,
        "status": "running",
        "start": "2023-11-14T22:13:20.250000Z",
        "end": None,
        "elapsed_time_s": None,
        "rank": 0,
        "world_size": 1,
        "job": {},
        "pid": os.getpid(),
        "user": "ada",
        "argv": ["train.py", "lr=1"],
        "cwd": str(tmp_path),
        "git": None,
    }
    changed = {key: value for key, value in ended.items() if key in begun and begun[key] != value}
    assert changed == {"status": "finished", "end": "2023-11-14T22:14:20.250000Z", "elapsed_time_s": 59.5}


def test_files_that_hold_configuration_are_for_the_owner_alone(repository):
    (repository / "train.py").write_text("lr = 2\n")
    run = start(repository / "runs" / "demo", config={"lr": 1})
    run.finish("finished")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (run.path / "attempts" / "1").iterdir()}
    assert modes == {"run.json": 0o600, "config.yaml": 0o600, "git.patch": 0o600}


def test_no_secret_reaches_the_directory(repository):
    environ = {"MY_API_KEY": "canary-environment"}
    git("remote", "add", "origin", "https://ada:canary-remote@host.test/x.git")
    (repository / "train.py").write_text('lr = 1\npassword = "canary-literal"\nseed("canary-environment")\n')
    run = start(
        repository / "runs" / "demo",
        environ,
        argv=["train.py", "--token", "canary-flag", "db.password=canary-override", "x=canary-environment"],
        config={"db": {"password": "canary-config", "url": "pg://u:canary-url@h/d"}, "note": "see canary-environment"},
    )
    run.finish("failed")
    written = {path.name: path.read_text() for path in run.path.rglob("*") if path.is_file()}
    assert sorted(written) == ["config.yaml", "git.patch", "run.json"]
    assert [name for name, text in written.items() if "canary" in text] == []
    assert yaml.safe_load(written["config.yaml"])["db"] == {"password": "***", "url": "pg://***@h/d"}
    assert record(run)["git"]["remote"] == "https://***@host.test/x.git"
    assert '+password = "***"' in written["git.patch"]


def test_the_patch_leads_from_the_commit_to_the_code_that_ran(repository):
    changed = "lr = 2\nname = 'Grüße'\n# latin-1: \udce9\n".encode("utf-8", "surrogateescape")
    (repository / "train.py").write_bytes(changed)
    run = start(repository / "runs" / "demo")
    assert record(run)["git"] == {
        "commit": git("rev-parse", "HEAD"),
        "branch": "trunk",
        "remote": None,
        "dirty": True,
        "patch_truncated": False,
    }
    git("checkout", "--quiet", "--", "train.py")
    git("apply", str(run.path / "attempts" / "1" / "git.patch"))
    assert (repository / "train.py").read_bytes() == changed


def test_a_clean_tree_has_no_patch_and_untracked_files_do_not_make_it_dirty(repository):
    (repository / "untracked").write_text("x")
    git("checkout", "--quiet", "--detach")
    run = start(repository / "runs" / "demo")
    assert record(run)["git"]["dirty"] is False
    assert record(run)["git"]["branch"] is None
    assert os.listdir(run.path / "attempts" / "1") == ["run.json"]


def test_a_huge_patch_is_cut_at_a_line(repository):
    (repository / "train.py").write_text("".join(f"line {number}\n" for number in range(200_000)))
    run = start(repository / "runs" / "demo")
    patch = (run.path / "attempts" / "1" / "git.patch").read_bytes()
    assert 1_000_000 < len(patch) <= 1 << 20
    assert re.fullmatch(rb"\+line \d+\n", patch.splitlines(keepends=True)[-1])
    assert record(run)["git"]["patch_truncated"] is True


def test_a_run_starts_without_git_and_in_a_repository_without_a_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert record(start(tmp_path / "demo", {"PATH": str(tmp_path)}))["git"] is None
    git("init", "--quiet")
    assert record(start(tmp_path / "other"))["git"] is None


def test_git_that_hangs_is_given_up_and_ended(tmp_path):
    (tmp_path / "git").write_text("#!/bin/sh\necho $$ > pid\nexec cat /dev/zero > /dev/null\n")
    (tmp_path / "git").chmod(0o755)
    assert read_git(tmp_path, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout_s=0.5) is None
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_what_cannot_be_recorded_is_warned_of_and_the_run_goes_on(tmp_path, caplog):
    run = start(tmp_path / "demo")
    (run.path / "attempts" / "1" / "run.json").unlink()
    (run.path / "attempts" / "1").rmdir()
    run.finish("finished")
    assert "its record is incomplete" in caplog.text


def test_a_configuration_that_is_wrong_for_the_record_leaves_no_directory(tmp_path):
    class Hostile(dict):
        def items(self):
            raise ValueError("no settings")

    with pytest.raises(ValueError, match="no settings"):
        start(tmp_path / "demo", config={"value": Hostile()})
    assert tree(tmp_path) == []
