import pandas as pd

from ml import start_run
from ml.reading import open_run


def test_the_journal_of_a_run_becomes_the_json_lines_that_were_written_beside_it(mlog, make_run, tmp_path):
    path = make_run(loggers=("json", "journal"))
    (path / "json/log.jsonl").rename(tmp_path / "log.jsonl")

    said = mlog("replay", path, "--to", "json", "again")

    assert said.status == 0, said
    assert (tmp_path / "again/json/log.jsonl").read_bytes() == (tmp_path / "log.jsonl").read_bytes()
    assert "values of 1 attempt" in said.out


def test_replaying_twice_gives_the_same(mlog, make_run, tmp_path):
    path = make_run(loggers=("journal",))

    for _ in range(2):
        assert mlog("replay", path, "--to", "json", "again").status == 0
        assert len(open_run(tmp_path / "again").scalars("task/loss")) == 22


def test_a_run_is_replayed_to_what_tensorboard_reads(command, make_run, tmp_path):
    said = command("replay", make_run(), "--to", "tensorboard", "again", "--from", "json")

    assert said.status == 0, said
    assert len(list((tmp_path / "again/tensorboard/train").glob("events.out.tfevents.*"))) == 1


def test_a_backend_that_nobody_knows_is_one_line(mlog, make_run, tmp_path):
    said = mlog("replay", make_run(), "--to", "jsn", "again")

    assert said == (2, "", "mlog: No logger is registered as 'jsn'. Did you mean 'json'?\n")
    assert not (tmp_path / "again").exists()


def test_a_backend_that_keeps_nothing_is_refused(mlog, make_run, tmp_path):
    said = mlog("replay", make_run(), "--to", "memory", "again")

    assert (said.status, said.out) == (2, "")
    assert "keeps nothing" in said.err
    assert not (tmp_path / "again").exists()


def test_a_directory_that_holds_something_else_is_refused(mlog, make_run):
    path, other = make_run(), make_run("other")

    said = mlog("replay", path, "--to", "json", other)

    assert said.status == 2
    assert "was not made by a replay" in said.err


def test_what_a_backend_excludes_is_not_sent_and_is_told(mlog, make_run, tmp_path):
    path = make_run()
    url = f"url=sqlite:///{tmp_path / 'all.db'}"

    said = mlog("replay", path, "--to", "sql", "--set", url, "--set", "exclude=['*/note']")

    assert said.status == 0, said
    assert "1 of keys that sql is not to be given" in said.out
    assert b"started" not in (tmp_path / "all.db").read_bytes()


def test_what_is_left_out_is_told_and_status_1(mlog, make_run):
    path = make_run(loggers=("journal",))
    (journal,) = (path / "journal").glob("*.journal")
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)

    said = mlog("replay", path, "--to", "json", "again")

    assert said.status == 1
    assert "damaged" in said.out


def test_a_remote_backend_is_found_where_the_run_began_it(mlog, tmp_path):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    with start_run(tmp_path / "run", loggers=["json", {"name": "sql", "url": url}]) as run:
        for step in range(3):
            run.log({"loss": step})
            run.step()

    said = mlog("replay", tmp_path / "run", "--to", "sql")

    assert said.status == 0, said
    assert "to sql" in said.out
    assert len(pd.read_sql("SELECT * FROM runs", url)) == 1
    assert list(pd.read_sql("SELECT value FROM scalars ORDER BY step", url)["value"]) == [0, 1, 2]
    assert not (tmp_path / "run/sql/log.db").exists()
