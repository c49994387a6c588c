"""The logger: what ``log`` promises its caller, and what is read back."""

import logging
import math
import os
import signal
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from ml.core.errors import ConfigError, LogValueError, WriteError
from ml.predictions.config import LocalConfig, PredictionLoggerConfig
from ml.predictions.ids import time_of
from ml.predictions.kinds import InferenceDevice, VisionModelType
from ml.predictions.logged import LoggedPrediction
from ml.predictions.logger import PredictionLogger
from ml.testing import FakeClock

CLASSIFICATION, DETECTION = VisionModelType.CLASSIFICATION, VisionModelType.DETECTION
LIMIT_S = 20.0
CAT = {"cat": 0.75, "dog": 0.25}
BOX = {"x": 10, "y": 20, "width": 30, "height": 40, "confidence": 0.5, "classification": {"cat": 0.5}}


def files_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*.bin"))


def test_a_prediction_is_read_back_as_it_was_logged(make_logger, photograph, tmp_path):
    predictions = make_logger(device_group="factory", codec="png", run_id="night")

    logged = predictions.log(
        photograph,
        DETECTION,
        "yolo",
        "1.0.0",
        prediction=photograph[::2, ::2],
        timestamp=1_674_993_193_473,
        latency=12.25,
        inference_device=InferenceDevice.CUDA,
        classification=CAT,
        detection=[BOX],
        error_message="one frame late",
    ).result(LIMIT_S)
    read = LoggedPrediction.from_path(logged.path)

    assert logged.path == str(tmp_path / "predictions" / logged.key)
    assert logged.key.startswith("DETECTION/yolo/1.0.0/factory/camera/2023-01-29/2023-01-29T11-53-13.473Z_")
    assert read.model == {"type": "DETECTION", "name": "yolo", "version": "1.0.0"}
    assert read.device_details == {"device_name": "camera", "group_name": "factory"}
    assert read.timestamp == 1_674_993_193_473
    assert read.inference_stats["latency"] == 12
    assert read.inference_stats["inference_device"] == "CUDA"
    assert read.inference_stats["error_message"] == "one frame late"
    assert read.classification == [
        {"class_name": "cat", "probability": 0.75},
        {"class_name": "dog", "probability": 0.25},
    ]
    assert read.detection == [{**BOX, "classification": [{"class_name": "cat", "probability": 0.5}]}]
    assert (read.record_id, read.run_id) == (logged.record_id, "night")
    assert np.array_equal(read.image, photograph)
    assert np.array_equal(read.prediction, photograph[::2, ::2])


@pytest.mark.parametrize(
    "results",
    [{}, {"classification": CAT}, {"detection": [BOX]}, {"classification": CAT, "detection": [BOX]}, {"detection": []}],
)
@pytest.mark.parametrize("model_type", list(VisionModelType))
@pytest.mark.parametrize("error_message", ["", "out of memory"])
def test_every_combination_of_results_is_kept_whatever_the_type_of_the_model(
    make_logger, model_type, results, error_message
):
    image = np.zeros((8, 8, 3), np.uint8)

    logged = make_logger().log(image, model_type, "m", "1", error_message=error_message, **results).result(LIMIT_S)
    read = LoggedPrediction.from_path(logged.path)

    assert len(read.classification) == len(results.get("classification", ()))
    assert len(read.detection) == len(results.get("detection", ()))
    assert read.error_message == error_message


def test_what_the_caller_changes_later_is_kept_as_it_was(make_logger):
    image, classes, boxes = np.full((64, 64), 7, np.uint8), dict(CAT), [dict(BOX)]

    future = make_logger(codec="png").log(image, DETECTION, "m", "1", classification=classes, detection=boxes)
    image[:] = 9
    classes.clear()
    boxes[0]["x"] = 99
    read = LoggedPrediction.from_path(future.result(LIMIT_S).path)

    assert np.array_equal(read.image, np.full((64, 64), 7, np.uint8))
    assert len(read.classification) == 2
    assert read.detection[0]["x"] == 10


