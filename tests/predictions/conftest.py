"""What the tests of predictions share: real photographs, and loggers that are closed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ml.predictions.config import LocalConfig, PredictionLoggerConfig
from ml.predictions.logger import PredictionLogger


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A photograph, shape (512, 512, 3), uint8, RGB."""
    from skimage import data

    return np.asarray(data.astronaut())


@pytest.fixture
def make_logger(tmp_path: Path) -> Iterator[Callable[..., PredictionLogger]]:
    """Makes loggers that keep files below ``tmp_path / "predictions"``; closes them in the end."""
    loggers: list[PredictionLogger] = []

    def make(
        *,
        clock: Callable[[], float] | None = None,
        wall_clock: Callable[[], float] | None = None,
        **settings: object,
    ) -> PredictionLogger:
        settings = {
            "device_name": "camera",
            "min_free_bytes": 0,
            "local": LocalConfig(str(tmp_path / "predictions")),
            "on_error": "raise",
        } | settings
        clocks = {name: each for name, each in (("clock", clock), ("wall_clock", wall_clock)) if each is not None}
        loggers.append(PredictionLogger(PredictionLoggerConfig(**settings), **clocks))
        return loggers[-1]

    yield make
    for logger in loggers:
        logger.close()
