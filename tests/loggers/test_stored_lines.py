"""One idea of what a line and a record are: whole for every reader or for none, and nothing in them ends a reader."""

import json

import pytest

from ml.cli.summary import summarize
from ml.core.errors import FormatError
from ml.core.state import State
from ml.io.journal import JournalWriter
from ml.loggers.history import read_values
from ml.loggers.journal_check import check_journal
from ml.loggers.journal_records import decode
from ml.loggers.json_check import check_log
from ml.loggers.kinds import SCALAR
from ml.loggers.places import media_path
from ml.loggers.replay import replay
from ml.loggers.sources import journal_entries, json_entries
from ml.reading import open_run

WHOLE = {
    **{"attempt": 1, "phase": "train", "step": 3, "epoch": 0, "samples": 192, "elapsed_s": 0.51},
    **{"time": "2026-01-02T03:04:05.678901Z", "scalars": {"task/loss": 0.5}},
}
HISTOGRAM = {
    **{"counts": [1], "edges": [0, 1], "count": 1, "min": 0, "max": 1, "mean": 0.5, "std": 0},
    **{"nan": 0, "pos_inf": 0, "neg_inf": 0},
}
FILE = {"path": "media/a.png", "shape": [1, 2, 2], "sha256": "0" * 64}
HUGE = float("1e999")


def line(**fields):
    return json.dumps({**WHOLE, **fields}).replace("Infinity", "1e999").encode() + b"\n"


def without(name):
    return json.dumps({key: value for key, value in WHOLE.items() if key != name}).encode() + b"\n"


BAD_LINES = [
    *(without(name) for name in ("attempt", "phase", "step", "epoch", "samples", "elapsed_s", "time")),
    *(line(**{name: value}) for name in ("attempt", "step", "epoch", "samples") for value in (True, 1.5, "1", 2**63)),
    line(attempt=HUGE), line(elapsed_s="soon"), line(time="2026-01-02T03:04:05"), line(time=3), line(phase=["train"]),
    line(scalars=[]), line(strings={"a": 1}), line(strings={"a": ["b", None]}),
    *(line(scalars={"a": value}) for value in ("broken", "infinity", "1_0", "0.5", True, None, [1], {})),
    *(line(histograms={"a": {**HISTOGRAM, name: HUGE}}) for name in ("count", "nan", "counts", "edges")),
    line(histograms={"a": {}}), line(histograms={"a": {**HISTOGRAM, "counts": [HUGE]}}),
    *(line(images={"a": {**FILE, "path": path}}) for path in ("/etc/hostname", "../a.png", 1)),
    *(line(images={"a": {**FILE, "sha256": digest}}) for digest in ("0", "G" * 64, 0)),
    line(images={"a": "a.png"}), b"[" * 100_000 + b"\n", b"[1]\n", b"\xff\n", b"1e999\n",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_LINES, ids=lambda line: line[:60].decode("utf-8", "replace"))
def test_a_line_is_whole_for_every_reader_or_for_none(tmp_path, bad):
    log = tmp_path / "json/log.jsonl"
    log.parent.mkdir()
    log.write_bytes(line(step=1) + bad + line(step=5))
    told = []

    (checked,) = check_log(log, is_growing=False).files
    values = read_values(log, SCALAR)
    entries = list(json_entries(log, told.append))
    summary = summarize(open_run(tmp_path))

    assert (checked.records, checked.damaged_bytes) == (2, len(bad))
    assert [value.step for value in values] == [entry.state.num_steps for entry in entries] == [1, 5]
    assert told[0].startswith(f"Line 2 of {log} is left out: no line of a log: ")
    assert len(told) == 1
    assert [list(series.steps) for series in summary.scalars.values()] == [[1, 5]]


@pytest.mark.parametrize("key", ["loss", "task/loss", "/loss", "task/", "//", "a/b/c", "é/=1"])
def test_a_key_is_read_as_it_was_written(tmp_path, key):
    log = tmp_path / "log.jsonl"
    log.write_bytes(line(scalars={key: 0.5}))

    assert [value.key for value in read_values(log, SCALAR)] == [key]
    assert [value.key for value in read_values(log, SCALAR, key)] == [key]


RECORD = {"is": "values", "write": 1, "state": list(State(num_steps=3)), "scalars": [["task", "loss", 0.5]]}
MEDIUM = {"is": "image", "write": 1, "state": list(State()), "at": ["task", "a"], "form": "png", "shape": [1, 2, 2]}
BAD_RECORDS = [
    RECORD | {"write": HUGE}, RECORD | {"state": HUGE}, RECORD | {"state": ["training"]}, RECORD | {"state": [[]]},
    RECORD | {"scalars": [["task", "loss"]]}, RECORD | {"scalars": [["task", "loss", "infinity"]]},
    RECORD | {"strings": [["task", "note", 1]]}, {"is": "config", "time_s": "now", "config": {}}, {"is": "scalar"},
    MEDIUM | {"is": "scalar", "base64": ""}, MEDIUM, MEDIUM | {"base64": "?"}, MEDIUM | {"sha256": "0" * 63},
    MEDIUM | {"sha256": "0" * 64, "form": "PNG"}, MEDIUM | {"sha256": "0" * 64, "form": "../a"},
    MEDIUM | {"sha256": 0}, MEDIUM | {"is": "histogram", "histogram": {**HISTOGRAM, "count": HUGE}}, [], 1, {},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_RECORDS, ids=str)
def test_a_record_that_somebody_made_up_ends_no_reader(tmp_path, bad):
    payload = json.dumps(bad).replace("Infinity", "1e999").encode()
    writer = JournalWriter(tmp_path / "journal", 1)
    writer.append([json.dumps(RECORD).encode(), payload])
    writer.close()
    told = []

    with pytest.raises(FormatError, match="no record of a journal"):
        decode(payload)
    journal = check_journal(tmp_path / "journal", is_growing=False)
    entries = list(journal_entries(tmp_path / "journal", told.append))

    assert (journal.files[0].records, journal.media) == (2, {})
    assert [entry.value for entry in entries] == [0.5]
    assert len(told) == 1
    assert [value.value for value in read_values(tmp_path / "journal", SCALAR)] == [0.5]
    assert replay(tmp_path, "json", tmp_path / "again").num_problems == 1


def test_a_time_that_no_calendar_has_is_read_as_the_last_one(tmp_path):
    writer = JournalWriter(tmp_path / "journal", 1)
    writer.append([json.dumps(RECORD | {"state": [*State(num_steps=3)[:-1], 1e300]}).encode()])
    writer.close()

    assert [value.time.year for value in read_values(tmp_path / "journal", SCALAR)] == [9999]


@pytest.mark.parametrize(("digest", "form"), [("0" * 63, "png"), ("A" * 64, "png"), ("0" * 64, "p/g"), ("0" * 64, "")])
def test_no_path_is_made_of_what_is_no_digest_and_no_form(digest, form):
    with pytest.raises(ValueError, match="no name of a file"):
        media_path(digest, form)


@pytest.mark.parametrize("to", ["json", "journal", "tensorboard", "stdout"])
def test_a_whole_number_beyond_every_float_is_replayed_to_every_backend(tmp_path, to):
    log = tmp_path / "run/json/log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_bytes(line(scalars={"a": "9" * 400}, elapsed_s=int("9" * 400)))

    report = replay(tmp_path / "run", to, tmp_path / "out")

    assert (report.written, report.failed, report.problems) == (1, 0, [])