def test_the_same_boxes_can_be_logged_twice(make_logger):
    predictions, boxes = make_logger(), [{**BOX, "classification": dict(CAT)}]

    paths = [
        predictions.log(np.zeros((8, 8), np.uint8), DETECTION, "m", "1", detection=boxes).result(LIMIT_S).path
        for _ in range(2)
    ]

    first, second = (LoggedPrediction.from_path(path).detection for path in paths)
    assert first == second
    assert boxes == [{**BOX, "classification": CAT}]


def test_inside_of_the_interval_nothing_is_kept_and_that_is_counted(make_logger, tmp_path):
    clock = FakeClock()
    predictions = make_logger(clock=clock, interval_ms=100)
    image = np.zeros((8, 8), np.uint8)

    kept = []
    for _ in range(16):
        kept.append(predictions.log(image, CLASSIFICATION, "m", "1", classification=CAT))
        clock.advance(0.0625)
    stats = predictions.close()["local"]

    assert [n for n, future in enumerate(kept) if future is not None] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert len(files_in(tmp_path)) == 8
    assert (stats.accepted, stats.written, stats.skipped) == (8, 8, {"rate_limited": 8})


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"image": np.zeros((5, 6, 7), np.uint8)}, "shape"),
        ({"image": "photo.jpg"}, "numbers"),
        ({"model_type": "DETECTION"}, "model_type"),
        ({"model_name": 5}, "model_name is a text, got 5"),
        ({"detection": [{"x": 1}]}, r"detection\[0\] has no 'y'"),
        ({"classification": 3}, "classification is a sequence"),
        ({"latency": "fast"}, "latency is a number"),
        ({"inference_device": "gpu"}, "inference_device"),
        ({"timestamp": float("nan")}, "timestamp"),
    ],
)
def test_wrong_arguments_cost_that_prediction_and_say_what_was_wrong(make_logger, arguments, problem, caplog):
    good = {"image": np.zeros((4, 4), np.uint8), "model_type": DETECTION, "model_name": "m", "model_version": "1"}
    warning, raising = make_logger(on_error="warn"), make_logger(on_error="raise")

    with pytest.raises(LogValueError, match=problem):
        raising.log(**(good | arguments))
    with caplog.at_level(logging.ERROR, "ml"):
        refused = warning.log(**(good | arguments))
    with pytest.raises(LogValueError, match=problem):
        refused.result(0)
    kept = warning.log(**good).result(LIMIT_S)

    assert Path(kept.path).exists()
    assert warning.close()["local"].failed == {"value": 1}
    assert "A prediction was not logged" in caplog.text


def test_each_kind_of_mistake_is_told_once_with_its_remedy(make_logger, caplog):
    predictions, image = make_logger(on_error="warn"), np.zeros((4, 4), np.uint8)

    for number in range(20):
        predictions.log(image, DETECTION, "m", "1", latency=f"{number} ms")
        predictions.log(image, DETECTION, "m", "1", detection=[{"x": number}])
        predictions.log(image, DETECTION, "m", 1.0)

    told = [record.getMessage() for record in caplog.records if "was not logged" in record.getMessage()]
    assert [next(word for word in ("latency", "detection", "model_version") if word in one) for one in told] == [
        "latency",
        "detection",
        "model_version",
    ]


def test_what_is_found_wrong_while_a_record_is_made_is_raised_by_its_future(make_logger):
    predictions = make_logger(on_error="warn")
    box = {"x": 1, "y": 1, "width": 1, "height": 1, "confidence": 0.5}

    with pytest.raises(LogValueError, match="at most 10000 boxes, got 10001"):
        predictions.log(None, DETECTION, "m", "1", detection=[box] * 10_001).result(LIMIT_S)

    assert predictions.close()["local"].failed == {"value": 1}


