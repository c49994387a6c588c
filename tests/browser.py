"""What a browser makes of a page: a headless Chromium, where there is one."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LIMIT_S = 60.0

Browse = Callable[[bytes, str], Any]


def browser(directory: Path) -> Browse:
    """Returns what opens a page in a frame, runs a function of JavaScript on its document, and returns its result.

    The page's own policy forbids programs, so what looks at it stands outside of the frame.

    Args:
        directory: Where the browser keeps its files.
    """
    if CHROMIUM is None:
        pytest.skip("chromium is not on PATH: apt-get install chromium")

    def run(page: bytes, function: str) -> Any:
        frame = f'<iframe srcdoc="{escape(page.decode())}" width="800" height="600"></iframe>'
        asking = (
            "const frame = document.querySelector('iframe');"
            "addEventListener('load', () => { document.querySelector('#said').textContent ="
            f" JSON.stringify(({function})(frame.contentDocument, frame.contentWindow)); }});"
        )
        around = directory / "around.html"
        around.write_text(f"<!DOCTYPE html><pre id=said></pre>{frame}<script>{asking}</script>", "utf-8")
        ran = subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                f"--user-data-dir={directory / 'profile'}", "--dump-dom", around.as_uri(),
            ],
            capture_output=True, text=True, timeout=LIMIT_S, check=True,
        )  # fmt: skip
        said = re.search(r'<pre id="said">(.*?)</pre>', ran.stdout, re.DOTALL)
        assert said is not None, ran.stderr
        return json.loads(unescape(said[1]))

    return run
