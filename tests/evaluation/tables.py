"""Tables for tests of artifacts: small, and the same ones every time."""

import numpy as np

from ml.evaluation.table import Table
from ml.evaluation.values import Image


def ground_truth(rows: int = 4) -> Table:
    """Returns a table of pictures and labels."""
    table = Table(["image", "label"], name="val_data")
    for row in range(rows):
        table.add_data(Image(np.full((2, 2, 3), 50 * row, np.uint8)), f"class {row % 2}")
    return table


def predictions(epoch: int, rows: int = 4) -> Table:
    """Returns a table of numbers that differ by epoch."""
    table = Table(["row", "score"], name="eval_data")
    for row in range(rows):
        table.add_data(row, epoch + row / 8)
    return table
