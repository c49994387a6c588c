"""What the journal holds of a run: everything, exactly, in order, and the files of media beside it."""

import errno
import hashlib
import json
import math
import random

import numpy as np
import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.io.journal import JournalReader, JournalWriter, Record
from ml.loggers.group import LoggerGroup
from ml.loggers.journal import MAX_INLINE_BYTES, JournalLogger, JournalLoggerConfig
from ml.loggers.journal_records import END, Config, Values, decode
from ml.loggers.kinds import KINDS
from ml.loggers.multi import MultiLogger
from ml.loggers.sources import Entry, journal_entries
from ml.testing import FakeClock, PowerCut

EVERY_STEP = {"write_every_n_seconds": 0, "write_media_every_n_seconds": 0}
NOISE = np.random.default_rng(0).integers(0, 256, (3, 80, 80), np.uint8)


class Run:
    def __init__(self, directory, attempt=1, **settings):
        settings = EVERY_STEP | settings
        self.directory, self.component = directory, MultiLogger("task")
        journal = JournalLogger(JournalLoggerConfig("journal", **settings))
        context = RunContext(directory, attempt=attempt, clock=FakeClock(), wall_clock=FakeClock(1.7e9))
        self.group = LoggerGroup([journal], context, on_error="raise")

    def write(self, state=None, **values):
        self.component.log_scalars(values)
        self.group.write([self.component], state or State(num_steps=1))

    def records(self):
        """Closes the run; what its records hold."""
        self.group.close()
        return [decode(record.payload) for record in JournalReader(self.directory / "journal").read()]

    def entries(self, problems=None):
        """Closes the run; its values."""
        self.group.close()
        told = [] if problems is None else problems
        found = [e for e in journal_entries(self.directory / "journal", told.append) if isinstance(e, Entry)]
        assert problems is not None or not told
        return found


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def media_of(directory):
    return sorted(path for path in (directory / "journal" / "media").rglob("*") if path.is_file())


def test_the_configuration_comes_first_and_the_last_record_says_that_the_attempt_was_closed(tmp_path):
    for attempt in (1, 2):
        run = Run(tmp_path, attempt)
        run.group.log_config({"lr": 0.1, "name": "a ${b}", "nested": {"list": [1, None, True]}, "inf": math.inf})
        run.write(loss=0.5)
        run.group.close()
    records = [record for record in JournalReader(tmp_path / "journal").read() if isinstance(record, Record)]

    assert [(record.attempt, record.sequence) for record in records] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    config = decode(records[0].payload)
    assert isinstance(config, Config)
    assert (config.time_s, config.config["lr"], config.config["nested"]) == (1.7e9, 0.1, {"list": [1, None, True]})
    assert config.config["inf"] == "Infinity"
    assert [records[2].payload, records[5].payload] == [END, END]


def test_a_run_that_was_not_closed_has_no_end(run):
    run.write(loss=0.5)
    assert run.group.flush()
    payloads = [record.payload for record in JournalReader(run.directory / "journal").read()]
    run.group.close()

    assert len(payloads) == 1
    assert END not in payloads


def test_numbers_and_texts_of_a_state_are_one_record_with_all_of_the_state(run):
    state = State("train", 1, 7, 3, 448, 192, 5, 6, 1.6e9, 0.1, 1.7e9 + 1 / 3)
    run.component.log_string("note", "started")
    run.write(state, loss=0.25, accuracy=0.5)
    values = run.records()[0]

    assert isinstance(values, Values)
    assert values.state == state
    assert [(str(kind), *rest) for kind, *rest in values.rows] == [
        ("string", "task", "note", "started"),
        ("scalar", "task", "loss", 0.25),
        ("scalar", "task", "accuracy", 0.5),
    ]


@pytest.mark.parametrize(
    "number",
    [0.1, 5e-324, 1.7976931348623157e308, -0.0, 16_777_217, 2**53, 2**53 + 1, -(2**63), 2**63, 2**1000 + 1, 1e39],
)
def test_numbers_are_kept_exactly_and_stay_whole_or_real(run, number):
    run.write(key=number)
    (entry,) = run.entries()

    assert (type(entry.value), str(entry.value)) == (type(number), str(number))


