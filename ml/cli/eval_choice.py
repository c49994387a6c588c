"""Which columns ``mlog eval`` looks at, and who judges, of its arguments."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from ml.core.errors import ConfigError
from ml.evaluation.judging import Classification, Detection, Judge
from ml.evaluation.samples import RoleError, Roles, Samples


def roles_of(arguments: argparse.Namespace) -> Roles:
    """Returns which columns say what."""
    return Roles(key=arguments.key, truth=arguments.truth, predicted=arguments.predicted)


def judge_of(samples: Samples, arguments: argparse.Namespace) -> Judge:
    """Returns who judges predictions of their kind.

    Raises:
        ConfigError: A threshold is out of its range.
    """
    if not 0 < arguments.iou <= 1:
        raise ConfigError(f"--iou takes a part of 1 such as 0.5, got {arguments.iou:g}.")
    if arguments.score != arguments.score:
        raise ConfigError(f"--score takes a number, got {arguments.score:g}.")
    if samples.is_boxed:
        return Detection(iou_threshold=arguments.iou, min_score=arguments.score)
    return Classification()


def bins_of(arguments: argparse.Namespace) -> int:
    """Returns into how many quantiles numbers are put.

    Raises:
        ConfigError: There are none.
    """
    bins = int(arguments.bins)
    if bins < 1:
        raise ConfigError(f"--bins takes 1 or more, got {bins}.")
    return bins


@contextmanager
def roles_are_arguments() -> Iterator[None]:
    """Has errors name the arguments that say which column is for what, as a command is typed.

    Raises:
        ConfigError: Instead of a ``RoleError``.
    """
    try:
        yield
    except RoleError as error:
        raise ConfigError(error.told(f"--{error.role}")) from error
