import json
import os
import platform
from datetime import UTC, datetime

from ml.trainers.resume import newest_unfinished


def make_run(root, name, *, status, start, attempt=1, pid=None, host="elsewhere"):
    directory = root / name / "attempts" / str(attempt)
    directory.mkdir(parents=True)
    record = {"status": status, "start": f"2026-01-{start:02d}T00:00:00.000000Z", "pid": pid, "host": host}
    (directory / "run.json").write_text(json.dumps(record))
    return root / name


def test_the_newest_run_that_did_not_finish_is_found(tmp_path):
    make_run(tmp_path, "a", status="interrupted", start=1)
    newest = make_run(tmp_path, "b", status="failed", start=3)
    make_run(tmp_path, "c", status="running", start=2)
    make_run(tmp_path, "d", status="finished", start=4)

    assert newest_unfinished(tmp_path) == newest


def test_the_last_attempt_counts(tmp_path):
    make_run(tmp_path, "a", status="interrupted", start=1)
    make_run(tmp_path, "a", status="finished", start=2, attempt=10)
    make_run(tmp_path, "a", status="interrupted", start=3, attempt=9)

    assert newest_unfinished(tmp_path) is None


def test_a_run_that_still_lives_is_left_alone_and_a_killed_one_is_not(tmp_path):
    here = {"status": "running", "pid": os.getpid(), "host": platform.node()}
    living = make_run(tmp_path, "living", **here, start=2)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    (living / "attempts/1/run.json").write_text(json.dumps({**here, "start": now}))
    killed = make_run(tmp_path, "killed", status="running", start=1, pid=2**22 + 1, host=platform.node())

    assert newest_unfinished(tmp_path) == killed


def test_directories_without_a_readable_record_are_no_runs(tmp_path):
    (tmp_path / "empty" / "attempts").mkdir(parents=True)
    (tmp_path / "torn" / "attempts" / "1").mkdir(parents=True)
    (tmp_path / "torn" / "attempts" / "1" / "run.json").write_text('{"status": "runn')

    assert newest_unfinished(tmp_path) is None
    assert newest_unfinished(tmp_path / "missing") is None
