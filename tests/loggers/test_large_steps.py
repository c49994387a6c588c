"""A step that logs much fits into the queue by default: what is copied is cut to what is shown."""

import numpy as np
import pytest

from ml.core.run import RunContext
from ml.core.state import State
from ml.loggers import LoggerGroup, MultiLogger
from tests.loggers.helpers import memory


def logged(tmp_path, log):
    kept, component = memory(), MultiLogger("model")
    with LoggerGroup([kept], RunContext(tmp_path)) as logs:
        log(component)
        logs.write([component], State(num_steps=1))
    assert logs.stats()["memory"].dropped == {}
    return kept.entries


def test_the_histograms_of_a_large_model_are_all_written(tmp_path):
    weights = np.linspace(-1, 1, 1_000_000, dtype=np.float32)

    entries = logged(tmp_path, lambda model: [model.log_histogram(f"w{index}", weights) for index in range(60)])

    assert len(entries) == 60


@pytest.mark.parametrize("as_tensor", [False, True], ids=["numpy", "torch"])
def test_two_large_batches_of_pictures_are_both_written(tmp_path, as_tensor):
    batch = np.linspace(0, 2, 64 * 3 * 224 * 224, dtype=np.float32).reshape(64, 3, 224, 224)
    value = pytest.importorskip("torch").from_numpy(batch) if as_tensor else batch

    entries = logged(tmp_path, lambda model: [model.log_images(key, value) for key in ("inputs", "outputs")])

    assert [entry.key for entry in entries] == ["inputs", "outputs"]
    assert (entries[0].value.min(), entries[0].value.max()) == (0, 255), "scaled over the whole batch"
    assert batch.max() == 2, "what was logged is not changed"


def test_a_large_video_takes_a_quarter_of_its_size(tmp_path):
    frames = np.ones((120, 3, 128, 128), dtype=np.float32)

    entries = logged(tmp_path, lambda model: [model.log_video(f"v{index}", frames) for index in range(4)])

    assert len(entries) == 4
