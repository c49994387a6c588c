"""The figures of the last runs, ``docs/benchmarks.json``, which the page is made from."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = DOCS / "benchmarks.json"


def load_results() -> dict[str, dict]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def save_results(section: str, figures: dict[str, object], *, quick: bool) -> None:
    """Replaces one section; the others stay as they are, each with the machine and the day of its run."""
    made = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "system": f"{platform.system()}, {os.cpu_count()} cores",
        "quick": quick,
    }
    results = {**load_results(), section: {"made": made, **figures}}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
