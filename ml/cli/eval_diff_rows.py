"""What became of each sample, as rows of text."""

from collections.abc import Hashable, Iterator, Sequence

from ml.evaluation.comparison import Comparison, pairs_of

FIELDS = ("sample", "change", "truth", "before", "after")


def sample_rows(compared: Comparison) -> Iterator[dict[str, str]]:
    """Yields a row for each sample, those that figures are not of at the end."""
    text = compared.judge.text
    before, after = pairs_of(compared.before), pairs_of(compared.after)
    for one in compared.samples:
        (truth, old), (_, new) = before[one.row_before], after[one.row_after]
        yield {
            "sample": str(one.key),
            "change": one.change,
            "truth": text(truth, is_truth=True),
            "before": text(old, is_truth=False),
            "after": text(new, is_truth=False),
        }
    for what, keys in set_aside(compared):
        for key in keys:
            yield {"sample": str(key), "change": what, "truth": "", "before": "", "after": ""}


def set_aside(compared: Comparison) -> list[tuple[str, Sequence[Hashable]]]:
    """Returns the keys of samples that figures are not of, by the reason."""
    return [
        ("only before", compared.only_before),
        ("only after", compared.only_after),
        ("not judged", compared.unjudged),
    ]
