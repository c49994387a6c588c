"""Finds faces in photographs and reads digits, and keeps every prediction: as files, in a real S3 server, as a stream.

The detector is scikit-image's cascade, the classifier scikit-learn's, the images come with both. A subscriber in
another process prints what is streamed. In the end every place must have every record, or this exits with 1.
"""

import argparse
import json
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from skimage import data
from skimage.exposure import adjust_gamma
from skimage.feature import Cascade
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

from ml.cli.main import main as mlog
from ml.io.store import Store, StoreConfig, open_store
from ml.predictions import (
    CloudConfig,
    Filters,
    InferenceDevice,
    LocalConfig,
    Logged,
    PredictionLogger,
    PredictionLoggerConfig,
    StreamConfig,
    VisionModelType,
    open_predictions,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from s3_server import S3Server, s3_server  # noqa: E402

FACES, DIGITS, SELF_TEST = "lbp-faces", "digits", "self-test"
VERSION = "1.0"
DEVICE = "demo"
BUCKET = "predictions"
MADE = ("records", "self-test", "spool", "s3", "coco")
"""Folders that are made anew each time."""

DIGIT_IMAGES, DIGIT_PX = 40, 64
PORTRAITS, PORTRAIT_PX, PORTRAITS_A_ROW = 12, 96, 4
SAME_FACE = 0.3
"""Of two boxes, the share of their common area in the whole of it from which on they are the same face."""

SUBSCRIBER_S = 30.0
"""How long it has for the last record, once that was published."""


Futures = list["Future[Logged] | None"]


class Face(NamedTuple):
    """A square, in pixels, and how sure it is that it holds a face."""

    x: int
    y: int
    side: int
    confidence: float

    def likeness(self, other: "Face") -> float:
        """Returns the common area of both, as a share of the whole of it."""
        width = min(self.x + self.side, other.x + other.side) - max(self.x, other.x)
        height = min(self.y + self.side, other.y + other.side) - max(self.y, other.y)
        common = max(0, width) * max(0, height)
        return common / (self.side**2 + other.side**2 - common)


class FaceDetector:
    """The cascade says yes or no; its confidence is how often it does: of the image, mirrored, lighter and darker."""

    def __init__(self) -> None:
        self._cascade = Cascade(data.lbp_frontal_face_cascade_filename())

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Returns the faces in an image, shape (H, W) or (H, W, 3), uint8."""
        width = image.shape[1]
        mirrored = [
            face._replace(x=width - face.x - face.side) for face in self._found(np.ascontiguousarray(image[:, ::-1]))
        ]
        tries = [self._found(image), mirrored, *(self._found(adjust_gamma(image, gamma)) for gamma in (0.7, 1.4))]
        faces: list[Face] = []
        for face in (face for found in tries for face in found):
            if not any(face.likeness(known) > SAME_FACE for known in faces):
                agreeing = sum(any(face.likeness(other) > SAME_FACE for other in found) for found in tries)
                faces.append(face._replace(confidence=agreeing / len(tries)))
        return faces

    def _found(self, image: np.ndarray) -> list[Face]:
        squares = self._cascade.detect_multi_scale(
            image, scale_factor=1.2, step_ratio=1.3, min_size=(48, 48), max_size=(200, 200)
        )
        return [Face(square["c"], square["r"], square["width"], 0.0) for square in squares]


def photographs() -> Iterator[np.ndarray]:
    """Yields photographs: an astronaut and sheets of portraits; a man from aside, a cat, a cup of coffee, a rocket."""
    yield data.astronaut()
    portraits = data.lfw_subset()[:100]
    for first in range(0, 4 * PORTRAITS, PORTRAITS):
        yield sheet_of_portraits(portraits[first : first + PORTRAITS])
    yield from (data.camera(), data.chelsea(), data.coffee(), data.rocket())


def sheet_of_portraits(portraits: np.ndarray) -> np.ndarray:
    """Returns portraits, shape (N, 25, 25), in [0, 1], as one gray image of 8 bits."""
    large = [
        np.asarray(Image.fromarray((portrait * 255).astype(np.uint8)).resize((PORTRAIT_PX, PORTRAIT_PX)))
        for portrait in portraits
    ]
    rows = [np.hstack(large[first : first + PORTRAITS_A_ROW]) for first in range(0, len(large), PORTRAITS_A_ROW)]
    return np.vstack(rows)


class Digits(NamedTuple):
    """A classifier of images, shape (N, 64), in 0 ... 16, and images that it has not seen."""

    classifier: Pipeline
    images: np.ndarray


def learn_digits() -> Digits:
    digits = load_digits()
    seen, unseen, of_seen, _ = train_test_split(digits.data, digits.target, test_size=DIGIT_IMAGES, random_state=0)
    return Digits(make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=200)).fit(seen, of_seen), unseen)


def log_faces(predictions: PredictionLogger) -> Futures:
    detector = FaceDetector()
    futures = []
    for image in photographs():
        start_s = time.perf_counter()
        faces = detector(image)
        future = predictions.log(
            image,
            VisionModelType.DETECTION,
            FACES,
            VERSION,
            latency=1000 * (time.perf_counter() - start_s),
            inference_device=InferenceDevice.CPU,
            detection=[box_of(face) for face in faces],
        )
        futures.append(future)
    return futures


def box_of(face: Face) -> dict[str, object]:
    return {
        "x": face.x,
        "y": face.y,
        "width": face.side,
        "height": face.side,
        "confidence": face.confidence,
        "classification": {"face": face.confidence},
    }


def log_digits(predictions: PredictionLogger, digits: Digits) -> Futures:
    """Logs what each image is taken for; the last one, which is none of a digit, is an error."""
    futures = []
    for pixels in [*digits.images, data.coins().ravel()]:
        probabilities, error_message = {}, ""
        start_s = time.perf_counter()
        try:
            (found,) = digits.classifier.predict_proba([pixels])
            probabilities = {str(digit): float(probability) for digit, probability in enumerate(found)}
        except ValueError as error:
            error_message = str(error)
        future = predictions.log(
            data.coins() if error_message else picture_of(pixels),
            VisionModelType.CLASSIFICATION,
            DIGITS,
            VERSION,
            latency=1000 * (time.perf_counter() - start_s),
            inference_device=InferenceDevice.CPU,
            classification=probabilities,
            error_message=error_message,
        )
        futures.append(future)
    return futures


def picture_of(pixels: np.ndarray) -> np.ndarray:
    """Returns the image of a digit, enlarged, in 8 bits."""
    image = Image.fromarray((pixels.reshape(8, 8) * 255 / 16).astype(np.uint8))
    return np.asarray(image.resize((DIGIT_PX, DIGIT_PX), Image.Resampling.NEAREST))


class Subscriber:
    """``mlog predictions tail`` in another process, which ends with this context."""

    def __init__(self, port: int) -> None:
        command = [str(Path(sys.executable).with_name("mlog")), "predictions", "tail", f"127.0.0.1:{port}", DEVICE]
        self._process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
        self._heard = threading.Event()
        self._ids: list[str] = []
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_until_it_hears(self, predictions: PredictionLogger, elsewhere: Path) -> None:
        """Logs self-tests until one has arrived: whoever subscribes gets what is published from then on.

        Args:
            predictions: The publisher.
            elsewhere: Where their files go.

        Raises:
            TimeoutError: It does not.
        """
        end_s = time.monotonic() + SUBSCRIBER_S
        while not self._heard.wait(0.1):
            if time.monotonic() > end_s:
                raise TimeoutError("The subscriber has received nothing.")
            predictions.log(None, VisionModelType.NONE, SELF_TEST, VERSION, directory=elsewhere)

    def ids(self, count: int) -> list[str]:
        """Returns the ids of the records of both models, once there are ``count``, or none came for too long."""
        with self._came:
            self._came.wait_for(lambda: len(self._ids) >= count, SUBSCRIBER_S)
            return list(self._ids)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            record = json.loads(line)
            self._heard.set()
            if record["model"]["name"] != SELF_TEST:
                with self._came:
                    self._ids.append(record["record_id"])
                    self._came.notify_all()

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()


def logger_of(directory: Path, store: StoreConfig, port: int) -> PredictionLogger:
    return PredictionLogger(
        PredictionLoggerConfig(
            device_name=DEVICE,
            on_full="wait",
            on_error="raise",
            min_free_bytes=0,
            local=LocalConfig(str(directory / "records")),
            cloud=CloudConfig(store, spool_directory=str(directory / "spool")),
            stream=StreamConfig(port=port),
        )
    )


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def run(directory: Path, server: S3Server) -> bool:
    """Logs to all places; returns whether all have the same records."""
    server.make_bucket(BUCKET)
    store = StoreConfig(
        f"s3://{BUCKET}",
        endpoint_url=server.endpoint_url,
        region=server.region,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
    )
    digits, port = learn_digits(), free_port()
    with Subscriber(port) as subscriber, logger_of(directory, store, port) as predictions:
        subscriber.wait_until_it_hears(predictions, directory / "self-test")
        futures = [*log_faces(predictions), *log_digits(predictions, digits)]
        logged = [future.result().record_id for future in futures if future is not None]
        is_stored = predictions.flush(60)
        streamed = subscriber.ids(len(logged))
    places = {
        "logged": logged,
        "files": ids_in(str(directory / "records")),
        "S3": ids_in(open_store(store)),
        "stream": streamed,
    }
    return has_same_records(places) and is_stored


def ids_in(source: str | Store) -> list[str]:
    """Returns the ids of the records of both models in a directory or a store."""
    return [found.record.record_id for found in open_predictions(source) if found.record.model["name"] != SELF_TEST]


def has_same_records(places: dict[str, list[str]]) -> bool:
    """Prints what each place has; returns whether all have the same as the first, each once."""
    expected = sorted(places["logged"])
    for place, ids in places.items():
        problem = "" if sorted(ids) == expected else f": {len(set(expected) - set(ids))} are missing"
        print(f"{place:7} {len(ids):4} records, {len(set(ids)):4} different{problem}")
    return all(sorted(ids) == expected for ids in places.values())


def export(directory: Path) -> None:
    """Makes what people look at, as they would."""
    records = str(directory / "records")
    astronaut = next(iter(open_predictions(records).select(Filters(model=FACES))))
    show("ls", records, "--model", FACES)
    show("ls", records, "--model", DIGITS, "--max-confidence", "0.8")
    show("ls", records, "--errors")
    show("show", astronaut.record.record_id, records, "--png", str(directory / "astronaut.png"))
    show("export", records, str(directory / "sheet.html"), "--to", "html")
    show("export", records, str(directory / "coco"), "--to", "coco", "--images", "--model", FACES)


def show(*arguments: str) -> None:
    """Prints a command of ``mlog predictions`` and does it.

    Raises:
        SystemExit: It failed.
    """
    print(f"\n$ mlog predictions {shlex.join(arguments)}", flush=True)
    if status := mlog(["predictions", *arguments]):
        raise SystemExit(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path("runs/predictions"),
        help="for everything; what an earlier demo has left there is removed",
    )
    directory = parser.parse_args().directory
    for name in MADE:
        shutil.rmtree(directory / name, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    with s3_server(directory / "s3") as server:
        if not run(directory, server):
            sys.exit("The places do not have the same records.")
    export(directory)
    sheet, s3 = shlex.quote(str(directory / "sheet.html")), shlex.quote(str(directory / "s3"))
    print(
        f"\nOpen {sheet} in a browser. What is in S3 shows, with its server started for it,\n"
        f".venv/bin/python tests/s3_server.py {s3} 0 -- .venv/bin/mlog predictions ls s3://{BUCKET} --model {FACES}"
    )


if __name__ == "__main__":
    main()
