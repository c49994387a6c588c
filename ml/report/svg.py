"""Charts as inline SVG: a few kilobytes each, in the colours of the page, which are those of light or dark.

Nothing in it has a ``style`` attribute, which the page's policy forbids: classes and presentation attributes say
everything. What was cut has all of its text in a ``<title>``, which a browser shows where the pointer is.
"""

import math
from collections.abc import Sequence

from ml.report.charts import BarChart, Chart, Curve, HeatMap, LineChart, ParallelChart
from ml.report.html import Html, tag
from ml.report.scale import colour, cut, limits, placed, thinned, tick_texts, ticks, tight
from ml.report.table import shown_number

WIDTH = 640
_LETTER = 6.6  # of 12 px text, on average
_COLOURS = 8
_LINE = 18
_MAX_MARKS = 60
_MAX_LEGEND = 24


def svg(chart: Chart) -> Html:
    """Draws a chart."""
    if isinstance(chart, LineChart):
        return _line_chart(chart)
    if isinstance(chart, BarChart):
        return _bar_chart(chart)
    if isinstance(chart, HeatMap):
        return _heat_map(chart)
    return _parallel_chart(chart)


# the four of them


def _line_chart(chart: LineChart) -> Html:
    top = _top(chart.note)
    x_axis = tight((x for curve in chart.curves for x in curve.x), room=0.25 if chart.is_counted else 0.0)
    y_axis = limits([y for curve in chart.curves for y in curve.y])
    y_marks = [mark for mark in ticks(y_axis, 5) if y_axis.low <= mark <= y_axis.high * 1.0000001 or mark == 0]
    texts = tick_texts(y_marks)
    left = 34 + _LETTER * max(map(len, texts))
    right, bottom = WIDTH - 16, top + 220
    parts = [*_head(chart.title, chart.note)]
    for mark, text in zip(y_marks, texts, strict=True):
        y = bottom - (bottom - top) * y_axis.share(mark)
        parts.append(_segment("grid", left, y, right, y))
        parts.append(_text(left - 6, y + 4, text, anchor="end", kind="faint"))
    x_marks = ticks(x_axis, 6, whole=chart.is_counted)
    for mark, text in zip(x_marks, tick_texts(x_marks), strict=True):
        x = left + (right - left) * x_axis.share(mark)
        parts.append(_segment("axis", x, bottom, x, bottom + 4))
        parts.append(_text(x, bottom + 18, text, anchor="middle", kind="faint"))
    parts.append(_segment("axis", left, bottom, right, bottom))
    for number, curve in enumerate(chart.curves):
        xs = [left + (right - left) * x_axis.share(x) if math.isfinite(x) else math.nan for x in curve.x]
        ys = [bottom - (bottom - top) * y_axis.share(y) if math.isfinite(y) else math.nan for y in curve.y]
        parts += _curve(curve, xs, ys, number, is_marked=chart.is_counted)
    parts.append(_text((left + right) / 2, bottom + 38, chart.x_label, anchor="middle"))
    parts.append(_upright(14, (top + bottom) / 2, chart.y_label))
    legend, height = _legend([curve.name for curve in chart.curves], left, bottom + 58)
    return _canvas(chart.title, height, [*parts, *legend])


def _bar_chart(chart: BarChart) -> Html:
    top = _top(chart.note)
    names = [cut(bar.name, 40) for bar in chart.bars]
    left = 14 + _LETTER * max(map(len, names), default=0)
    right = WIDTH - 76
    ends = [number for bar in chart.bars for number in (bar.value, bar.low, bar.high) if number is not None]
    axis = limits(ends, from_zero=True)
    bottom = top + 24 * max(1, len(chart.bars))
    parts = [*_head(chart.title, chart.note)]
    marks = ticks(axis, 4)
    for mark, text in zip(marks, tick_texts(marks), strict=True):
        x = left + (right - left) * axis.share(mark)
        parts.append(_segment("axis" if mark == 0 else "grid", x, top, x, bottom))
        parts.append(_text(x, bottom + 16, text, anchor="middle", kind="faint"))
    zero = left + (right - left) * axis.share(0.0)
    for number, bar in enumerate(chart.bars):
        y = top + 24 * number
        parts.append(_text(left - 6, y + 16, names[number], anchor="end", full=bar.name))
        if not math.isfinite(bar.value):
            parts.append(_text(zero + 6, y + 16, str(bar.value), kind="faint"))
            continue
        x = left + (right - left) * axis.share(bar.value)
        box = {"x": _n(min(x, zero)), "y": _n(y + 4), "width": _n(abs(x - zero)), "height": 16, "class": "f0"}
        parts.append(tag("rect", box, tag("title", {}, f"{bar.name}: {bar.value:.6g}")))
        if bar.low is not None and bar.high is not None and bar.low < bar.high:
            low, high = (left + (right - left) * axis.share(end) for end in (bar.low, bar.high))
            parts.append(tag("path", {"class": "whisker", "d": f"M{_n(low)} {y + 8}v8m0-4H{_n(high)}m0-4v8"}))
        parts.append(_text(right + 8, y + 16, shown_number(bar.value)))  # not beside the whisker, whose end is another
    parts.append(_text((left + right) / 2, bottom + 36, chart.value_label, anchor="middle"))
    return _canvas(chart.title, bottom + 46, parts)


