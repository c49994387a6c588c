import json
import subprocess
import sys
from pathlib import Path

import pytest

from ml.predictions import Filters, open_predictions

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_has_every_record_in_each_place_and_leaves_what_people_look_at(tmp_path):
    command = [sys.executable, ROOT / "scripts/demo_predictions.py", "--directory", tmp_path / "demo"]

    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    counted = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()[:4]}
    assert counted == dict.fromkeys(("logged", "files", "S3", "stream"), "50")
    predictions = open_predictions(tmp_path / "demo/records")
    astronaut, *others = predictions.select(Filters(model="lbp-faces"))
    left, top, right, bottom = astronaut.record.boxes[0]
    assert left < 220 < right
    assert top < 110 < bottom  # her nose
    assert sum(bool(len(found.record.boxes)) for found in others) == 4  # the sheets of portraits
    assert len(list(predictions.select(Filters(model="digits", is_error=True)))) == 1
    assert (tmp_path / "demo/astronaut.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "demo/sheet.html").read_text().count("<img") == 50
    assert len(json.loads((tmp_path / "demo/coco/annotations.json").read_text())["images"]) == 9


@pytest.mark.slow
def test_the_demo_fails_where_a_place_lacks_a_record(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from demo_predictions import has_same_records

    assert has_same_records({"logged": ["a", "b"], "S3": ["b", "a"]})
    assert not has_same_records({"logged": ["a", "b"], "S3": ["b"]})
    assert "1 are missing" in capsys.readouterr().out
    assert not has_same_records({"logged": ["a", "b"], "stream": ["a", "b", "b"]})
