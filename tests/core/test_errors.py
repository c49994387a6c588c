"""Errors: what a message says, what code can ask, and that both survive a process boundary."""

import pickle

import pytest

from ml.core.errors import ClosedError, ConfigError, FormatError, LogValueError, MLError, WriteError


def test_every_error_of_the_package_can_be_caught_as_one():
    for error in (ConfigError(), LogValueError("x"), WriteError(), ClosedError(), FormatError("x")):
        assert isinstance(error, MLError)


def test_wrong_values_are_value_errors_and_failed_writes_are_not():
    assert all(issubclass(kind, ValueError) for kind in (ConfigError, LogValueError, FormatError))
    assert not issubclass(WriteError, ValueError)
    assert issubclass(ClosedError, WriteError)


def test_a_value_error_says_what_where_and_what_to_do():
    error = LogValueError("a scalar holds 1 number, got shape (2, 3)", "Reduce it first.").located(
        "model/loss", "m.py:42"
    )
    assert str(error) == (
        "Cannot log 'model/loss': a scalar holds 1 number, got shape (2, 3). Reduce it first. (Logged at m.py:42.)"
    )
    assert (error.path, error.origin) == ("model/loss", "m.py:42")
    assert (error.problem, error.fix) == ("a scalar holds 1 number, got shape (2, 3)", "Reduce it first.")


def test_a_value_error_says_no_more_than_is_known():
    assert str(LogValueError("it is empty")) == "it is empty."


def test_locating_an_error_keeps_its_cause_and_an_origin_that_is_known():
    cause = KeyError("x")
    error = LogValueError("it is empty", origin="m.py:1")
    error.__cause__ = cause
    located = error.located("a/b")
    assert located.__cause__ is cause
    assert located.origin == "m.py:1"
    assert error.path == ""


def test_a_format_error_names_the_file_and_the_byte():
    assert str(FormatError("bad checksum", path="log", offset=12)) == "log, byte 12: bad checksum"
    assert str(FormatError("bad checksum")) == "data, byte 0: bad checksum"


@pytest.mark.parametrize(
    "error",
    [
        LogValueError("problem", "fix", path="a/b", origin="m.py:1"),
        FormatError("message", path="log", offset=3),
        WriteError("message"),
        ConfigError("message"),
    ],
)
def test_an_error_is_the_same_after_pickling(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
