"""Predictions in a real object store: every one, once, and the secret nowhere."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml.predictions import (
    CloudConfig,
    LocalConfig,
    LoggedPrediction,
    PredictionLogger,
    PredictionLoggerConfig,
    StoreConfig,
    VisionModelType,
    open_predictions,
)

PROGRAM = Path(__file__).parent / "programs" / "log_many.py"
SECRET = "wJalrXUtnFEMI-K7MDENG+bPxRfiCY/EXAMPLEKEY"


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_eight_threads_in_each_of_two_processes_give_as_many_files_and_objects(
    s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
):
    url = f"s3://{s3.name}/all"
    for name, value in s3.server.environ.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, str(PROGRAM), str(tmp_path / "local"), url, str(count), "8"]

    programs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    written = [json.loads(program.communicate(timeout=900)[0]) for program in programs]

    local = {found.record.record_id for found in open_predictions(tmp_path / "local")}
    remote = {found.record.record_id for found in open_predictions(url)}
    print(f"{count} x 2 records: {len(local)} files, {len(remote)} objects, counted as written {written}")
    assert written == [{"local": count, "cloud": count}] * 2
    assert len(local) == 2 * count
    assert local == remote


def bytes_below(directory: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


@pytest.mark.parametrize("is_right", [True, False])
def test_the_secret_of_the_store_is_in_no_log_error_repr_or_file(
    s3, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], is_right: bool
):
    secret = s3.server.secret_access_key if is_right else SECRET
    store = StoreConfig(
        f"s3://{s3.name}",
        endpoint_url=s3.server.endpoint_url,
        access_key_id=s3.server.access_key_id,
        secret_access_key=secret,
        session_token=None if is_right else f"token-{SECRET}",
    )
    config = PredictionLoggerConfig(
        device_name="camera", min_free_bytes=0, local=LocalConfig(str(tmp_path)), cloud=CloudConfig(store)
    )
    with caplog.at_level(logging.DEBUG):
        predictions = PredictionLogger(config)
        kept = predictions.log(
            np.zeros((8, 8), np.uint8),
            VisionModelType.NONE,
            "m",
            "1",
            error_message=f"denied for {secret}, really: {secret!r}",
        )
        wrong = predictions.log(None, VisionModelType.NONE, secret, 5)  # type: ignore[arg-type]
        is_flushed = predictions.flush(30.0)
        shown = [repr(predictions), repr(config), repr(store), repr(predictions.stats()), str(wrong.exception(0))]
        predictions.close()

    assert is_flushed == is_right
    assert LoggedPrediction.from_path(kept.result(0).path).error_message == "denied for ***, really: '***'"
    printed = capfd.readouterr()
    seen = "\n".join((*shown, caplog.text, printed.out, printed.err)).encode() + bytes_below(tmp_path)
    if is_right:
        seen += b"".join(found.record.record_id.encode() for found in open_predictions(tmp_path))
    else:
        assert "refuses records" in caplog.text
    for form in (secret, repr(secret)[1:-1], secret.replace("/", "%2F").replace("+", "%2B")):
        assert form.encode() not in seen
