from pathlib import Path

import pytest

from tests.browser import Browse, browser


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Opens a page in a browser, and returns what a function says of it."""
    return browser(tmp_path)
