import pytest

from ml.reading import open_run


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/metrics.csv").write_text("step,loss,note\n1,0.5,\n2,0.25,half\n")
    return tmp_path / "source"


def test_a_table_becomes_a_run_that_mlog_shows(mlog, source, tmp_path):
    said = mlog("import", "source", "run")

    assert said == (
        0,
        "3 values of 1 attempt, from source/metrics.csv (csv) to run\n  2 scalars, 1 string\n",
        "",
    )
    assert list(open_run(tmp_path / "run").scalars("loss").value) == [0.5, 0.25]
    assert "loss" in mlog("show", "run").out
    assert mlog("fsck", "run").status == 0
    assert mlog("runs", ".").status == 0
    assert len(list((tmp_path / "run/tensorboard/train").glob("*tfevents*"))) == 1


def test_backends_are_chosen_and_what_they_do_not_take_is_told(mlog, source, tmp_path):
    said = mlog("import", source, "run", "--to", "csv")

    assert said.status == 0
    assert "1 of kinds that csv does not take" in said.out
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["attempts", "csv"]


def test_what_is_left_out_is_named_and_status_1(mlog, source):
    with open(source / "metrics.csv", "a") as file:
        file.write("x,1,\n" * 12)

    said = mlog("import", source, "run", "--format", "csv")

    assert said.status == 1
    assert "Row 4 of" in said.out
    assert "and 2 more like it" in said.out


def test_of_any_number_of_problems_all_are_counted_and_one_of_two_backends_once(mlog, source):
    with open(source / "metrics.csv", "a") as file:
        file.write("x,1,\n" * 2500)

    assert "  and 2490 more like it\n" in mlog("import", source, "run").out


def test_a_directory_that_is_there_is_one_line(mlog, source, make_run):
    path = make_run()

    said = mlog("import", source, path)

    assert (said.status, said.out) == (2, "")
    assert said.err == f"mlog: {path} is there already. Choose another directory for the result.\n"


def test_a_source_of_no_format_is_one_line(mlog, tmp_path):
    (tmp_path / "empty").mkdir()

    said = mlog("import", "empty", "run")

    assert said.status == 2
    assert said.err.startswith("mlog: There is nothing to import in empty. It is none of tensorboard, ")


def test_the_word_is_explained(command):
    said = command("import", "--help")

    assert said.status == 0
    assert "SRC" in said.out
    assert "trackio" in said.out