def test_whole_numbers_beyond_what_other_readers_hold_are_texts(run):
    run.write(small=2**53, large=2**53 + 1, negative=-(2**60))
    run.group.close()
    first = next(JournalReader(run.directory / "journal").read())

    assert json.loads(first.payload)["scalars"] == [
        ["task", "small", 9007199254740992, "large", "9007199254740993", "negative", "-1152921504606846976"]
    ]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_kept(run, number):
    run.write(key=number)
    (entry,) = run.entries()

    assert str(entry.value) == str(number)


def test_steps_that_go_back_keep_their_order(run):
    for step in (10, 5, 11):
        run.write(State(num_steps=step), loss=float(step))

    assert [(entry.state.num_steps, entry.value) for entry in run.entries()] == [(10, 10.0), (5, 5.0), (11, 11.0)]


def test_overtaken_steps_of_an_earlier_attempt_are_kept_apart(tmp_path):
    for attempt, steps in ((1, (80, 100)), (2, (80, 81))):
        run = Run(tmp_path, attempt)
        for step in steps:
            run.write(State(num_steps=step), loss=float(attempt))
        run.group.close()

    assert [(e.attempt, e.state.num_steps, e.value) for e in run.entries()] == [
        *((1, 80, 1.0), (1, 100, 1.0)),
        *((2, 80, 2.0), (2, 81, 2.0)),
    ]


def test_a_key_twice_in_a_write_is_kept_twice(tmp_path):
    journal = JournalLogger(JournalLoggerConfig("journal"))
    journal.initialize(RunContext(tmp_path))
    for number in (1.0, 2.0):
        journal.log_scalar("loss", lambda number=number: number, State(num_steps=1), "task")
    journal.write(State(num_steps=1))
    journal.close()

    assert [entry.value for entry in journal_entries(tmp_path / "journal", print)] == [1.0, 2.0]


def test_a_small_file_is_in_its_record_and_a_larger_one_beside_it(run):
    run.component.log_image("small", np.zeros((64, 64), np.uint8))
    run.component.log_image("large", NOISE)
    run.write()
    small, large = run.entries()
    (path,) = media_of(run.directory)

    assert len(small.value.encoded("png")) <= MAX_INLINE_BYTES < path.stat().st_size
    assert large.value.encoded("png") == path.read_bytes()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.relative_to(run.directory).parts == ("journal", "media", digest[:2], f"{digest}.png")
    assert path.stat().st_mode & 0o777 == 0o600
    assert (np.array_equal(large.value.array(), NOISE), small.value.array().shape) == (True, (1, 64, 64))


def test_equal_files_are_kept_once(tmp_path):
    for attempt in (1, 2):
        run = Run(tmp_path, attempt)
        for step in (1, 2):
            run.component.log_image("image", NOISE)
            run.write(State(num_steps=step))
        run.group.close()

    assert len(media_of(tmp_path)) == 1
    assert len(run.entries()) == 4


def test_a_file_is_written_before_the_record_that_names_it(tmp_path):
    journal, component = JournalLogger(JournalLoggerConfig("journal")), MultiLogger("task")
    journal.initialize(RunContext(tmp_path, clock=FakeClock()))
    blocked = tmp_path / "journal" / "media"
    blocked.write_text("a file where a folder should be")
    logs = LoggerGroup.in_place([journal])
    component.log_image("image", NOISE)
    component.log_scalar("loss", 1.0)
    logs.write([component], State(num_steps=1))

    assert list((tmp_path / "journal").iterdir()) == [blocked]
    blocked.unlink()
    logs.close()
    assert sorted(entry.key for entry in journal_entries(tmp_path / "journal", pytest.fail)) == ["image", "loss"]


@pytest.mark.parametrize("damage", ["missing", "changed", "shorter"])
def test_a_file_that_is_damaged_costs_its_value_alone_and_is_told(run, damage):
    run.component.log_image("image", NOISE)
    run.component.log_image("other", NOISE[:, ::-1])
    run.write(loss=1.0)
    run.group.close()
    path = media_of(run.directory)[0]
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-1] if damage == "shorter" else content[:-1] + b"\x00")

    problems = []
    entries = run.entries(problems)

    assert sorted(entry.key for entry in entries) in (["image", "loss"], ["loss", "other"])
    (problem,) = problems
    assert path.name in problem


