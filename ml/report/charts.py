"""What a chart shows, apart from how it is drawn: ``svg`` draws it into a page, ``png`` as a picture.

All of it is plain data. Numbers that are not finite are gaps.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Curve(NamedTuple):
    """A line of a ``LineChart``.

    Attributes:
        name: In the legend.
        x: Shape (N,), not falling.
        y: Shape (N,).
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


class LineChart(NamedTuple):
    """Values over time, over epochs, over anything.

    Attributes:
        title: Above it.
        x_label: With its unit.
        y_label: With its unit.
        curves: In the order of the legend.
        is_counted: Whether x counts something: whole ticks, and a mark at every point.
        note: Below the title: what was left out, for example.
    """

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    is_counted: bool = False
    note: str = ""


class Bar(NamedTuple):
    """A bar of a ``BarChart``.

    Attributes:
        name: Beside it.
        value: How long it is.
        low, high: The ends of its whisker, of several values the least and the greatest.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None


class BarChart(NamedTuple):
    """Numbers beside each other, from zero.

    Attributes:
        title: Above it.
        value_label: Of the axis of values, with their unit.
        bars: From top to bottom.
        note: Below the title.
    """

    title: str
    value_label: str
    bars: Sequence[Bar]
    note: str = ""


class HeatMap(NamedTuple):
    """A table of numbers, as shades and, where there is room, as numbers.

    Attributes:
        title: Above it.
        row_label: What the rows are, axis 0 of the values.
        column_label: What the columns are, axis 1 of the values.
        row_names: R, from top to bottom.
        column_names: C, from left to right.
        values: Shape (R, C). Where one is below 0, shades of another colour say so.
        note: Below the title.
    """

    title: str
    row_label: str
    column_label: str
    row_names: Sequence[str]
    column_names: Sequence[str]
    values: Sequence[Sequence[float]]
    note: str = ""


class Dimension(NamedTuple):
    """An axis of a ``ParallelChart``.

    Attributes:
        name: Below it.
        values: Shape (N,), one for each line. If all are numbers the axis is one of numbers, else each text has a
            place.
    """

    name: str
    values: Sequence[float | str]


class ParallelChart(NamedTuple):
    """A line for each trial, through its value on every axis, coloured by what came of it.

    Attributes:
        title: Above it.
        dimensions: From left to right; each with N values.
        target: The last axis: N numbers.
        is_low_good: Whether a small target is a good one; good and bad have the same colours either way.
        note: Below the title.
    """

    title: str
    dimensions: Sequence[Dimension]
    target: Dimension
    is_low_good: bool = True
    note: str = ""


Chart = LineChart | BarChart | HeatMap | ParallelChart
