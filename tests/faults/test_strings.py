"""Texts that are too long, broken or hostile, files that are, and standard output in every state of disrepair."""

import json
import os
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

from ml.core.errors import FormatError
from ml.core.redact import Redactor
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.journal import JournalLogger, JournalLoggerConfig
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.memory import MemoryLogger
from ml.loggers.replay import replay
from ml.loggers.stdout import StdoutLogger, StdoutLoggerConfig
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.reading import open_run
from tests.loggers.tensorboard_reader import accumulated
from tests.test_architecture import violations

ROOT = Path(__file__).parents[2]


def log(directory, *texts):
    """Logs texts, each under the number that it has, to every backend with files."""
    backends = [
        JsonLogger(JsonLoggerConfig("json")),
        TensorBoardLogger(TensorBoardLoggerConfig("tensorboard")),
        JournalLogger(JournalLoggerConfig("journal")),
        StdoutLogger(StdoutLoggerConfig("stdout")),
    ]
    model = MultiLogger("model")
    with LoggerGroup(backends, RunContext(directory), close_timeout_s=60.0) as logs:
        for number, text in enumerate(texts):
            model.log_string(str(number), text)
        logs.write([model], State(num_steps=1))
    return logs.stats()


# row 54: texts

ODD = {
    "NUL": "a\0b",
    "lone surrogates": "a\ud800b\udfffc",
    "colours": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "cursor": "\x1b[2J\x1b[1;1H\rgone\x08\x9b1A",
    "reordered": "\u202egnirts\u202c \u2066x\u2069 \u200f",
    "invalid UTF-8": b"a\xff\xfe\xc3(b",
    "line breaks": "a\nb\r\nc\u2028d\u2029e\x85f",
    "two lines of JSON": '{"step": 1}\n{"step": 2}',
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run that has logged every odd text."""
    path = tmp_path_factory.mktemp("odd")
    stats = log(path, *ODD.values())
    assert {kept.written for kept in stats.values()} == {len(ODD)}
    return path


@pytest.mark.parametrize(("number", "text"), list(enumerate(ODD.values())), ids=list(ODD))
def test_an_odd_text_is_kept_as_far_as_utf_8_has_it(odd, tmp_path, number, text):
    kept = text.decode("utf-8", "replace") if isinstance(text, bytes) else text.encode("utf-8", "replace").decode()
    memory = MemoryLogger(BaseLoggerConfig("memory"))
    replay(odd, memory, tmp_path / "replayed")
    (line,) = [json.loads(line) for line in (odd / "json/log.jsonl").read_bytes().split(b"\n")[:-1]]
    board = accumulated(odd / "tensorboard/train")

    assert line["strings"][f"model/{number}"] == [kept]
    assert [entry.value for entry in memory.entries if entry.key == str(number)] == [kept]
    assert board.Tensors(f"model/{number}")[0].tensor_proto.string_val[0].decode() == kept


def test_what_is_logged_moves_and_colours_nothing_in_the_lines_of_the_terminal(odd):
    text = (odd / "stdout.log").read_bytes().decode()

    assert len(text.splitlines()) == 1
    assert text.rstrip("\n").isprintable()


@pytest.mark.parametrize("megabytes", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_a_text_of_megabytes_is_kept_whole(tmp_path, megabytes):
    text = "0123456789 abcde\u00e9 " * (megabytes * 10**6 // 18)
    stats = log(tmp_path, text)

    assert {kept.written for kept in stats.values()} == {1}
    (line,) = [json.loads(line) for line in (tmp_path / "json/log.jsonl").open("rb")]
    assert line["strings"]["model/0"] == [text]
    assert accumulated(tmp_path / "tensorboard/train").Tensors("model/0")[0].tensor_proto.string_val[0].decode() == text
    assert text in (tmp_path / "stdout.log").read_text()


def test_a_text_of_more_than_64_mib_is_refused_and_counted(tmp_path, caplog):
    stats = log(tmp_path, "x" * (64 * 2**20 + 1))

    assert {str(kept.failed) for kept in stats.values()} == {"{'value': 1}"}
    assert "characters is too long" in caplog.text


def test_taking_secrets_out_of_a_long_text_takes_no_copy_for_each_piece():
    text = "no secret is in here, of any key or token " * 20_000
    tracemalloc.start()
    Redactor({"X_TOKEN": "canary-canary"}).redact_text(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < len(text) / 4


# row 30: standard output

PROGRAM = """\
import sys
from ml import start_run
{before}
with start_run(sys.argv[1], loggers="stdout") as run:
    for step in range({steps}):
        run.log({{"loss": step, "note": "größe 漢字"}})
        run.step(force=True)
"""


def train(directory, *, before="", steps=3, environ=None, **streams):
    """Starts a program that logs to standard output."""
    program = directory / "program.py"
    program.write_text(PROGRAM.format(before=before, steps=steps), encoding="utf-8")
    environment = {**os.environ, **(environ or {}), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), str(directory / "run")]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **streams)


def logged(directory):
    """Returns the steps that ``stdout.log`` has."""
    return [int(line.split()[2]) for line in (directory / "run/stdout.log").read_text().splitlines()]


@pytest.mark.parametrize(
    ("before", "notices"),
    [
        ("sys.stdout = None", 0),
        ("sys.stdout.close()", 1),
        ("import os; os.close(1)", 1),
        ("import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)", 1),
        ("import io; sys.stdout = io.StringIO(); sys.stdout.close()", 1),
        ("del sys.stdout", 0),
    ],
)
def test_standard_output_that_is_none_costs_a_notice_and_no_line_of_the_file(tmp_path, before, notices):
    process = train(tmp_path, before=before, stdout=subprocess.DEVNULL)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert errors.count(b"Nothing more is printed") == notices
    assert b"Traceback" not in errors
    assert logged(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    "environ",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=["ASCII", "locale C", "Latin 1"],
)
def test_a_stream_without_the_characters_gets_escapes(tmp_path, environ):
    process = train(tmp_path, environ=environ, stdout=subprocess.PIPE)
    printed, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, b"")
    assert b"\\u6f22" in printed
    assert "größe 漢字" in (tmp_path / "run/stdout.log").read_text()


def test_a_reader_that_takes_one_line_and_leaves_stops_nothing(tmp_path):
    process = train(tmp_path, steps=500, stdout=subprocess.PIPE)
    assert b"loss" in process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()

    assert process.wait(60) == 0
    assert errors.count(b"Nothing more is printed") <= 1
    assert b"Exception" not in errors
    assert logged(tmp_path) == list(range(1, 501))


def test_a_pipe_that_nobody_reads_stops_neither_training_nor_its_end(tmp_path):
    """What does not fit into the pipe is given up when closing has to end; it is said how much that is."""
    before = "import threading; from functools import partial; start_run = partial(start_run, close_timeout_s=1.0)"
    process = train(tmp_path, before=before, steps=3000, stdout=subprocess.PIPE)
    errors = process.stderr.read()

    assert process.wait(60) == 0, errors
    assert b"before closing had to end: lost" in errors


# row 79: what is read runs nothing


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import pickle", "pickle runs code"),
        ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "yaml.load runs code"),
        ("import torch\ntorch.load(path)", "weights_only"),
        ("import numpy\nnumpy.load(path, allow_pickle=True)", "allow_pickle"),
    ],
)
def test_nothing_in_the_package_loads_what_can_run_code(source, problem):
    """``tests/test_architecture.py`` holds every module to this rule."""
    assert any(problem in line for line in violations("ml/trainers/base.py", source))


HOSTILE_YAML = {
    "code": "a: !!python/object/apply:os.system ['touch {canary}']",
    "code of another form": "a: !!python/object/new:os.system ['touch {canary}']",
    "a module": "a: !!python/module:antigravity",
    "billion laughs": "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghi")),
    "itself": "a: &a [*a]",
    "depth": "a: " + "[" * 3000 + "]" * 3000,
    "size": "a: " + "x" * (5 * 2**20),
    "no text": "\x00",
    "no mapping": "42",
}


@pytest.mark.parametrize("content", HOSTILE_YAML.values(), ids=HOSTILE_YAML)
def test_a_hostile_configuration_is_refused_and_runs_nothing(tmp_path, content):
    canary = tmp_path / "canary"
    (tmp_path / "attempts/1").mkdir(parents=True)
    (tmp_path / "attempts/1/config.yaml").write_text(content.replace("{canary}", str(canary)))

    with pytest.raises(FormatError, match=r"config\.yaml"):
        _ = open_run(tmp_path).config
    assert not canary.exists()


HOSTILE_JSON = {
    "depth": "[" * 200_000,
    "deep objects": '{"a":' * 200_000,
    "size": " " * (5 * 2**20),
    "digits": "1" * 5000,
}


@pytest.mark.parametrize("content", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_a_hostile_record_is_refused(tmp_path, content):
    (tmp_path / "attempts/1").mkdir(parents=True)
    (tmp_path / "attempts/1/run.json").write_text(content)

    with pytest.raises(FormatError, match=r"run\.json"):
        _ = open_run(tmp_path).attempts


def test_a_hostile_line_of_the_log_costs_itself(tmp_path, caplog):
    log(tmp_path, "kept")
    with (tmp_path / "json/log.jsonl").open("a") as file:
        file.writelines(f"{content}\n" for content in HOSTILE_JSON.values())

    assert list(open_run(tmp_path).strings().value) == ["kept"]
    assert "4 lines" in caplog.text