def _heat_map(chart: HeatMap) -> Html:
    top = _top(chart.note)
    rows, columns = len(chart.row_names), len(chart.column_names)
    shown_rows, shown_columns = thinned(chart.row_names, 40), thinned(chart.column_names, 24)
    left = 34 + _LETTER * max((len(cut(name, 24)) for _, name in shown_rows), default=0)
    side = min(max(36.0, 160 / max(1, columns)), (WIDTH - 16 - left) / max(1, columns), 420 / max(1, rows))
    bottom, right = top + side * rows, left + side * columns
    greatest = max((abs(value) for row in chart.values for value in row if math.isfinite(value)), default=0) or 1
    parts = [*_head(chart.title, chart.note)]
    for row, values in enumerate(chart.values):
        for column, value in enumerate(values):
            share = abs(value) / greatest if math.isfinite(value) else 0.0
            x, y = left + side * column, top + side * row
            kind = "cell less" if value < 0 else "cell"
            box = {"class": kind, "x": _n(x), "y": _n(y), "width": _n(side), "height": _n(side)}
            said = f"{chart.row_label} {chart.row_names[row]}, {chart.column_label} {chart.column_names[column]}: "
            parts.append(
                tag("rect", {**box, "fill-opacity": f"{share:.3f}"}, tag("title", {}, f"{said}{shown_number(value)}"))
            )
            text = shown_number(value)
            if value and len(text) * _LETTER <= side - 2 and side >= 14:
                parts.append(
                    _text(x + side / 2, y + side / 2 + 4, text, anchor="middle", kind="on" if share > 0.5 else "")
                )
    frame = {"class": "axis", "x": _n(left), "y": _n(top), "width": _n(right - left), "height": _n(bottom - top)}
    parts.append(tag("rect", frame))
    for row, name in shown_rows:
        y = top + side * (row + 0.5) + 4
        parts.append(_text(left - 6, y, cut(name, 24), anchor="end", kind="faint", full=name))
    is_steep = any(len(cut(name, 16)) * _LETTER > side * columns / len(shown_columns) - 2 for _, name in shown_columns)
    for column, name in shown_columns:
        x = left + side * (column + 0.5)
        if is_steep:
            parts.append(_upright(x + 4, bottom + 8, cut(name, 16), anchor="end", kind="faint"))
        else:
            parts.append(_text(x, bottom + 16, name, anchor="middle", kind="faint"))
    room = 14 + _LETTER * max((len(cut(name, 16)) for _, name in shown_columns), default=0) if is_steep else 20
    parts.append(_text((left + right) / 2, bottom + room + 16, chart.column_label, anchor="middle"))
    parts.append(_upright(14, (top + bottom) / 2, chart.row_label))
    return _canvas(chart.title, bottom + room + 26, parts)


def _parallel_chart(chart: ParallelChart) -> Html:
    top = _top(chart.note) + 8
    bottom, left, right = top + 220, 60.0, WIDTH - 60.0
    every = [*(placed(dimension) for dimension in chart.dimensions), target := placed(chart.target)]
    names = [*(dimension.name for dimension in chart.dimensions), chart.target.name]
    xs = [left + (right - left) * place / max(1, len(every) - 1) for place in range(len(every))]
    parts = [*_head(chart.title, chart.note)]
    for number in range(len(chart.target.values)):
        end = target.shares[number]
        points = [(x, one.shares[number]) for x, one in zip(xs, every, strict=True)]
        path = " ".join(
            f"{'ML'[bool(place)]}{_n(x)} {_n(bottom - (bottom - top) * share)}"
            for place, (x, share) in enumerate((x, share) for x, share in points if share is not None)
        )
        if end is None:
            parts.append(tag("path", {"class": "curve axis dash2", "d": path}))
            continue
        shade = "rgb({},{},{})".format(*colour(end if chart.is_low_good else 1 - end))
        parts.append(tag("path", {"class": "curve", "stroke": shade, "stroke-opacity": "0.85", "d": path}))
    room = (right - left) / max(1, len(every) - 1)
    for x, one, name in zip(xs, every, names, strict=True):
        parts.append(_segment("axis", x, top, x, bottom))
        is_last = x == xs[-1]
        for share, text in one.marks:
            y = bottom - (bottom - top) * share
            parts.append(_segment("axis", x - 3, y, x + 3, y))
            shown = cut(text, 12)
            aside, anchor = (7, "start") if is_last else (-7, "end")
            parts.append(_text(x + aside, y + 4, shown, anchor=anchor, kind="halo", full=text))
        parts.append(_text(x, bottom + 20, cut(name, max(6, int(room / _LETTER))), anchor="middle", full=name))
    y = bottom + 36
    for number in range(40):
        box = {"x": _n(left + 5 * number), "y": y, "width": 5.5, "height": 10}
        parts.append(tag("rect", {**box, "fill": "rgb({},{},{})".format(*colour(number / 39))}))
    parts.append(_text(left, y + 24, "good", kind="faint"))
    parts.append(_text(left + 200, y + 24, "bad", anchor="end", kind="faint"))
    said = f"{chart.target.name}: {'low' if chart.is_low_good else 'high'} is good"
    parts.append(_text(left + 212, y + 10, cut(said, 60), full=said))
    return _canvas(chart.title, y + 34, parts)


