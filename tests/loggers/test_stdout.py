import io
import os
import pty
import re
import resource
import subprocess
import sys
import termios
import threading
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from ml.core.errors import ConfigError, WriteError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.group import LoggerGroup
from ml.loggers.multi import MultiLogger
from ml.loggers.stdout import StdoutLogger, StdoutLoggerConfig
from ml.loggers.values import Plain
from ml.testing import FakeClock

ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def make(directory, config=None, clock=None):
    logger = StdoutLogger(config or StdoutLoggerConfig())
    logger.initialize(RunContext(directory, clock=clock or Clock()))
    return logger


def write(logger, state=None, **values):
    """Logs values of namespace ``task`` and writes them."""
    state = state or State(num_steps=1)
    for key, value in values.items():
        log = logger.log_string if isinstance(value, str) else logger.log_scalar
        log(key, Plain(value), state, "task")
    logger.write(state)


def lines(directory):
    return (directory / "stdout.log").read_text().splitlines()


def test_a_write_is_one_line_on_standard_output_and_in_stdout_log(tmp_path, capsys):
    logger = make(tmp_path)

    write(logger, State(num_steps=120, num_epochs=2, elapsed_time_s=12.3), loss=0.25312, samples=7680, note="a\nb")
    logger.close()

    expected = 'train  step 120  epoch 2  0:00:12  task/loss 0.2531  task/samples 7680  task/note "a\\nb"'
    assert capsys.readouterr().out == expected + "\n"
    assert lines(tmp_path) == [expected]


def test_a_line_has_the_latest_number_of_a_key_and_every_string(tmp_path, capsys):
    logger = make(tmp_path)
    logger.log_scalar("loss", Plain(3.0), State(num_steps=1), "task")
    logger.log_string("note", Plain("first"), State(num_steps=1), "task")
    logger.log_string("note", Plain("second"), State(num_steps=1), "task")

    write(logger, State(num_steps=2), loss=2.0)

    assert lines(tmp_path) == [
        'train  step 2  epoch 0  0:00:00  task/loss 2.000  task/note "first" @1  task/note "second" @1'
    ]


def test_a_value_of_another_step_than_that_of_its_line_says_so(tmp_path, capsys):
    logger, model = make(tmp_path), MultiLogger("task")
    with LoggerGroup([logger], RunContext(tmp_path, clock=FakeClock())) as group:
        for step in range(1, 4):
            model.log_scalar("loss", step / 2)
            if step == 2:
                model.log_scalar("bleu", 31.4)
                model.log_scalar("mean", 4, reduce="mean")
            group.write([model], State(num_steps=step), force=step == 3)

    assert lines(tmp_path) == [
        "train  step 1  epoch 0  0:00:00  task/loss 0.5000",
        "train  step 3  epoch 0  0:00:00  task/loss 1.500   task/bleu 31.40 @2  task/mean 4.000 @2",
    ]


def test_pending_values_of_another_phase_get_a_line_of_their_own(tmp_path, capsys):
    logger = make(tmp_path)
    logger.log_scalar("loss", Plain(0.5), State("valid", num_steps=8), "task")

    write(logger, State(num_steps=9), loss=2.0)

    assert lines(tmp_path) == [
        "valid  step 8  epoch 0  0:00:00  task/loss 0.5000",
        "train  step 9  epoch 0  0:00:00  task/loss 2.000",
    ]


def test_a_key_without_namespace_is_its_own_tag(tmp_path, capsys):
    logger = make(tmp_path)
    logger.log_scalar("loss", Plain(0.5), State(num_steps=1), "")
    logger.write(State(num_steps=1))

    assert lines(tmp_path) == ["train  step 1  epoch 0  0:00:00  loss 0.5000"]


def test_a_write_without_values_prints_nothing(tmp_path, capsys):
    logger = make(tmp_path)

    write(logger)

    assert capsys.readouterr().out == ""
    assert lines(tmp_path) == []


