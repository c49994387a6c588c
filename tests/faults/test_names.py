"""Names that nobody should give, and that somebody will: every series stays one of its own, and none becomes a path."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ml.core.run import RunContext
from ml.core.state import State
from ml.io.names import safe_segment
from ml.loggers import BaseLoggerConfig, LoggerGroup, MultiLogger
from ml.loggers.journal import JournalLogger, JournalLoggerConfig
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.kinds import IMAGE, STRING, VIDEO
from ml.loggers.memory import MemoryLogger
from ml.loggers.replay import replay
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.loggers.tensorboard_tags import Tags, tag_name
from ml.loggers.values import series_path
from tests.loggers.tensorboard_reader import accumulated

NAME_MAX = 255
# ``(namespace, key)``; no two of them are the same series.
SERIES = [
    ("model", "../../../outside"),
    ("..", "..\\..\\outside"),
    ("model", "/absolute"),
    ("", "/absolute"),
    ("", "absolute"),
    ("", "//"),
    ("~", "~root"),
    ("model", "nul\0byte"),
    ("model", "new\nline"),
    ("new\nline", "x"),
    ("model", "a" * 10_000),
    ("a" * 10_000, "a" * 9_999),
    ("model", "a" * 9_999 + "b"),
    ("a", "b/c"),
    ("a_b", "c"),
    ("model", "café"),
    ("model", "cafe\u0301"),
    ("model", "loss"),
    ("model", "LOSS"),
    ("Model", "loss"),
    ("model", "a%20b"),
    ("model", "a b"),
    ("model", " a b"),
    *(("model", name) for name in ("state", "step", "phase", "scalars", "con", "nul", ".", "-rf", "*", "a.image")),
    ("model", "half \ud800"),
    ("model", "half \udfff"),
    ("model", "half ?"),
    ("model", "\u202ert\u200bl"),
    ("_hparams_", "session_start_info"),
    ("", "config"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which every series of the table has a number, a text and a picture of its own."""
    path = tmp_path_factory.mktemp("outer") / "run"
    path.mkdir()
    backends = [
        JsonLogger(JsonLoggerConfig("json")),
        TensorBoardLogger(TensorBoardLoggerConfig("tensorboard")),
        JournalLogger(JournalLoggerConfig("journal")),
    ]
    components = {}
    with LoggerGroup(backends, RunContext(path), on_error="raise", close_timeout_s=60.0) as logs:
        for number, (namespace, key) in enumerate(SERIES):
            component = components.setdefault(namespace, MultiLogger(namespace))
            component.log_scalar(key, number)
            component.log_string(key, f"text {number}")
            component.log_image(key, np.full((1, 64, 64), number, np.uint8))
        logs.write(components.values(), State(num_steps=1))
    assert {stats.written for stats in logs.stats().values()} == {3 * len(SERIES)}
    return path


def test_nothing_is_written_outside_of_the_run(run):
    assert [path.name for path in run.parent.iterdir()] == ["run"]
    assert {path.name for path in run.iterdir()} <= {"json", "tensorboard", "journal"}


def test_no_name_of_a_file_is_longer_than_a_file_system_takes_nor_like_another_but_for_its_case(run):
    for folder in (path for path in run.rglob("*") if path.is_dir()):
        names = [path.name for path in folder.iterdir()]
        assert all(len(name.encode()) < NAME_MAX for name in names)
        assert len({name.casefold() for name in names}) == len(names)


def test_json_keeps_every_series_apart(run):
    (line,) = [json.loads(line) for line in (run / "json/log.jsonl").read_bytes().splitlines()]

    expected = {series_path(namespace, key): number for number, (namespace, key) in enumerate(SERIES)}
    assert line["scalars"] == expected
    assert line["strings"] == {path: [f"text {number}"] for path, number in expected.items()}
    assert line["images"].keys() == expected.keys()
    files = [Path(entry["path"]) for entry in line["images"].values()]
    assert len({str(path).casefold() for path in files}) == len(SERIES)
    assert all((run / "json" / path).is_file() for path in files)
    assert {path.parts[:2] for path in files} == {("media", "image")}


