"""Every backend of this package keeps the contract, and so does one that keeps its values until it writes."""

import ast
import csv
import json
import re
from pathlib import Path

import pytest
import torch  # noqa: F401  # where it is loaded, the contract looks at its state too

from ml.core.registry import LOGGERS
from ml.loggers.base import AnyLogger, BaseLoggerConfig
from ml.loggers.csv import CsvLogger, CsvLoggerConfig
from ml.loggers.csv_rows import COLUMNS, key_of
from ml.loggers.journal import JournalLogger, JournalLoggerConfig
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.loggers.kinds import TABLE
from ml.loggers.memory import MemoryLogger
from ml.loggers.sources import Entry, journal_entries
from ml.loggers.stdout import StdoutLogger, StdoutLoggerConfig
from ml.loggers.tensorboard import TensorBoardLogger, TensorBoardLoggerConfig
from ml.testing.contract import Backend, LoggerContract, Written
from tests.loggers.tensorboard_reader import events

SECTIONS = ("scalars", "strings", "images", "audios", "videos", "histograms", "point_clouds", "tables")
PHASES = ("train", "valid", "test")
STDOUT_LINE = re.compile(r"(train|valid|test) +step +(-?\d+)  epoch -?\d+  \d+:\d\d:\d\d")
STDOUT_CELL = re.compile(r'  (\S+) +("(?:[^"\\]|\\.)*"|[^\s"]+)')


def names_of(tag: str) -> tuple[str, str]:
    namespace, slash, key = tag.partition("/")
    return (namespace, key) if slash else ("", namespace)


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def read_json(logger: AnyLogger, directory: Path) -> list[Written]:
    def value_of(section: str, value: object) -> object:
        return float(value) if section == "scalars" else value if section == "strings" else None

    values = []
    *lines, rest = (directory / logger.id / "log.jsonl").read_bytes().decode().split("\n")
    assert rest == ""
    for text in lines:
        line = json.loads(text, parse_constant=refuse)
        for section in SECTIONS:
            for tag, found in line.get(section, {}).items():
                for value in found if isinstance(found, list) else [found]:
                    assert (
                        not isinstance(value, dict)
                        or "path" not in value
                        or ((directory / logger.id / value["path"]).is_file())
                    )
                    values.append((line["phase"], line["step"], *names_of(tag), value_of(section, value)))
    return values


def read_journal(logger: AnyLogger, directory: Path) -> list[Written]:
    problems = []
    entries = [entry for entry in journal_entries(directory / logger.id, problems.append) if isinstance(entry, Entry)]
    assert not problems
    return [
        (
            entry.state.phase,
            entry.state.num_steps,
            entry.namespace,
            entry.key,
            None if entry.kind.droppable else entry.value,
        )
        for entry in entries
    ]


def read_csv(logger: AnyLogger, directory: Path) -> list[Written]:
    path = directory / logger.id / "log.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(tuple(row) == COLUMNS for row in rows)
    return [(row["phase"], int(row["step"]), *names_of(key_of(row["key"])), float(row["value"])) for row in rows]


def read_tensorboard(logger: AnyLogger, directory: Path) -> list[Written]:
    values = []
    for phase in PHASES:
        for event in events(directory / logger.id / phase):
            for value in event.summary.value:
                names = names_of(value.tag.removesuffix("_VERTEX"))
                if value.metadata.plugin_data.plugin_name == "text":
                    texts = [text.decode() for text in value.tensor.string_val]
                    values += [(phase, event.step, *names, text) for text in texts]
                else:
                    number = value.simple_value if value.HasField("simple_value") else None
                    values.append((phase, event.step, *names, number))
    return values


def read_stdout(logger: AnyLogger, directory: Path) -> list[Written]:
    values = []
    for line in (directory / f"{logger.id}.log").read_text().splitlines():
        head = STDOUT_LINE.match(line)
        assert head is not None, line
        for tag, shown in STDOUT_CELL.findall(line, head.end()):
            values.append((head[1], int(head[2]), *names_of(tag), shown_value(shown)))
    return values


def shown_value(shown: str) -> float | str:
    try:
        return ast.literal_eval(shown) if shown.startswith('"') else float(shown)
    except (SyntaxError, ValueError):  # part of a name with blanks
        return shown


def read_memory(logger: AnyLogger, directory: Path) -> list[Written]:
    return [
        (*entry[:4], entry.value if isinstance(entry.value, int | float | str) else None) for entry in logger.entries
    ]


class KeepingLogger(MemoryLogger):
    """A backend that keeps what it is given as it is, and calls it when it writes."""

    def log_scalar(self, key, value, state, namespace):
        self._rows.append((key, value, state, namespace))

    log_string = log_image = log_audio = log_video = log_histogram = log_point_cloud = log_scalar

    def log_table(self, key, value, state, namespace):
        self._rows.append((key, value, state, namespace))

    def write(self, state):
        kept, self._rows = self._rows, []
        for key, value, state_of, namespace in kept:
            log = super().log_table if getattr(value, "kind", None) is TABLE else super().log_scalar
            log(key, value, state_of, namespace)
        super().write(state)


BACKENDS = [
    Backend("tensorboard", lambda: TensorBoardLogger(TensorBoardLoggerConfig("tensorboard")), read_tensorboard),
    Backend("stdout", lambda: StdoutLogger(StdoutLoggerConfig("stdout")), read_stdout, exact=False),
    Backend("json", lambda: JsonLogger(JsonLoggerConfig("json")), read_json),
    Backend("csv", lambda: CsvLogger(CsvLoggerConfig("csv")), read_csv),
    Backend("journal", lambda: JournalLogger(JournalLoggerConfig("journal")), read_journal),
    Backend("memory", lambda: MemoryLogger(BaseLoggerConfig("memory")), read_memory),
    Backend("keeping", lambda: KeepingLogger(BaseLoggerConfig("keeping")), read_memory),
]


class TestLoggerContract(LoggerContract):
    """Every backend keeps the contract."""

    @pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
    def backend(self, request: pytest.FixtureRequest) -> Backend:
        return request.param


def test_every_backend_of_this_package_is_under_the_contract():
    homes = {name: LOGGERS.lookup(name).cls.__module__ for name in LOGGERS.names()}
    here = {name for name, module in homes.items() if module.startswith("ml.loggers.")}
    elsewhere = {name for name, module in homes.items() if module.startswith("ml.integrations.")}

    assert here <= {backend.name for backend in BACKENDS}
    for name in elsewhere:
        tests = Path(__file__).parents[1] / "integrations" / f"test_{name}.py"
        assert "(LoggerContract):" in tests.read_text()
    assert len(here) >= 4
    assert len(elsewhere) >= 5