def test_a_failed_write_commits_nothing_and_its_values_can_be_offered_again(tmp_path, capsys):
    logger = make(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(WriteError):
            write(logger, loss=0.5, note="once")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (capsys.readouterr().out, lines(tmp_path)) == ("", [])

    write(logger, loss=0.5, note="once")

    written = [line for path in sorted(tmp_path.glob("stdout*.log")) for line in path.read_text().splitlines()]
    assert written == ['train  step 1  epoch 0  0:00:00  task/loss 0.5000  task/note "once"']


def test_a_long_text_is_cut_where_it_is_printed_never_in_the_file(tmp_path, capsys):
    write(make(tmp_path, StdoutLoggerConfig(max_string_length=5)), note="0123456789")

    assert capsys.readouterr().out.endswith('task/note "01234…" (10 characters)\n')
    assert lines(tmp_path)[0].endswith('task/note "0123456789"')


def test_a_resumed_run_continues_the_file_and_moves_a_torn_line_aside(tmp_path, capsys):
    (tmp_path / "stdout.log").write_text("an earlier attempt\ntorn")

    write(make(tmp_path), loss=0.5)

    assert lines(tmp_path) == ["an earlier attempt", "train  step 1  epoch 0  0:00:00  task/loss 0.5000"]
    assert (tmp_path / "stdout.log.torn-1").read_text() == "torn"


def test_a_second_one_in_a_run_has_its_own_file(tmp_path, capsys):
    write(make(tmp_path, StdoutLoggerConfig(id="console")), loss=0.5)

    assert [path.name for path in tmp_path.iterdir()] == ["console.log"]


def test_it_writes_every_second_and_every_ten_once_the_run_is_a_minute_old(tmp_path, capsys):
    clock = Clock()
    logger = make(tmp_path, clock=clock)

    assert logger.default_write_every_n_seconds(State(elapsed_time_s=59)) == 1
    assert logger.default_write_every_n_seconds(State(elapsed_time_s=60)) == 10
    clock.now_s += 60
    assert logger.default_write_every_n_seconds(State()) == 10


@pytest.mark.parametrize("setting", [{"precision": 0}, {"precision": 18}, {"total_steps": 0}, {"max_string_length": 0}])
def test_a_setting_out_of_range_is_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        StdoutLogger(StdoutLoggerConfig(**setting))


# streams that fail


def test_a_stream_without_the_characters_gets_escapes(tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)

    write(make(tmp_path), note="é漢")

    assert stream.buffer.getvalue().endswith(b'task/note "\\xe9\\u6f22"\n')
    assert lines(tmp_path)[0].endswith('task/note "é漢"')


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def full_device():
    return open("/dev/full", "w")


class NoStream:
    def write(self, text):
        raise RuntimeError("no display")


@pytest.mark.parametrize("stream", [closed_stream, broken_pipe, full_device, NoStream])
def test_a_stream_that_fails_is_given_up_with_one_notice_and_the_file_goes_on(tmp_path, monkeypatch, caplog, stream):
    monkeypatch.setattr(sys, "stdout", stream())
    logger = make(tmp_path)

    for step in (1, 2, 3):
        write(logger, State(num_steps=step), loss=0.5)
    logger.close()

    assert len(lines(tmp_path)) == 3
    assert [record.name for record in caplog.records] == ["ml"]
    assert f"Lines go on in {tmp_path / 'stdout.log'}" in caplog.text


def test_what_was_printed_before_a_line_stands_before_it(tmp_path, monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print("from the user")
        write(make(tmp_path), loss=0.5)
    with os.fdopen(reader) as received:
        assert received.read().splitlines() == ["from the user", *lines(tmp_path)]


def test_a_process_without_standard_output_has_the_file(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "stdout", None)

    logger = make(tmp_path)
    write(logger, loss=0.5)
    logger.flush()
    logger.close()

    assert len(lines(tmp_path)) == 1
    assert not caplog.records


def test_a_broken_pipe_keeps_the_exit_status_and_plain_lines_need_no_rich(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.group import LoggerGroup
from ml.loggers.multi import MultiLogger
from ml.loggers.stdout import StdoutLogger, StdoutLoggerConfig
logger = StdoutLogger(StdoutLoggerConfig())
logger.initialize(RunContext({str(tmp_path)!r}))
logger.log_scalar("loss", lambda: 0.5, State(num_steps=1), "task")
logger.write(State(num_steps=1))
logger.close()
assert "rich" not in sys.modules
sys.exit(3)
"""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)

    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert len(lines(tmp_path)) == 1


# terminals


_MARK = b"\x05"


class Terminal:
    """A real terminal device, and the picture that what was sent to it gives."""

    def __init__(self, columns):
        self.columns = columns
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self.sent = ""

    def screen(self):
        """Returns the rows; knows the few control codes that may be sent, and no others."""
        os.write(self.stream.fileno(), _MARK)  # the kernel hands over in pieces; behind this nothing is missing
        data = b""
        while not data.endswith(_MARK):
            data += os.read(self._master, 1 << 20)
        self.sent += data.removesuffix(_MARK).decode()
        rows, row, column = [""], 0, 0
        for code, amount, letter, text in re.findall(r"(\x1b\[([\d;]*)([A-Za-z]))|([^\x1b])", self.sent, re.S):
            if letter == "J":
                rows = [*rows[:row], rows[row][:column]]
            elif letter == "A":
                row -= int(amount)
            elif letter == "G":
                column = int(amount) - 1
            elif text == "\r":
                column = 0
            elif text == "\n":
                row += 1
                rows += [""] * (row == len(rows))
            elif text:
                line = rows[row].ljust(column)
                rows[row] = line[:column] + text + line[column + 1 :]
                column += 1
            else:
                assert letter == "m", f"unknown control code {code!r}"
        return [line.rstrip() for line in rows]


@pytest.fixture
def terminal(request, monkeypatch):
    terminal = Terminal(getattr(request, "param", 100))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(terminal.columns))
    yield terminal
    terminal.stream.close()


def start(terminal, directory, config=None, clock=None):
    with redirect_stdout(terminal.stream):
        return make(directory, config, clock)


def test_a_terminal_shows_the_lines_and_below_them_a_bar_with_the_time_left(tmp_path, terminal):
    clock = Clock()
    logger = start(terminal, tmp_path, StdoutLoggerConfig(total_steps=200), clock)

    write(logger, State(num_steps=1), loss=2.0)
    clock.now_s += 49 * 2
    write(logger, State(num_steps=50), loss=1.0)

    rows = terminal.screen()
    assert rows[:3] == [
        "train  step   1  epoch 0  0:00:00  task/loss 2.000",
        "train  step  50  epoch 0  0:00:00  task/loss 1.000",
        "",
    ]
    assert re.fullmatch(r"━+[╸╺]?━*   25%   50/200  0:05:00 left", re.sub(" +(?= 25%)", "  ", rows[3]))
    assert len(rows) == 4


def test_closing_leaves_the_finished_bar_and_the_cursor_below_it(tmp_path, terminal):
    logger = start(terminal, tmp_path, StdoutLoggerConfig(total_steps=2))
    write(logger, State(num_steps=2), loss=2.0)

    logger.close()

    assert terminal.screen()[1:] == ["━" * 40 + "  100%  2/2  done", ""]
    assert "\x1b[?25l" not in terminal.sent


def test_what_others_print_between_two_writes_stays_on_the_screen(tmp_path, terminal):
    logger = start(terminal, tmp_path, StdoutLoggerConfig(total_steps=9))
    write(logger, State(num_steps=1), loss=2.0)
    print("from the user", file=terminal.stream, flush=True)
    write(logger, State(num_steps=2), loss=1.0)
    logger.close()

    assert terminal.screen()[:3] == [
        "train  step 1  epoch 0  0:00:00  task/loss 2.000",
        "from the user",
        "train  step 2  epoch 0  0:00:00  task/loss 1.000",
    ]


def test_without_a_total_there_is_no_bar(tmp_path, terminal):
    logger = start(terminal, tmp_path)
    write(logger, loss=2.0)
    logger.close()

    assert terminal.screen() == ["train  step 1  epoch 0  0:00:00  task/loss 2.000", ""]


@pytest.mark.parametrize("terminal", [40], indirect=True)
def test_on_a_narrow_terminal_values_go_on_under_the_step_and_none_is_lost(tmp_path, terminal):
    write(start(terminal, tmp_path), accuracy=0.5, loss=2.0, samples=64)

    assert terminal.screen() == [
        "train  step 1  epoch 0  0:00:00",
        "       task/accuracy 0.5000",
        "       task/loss 2.000  task/samples 64",
        "",
    ]


def test_colours_go_to_the_terminal_and_not_into_the_file(tmp_path, terminal):
    write(start(terminal, tmp_path), loss=2.0)

    terminal.screen()
    assert "\x1b[1;36mtrain" in terminal.sent
    assert "\x1b" not in (tmp_path / "stdout.log").read_text()


def test_no_color_takes_the_colours_away(tmp_path, terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    write(start(terminal, tmp_path, StdoutLoggerConfig(total_steps=9)), loss=2.0)

    terminal.screen()
    colours = {int(code) for codes in re.findall(r"\x1b\[([\d;]*)m", terminal.sent) for code in codes.split(";")}
    assert {0, 1} <= colours <= {0, 1, 2}


@pytest.mark.parametrize("kind", ["dumb", ""])
def test_a_dumb_terminal_gets_plain_lines(tmp_path, terminal, monkeypatch, kind):
    monkeypatch.setenv("TERM", kind)

    logger = start(terminal, tmp_path, StdoutLoggerConfig(total_steps=9))
    write(logger, loss=2.0)
    logger.close()

    terminal.screen()
    assert terminal.sent == "train  step 1  epoch 0  0:00:00  task/loss 2.000\r\n"


def test_what_is_logged_cannot_control_the_terminal(tmp_path, terminal):
    logger = start(terminal, tmp_path)
    logger.log_scalar("\x1b]0;title\x07[bold]", Plain(1), State(num_steps=1), "ta\rsk")
    write(logger, note="\x1b[2J\x9b2J\u202e [red]:smile:")

    assert terminal.screen()[0] == (r"train  step 1  epoch 0  0:00:00  ta\rsk/\x1b]0;title\x07[bold] 1")
    assert terminal.screen()[1] == r'       task/note "\x1b[2J\x9b2J\u202e [red]:smile:"'


def test_a_terminal_costs_no_thread_and_standard_output_stays_what_it_is(tmp_path, terminal):
    threads = threading.enumerate()
    with redirect_stdout(terminal.stream):
        write(make(tmp_path, StdoutLoggerConfig(total_steps=9)), loss=2.0)

        assert sys.stdout is terminal.stream
    assert threading.enumerate() == threads
    assert "0:00" in "".join(terminal.screen())


DRAWS_NOTHING = """
import io, random
random.seed(0)
before = random.getstate()
from ml.loggers.terminal import TerminalDisplay
TerminalDisplay(io.StringIO(), total_steps=None, clock=lambda: 0.0)
import sys
assert "rich.style" in sys.modules
assert random.getstate() == before
"""


def test_a_terminal_draws_no_random_number_also_where_its_library_is_imported_first():
    subprocess.run([sys.executable, "-c", DRAWS_NOTHING], check=True)
