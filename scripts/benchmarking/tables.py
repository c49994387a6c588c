"""The tables of the page: what is in a column, who is ahead, and by how much."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

Figures = Mapping[str, float]

REFERENCE = "ml: tensorboard"
"""Ours that does what a peer does: one format, every value."""
DEFAULT = "ml: stdout, json, tensorboard"
LEVEL = 1.05
"""Figures that differ by less than this are level: the repeats differ by as much."""


class Column(NamedTuple):
    """A figure: its name in the results, its heading, and what it is multiplied by to be in the heading's unit.

    ``level`` is a difference, in that unit, which two repeats on a quiet machine may show.
    """

    figure: str
    heading: str
    scale: float
    level: float = 0.0


def _columns(scale: float, unit: str, *, items: int = 1) -> tuple[Column, ...]:
    return (
        Column("p50_s", f"p50, {unit}", scale),
        Column("p99_s", f"p99, {unit}", scale),
        Column("max_s", f"longest, {unit}", scale),
        Column("mean_s", f"mean, {unit}", scale),
        Column("cpu_s", f"CPU an item, {unit}", scale / items),
        Column("bytes", "bytes an item", 1 / items),
        Column("close_s", "to close, ms", 1e3),
    )


COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "scalars": _columns(1e6, "us", items=10),
    "images": _columns(1e3, "ms"),
    "histograms": _columns(1e3, "ms"),
    "training": (
        Column("slower_percent", "slower by, %", 1.0, level=1.0),
        Column("p99_more_s", "p99 of steps, ms more", 1e3, level=0.2),
        Column("longest_more_s", "longest step, ms more", 1e3, level=2.0),
        Column("cpu_more_s", "CPU a step, ms more", 1e3, level=0.05),
    ),
    "killed_process": (Column("lost_rows", "scalars lost", 1.0),),
    "killed_job": (Column("lost_rows", "scalars lost", 1.0),),
    "killed_flush": (Column("lost_rows", "scalars lost", 1.0),),
}


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Collection[int] = (0,)) -> str:
    """Returns a table; columns of figures are right-aligned, those in ``texts`` are not."""
    rule = ["---" if place in texts else "---:" for place in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Returns a number in three digits or more, as people write it."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def times(value: float, reference: float) -> str:
    """Returns how many times ``reference``, which is above 0, a value is."""
    ratio = value / reference
    return f"{ratio:,.0f}x" if ratio >= 9.95 else f"{ratio:.2g}x"


def figures_table(workload: str, rows: Mapping[str, Figures]) -> str:
    """Returns a workload's figures, each with its ratio to ``REFERENCE``'s."""
    columns = COLUMNS[workload]
    reference = rows.get(REFERENCE, {})
    body = []
    for name, figures in rows.items():
        cells = [name]
        for column in columns:
            value, beside = figures[column.figure], reference.get(column.figure, 0.0)
            text = number(value * column.scale)
            if name != REFERENCE and value >= 0 < beside:
                text += f" ({times(value, beside)})"
            cells.append(text)
        body.append(cells)
    return markdown(["", *(column.heading for column in columns)], body)


def killed_table(figures: Mapping[str, Mapping[str, Figures]], ways: Sequence[str]) -> str:
    """Returns what was lost in each way of being killed; a dash: there is no such call."""
    body = []
    for name in dict.fromkeys(name for way in ways for name in figures.get(way, {})):
        cells = [name]
        for way in ways:
            lost = figures.get(way, {}).get(name)
            cells.append("-" if lost is None else f"{lost['lost_rows']:,.0f} ({lost['lost_s']:.2f} s)")
        body.append(cells)
    return markdown(["", "the process", "the job", "the job, after flush"], body)


def verdict(workload: str, rows: Mapping[str, Figures], reasons: Mapping[tuple[str, str, str], str]) -> list[list[str]]:
    """Returns a row for each figure of a workload: ours, the best peer, and who is ahead."""
    peers = [name for name in rows if not name.startswith("ml: ")]
    if REFERENCE not in rows or not peers:
        return []
    body = []
    for column in COLUMNS[workload]:
        best = min(peers, key=lambda name: rows[name][column.figure])
        theirs = rows[best][column.figure]
        ours = rows[REFERENCE][column.figure]
        all_ours = rows.get(DEFAULT, rows[REFERENCE])[column.figure]
        body.append(
            [
                f"{workload.replace('_', ', ')}: {column.heading}",
                number(ours * column.scale),
                number(all_ours * column.scale),
                f"{best} {number(theirs * column.scale)}",
                f"{sum(ours <= rows[name][column.figure] for name in peers)} of {len(peers)}",
                standing(ours, theirs, column, reasons.get((workload, column.figure, best), "")),
            ]
        )
    return body


def standing(ours: float, theirs: float, column: Column, reason: str) -> str:
    """Says who is ahead, and where it is not ours, by how much and why."""
    difference = (ours - theirs) * column.scale
    share = max(abs(ours), abs(theirs)) * column.scale * (1 - 1 / LEVEL)
    if abs(difference) <= max(share, column.level):
        return "level"
    if difference < 0:
        return f"ours, {times(theirs, ours)}" if ours > 0 else "ours"
    by = times(ours, theirs) if theirs > 0 else number(difference)
    return f"**not ours**, by {by}" + (f": {reason}" if reason else "")
