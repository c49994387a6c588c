"""What is said of a failure, and what is raised; and values that were changed too early."""

import errno
import json
import logging

import numpy as np
import pytest
import torch

from ml.core.errors import LogValueError
from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers.group import LoggerGroup
from tests.loggers.helpers import failing, memory, step

FULL = OSError(errno.ENOSPC, "disk full")


# saying


def test_the_first_failure_is_told_in_full_and_the_next_are_counted(start, component, caplog):
    def broken():
        raise ZeroDivisionError("a bug in a metric")

    group = start(memory())
    for number in range(1, 6):
        step(group, component, number, bad=broken)
    group.close()

    assert caplog.text.count("Traceback") == 1
    assert caplog.text.count("in broken") == 1
    assert "Cannot log 'model/bad': its value raised ZeroDivisionError" in caplog.text
    assert "test_telling.py:" in caplog.text
    assert "values: 4 more failures like those reported above." in caplog.text


def test_the_sentence_of_an_error_ends_once(start, component, caplog):
    def away() -> float:
        raise OSError("The file is closed.")

    group = start(memory())
    step(group, component, 1, bad=away)
    group.close()

    assert "its value raised OSError: The file is closed. (Logged at" in caplog.text


def test_failures_of_another_key_backend_or_type_are_told_in_full_too(start, component, caplog):
    group = start(memory())
    step(group, component, 1, a=lambda: 1 / 0, b=lambda: 1 / 0)
    step(group, component, 2, a=lambda: {}["key"])
    group.close()

    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 3


def test_a_summary_comes_at_most_once_a_minute(start, component, caplog, clock):
    group = start(memory())
    for number in range(1, 121):
        step(group, component, number, bad=lambda: 1 / 0)
        clock.advance(1)

    assert caplog.text.count("more failures like those") == 1
    assert "values: 60 more failures" in caplog.text
    group.close()
    assert "values: 59 more failures" in caplog.text


def test_errors_are_kept_as_strict_json_lines(start, component, tmp_path, clock):
    clock.advance(86400)
    group = start(failing(OSError(errno.EIO, "I/O error")))
    step(group, component, 1, loss=1.0, bad=lambda: 1 / 0)
    group.close()

    lines = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert [(line["source"], line["about"]) for line in lines] == [("values", "model/bad"), ("failing", "")]
    assert lines[0]["time"].startswith("1970-01-02T00:00:00")
    assert "ZeroDivisionError" in lines[0]["traceback"]
    assert "I/O error" in lines[1]["message"]


def test_no_secret_is_in_what_is_told(start, component, tmp_path, monkeypatch, caplog):
    secret = "hunter2-canary-0123456789"
    monkeypatch.setenv("SERVICE_TOKEN", secret)

    def leaking():
        raise ConnectionError(f"https://user:{secret}@host refused, password='other-canary-77'")

    group = start(failing(RuntimeError(f"cannot log in with {secret}")))
    step(group, component, 1, loss=1.0, bad=leaking)
    group.log_config({"password": "third-canary-77", "lr": 0.1, "note": secret})
    group.close()

    told = (tmp_path / "errors.jsonl").read_text() + caplog.text
    assert "cannot log in with ***" in told
    assert "canary" not in told


def test_a_configuration_reaches_backends_without_its_secrets(start, monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "hunter2-canary-0123456789")
    backend = memory()
    group = start(backend)
    group.log_config({"password": "third-canary-77", "lr": 0.1, "note": "hunter2-canary-0123456789"})
    group.close()

    assert backend.config_logged["lr"] == 0.1
    assert "canary" not in str(backend.config_logged)


def test_without_a_directory_no_file_is_made(tmp_path, component, caplog):
    with LoggerGroup([memory()], RunContext(tmp_path / "none")) as group:
        step(group, component, 1, bad=lambda: 1 / 0)

    assert "ZeroDivisionError" in caplog.text
    assert not (tmp_path / "none").exists()


# raising


def test_the_first_failure_is_raised_by_the_next_call_once(start, component):
    backend = memory()
    group = start(backend, on_error="raise")
    step(group, component, 1, bad=lambda: 1 / 0, worse=lambda: {}["key"])

    with pytest.raises(ZeroDivisionError):
        step(group, component, 2)
    step(group, component, 3, c=1.0)
    group.close()

    assert [entry.key for entry in backend.entries] == ["loss", "c"]


def test_a_bad_value_is_raised_with_its_key_and_line(start, component):
    group = start(memory(), on_error="raise")
    component.log_scalar("bad", torch.zeros(2, 3))
    group.write([component], State(num_steps=1))

    with pytest.raises(LogValueError) as raised:
        group.flush()
    error = raised.value
    assert (error.path, error.problem, error.fix) == (
        "model/bad",
        "a scalar holds 1 number, got shape (2, 3)",
        "Reduce it first, e.g. with .mean().",
    )
    assert error.origin.startswith("test_telling.py:")


def test_a_failing_backend_is_raised_by_close_at_the_latest(start, component):
    group = start(failing(RuntimeError("a bug")), on_error="raise")
    step(group, component, 1)

    with pytest.raises(RuntimeError, match="a bug"):
        group.close()
    group.close()


def test_an_error_of_the_loop_is_not_hidden_by_one_of_its_logging(start, component):
    group = start(memory(), on_error="raise")

    def loop():
        with group:
            step(group, component, 1, bad=lambda: 1 / 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()


# mutated values


@pytest.mark.parametrize(
    ("log", "make"),
    [
        ("log_scalar", lambda: torch.zeros(())),
        ("log_histogram", lambda: torch.zeros(4)),
        ("log_image", lambda: torch.zeros(4, 4)),
        ("log_images", lambda: [torch.zeros(4, 4)]),
        ("log_labeled_image", lambda: (torch.zeros(4, 4), "text")),
    ],
    ids=["scalar", "histogram", "image", "sequence", "pair"],
)
def test_a_tensor_that_was_changed_in_place_before_the_step_ended_is_refused_with_the_cure(
    start, component, log, make, caplog
):
    backend, value = memory(), make()
    group = start(backend)
    getattr(component, log)("key", value)
    (value[0] if isinstance(value, (list, tuple)) else value).add_(1)
    component.log_scalar("good", 1.0)
    group.write([component], State(num_steps=1))
    group.close()

    assert [entry.key for entry in backend.entries] == ["good"]
    assert group.stats()["memory"].failed == {"mutated": 1}
    assert "it was changed in place before the step ended. Log a callable, or a copy: .clone()." in caplog.text
    assert "Logged at test_telling.py:" in caplog.text


def test_a_tensor_that_is_changed_after_the_step_was_logged_as_it_was(start, component):
    backend, value = memory(), torch.zeros(4)
    array = np.zeros(4)
    group = start(backend)
    component.log_histogram("tensor", value)
    component.log_histogram("array", array)
    group.write([component], State(num_steps=1))
    value.add_(1)
    array += 1
    group.close()

    assert [entry.value.tolist() for entry in backend.entries] == [[0] * 4, [0] * 4]


def test_a_callable_sees_what_was_changed_in_place(start, component):
    backend, value = memory(), torch.zeros(())
    group = start(backend)
    component.log_scalar("key", lambda: value)
    value.add_(1)
    group.write([component], State(num_steps=1))
    group.close()

    assert [entry.value for entry in backend.entries] == [1.0]