@pytest.mark.parametrize("now_s", [1_767_322_445.6789, 1_767_322_445.9999])
def test_a_prediction_is_never_of_a_time_after_it_was_logged(make_logger, now_s):
    logged = make_logger(wall_clock=lambda: now_s).log(None, DETECTION, "m", "1").result(LIMIT_S)
    read = LoggedPrediction.from_path(logged.path)

    assert time_of(read.record_id) == read.time <= read.logged_at


def test_many_threads_give_as_many_files(make_logger, tmp_path):
    predictions, image = make_logger(on_full="wait"), np.zeros((16, 16, 3), np.uint8)
    futures: list[Future] = []

    def log() -> None:
        futures.extend(predictions.log(image, DETECTION, "m", "1", timestamp=0, detection=[BOX]) for _ in range(100))

    threads = [threading.Thread(target=log) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = predictions.close()["local"]

    files = files_in(tmp_path)
    assert len(files) == 800
    assert {LoggedPrediction.from_path(path).record_id for path in files} == {f.result().record_id for f in futures}
    assert stats.written == 800


def test_after_close_a_prediction_is_dropped_and_counted_and_nothing_is_raised(make_logger):
    predictions = make_logger(on_error="warn")
    first = predictions.close()

    late = predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1")

    with pytest.raises(WriteError, match="closed"):
        late.result(0)
    assert first["local"].accepted == 0
    assert predictions.close()["local"].dropped == {"closed": 1}


def test_files_are_whole_while_records_are_written(make_logger, photograph, tmp_path):
    predictions = make_logger(on_full="wait")
    stop = threading.Event()
    damaged: list[Path] = []

    def read() -> None:
        while not stop.is_set():
            for path in files_in(tmp_path):
                try:
                    LoggedPrediction.from_path(path).verify()
                except Exception:
                    damaged.append(path)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        predictions.log(photograph[:128, :128], DETECTION, "m", "1")
    predictions.close()
    stop.set()
    reader.join()

    assert len(files_in(tmp_path)) == 100
    assert damaged == []


def test_the_counts_add_up_when_the_oldest_are_dropped(make_logger, tmp_path):
    predictions = make_logger(max_workers=1, max_queue_bytes=2**20, codec="png", on_error="warn")
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)  # 5 of them fit into the queue

    futures = [predictions.log(image, DETECTION, "m", "1", timestamp=n) for n in range(60)]
    stats = predictions.close()["local"]

    kept = [n for n, future in enumerate(futures) if future.exception(LIMIT_S) is None]
    assert stats.accepted == 60 == stats.written + stats.dropped.get("queue_full", 0)
    assert stats.dropped["queue_full"] > 0
    assert len(kept) == stats.written == len(files_in(tmp_path))
    assert kept[-1] == 59


def test_the_newest_are_dropped_where_that_is_asked_for(make_logger):
    predictions = make_logger(max_workers=1, max_queue_bytes=2**20, codec="png", on_full="drop_newest", on_error="warn")
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)

    futures = [predictions.log(image, DETECTION, "m", "1", timestamp=n) for n in range(60)]
    stats = predictions.close()["local"]

    kept = [n for n, future in enumerate(futures) if future.exception(LIMIT_S) is None]
    assert kept[:5] == [0, 1, 2, 3, 4]
    assert stats.accepted == 60 == stats.written + stats.dropped["queue_full"]


def test_a_full_queue_is_waited_for_where_that_is_asked_for(make_logger, tmp_path):
    predictions = make_logger(max_workers=1, max_queue_bytes=2**20, codec="png", on_full="wait")
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)

    for n in range(60):
        predictions.log(image, DETECTION, "m", "1", timestamp=n)

    assert predictions.close()["local"].written == 60 == len(files_in(tmp_path))


def test_a_program_that_waits_for_room_loses_nothing_at_its_end_however_long_that_takes(
    make_logger, monkeypatch, tmp_path
):
    monkeypatch.setattr("ml.predictions.config._CLOSE_TIMEOUT_S", 0.0)  # of programs that do not wait
    predictions = make_logger(max_workers=1, codec="png", on_full="wait")
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)

    for n in range(20):
        predictions.log(image, DETECTION, "m", "1", timestamp=n)

    assert predictions.close()["local"].written == 20 == len(files_in(tmp_path))