# what they are made of


def _curve(curve: Curve, xs: list[float], ys: list[float], number: int, *, is_marked: bool) -> list[Html]:
    path, singles, is_down = list[str](), list[int](), False
    for place, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if not math.isfinite(x + y):
            is_down = False
            continue
        path.append(f"{'L' if is_down else 'M'}{_n(x)} {_n(y)}")
        has_next = place + 1 < len(xs) and math.isfinite(xs[place + 1] + ys[place + 1])
        if (is_marked and len(xs) <= _MAX_MARKS) or (not is_down and not has_next):
            singles.append(place)
        is_down = True
    kind = _kind(number)
    parts = [tag("path", {"class": f"curve {kind}", "d": "".join(path)}, tag("title", {}, curve.name))] if path else []
    for place in singles:
        said = f"{curve.name}: {curve.y[place]:.6g} at {curve.x[place]:.6g}"
        dot = {"class": f"f{number % _COLOURS}", "cx": _n(xs[place]), "cy": _n(ys[place]), "r": 2.5}
        parts.append(tag("circle", dot, tag("title", {}, said)))
    return parts


def _kind(number: int) -> str:
    return f"s{number % _COLOURS} dash{number // _COLOURS % 3}"


def _legend(names: Sequence[str], left: float, top: float) -> tuple[list[Html], float]:
    """Returns what names the curves, and where it ends."""
    parts, x, y = list[Html](), left, top
    if not names:
        return parts, top - 10
    shown = names if len(names) <= _MAX_LEGEND else names[: _MAX_LEGEND - 1]
    for number, name in enumerate(shown):
        text = cut(name, 72)
        width = 30 + _LETTER * len(text)
        if x > left and x + width > WIDTH:
            x, y = left, y + _LINE
        parts.append(tag("path", {"class": f"curve {_kind(number)}", "d": f"M{_n(x)} {_n(y - 4)}h18"}))
        parts.append(_text(x + 22, y, text, full=name))
        x += width + 10
    if len(shown) < len(names):
        y += _LINE
        parts.append(_text(left, y, f"and {len(names) - len(shown)} more", kind="faint"))
    return parts, y + 10


def _top(note: str) -> float:
    return 54.0 if note else 34.0


def _head(title: str, note: str) -> list[Html]:
    parts = [_text(0, 18, cut(title, 76), kind="title", full=title)]
    return [*parts, _text(0, 36, cut(note, 96), kind="faint", full=note)] if note else parts


def _canvas(title: str, height: float, parts: Sequence[Html]) -> Html:
    box = {"viewBox": f"0 0 {WIDTH} {_n(height)}", "role": "img", "aria-label": title}
    return tag("svg", {"xmlns": "http://www.w3.org/2000/svg", **box}, *parts)


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "", full: str = "") -> Html:
    place = {"x": _n(x), "y": _n(y), "text-anchor": None if anchor == "start" else anchor, "class": kind or None}
    return tag("text", place, text, tag("title", {}, full) if full and full != text else "")


def _upright(x: float, y: float, text: str, *, anchor: str = "middle", kind: str = "") -> Html:
    place = {"transform": f"translate({_n(x)} {_n(y)}) rotate(-90)", "text-anchor": anchor, "class": kind or None}
    return tag("text", place, text)


def _segment(kind: str, x1: float, y1: float, x2: float, y2: float) -> Html:
    return tag("path", {"class": kind, "d": f"M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}"})


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
