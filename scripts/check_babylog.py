"""Exchanges records with the published package ``babylog``, both ways: ``scripts/check_babylog.py PYTHON [KEEP]``.

PYTHON is an interpreter that has ``babylog``. The package logs predictions, which are read here, and reads some that
were encoded here; whatever differs is told, and the exit status says whether anything does. The records are left in
the folder KEEP: that is how ``tests/golden/predictions`` was made.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.logged import LoggedPrediction
from ml.predictions.record import Box, Class, Draft, encode_record

MAX_MEAN_ERROR = 3.0
"""Of 255, of the quartered picture below at JPEG's quality 95."""

CONFIG = """
device: {ip: 127.0.0.1, port: 0, name: camera, group: factory}
data: {interval: 0, max_workers: 1}
S3_storage: {aws_access_key_id: none, aws_secret_access_key: none, bucket_name: none, bucket_region: none}
"""
# Runs in PYTHON: importing the package writes ./babylog, and it logs to standard error.
WRITE = """
import sys, numpy as np
from babylog import Babylog
from babylog.protobuf import InferenceDevice, VisionModelType
picture = np.load("picture.npy")[..., ::-1]  # BGR
logger = Babylog("config.yaml")
logger.log(picture, VisionModelType.CLASSIFICATION, "resnet", "1.0", timestamp=1700000000123,
           classification={"cat": 0.75, "dog": 0.25}).result()
box = dict(x=8, y=4, width=20, height=30, confidence=0.5, classification={"cat": 0.75, "dog": 0.25})
logger.log(picture, VisionModelType.DETECTION, "yolo", "2.0", timestamp=1700000000456, prediction=picture, latency=7,
           inference_device=InferenceDevice.CUDA, error_message="too hot", detection=[box]).result()
logger.shutdown()
"""
READ = """
import json, numpy as np
from babylog import LoggedPrediction
one = LoggedPrediction.from_path("ours.bin")
np.save("read.npy", one.image)
print(json.dumps(dict(model=one.model, inference_stats=one.inference_stats, device_details=one.device_details,
                      classification=one.classification, detection=one.detection, timestamp=one.timestamp,
                      prediction=one.prediction.shape)))
"""


def quartered() -> np.ndarray:
    """Returns a picture, shape (48, 64, 3): red, green, blue and white quarters."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32, 0] = picture[:24, 32:, 1] = picture[24:, :32, 2] = picture[24:, 32:] = 255
    return picture


def our_draft() -> Draft:
    """Returns what is encoded here: everything that the package knows too."""
    return Draft(
        record_id="01HF7YAT3C0123456789ABCDEF",
        run_id="a run",
        timestamp_ms=1700000000789,
        logged_at_us=1700000000789012,
        model_type=VisionModelType.DETECTION,
        model_name="yolo",
        model_version="2.0",
        device_name="camera",
        device_group="factory",
        image=quartered(),
        prediction=quartered()[:24],
        latency_ms=7.375,
        inference_device=InferenceDevice.CUDA,
        error_message="too hot",
        classification=(Class("indoors", 0.875),),
        detection=(Box(8.25, 4.5, 20.5, 30.0, 0.5, (Class("cat", 0.75), Class("dog", 0.25))),),
    )


def main(python: str, keep: str = "") -> int:
    differences: list[str] = []

    def same(what: str, found: object, expected: object) -> None:
        if found != expected:
            differences.append(f"{what}: {found!r} is not {expected!r}")

    def alike(what: str, found: np.ndarray | None, expected: np.ndarray) -> None:
        error = np.abs(np.subtract(found, expected, dtype=float)).mean() if found is not None else np.inf
        print(f"{what}: mean error {error:.2f} of 255")
        if error > MAX_MEAN_ERROR:
            differences.append(f"{what}: mean error {error}")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "picture.npy", quartered())
        (folder / "config.yaml").write_text(CONFIG)
        (folder / "ours.bin").write_bytes(encode_record(our_draft(), "ours.bin").data)

        subprocess.run([python, "-c", WRITE], cwd=folder, check=True, stderr=subprocess.DEVNULL)
        classes = [{"class_name": "cat", "probability": 0.75}, {"class_name": "dog", "probability": 0.25}]
        box = {"x": 8, "y": 4, "width": 20, "height": 30, "confidence": 0.5, "classification": classes}
        for kind, results in (("CLASSIFICATION", (classes, [])), ("DETECTION", ([], [box]))):
            (path,) = (folder / "babylog" / kind).rglob("*.bin")
            path = path.rename(folder / f"babylog_{kind.lower()}.bin")
            theirs = LoggedPrediction.from_path(path)
            theirs.verify()
            same(f"their {kind}", (theirs.classification, theirs.detection), results)
            same("their device", theirs.device_details, {"device_name": "camera", "group_name": "factory"})
            alike(f"their {kind}, its image", theirs.image, quartered())

        printed = subprocess.run([python, "-c", READ], cwd=folder, check=True, capture_output=True, text=True).stdout
        stats = {"latency": 7, "inferenceDevice": "CUDA", "errorMessage": "too hot"}
        classes = [{"className": "cat", "probability": 0.75}, {"className": "dog", "probability": 0.25}]
        box = {"x": 8, "y": 4, "width": 20, "height": 30, "confidence": 0.5, "classificationResult": classes}
        expected = {
            "model": {"type": "DETECTION", "name": "yolo", "version": "2.0"},
            "inference_stats": stats,
            "device_details": {"deviceName": "camera", "groupName": "factory"},
            "classification": [{"className": "indoors", "probability": 0.875}],
            "detection": [box],
            "timestamp": 1700000000789,
            "prediction": [24, 64, 3],
        }
        same("what they read of ours", json.loads(printed.splitlines()[-1]), expected)
        alike("ours, the image as they read it", np.load(folder / "read.npy")[..., ::-1], quartered())
        if keep:
            for path in folder.glob("*.bin"):
                shutil.copy(path, keep)
    print("\n".join(differences) or "no difference")
    return 1 if differences else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