def test_a_time_without_end_can_be_waited_for(make_logger):
    predictions = make_logger(close_timeout_s=math.inf)
    predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1")

    assert predictions.flush(math.inf)
    assert predictions.close()["local"].written == 1


def test_a_sink_that_cannot_write_now_gets_its_records_later(make_logger, tmp_path, caplog):
    in_the_way = tmp_path / "predictions"
    in_the_way.write_text("a file where the directory should be")
    predictions = make_logger(on_error="warn")

    future = predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1")
    with pytest.raises(TimeoutError):
        future.result(0.05)
    in_the_way.unlink()
    assert predictions.flush(LIMIT_S)

    assert Path(future.result(0).path).exists()
    assert "cannot write now" in caplog.text


def test_a_forked_child_keeps_nothing_and_does_not_hang(make_logger, tmp_path):
    predictions = make_logger(on_error="warn")
    predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1").result(LIMIT_S)
    child = os.fork()
    if child == 0:
        late = predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1")
        is_right = isinstance(late.exception(0), WriteError)
        predictions.close()
        os._exit(0 if is_right else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(files_in(tmp_path)) == 1


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"local": None}, "needs a sink"),
        ({"codec": "bmp"}, "codec must be one of jpeg, png, webp, got 'bmp'"),
        ({"quality": 0}, "quality must be a number of at least 1 and at most 100, got 0"),
        ({"max_workers": 0}, "max_workers"),
        ({"interval_ms": -1}, "interval_ms"),
        ({"on_full": "drop"}, "on_full must be one of"),
        ({"local": LocalConfig(retention="oldest_first")}, "max_local_bytes, which is not set"),
    ],
)
def test_a_wrong_setting_is_found_before_anything_starts(settings, problem):
    before = threading.active_count()

    with pytest.raises(ConfigError, match=problem):
        PredictionLogger(PredictionLoggerConfig(**settings))

    assert threading.active_count() == before


def test_an_image_without_a_lossless_form_in_the_codec_is_refused(make_logger):
    with pytest.raises(LogValueError, match="webp"):
        make_logger(codec="webp").log(np.zeros((4, 4), np.uint16), DETECTION, "m", "1")


