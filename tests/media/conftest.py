from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GOLDEN = Path(__file__).parents[1] / "golden" / "media"


@pytest.fixture
def golden() -> Callable[[str], Path]:
    """Finds a golden file by name."""
    return lambda name: GOLDEN / name


@pytest.fixture
def golden_pixels(golden) -> Callable[[str], np.ndarray]:
    """Reads a golden picture as (C, H, W)."""

    def read(name: str) -> np.ndarray:
        pixels = np.asarray(Image.open(golden(name)))
        return pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)

    return read
