"""What a line of the terminal and of ``stdout.log`` looks like."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.core.state import State
from ml.loggers.lines import LineFormat, Logged, duration, number, quoted, visible


def logged(step=0, /, **values):
    return [Logged(step, tag, value) for tag, value in values.items()]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25312, "0.2531"),
        (0.0, "0.000"),
        (-1.0, "-1.000"),
        (0.99996, "1.000"),
        (12.345, "12.35"),
        (123456.7, "123457"),
        (1.5e7, "1.500e+07"),
        (0.001, "0.001000"),
        (0.0003, "3.000e-04"),
        (5e-324, "4.941e-324"),
        (120, "120"),
        (True, "1"),
        (-(10**18), "-1000000000000000000"),
        (10**19, "1.000e+19"),
    ],
)
def test_a_number_has_four_significant_digits_and_a_whole_one_no_decimals(value, text):
    assert number(value, 4) == text


def test_a_whole_number_may_be_longer_than_python_writes():
    assert number(-(10**5000), 4) == "-1.000e+5000"


@given(st.floats(-1e307, 1e307), st.integers(1, 17))
def test_a_number_reads_back_within_its_precision(value, precision):
    assert float(number(value, precision)) == pytest.approx(value, rel=0.5001 * 10 ** (1 - precision), abs=5e-324)


def test_not_a_number_and_infinities_are_named():
    line = LineFormat(precision=4).line(State(), logged(a=float("nan"), b=float("inf"), c=float("-inf")))

    assert str(line).endswith("a nan  b inf  c -inf")


def test_a_value_of_another_step_is_marked_and_keeps_its_column():
    lines = LineFormat(precision=4)
    marked = lines.line(State(num_steps=9), [*logged(7, loss=0.5, n=3), *logged(9, lr=1.5), *logged(8, note="x")])
    plain = lines.line(State(num_steps=9), logged(9, loss=0.25, n=12, lr=2.5))

    assert str(marked).endswith('step 9  epoch 0  0:00:00  loss 0.5000 @7  n 3 @7  lr 1.500  note "x" @8')
    assert str(plain).endswith("step 9  epoch 0  0:00:00  loss 0.2500     n   12  lr 2.500")


def test_hours_count_on_past_a_day():
    assert [duration(seconds) for seconds in (0.9, 61, 3600, 100_000)] == ["0:00:00", "0:01:01", "1:00:00", "27:46:40"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[31mred\x07\x7f\x9b", r"\x1b[31mred\x07\x7f\x9b"),
        ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
        ("line\u2028break", r"line\u2028break"),
        ("lone \ud800", r"lone \ud800"),
        ("é 漢字 👩‍🔬", "é 漢字 👩‍🔬"),
    ],
)
def test_what_would_move_colour_or_reorder_the_line_is_shown_not_sent(text, shown):
    assert visible(text) == shown


def test_escapes_are_the_same_across_the_chunks_of_a_long_text():
    text = "a" * 65_535 + "\n\x1b" + "b" * 70_000

    assert visible(text) == "a" * 65_535 + r"\n\x1b" + "b" * 70_000


@given(st.text(st.characters()))
def test_any_text_stays_one_line_and_ends_where_its_quotes_end(text):
    shown = quoted(text)

    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) == 1
    assert re.fullmatch(r'"([^"\\]|\\.)*"', shown)


def test_a_text_cannot_pass_for_another_value():
    line = LineFormat(precision=4).line(State(), logged(loss=0.5, note='x"  loss 0.0'))

    assert str(line).endswith(r'loss 0.5000  note "x\"  loss 0.0"')


def test_a_value_keeps_its_column_when_it_and_its_neighbours_get_shorter():
    lines = LineFormat(precision=4)
    first = str(lines.line(State(num_steps=9), logged(9, lr=0.0003, n=128, loss=1.5)))
    second = str(lines.line(State(num_steps=9), logged(9, loss=2.5, lr=0.1, n=5)))

    assert first == "train  step 9  epoch 0  0:00:00  lr 3.000e-04  n 128  loss 1.500"
    assert second == "train  step 9  epoch 0  0:00:00  lr 0.1000     n   5  loss 2.500"


def test_columns_of_one_phase_do_not_move_those_of_another():
    lines = LineFormat(precision=4)
    lines.line(State(phase="valid"), logged(loss=0.000123, a=1))

    assert str(lines.line(State(), logged(a=1, loss=0.5))).endswith("a 1  loss 0.5000")


def test_what_is_remembered_of_keys_that_never_come_again_is_bounded():
    lines = LineFormat(precision=4)
    for index in range(3000):
        lines.line(State(), logged(**{f"key{index}": 10**9}))

    assert str(lines.line(State(), logged(key0=1))).endswith("key0 1")


def test_a_cut_string_says_how_long_it_was_and_numbers_are_never_cut():
    line = LineFormat(precision=4).line(State(), logged(n=123456, fits="abc", long="abcd" * 1000))

    assert str(line.shortened(3)).endswith('n 123456  fits "abc"  long "abc…" (4,000 characters)')
