import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from importlib import metadata

import pytest

LOOK = """
import sys
from ml.cli.main import main
try:
    main(["--help"])
finally:
    print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_help_names_every_word_and_loads_no_library(tmp_path):
    ran = subprocess.run([sys.executable, "-c", LOOK], cwd=tmp_path, capture_output=True, text=True, check=False)

    said, _, loaded = ran.stdout.partition("loaded:")
    assert ran.returncode == 0
    assert [word for word in ("runs", "show", "export", "replay", "fsck") if f"\n    {word} " in said] == [
        "runs", "show", "export", "replay", "fsck",
    ]  # fmt: skip
    assert {"torch", "numpy", "pandas", "rich", "omegaconf", "yaml"}.isdisjoint(loaded.split())


def test_the_module_is_the_same_command(command, make_run, tmp_path):
    make_run()

    said = command("runs", tmp_path, "--json")
    of_module = subprocess.run(
        [sys.executable, "-m", "ml", "runs", tmp_path, "--json"], capture_output=True, text=True, check=False
    )

    assert said.status == of_module.returncode == 0
    assert said.out == of_module.stdout != ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "required: WORD"),
        (("rnus", "."), "invalid choice: 'rnus'"),
        (("runs",), "required: DIR"),
        (("runs", "absent"), "There is no run below absent"),
        (("runs", __file__), "it is no directory"),
        (("show", "ab\x1b[31msent"), r"There is no run at ab\x1b[31msent"),
        (("fsck", "absent"), "There is no run at absent"),
        (("export", "absent", "--to", "parquet"), "name a file, -o"),
        (("replay", "absent", "--to", "json", "there"), "There is no run at absent"),
    ],
)
def test_what_is_asked_for_wrongly_is_one_line_and_status_2(mlog, arguments, words):
    said = mlog(*arguments)

    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("mlog")
    assert words in said.err
    assert said.err.count("\n") == 1


def test_a_wrong_command_line_is_one_line_from_the_command_too(command):
    assert command("runs", "absent") == (
        2,
        "",
        "mlog: There is no run below absent: it is no directory.\n",
    )


def test_a_reader_that_has_enough_ends_the_command_in_silence(mlog, make_run, tmp_path):
    make_run(steps=2000)

    ran = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m ml export run --to csv | head -1; echo ${{PIPESTATUS[0]}}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ran.stdout == f"phase,step,epoch,key,value,time,attempt\n{128 + signal.SIGPIPE}\n"
    assert ran.stderr == ""


def test_what_is_left_in_a_buffer_that_nobody_reads_ends_the_command_in_silence(make_run, tmp_path):
    make_run()
    nobody, ours = os.pipe()
    os.close(nobody)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    ran = subprocess.run(
        [sys.executable, "-m", "ml", "runs", tmp_path], stdout=ours, stderr=subprocess.PIPE, env=buffered, check=False
    )
    os.close(ours)

    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, b"")


def in_terminal(command, columns, **environment):
    """Returns what a command prints on a terminal so wide."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    neutral = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env=neutral | {"TERM": "xterm"} | environment
    ) as process:
        os.close(theirs)
        said = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                said += os.read(ours, 1 << 16)
            except OSError:  # how Linux says that the other end is closed
                break
        assert process.wait(60) == 0, said
    os.close(ours)
    return said.decode().replace("\r\n", "\n")


def test_a_table_is_never_wider_than_the_terminal_and_says_what_it_leaves_out(make_run, tmp_path):
    for width in (8, 16):
        make_run(f"width-{width}", config={"model": {"width": width, "act": "relu"}})
    command = [sys.executable, "-m", "ml", "runs", str(tmp_path)]

    narrow = in_terminal(command, 80, NO_COLOR="1").splitlines()
    wide = in_terminal(command, 200, NO_COLOR="1").splitlines()

    assert max(map(len, narrow)) <= 80 < max(map(len, wide)) <= 200
    assert "setting" in narrow[0]
    assert narrow[-1].startswith("2 columns more, for --keys and --json: train task/loss, train task/rate")
    assert [line.split()[0] for line in wide[2:]] == ["width-8", "width-16"]


def test_colours_are_for_terminals_that_want_them(make_run, tmp_path, mlog):
    command = [sys.executable, "-m", "ml", "show", str(make_run())]

    assert "\x1b[" in in_terminal(command, 100)
    assert "\x1b[" not in in_terminal(command, 100, NO_COLOR="1")
    assert "\x1b[" not in mlog("show", "run").out


def test_an_ascii_locale_gets_ascii(make_run, command):
    make_run()

    said = command("show", "run", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})

    assert said.status == 0
    assert said.out.isascii()
    assert "_" in said.out.split("task/loss")[1].split("\n")[0]  # the curve


def test_what_a_run_holds_cannot_move_the_cursor(make_run, mlog, tmp_path):
    path = make_run("evil\x1b[2J")
    log = path / "json/log.jsonl"
    log.write_text(log.read_text().replace("task/loss", r"task/\u001b]0;owned\u0007\u202eloss").replace(
        "started", r"\u001b[31mred\r"
    ))  # fmt: skip

    for arguments in (("runs", "."), ("show", path), ("fsck", "."), ("fsck", path, "--json")):
        said = mlog(*arguments)
        assert not set(said.out + said.err) & set("\x1b\x07\r\u202e"), arguments
    assert r"\x1b[31mred\r" in mlog("show", path).out


def test_a_table_for_programs_is_faithful_unless_a_terminal_shows_it(make_run):
    path = make_run(steps=1)
    log = path / "json/log.jsonl"
    log.write_text(log.read_text().replace("task/loss", r"task/\u001b]0;owned\u0007\nloss"))
    command = [sys.executable, "-m", "ml", "export", str(path), "--to", "csv"]

    shown = in_terminal(command, 80)
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert r"task/\x1b]0;owned\x07\nloss" in shown
    assert not set(shown) & set("\x1b\x07")
    assert "task/\x1b]0;owned\x07\nloss" in piped


def test_long_names_of_runs_leave_room_for_what_they_came_to(make_run, tmp_path):
    for name in ("one", "two"):
        make_run(f"{'a-name-that-says-it-all-' * 4}{name}")
    command = [sys.executable, "-m", "ml", "runs", str(tmp_path)]

    lines = in_terminal(command, 80, NO_COLOR="1").splitlines()

    assert max(map(len, lines)) <= 80
    assert [line.split()[0][-3:] for line in lines[2:4]] == ["one", "two"]
    assert "valid" in lines[0]
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{'a-name-that-says-it-all-' * 4}one" in piped


def test_the_version_is_that_of_the_installed_package(mlog):
    assert mlog("--version") == (0, f"mlog {metadata.version('ml-logbook')}\n", "")
