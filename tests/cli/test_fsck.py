import json
import os
import platform
import shutil
import subprocess
import sys

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

from ml.io.journal import JournalWriter
from ml.reading import open_run

EVERYTHING = ("json", "tensorboard", "journal")


def spoil(path, place):
    """Makes a byte one that no text has: the one at ``place``, or where ``place`` is found."""
    data = bytearray(path.read_bytes())
    data[data.index(place) if isinstance(place, bytes) else place] = 0xFF
    path.write_bytes(data)


def event_file(run):
    (path,) = (run / "tensorboard/train").glob("events.out.tfevents.*")
    return path


def checked(said):
    """The one run of a check as JSON."""
    (run,) = json.loads(said.out)["runs"]
    return run


def amounts(run, name):
    """Records, torn bytes, damaged ranges and duplicates of the file whose path ends so."""
    (file,) = [file for file in run["files"] if file["path"].endswith(name)]
    return file["records"], file["torn_bytes"], file["damaged_ranges"], file["duplicates"]


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_whole_run_is_clean_and_nothing_is_written(command, make_run, tmp_path):
    run = make_run(loggers=EVERYTHING)
    before = contents(tmp_path)

    said = command("fsck", "run", "--repair", "--json")

    assert said.status == 0
    assert contents(tmp_path) == before
    found = checked(said)
    assert (found["verdict"], found["clean_shutdown"], found["running"]) == ("clean", {"1": True}, False)
    assert amounts(found, "json/log.jsonl") == (22, 0, 0, 0)
    assert amounts(found, event_file(run).name)[1:] == (0, 0, 0)
    assert amounts(found, "0001-0001.journal")[1:] == (0, 0, 0)
    assert {folder: (media["whole"], media["missing"]) for folder, media in found["media"].items()} == {
        "json": (1, []),
        "journal": (1, []),
    }
    assert said.out == command("fsck", ".", "--json").out.replace('"path": "./run"', '"path": "run"')


def test_damage_is_found_in_every_format_and_repaired_beside_it(mlog, make_run, tmp_path):
    run = make_run(loggers=EVERYTHING)
    whole = len(open_run(run).scalars())
    spoil(run / "json/log.jsonl", b'"step": 5,')
    spoil(event_file(run), 1000)
    (journal,) = (run / "journal").glob("*.journal")
    spoil(journal, 1000)
    before = contents(run)

    said = mlog("fsck", run, "--repair", "--json")

    found = checked(said)
    assert (said.status, found["verdict"]) == (1, "damaged")
    assert [file["damaged_ranges"] for file in found["files"] if file["damages"]] == [1, 1, 1]
    assert all(damage["size_bytes"] > 0 and damage["reason"] for file in found["files"] for damage in file["damages"])
    assert found["lost_records"] == {"1": 1}
    repaired = [tmp_path / path for path in found["repaired"]]
    assert len(repaired) == 3
    assert {path: content for path, content in contents(run).items() if path not in repaired} == before
    assert {path.stat().st_mode & 0o777 for path in repaired} == {0o600}

    for path in repaired:  # each in the place of the old one
        original = path.with_name(path.name.replace("repaired-1", "tfevents") if "events" in path.name else path.stem)
        original.unlink()
        path.rename(original)
    again = checked(mlog("fsck", run, "--json"))
    assert [file["damaged_ranges"] for file in again["files"]] == [0] * len(again["files"])
    assert len(open_run(run).scalars()) == whole - 2
    assert len(list(RawEventFileLoader(str(event_file(run))).Load())) == amounts(found, event_file(run).name)[0]


def test_a_second_repair_leaves_the_first_as_it_is(mlog, make_run):
    run = make_run()
    spoil(run / "json/log.jsonl", b'"step": 5,')

    for number in (1, 2):
        assert checked(mlog("fsck", run, "--repair", "--json"))["repaired"] == [
            str(run / f"json/log.jsonl.repaired-{number}")
        ]


def test_the_table_names_place_and_reason(mlog, make_run):
    run = make_run()
    spoil(run / "json/log.jsonl", 2)
    with (run / "json/log.jsonl").open("ab") as log:
        log.write(b'{"attempt"')

    said = mlog("fsck", run)

    assert said.status == 1
    assert "damaged     " in said.out
    assert "json/log.jsonl, byte 0: " in said.out
    assert said.out.split("\n")[3].split()[:4] == ["json/log.jsonl", "21", "10", "B"]


def test_torn_tail_of_a_live_run_is_no_damage_of_a_dead_one_it_is(mlog, make_run):
    run = make_run(loggers=EVERYTHING)
    for path in (run / "json/log.jsonl", event_file(run), *(run / "journal").glob("*.journal")):
        path.write_bytes(path.read_bytes()[:-5])
    (run / "json/media/on-its-way.png").write_bytes(b"")
    record = run / "attempts/1/run.json"
    live = json.loads(record.read_text()) | {"status": "running", "end": None, "pid": os.getpid()}

    record.write_text(json.dumps(live))
    said = mlog("fsck", run, "--json")
    assert (said.status, checked(said)["verdict"], checked(said)["clean_shutdown"]) == (0, "clean", {"1": None})
    assert checked(said)["media"]["json"]["unnamed"] == []

    record.write_text(json.dumps(live | {"pid": 2**22 + 1, "host": platform.node()}))
    said = mlog("fsck", run, "--json")
    assert (said.status, checked(said)["clean_shutdown"]) == (1, {"1": False})
    assert checked(said)["media"]["json"]["unnamed"] == ["media/on-its-way.png"]
    assert [file["torn_bytes"] > 0 for file in checked(said)["files"]].count(True) == 3


