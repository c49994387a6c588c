"""Charts as one picture, below each other, drawn by matplotlib: without a screen, and without its global state.

Texts are shown as they are: none is taken for mathematics, whatever dollars it has.
"""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml.core.errors import ConfigError
from ml.loggers.lines import visible
from ml.report.charts import BarChart, Chart, HeatMap, LineChart, ParallelChart
from ml.report.scale import GOOD_TO_BAD, colour, cut, limits, placed, thinned
from ml.report.table import shown_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
MAX_CHARTS = 60
_WIDTH_IN = 9.0
_LINES = ("-", "--", ":")
_COLOURS = ("#1763a6", "#c2570c", "#177a4d", "#a03a9c", "#8a6d00", "#0b7f91", "#b3261e", "#596673")
_MAX_LEGEND = 24
_MAX_MARKS = 60
_GRID = "#d8dee5"
_END = 1e300  # matplotlib adds, subtracts and scales what it draws, which must stay finite: what lies beyond is there


def png(charts: Sequence[Chart]) -> bytes:
    """Draws charts.

    Args:
        charts: From top to bottom, 1 to 60 of them.

    Returns:
        A PNG file, 990 pixels wide.

    Raises:
        ConfigError: matplotlib is not installed, or there are none or too many charts.
    """
    file = io.BytesIO()
    figure_of(charts).savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def figure_of(charts: Sequence[Chart]) -> "Figure":
    """Returns what ``png`` saves, for who wants another format of matplotlib's: one pair of axes for each chart.

    Raises:
        ConfigError: As ``png``.
    """
    if not 1 <= len(charts) <= MAX_CHARTS:
        raise ConfigError(f"A picture holds 1 to {MAX_CHARTS} charts, got {len(charts)}. Choose fewer of them.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        needed = "Pictures need matplotlib, of the extra 'benchmarks': pip install 'ml-logbook[benchmarks]'."
        raise ConfigError(needed) from error
    heights = [_height_in(chart) for chart in charts]
    figure = Figure(figsize=(_WIDTH_IN, sum(heights)), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.12, w_pad=0.08)  # type: ignore[call-arg]
    places = figure.subplots(len(charts), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for place, chart in zip(places[:, 0], charts, strict=True):
        _draw(chart, place, figure)
    return figure


def _height_in(chart: Chart) -> float:
    if isinstance(chart, BarChart):
        return 1.3 + 0.28 * max(2, len(chart.bars))
    if isinstance(chart, HeatMap):
        return 1.6 + min(6.0, max(2.5, 0.42 * len(chart.row_names)))
    legend = chart.curves[:_MAX_LEGEND] if isinstance(chart, LineChart) else ()
    return 3.4 + 0.1 * len(legend)


def _draw(chart: Chart, place: "Axes", figure: "Figure") -> None:
    title = _plain(cut(chart.title, 100))
    place.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=20 if chart.note else 8)
    if chart.note:
        note = _plain(cut(chart.note, 130))
        place.annotate(note, (0, 1), xytext=(0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=8)
    for side in ("top", "right"):
        place.spines[side].set_visible(False)
    place.tick_params(labelsize=8)
    if isinstance(chart, LineChart):
        _line_chart(chart, place)
    elif isinstance(chart, BarChart):
        _bar_chart(chart, place)
    elif isinstance(chart, HeatMap):
        _heat_map(chart, place, figure)
    else:
        _parallel_chart(chart, place, figure)


def _line_chart(chart: LineChart, place: "Axes") -> None:
    for number, curve in enumerate(chart.curves):
        is_marked = len(curve.x) == 1 or (chart.is_counted and len(curve.x) <= _MAX_MARKS)
        place.plot(
            [_drawn(x) for x in curve.x],
            [_drawn(y) for y in curve.y],
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_LINES[number // len(_COLOURS) % len(_LINES)],
            marker="o" if is_marked else "",
            markersize=3.5,
            linewidth=1.3,
            # A leading underscore would keep it out of the legend.
            label=f"\u200b{_plain(cut(curve.name, 72))}",
        )
    place.set_ylim(*_with_room(*limits([_drawn(y) for curve in chart.curves for y in curve.y])))
    if chart.is_counted:
        from matplotlib.ticker import MaxNLocator

        place.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        place.margins(x=0)
    place.set_xlabel(_plain(chart.x_label), fontsize=9)
    place.set_ylabel(_plain(chart.y_label), fontsize=9)
    place.grid(axis="y", color=_GRID, linewidth=0.7)
    if chart.curves:
        handles = place.get_lines()[:_MAX_LEGEND]
        rest = len(chart.curves) - len(handles)
        legend = place.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0, -0.18),
            fontsize=8,
            frameon=False,
            ncols=1 if any(len(curve.name) > 40 for curve in chart.curves) else 2,
            title=f"and {rest} more" if rest else None,
        )
        legend.get_title().set_fontsize(8)


def _bar_chart(chart: BarChart, place: "Axes") -> None:
    values = [_drawn(bar.value) if math.isfinite(bar.value) else 0.0 for bar in chart.bars]
    place.barh(range(len(values)), values, color=_COLOURS[0], height=0.65)
    ends = [_drawn(number) for bar in chart.bars for number in (bar.value, bar.low, bar.high) if number is not None]
    axis = limits(ends, from_zero=True)
    for row, bar in enumerate(chart.bars):
        low, high = (None if end is None else _drawn(end) for end in (bar.low, bar.high))
        if low is not None and high is not None and low < high:  # neither is NaN
            place.plot([low, high], [row, row], color="#1d2733", linewidth=1.2, marker="|", markersize=6)
        # Not beside the whisker, whose end is another number.
        at_right = place.get_yaxis_transform()
        place.annotate(
            shown_number(bar.value),
            (1, row),
            xycoords=at_right,
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    place.set_xlim(axis.low, axis.high + 0.02 * (axis.high - axis.low))
    place.set_yticks(range(len(values)), [_plain(cut(bar.name, 40)) for bar in chart.bars])
    place.set_ylim(len(values) - 0.4, -0.6)
    place.tick_params(axis="y", length=0)
    place.set_xlabel(_plain(chart.value_label), fontsize=9)
    place.grid(axis="x", color=_GRID, linewidth=0.7)
    place.set_axisbelow(True)


def _heat_map(chart: HeatMap, place: "Axes", figure: "Figure") -> None:
    cells = [[_drawn(value) for value in row] for row in chart.values]
    greatest = max((abs(value) for row in cells for value in row if math.isfinite(value)), default=0) or 1
    is_signed = any(value < 0 for row in cells for value in row)
    shades, least = ("PuOr", -greatest) if is_signed else ("Blues", 0)
    image = place.imshow(cells, cmap=shades, vmin=least, vmax=greatest, interpolation="nearest")
    rows, columns = thinned(chart.row_names, 40), thinned(chart.column_names, 40)
    place.set_yticks([row for row, _ in rows], [_plain(cut(name, 24)) for _, name in rows])
    is_steep = any(len(name) > 4 for _, name in columns)
    place.set_xticks([column for column, _ in columns], [_plain(cut(name, 24)) for _, name in columns])
    if is_steep:
        place.tick_params(axis="x", rotation=90)
    place.set_ylabel(_plain(chart.row_label), fontsize=9)
    place.set_xlabel(_plain(chart.column_label), fontsize=9)
    for side in ("top", "right"):
        place.spines[side].set_visible(True)
    figure.colorbar(image, ax=place, shrink=0.8).ax.tick_params(labelsize=8)
    if len(chart.row_names) <= 20 and len(chart.column_names) <= 20:
        for row, values in enumerate(chart.values):
            for column, value in enumerate(values):
                if value:
                    ink = "white" if abs(value) > 0.5 * greatest else "black"
                    place.text(column, row, shown_number(value), ha="center", va="center", fontsize=8, color=ink)


def _parallel_chart(chart: ParallelChart, place: "Axes", figure: "Figure") -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    target = placed(chart.target)
    every = [*(placed(dimension) for dimension in chart.dimensions), target]
    names = [*(dimension.name for dimension in chart.dimensions), chart.target.name]
    for number in range(len(chart.target.values)):
        end = target.shares[number]
        points = [(x, one.shares[number]) for x, one in enumerate(every)]
        shade = _GRID if end is None else "#{:02x}{:02x}{:02x}".format(*colour(end if chart.is_low_good else 1 - end))
        xs, ys = [x for x, y in points if y is not None], [y for _, y in points if y is not None]
        place.plot(xs, ys, color=shade, linewidth=1.4, alpha=0.85, linestyle=":" if end is None else "-")
    for x, one in enumerate(every):
        place.axvline(x, color="#5b6876", linewidth=1)
        for share, text in one.marks:
            is_last = x == len(every) - 1
            place.annotate(
                _plain(cut(text, 16)),
                (x, share),
                xytext=(5 if is_last else -5, 0),
                textcoords="offset points",
                ha="left" if is_last else "right",
                va="center",
                fontsize=8,
            )
            place.plot([x - 0.01, x + 0.01], [share, share], color="#5b6876", linewidth=1)
    place.set_xticks(range(len(names)), [_plain(cut(name, 24)) for name in names], fontsize=9)
    place.set_yticks([])
    place.set_xlim(-0.4, len(names) - 0.6)
    place.spines["left"].set_visible(False)
    colours = [[part / 255 for part in rgb] for rgb in (GOOD_TO_BAD if chart.is_low_good else GOOD_TO_BAD[::-1])]
    numbers = [_drawn(value) for value in chart.target.values if not isinstance(value, str) and math.isfinite(value)]
    ends = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    shades = ScalarMappable(Normalize(*ends), LinearSegmentedColormap.from_list("good", colours))
    bar = figure.colorbar(shades, ax=place, shrink=0.9)
    bar.ax.tick_params(labelsize=8)
    bar.set_label(_plain(f"{chart.target.name}: {'low' if chart.is_low_good else 'high'} is good"), fontsize=8)


def _drawn(number: float) -> float:
    """Returns a number where it is drawn; one that is not finite is NaN, which is a gap."""
    return min(max(number, -_END), _END) if math.isfinite(number) else math.nan


def _with_room(low: float, high: float) -> tuple[float, float]:
    room = 0.04 * (high - low)
    return (low if low == 0 else low - room), high + room


def _plain(text: str) -> str:
    return visible(text).replace("$", r"\$")
