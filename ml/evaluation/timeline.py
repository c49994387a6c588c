"""Versions of predictions in their order: how good each is, and what became of each sample from one to the next."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

from ml.core.errors import ConfigError
from ml.evaluation.artifacts import Artifacts, Version
from ml.evaluation.comparison import Change, change_of, judge_of, pairs_of
from ml.evaluation.judging import Class, Confusion, Figures, Judge, Pair, ordered
from ml.evaluation.layout import parse_ref
from ml.evaluation.samples import FOUND, Roles, Samples

Outcome: TypeAlias = Change | Literal["right", "wrong", "not judged", "missing"]
"""What became of a sample since the version before; ``right`` and ``wrong`` where that cannot say."""

_MISSING: Final = "missing"


class Evaluation(NamedTuple):
    """A version of predictions.

    Attributes:
        name: ``"val_pred:v3"``.
        samples: Its rows.
        aliases: That stand for it.
        metrics: That it was published with.
        created: When that was; ``None``: unknown.
    """

    name: str
    samples: Samples
    aliases: Sequence[str] = ()
    metrics: Mapping[str, float] = {}
    created: datetime | None = None


class Moment(NamedTuple):
    """One version, judged.

    Attributes:
        evaluation: It.
        rows: Of its samples, by key.
        pairs: What is true and what was predicted, by row.
        outcomes: Of all samples of all versions.
        figures: How good it is, of all samples whose truth it knows.
        confusion: What it takes for what.
    """

    evaluation: Evaluation
    rows: Mapping[Hashable, int]
    pairs: Sequence[Pair]
    outcomes: Mapping[Hashable, Outcome]
    figures: Figures
    confusion: Confusion


class Timeline(NamedTuple):
    """Versions in order.

    Attributes:
        judge: Says what is right.
        moments: The versions, judged; at least one.
        keys: Of all samples, in the order in which they came.
    """

    judge: Judge
    moments: Sequence[Moment]
    keys: Sequence[Hashable]

    @property
    def classes(self) -> list[Class]:
        """The classes of all versions, in order."""
        return ordered({name for moment in self.moments for name in moment.figures.by_class})


def timeline(evaluations: Sequence[Evaluation], *, judge: Judge | None = None) -> Timeline:
    """Judges versions.

    Args:
        evaluations: In order.
        judge: Says what is right; ``None``: who judges predictions of their kind.

    Raises:
        ConfigError: There is no version, some predict classes and others boxes, or two rows are about one sample.
        LogValueError: Boxes were predicted without scores, or their labels cannot be compared.
        FileNotFoundError, FormatError, WriteError: A table cannot be read.
    """
    if not evaluations:
        raise ConfigError("There is no version of predictions to look at.")
    if len({one.samples.is_boxed for one in evaluations}) > 1:
        raise ConfigError("Some versions predict classes and others boxes; these cannot be compared.")
    judge = judge or judge_of(evaluations[0].samples)
    all_rows = [one.samples.rows() for one in evaluations]
    keys = list(dict.fromkeys(key for rows in all_rows for key in rows))
    moments = list[Moment]()
    was_right = dict[Hashable, bool]()
    for evaluation, rows in zip(evaluations, all_rows, strict=True):
        pairs = pairs_of(evaluation.samples)
        is_right = {key: judge.is_right(*pairs[row]) for key, row in rows.items() if judge.is_known(pairs[row][0])}
        known = [pairs[rows[key]] for key in is_right]
        outcomes = {key: _outcome(key, rows, was_right, is_right) for key in keys}
        moments.append(Moment(evaluation, rows, pairs, outcomes, judge.figures(known), judge.confusion(known)))
        was_right = is_right
    return Timeline(judge, moments, keys)


def evaluations(
    artifacts: Artifacts, refs: Sequence[str], roles: Roles = FOUND, *, table: str = ""
) -> list[Evaluation]:
    """Returns versions of predictions.

    Args:
        artifacts: Have them.
        refs: Of the versions: a name alone stands for all versions of it.
        roles: Which columns say what.
        table: The name of the table, where versions have several.

    Raises:
        ConfigError: There is no such version or table, or a column is not found.
        FormatError: A manifest is damaged.
        WriteError: The store does not answer.
    """
    found = list[Version]()
    for ref in refs:
        listed = [] if ref.endswith(f":{parse_ref(ref).selector}") else artifacts.versions(ref)
        found += listed or [artifacts.get(ref)]
    aliases = {name: artifacts.aliases(name) for name in dict.fromkeys(version.name for version in found)}
    return [
        Evaluation(
            version.ref,
            Samples(version.table(table or None), roles, name=version.ref),
            [alias for alias, number in aliases[version.name].items() if number == version.number],
            version.metrics,
            version.created,
        )
        for version in dict.fromkeys(found)
    ]


def _outcome(
    key: Hashable, rows: Mapping[Hashable, int], was_right: Mapping[Hashable, bool], is_right: Mapping[Hashable, bool]
) -> Outcome:
    if key not in rows:
        return _MISSING
    if key not in is_right:
        return "not judged"
    if key not in was_right:
        return "right" if is_right[key] else "wrong"
    return change_of(was_right[key], is_right[key])