def test_tensorboard_keeps_every_series_apart(run):
    board = accumulated(run / "tensorboard/train")

    assert len(board.Tags()["scalars"]) == len(board.Tags()["images"]) == len(board.Tags()["tensors"]) == len(SERIES)
    points = {tag: board.Scalars(tag)[0].value for tag in board.Tags()["scalars"]}
    assert points == {tag_name(*series): number for number, series in enumerate(SERIES)}


def test_the_journal_gives_every_series_back(run, tmp_path):
    memory = MemoryLogger(BaseLoggerConfig("memory"))
    replay(run, memory, tmp_path / "replayed")

    numbers = {entry[2:4]: entry.value for entry in memory.entries if isinstance(entry.value, int)}
    assert numbers == {series: number for number, series in enumerate(SERIES)}


# every pair of names

NAMESPACES = st.text(st.characters(blacklist_characters="/"), max_size=8)
KEYS = st.text(max_size=8).filter(bool)
LIKELY = st.text("aA/.\\%~_\u0301e\u00e9\0\n", max_size=6).filter(bool)


def logged(namespace: str, key: str) -> tuple[str, str]:
    """Returns the series that a component makes of names."""
    component = MultiLogger(namespace)
    component.log_scalar(key, 1.0)
    (((_, namespace, key), *_),) = component.take()
    return namespace, key


@given(NAMESPACES, KEYS | LIKELY, NAMESPACES, KEYS | LIKELY)
@example("a", "b/c", "a/b".replace("/", "_"), "c")
@example("", "/x", "", "x")
def test_two_series_share_no_key_tag_or_file(namespace, key, other_namespace, other_key):
    one, other = logged(namespace, key), logged(other_namespace, other_key)
    if one == other:
        return

    assert series_path(*one) != series_path(*other)
    assert tag_name(*one) != tag_name(*other)
    first, second = ("/".join(map(safe_segment, series)) for series in (one, other))
    assert first.casefold() != second.casefold()
    assert not {"", ".", ".."}.intersection(first.split("/"))


@given(NAMESPACES, KEYS | LIKELY)
def test_a_component_keeps_names_as_they_are_given(namespace, key):
    given_path, kept = series_path(namespace, key), logged(namespace, key)

    assert series_path(*kept) == given_path
    assert kept == (namespace, key) or namespace == ""


@given(st.permutations([("x", IMAGE), ("x", VIDEO), ("x", STRING), ("x.image", IMAGE), ("x.image", VIDEO)]))
def test_no_two_series_share_a_tag_whatever_came_first(order):
    tags = Tags()
    tags.claim({"x": 0.5})
    made = {series: tags.tag_of(*series) for series in order}

    assert len({"x", *made.values()}) == 1 + len(order)
    assert made == {series: tags.tag_of(*series) for series in order}


# names that are refused


@pytest.mark.parametrize("key", ["", None, 3, b"loss", [], object()], ids=lambda key: type(key).__name__)
def test_a_key_that_is_none_costs_its_value_and_is_said(tmp_path, caplog, key):
    memory, model = MemoryLogger(BaseLoggerConfig("memory")), MultiLogger("model")
    with LoggerGroup([memory], RunContext(tmp_path)) as logs:
        model.log_scalar(key, 1.0)
        model.log_scalar("loss", 0.5)
        logs.write([model], State(num_steps=1))

    assert [entry.key for entry in memory.entries] == ["loss"]
    assert logs.stats()["memory"].failed == {"value": 1}
    assert "a key is a text that is not empty" in caplog.text


def test_the_table_names_no_series_twice():
    assert all(one != other for one, other in combinations(SERIES, 2))
