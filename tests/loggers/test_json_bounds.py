"""What a line of ``log.jsonl`` may hold: no value makes one that cannot be written, or that no reader takes."""

import json

import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.io.segments import whole_lines
from ml.loggers import LoggerGroup, MultiLogger
from ml.loggers import json as json_backend
from ml.loggers.json import JsonLogger, JsonLoggerConfig
from ml.testing import FakeClock


@pytest.fixture
def logs(tmp_path):
    context = RunContext(tmp_path, clock=FakeClock(), wall_clock=FakeClock())
    return LoggerGroup([JsonLogger(JsonLoggerConfig("json"))], context, on_error="raise")


def lines(tmp_path):
    return [json.loads(line) for line in whole_lines(tmp_path / "json" / "log.jsonl")]


def test_a_text_that_json_makes_six_times_as_long_is_read_back_with_the_values_beside_it(tmp_path, logs):
    text, model = "\x01" * (23 * 2**20), MultiLogger("model")
    model.log_scalar("loss", 0.5)
    model.log_string("dump", text)
    logs.write([model], State(num_steps=1))
    logs.close()

    (line,) = lines(tmp_path)
    assert line["scalars"] == {"model/loss": 0.5}
    assert line["strings"]["model/dump"] == [text]


def test_the_texts_of_a_step_go_on_in_another_line_when_one_is_long(tmp_path, logs, monkeypatch):
    monkeypatch.setattr(json_backend, "LONG_LINE_CHARACTERS", 10)
    model = MultiLogger("model")
    for text in ("1234", "5678", "90", "ab", "c" * 20, "d"):
        model.log_string("text", text)
    model.log_scalar("loss", 0.5)
    logs.write([model], State(num_steps=1))
    model.log_string("text", "few")
    logs.write([model], State(num_steps=2))
    logs.close()

    found = [(line["step"], line["strings"]["model/text"]) for line in lines(tmp_path)]
    assert found == [(1, ["1234", "5678", "90"]), (1, ["ab", "c" * 20]), (1, ["d"]), (2, ["few"])]
    assert [line["scalars"] for line in lines(tmp_path) if "scalars" in line] == [{"model/loss": 0.5}]


@pytest.mark.parametrize(("time_s", "year"), [(1.7e12, "9999-12-31"), (-1.7e12, "0001-01-02"), (1e300, "9999-12-31")])
def test_a_time_that_no_calendar_has_is_the_nearest_that_one_has(tmp_path, logs, time_s, year):
    """Milliseconds by mistake."""
    model = MultiLogger("model")
    model.log_scalar("loss", 0.5)
    logs.write([model], State(num_steps=1, time_s=time_s))
    assert logs.close()["json"].failed == {}
    (line,) = lines(tmp_path)
    assert line["time"].startswith(year)
