"""Draws ``docs/benchmarks.svg``: training-thread time and CPU a scalar, and what being killed costs."""

from collections.abc import Mapping

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "ml"  # the same figures make the same file

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

from benchmarking.results import DOCS  # noqa: E402

PLOT = DOCS / "benchmarks.svg"
_OURS, _PEERS, _INK, _GRID = "#1a6fb0", "#9aa1aa", "#333840", "#e4e7ea"


def write_plot(peers: Mapping[str, dict]) -> None:
    """Draws the bars of a run of ``scripts/bench peers``."""
    figures = peers["figures"]
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), sharey=True)
    names = list(figures["scalars"])
    panels = (
        ("Training thread, a step of\n10 scalars: p99, us", "scalars", "p99_s", 1e6, True),
        ("CPU of all processes,\nfor each scalar, us", "scalars", "cpu_s", 1e5, True),
        ("Training thread, a picture\nof 256 x 256: p50, ms", "images", "p50_s", 1e3, True),
        ("Job killed at 100 steps/s:\nseconds of scalars lost", "killed_job", "lost_s", 1.0, False),
    )
    for place, (title, workload, name, scale, logarithmic) in zip(axes, panels, strict=True):
        values = {who: figures[workload][who][name] * scale for who in names if who in figures[workload]}
        _bars(place, title, names, values, logarithmic=logarithmic)
    figure.tight_layout(w_pad=1.5)
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)


def _bars(axes: Axes, title: str, names: list[str], values: Mapping[str, float], *, logarithmic: bool) -> None:
    for place, name in enumerate(names):
        value = values.get(name)
        if value is None:
            axes.annotate(
                " has none", (0, place), xycoords=axes.get_yaxis_transform(), va="center", fontsize=8, color=_PEERS
            )
            continue
        color = _OURS if name.startswith("ml: ") else _PEERS
        if logarithmic:  # where a bar would begin has no meaning
            axes.axhline(place, color=_GRID, linewidth=0.8, zorder=0)
            axes.plot(value, place, "o", color=color, markersize=8)
        else:
            axes.barh(place, value, color=color, height=0.6)
        text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        axes.annotate(
            text,
            (value, place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=_INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(min(values.values()) / 3, max(values.values()) * 8)
    else:
        axes.set_xlim(0, max([*values.values(), 0.1]) * 1.25)
    axes.set_title(title, fontsize=9, loc="left", color=_INK)
    axes.set_yticks(range(len(names)), names, fontsize=9, color=_INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=8, colors=_INK)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
