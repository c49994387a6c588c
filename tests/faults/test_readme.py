"""The table of faults is true: every row has its line, every test that is named is there."""

import re
from pathlib import Path

import pytest

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
ROWS = {*range(1, 65), 79, 82, 83}
LINES = {
    int(line.split("|")[1]): line
    for line in (HERE / "README.md").read_text().splitlines()
    if line[:3] != "| #" and re.match(r"\| \d+ \|", line)
}


def named_tests(line: str) -> list[tuple[Path, str]]:
    """Returns the file and the name of every test that a line of the table names."""
    found, path = [], None
    for name in re.findall(r"`([\w/.]*(?:\.py)?::\w+)`", line):
        file, test = name.split("::")
        if file:
            path = ROOT / file if "/" in file else HERE / file
        assert path is not None, f"{test} has no file"
        found.append((path, test))
    return found


def test_every_row_has_its_line():
    assert set(LINES) == ROWS


@pytest.mark.parametrize("row", sorted(LINES))
def test_every_test_that_a_row_names_is_there(row):
    for path, test in named_tests(LINES[row]):
        assert re.search(rf"def {test}\b", path.read_text()), f"{path} has no {test}"
