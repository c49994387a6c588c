"""Which columns ``mlog eval`` looks at, and who judges, of its arguments."""

import argparse

from ml.evaluation.judging import Classification, Detection, Judge
from ml.evaluation.samples import Roles, Samples


def roles_of(arguments: argparse.Namespace) -> Roles:
    """Returns which columns say what."""
    return Roles(key=arguments.key, truth=arguments.truth, predicted=arguments.predicted)


def judge_of(samples: Samples, arguments: argparse.Namespace) -> Judge:
    """Returns who judges predictions of their kind.

    Raises:
        ConfigError: A threshold is out of its range.
    """
    if samples.is_boxed:
        return Detection(iou_threshold=arguments.iou, min_score=arguments.score)
    return Classification()
