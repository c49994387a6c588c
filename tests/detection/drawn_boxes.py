"""Boxes that hypothesis draws: on a coarse grid, so that scores and IoUs often are equal, or on a threshold."""

import numpy as np
from hypothesis import strategies as st

from ml.detection.boxes import Detections

SCORES = (0.0, 0.25, 0.5, 0.75, 1.0)


def grid_boxes(max_count=8, side=6, min_size=0):
    """Shape (N, 4); a box may be empty if ``min_size`` is 0."""
    spans = st.tuples(st.integers(0, side - 1), st.integers(min_size, side)).map(lambda at: (at[0], at[0] + at[1]))
    boxes = st.tuples(spans, spans).map(lambda box: (box[0][0], box[1][0], box[0][1], box[1][1]))
    return st.lists(boxes, max_size=max_count).map(lambda drawn: np.array(drawn, np.float64).reshape(-1, 4))


def detections(max_count=8, labels=(0, 1, 2), scores=SCORES):
    """Boxes with area, of three classes, with scores that often are equal."""

    def of_boxes(boxes):
        count = len(boxes)
        return st.builds(
            Detections,
            st.just(boxes),
            st.lists(st.sampled_from(labels), min_size=count, max_size=count),
            st.lists(st.sampled_from(scores), min_size=count, max_size=count),
        )

    return grid_boxes(max_count, min_size=1).flatmap(of_boxes)