def test_of_a_run_whose_record_cannot_be_read_it_is_not_known_whether_it_goes_on(mlog, make_run):
    run = make_run()
    log = run / "json/log.jsonl"
    spoil(log, b'"step": 5,')
    log.write_bytes(log.read_bytes()[:-5])
    (run / "attempts/1/run.json").write_text("{")

    said = mlog("fsck", run, "--repair", "--json")

    assert amounts(checked(said), "log.jsonl")[1:3] == (0, 1), "its tail may be growing"
    assert checked(said)["repaired"] == []
    assert "may be running, so nothing of it is repaired" in said.err


def test_what_somebody_made_up_is_no_traceback(mlog, make_run, tmp_path):
    run = make_run(loggers=("json", "journal"))
    writer = JournalWriter(run / "journal", 2)
    writer.append([b'{"is": "image", "write": 1e999, "sha256": "0"}'])
    writer.close()
    with (run / "json/log.jsonl").open("a") as log:
        log.write('{"attempt": 1e999}\n{"histograms": {"a": {"counts": [1e999]}}}\n')

    assert amounts(checked(mlog("fsck", run, "--json")), "log.jsonl")[2] == 1
    for source in ("json", "journal"):
        said = mlog("replay", run, "--from", source, "--to", "json", tmp_path / source)
        assert (said.status, said.err) == (1, "")
        assert "is left out" in said.out


def test_a_run_that_is_being_written_is_clean_at_every_moment(mlog, tmp_path):
    script = """
import sys
from ml import start_run
with start_run("run", loggers=[{"name": name, "write_every_n_seconds": 0} for name in ("json", "journal")]) as run:
    for step in range(500):
        run.log({"loss": float(step)})
        run.step()
    run.flush()
    print("ready", flush=True)
    for step in range(10**9):
        run.log({"loss": float(step), "note": "a" * 3000})
        run.step()
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            for _ in range(5):
                said = mlog("fsck", "run", "--json")
                assert (said.status, checked(said)["running"]) == (0, True), said.out[-2000:]
        finally:
            process.kill()
    assert checked(mlog("fsck", "run", "--json"))["clean_shutdown"] == {"1": False}


def test_media_that_are_missing_changed_or_named_nowhere_are_told(mlog, make_run):
    run = make_run(loggers=("json", "journal"))
    (named,) = (run / "json/media").rglob("*.png")
    shutil.copy(named, named.with_name("other.png"))
    spoil(named, 50)
    next((run / "journal/media").rglob("*.png")).unlink()

    said = mlog("fsck", run, "--json")

    media = checked(said)["media"]
    assert said.status == 1
    assert media["json"]["changed"] == [str(named.relative_to(run / "json"))]
    assert media["json"]["unnamed"] == [str(named.with_name("other.png").relative_to(run / "json"))]
    assert len(media["journal"]["missing"]) == 1
    assert "named nowhere: json/media/image/task/digits/other.png" in mlog("fsck", run).out


def test_media_that_nobody_names_are_no_damage(mlog, make_run):
    run = make_run()
    (run / "json/media/left-by-a-crash.png").write_bytes(b"")

    assert mlog("fsck", run).status == 0


def test_one_bad_run_never_stops_the_others(mlog, make_run, tmp_path):
    for name in ("a", "b", "c"):
        make_run(name)
    (tmp_path / "a/attempts/1/run.json").write_text("[" * 100_000)
    (tmp_path / "b/json/log.jsonl").unlink()
    os.mkfifo(tmp_path / "b/json/log.jsonl")

    said = mlog("fsck", "absent", "a", ".", "--json")

    runs = json.loads(said.out)["runs"]
    assert said.status == 2
    assert "There is no run at absent" in said.err
    assert [(os.path.basename(run["path"]), run["verdict"]) for run in runs] == [
        ("a", "damaged"),
        ("a", "damaged"),
        ("b", "damaged"),
        ("c", "clean"),
    ]
    assert mlog("fsck", ".").out.splitlines()[-1] == "3 runs: 2 damaged, 1 clean"


def test_a_file_that_cannot_be_read_is_status_2(mlog, make_run):
    run = make_run()
    (run / "tensorboard").mkdir()
    (run / "tensorboard/events.out.tfevents.1").symlink_to("events.out.tfevents.1")

    said = mlog("fsck", run)

    assert said.status == 2
    assert "events.out.tfevents.1: Too many levels of symbolic links" in said.out


def test_what_a_resume_set_aside_is_told(mlog, make_run):
    run = make_run()
    (run / "json/log.jsonl.torn-1").write_bytes(b"abc")

    assert "3 B that a crash tore lie aside" in mlog("fsck", run).out
    assert checked(mlog("fsck", run, "--json"))["torn_bytes_set_aside"] == 3