def test_a_secret_of_the_environment_in_an_error_message_is_taken_out(make_logger, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI7K7MDENGbPxRfiCYEXAMPLEKEY")
    predictions = make_logger()

    logged = predictions.log(
        None, DETECTION, "m", "1", error_message="denied for wJalrXUtnFEMI7K7MDENGbPxRfiCYEXAMPLEKEY"
    ).result(LIMIT_S)

    assert LoggedPrediction.from_path(logged.path).error_message == "denied for ***"


@pytest.mark.parametrize("on_full", ["drop_oldest", "drop_newest", "wait"])
def test_a_callback_may_log_again_whatever_happens_when_the_queue_is_full(make_logger, on_full):
    predictions = make_logger(max_workers=2, max_queue_bytes=2**20, codec="png", on_full=on_full, on_error="warn")
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    futures: list[Future] = []

    def log(_: object = None) -> None:
        if len(futures) < 40:
            futures.append(predictions.log(image, DETECTION, "m", "1"))
            futures[-1].add_done_callback(log)

    for _ in range(12):
        log()

    assert predictions.flush(LIMIT_S)
    assert all(future.done() for future in futures)
    stats = predictions.close()["local"]
    assert stats.accepted == len(futures) == stats.written + sum(stats.dropped.values())


def test_a_callback_may_flush_and_close_and_nothing_is_lost(make_logger, tmp_path):
    predictions = make_logger()
    answers: list[bool] = []
    is_told = threading.Event()

    def end(_: object) -> None:
        answers.append(predictions.flush())
        predictions.close()
        is_told.set()

    image = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)  # takes a while to be compressed
    futures = [predictions.log(image, DETECTION, "m", "1")]
    futures[0].add_done_callback(end)  # before it is done: else it would run here
    futures += [predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1") for _ in range(29)]
    assert is_told.wait(LIMIT_S)
    late = predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1")

    assert answers == [False]
    assert all(Path(future.result(LIMIT_S).path).exists() for future in futures)
    assert isinstance(late.exception(0), WriteError)
    stats = predictions.close()["local"]
    assert (stats.written, stats.dropped) == (30, {"closed": 1})


class Hostile(dict):
    """Raises something that nobody expects, whatever is asked of it."""

    def items(self):
        raise KeyError("items")

    def __float__(self):
        raise ZeroDivisionError("float")

    def __repr__(self):
        raise OSError("repr")


def _broken_boxes():
    yield BOX
    raise OSError("the source of the boxes is gone")


@pytest.mark.parametrize(
    "arguments",
    [
        {"classification": Hostile()},
        {"classification": {"cat": Hostile()}},
        {"detection": _broken_boxes()},
        {"latency": Hostile()},
        {"timestamp": Hostile()},
        {"error_message": Hostile()},
        {"directory": 3},
    ],
    ids=["items", "probability", "generator", "latency", "timestamp", "text", "directory"],
)
def test_an_argument_that_raises_costs_that_prediction_alone(make_logger, arguments):
    predictions = make_logger(on_error="warn")

    future = predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1", **arguments)

    assert isinstance(future.exception(0), LogValueError)
    assert predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1").result(LIMIT_S)
    assert predictions.stats()["local"].failed == {"value": 1}


def test_an_image_larger_than_memory_costs_that_prediction_alone(make_logger):
    predictions = make_logger(on_error="warn")
    image = np.broadcast_to(np.zeros(3, np.uint8), (2**20, 2**20, 3))  # takes 3 bytes; its copy would take 3 TiB

    future = predictions.log(image, DETECTION, "m", "1")

    assert isinstance(future.exception(0), LogValueError)


def test_a_close_that_is_interrupted_ends_every_thread_and_answers_every_future(make_logger, tmp_path, monkeypatch):
    predictions = make_logger()
    gate, write = threading.Event(), predictions.sinks.local.write
    before = set(threading.enumerate()) - {thread for thread in threading.enumerate() if "predictions" in thread.name}

    def write_later(records):
        assert gate.wait(LIMIT_S)
        return write(records)

    def interrupt(_: object) -> None:
        gate.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(predictions.sinks.local, "write", write_later)
    futures = [predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1") for _ in range(20)]
    futures[0].add_done_callback(interrupt)
    with pytest.raises(KeyboardInterrupt):
        predictions.close(0.0)

    stats = predictions.close()["local"]
    assert all(future.done() for future in futures)
    assert stats.accepted == 20 == stats.written + sum(stats.dropped.values())
    for thread in set(threading.enumerate()) - before:
        thread.join(LIMIT_S)
        assert not thread.is_alive(), thread


def test_a_child_that_is_forked_in_the_middle_of_a_call_of_another_thread_does_not_wait_for_it(make_logger):
    predictions = make_logger(on_error="warn")
    locks = [predictions._deliveries[0].tally._lock, predictions._sampler._lock, predictions._lock]
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with locks[0], locks[1], locks[2]:
            is_held.set()
            may_end.wait(LIMIT_S)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(LIMIT_S)
    child = os.fork()
    if child == 0:
        signal.alarm(round(LIMIT_S))
        late = predictions.log(np.zeros((4, 4), np.uint8), DETECTION, "m", "1")
        is_right = isinstance(late.exception(0), WriteError) and not predictions.flush()
        os._exit(0 if is_right and predictions.close()["local"].dropped == {"closed": 1} else 1)
    may_end.set()
    thread.join()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