def test_a_text_that_is_too_long_for_a_record_is_a_file(run):
    text = "\x00é" * 2**20
    run.component.log_string("note", text)
    run.component.log_string("note", "short")
    run.write()
    long, short = run.entries()

    assert (long.value == text, short.value) == (True, "short")
    assert [path.suffix for path in media_of(run.directory)] == [".txt"]


def test_more_values_than_a_record_can_hold_are_several_records(run, monkeypatch):
    monkeypatch.setattr("ml.loggers.journal.MAX_PAYLOAD_BYTES", 500)
    run.component.log_string("note", "x" * 400)
    run.write(**{f"key{number}": float(number) for number in range(100)})
    records = [record for record in run.records() if isinstance(record, Values)]

    assert len(records) > 5
    assert [row[3] for record in records for row in record.rows] == ["x" * 400, *map(float, range(100))]
    assert {record.write for record in records} == {1}


def test_every_kind_is_kept(run):
    for kind in KINDS:
        getattr(run.component, kind.method)(f"a_{kind}", kind.example)
    run.write()

    assert sorted(f"a_{entry.kind}" for entry in run.entries()) == sorted(f"a_{kind}" for kind in KINDS)


def test_a_record_that_is_no_record_of_ours_is_left_out_and_told(tmp_path):
    state = list(State(num_steps=1))
    writer = JournalWriter(tmp_path, 1)
    writer.append(
        [
            *(b"", b"\xff", b"[]", b'{"is":"values"}', b'{"is":"unheard of","write":1,"state":[],"at":["a","b"]}'),
            *(b"[" * 100_000, b'{"is":"config","time_s":0,"config":[1]}', b'{"is":"values","write":1,"state":["x"]}'),
            b'{"is":"image","write":1,"state":%s,"at":["a","b"],"form":"png","sha256":"../../etc/passwd"}'
            % str(state).replace("'", '"').encode(),
        ]
    )
    writer.close()
    problems = []

    assert list(journal_entries(tmp_path, problems.append)) == []
    assert len(problems) == 9


def test_after_a_power_cut_at_any_moment_no_record_names_a_file_that_is_not_there(tmp_path):
    root = tmp_path / "disk"
    root.mkdir()
    with PowerCut(root) as disk:
        journal, component = JournalLogger(JournalLoggerConfig("journal", **EVERY_STEP)), MultiLogger("task")
        journal.initialize(RunContext(root, clock=FakeClock()))
        logs = LoggerGroup.in_place([journal])
        for step in (1, 2, 2, 3):
            component.log_image("image", NOISE // step)  # the third is the second again
            logs.write([component], State(num_steps=step), force=True)
            if logs.flush():
                disk.note(str(step))
        logs.close()

    found = set()
    for call in disk.calls():
        for rng in (None, random.Random(call)):
            place = tmp_path / f"{call}-{rng is None}"
            acknowledged = disk.crash(call, place, rng)
            problems = []
            entries = list(journal_entries(place / "journal", problems.append))
            assert not any(".png" in problem for problem in problems), (call, problems)
            assert len(entries) >= len(acknowledged)
            found.add(len(entries))
    assert found == {0, 1, 2, 3, 4}


class RefusesOnce(PowerCut):
    """A disk that fails to sync the folder of a file once, when the file is in its place."""

    refused = False

    def sync_directory(self, directory):
        if directory.parent.name == "media" and any(directory.glob("*.png")) and not self.refused:
            self.refused = True
            raise OSError(errno.EIO, "refused")
        super().sync_directory(directory)


def test_a_file_whose_name_may_not_be_on_the_disk_is_written_again(tmp_path):
    root = tmp_path / "disk"
    root.mkdir()
    with RefusesOnce(root) as disk:
        journal, component = JournalLogger(JournalLoggerConfig("journal", **EVERY_STEP)), MultiLogger("task")
        journal.initialize(RunContext(root, clock=FakeClock()))
        logs = LoggerGroup.in_place([journal])
        component.log_image("image", NOISE)
        logs.write([component], State(num_steps=1))
        assert disk.refused
        assert logs.flush()
        logs.close()
    disk.crash(disk.calls()[-1], tmp_path / "found")

    (entry,) = journal_entries(tmp_path / "found" / "journal", pytest.fail)
    assert np.array_equal(entry.value.array(), NOISE)
