"""Shows a prediction among the values that a component logs: the image with its boxes, and the latency."""

import numpy as np

from ml.loggers.multi import MultiLogger
from ml.predictions.parts import most_probable
from ml.predictions.record import Box, Draft


def show(draft: Draft, logger: MultiLogger) -> None:
    """Logs the image of a prediction under its model's name, and its latency under ``<model>/latency(ms)``.

    Args:
        draft: The prediction, whose arrays nobody changes any more.
        logger: The component that it is logged to; rate limits are those of its backends.
    """
    name = draft.model_name or draft.model_type.name.lower()
    if draft.image is not None:
        picture = draft.image if draft.image.ndim == 2 else np.moveaxis(draft.image, 2, 0)  # (C, H, W): never ambiguous
        boxes = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in draft.detection]
        labels = [_label(box) for box in draft.detection]
        scores = [box.confidence for box in draft.detection]
        best = most_probable(draft.classification)
        if boxes:
            logger.log_image(name, picture, boxes=boxes, labels=labels, scores=scores)
        elif best is not None:
            logger.log_labeled_image(name, (picture, f"{best.class_name} {best.probability:.2f}"))
        else:
            logger.log_image(name, picture)
    if draft.latency_ms is not None:
        logger.log_scalar(f"{name}/latency(ms)", draft.latency_ms)


def _label(box: Box) -> str:
    best = most_probable(box.classes)
    return "" if best is None else best.class_name
