"""Writes ``docs/benchmarks.md``: the paragraphs of ``page.md``, and tables made of the last results."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from benchmarking.reasons import REASONS
from benchmarking.results import DOCS
from benchmarking.tables import COLUMNS, figures_table, killed_table, markdown, number, verdict

TEMPLATE = Path(__file__).with_name("page.md")
PAGE = DOCS / "benchmarks.md"
NOT_RUN = "*Not run yet.*"
FLAT = 1.5
"""What grows by less than this from the first row of a table to the last is called flat."""


def write_page(results: Mapping[str, dict]) -> None:
    """Writes the page; what was not run yet is said to be missing."""
    parts = {"peers_made": NOT_RUN, "growth_made": NOT_RUN, "load_made": NOT_RUN}
    parts |= dict.fromkeys(("verdicts", "contenders", "failed", *COLUMNS, "killed"), NOT_RUN)
    parts |= dict.fromkeys(("growth_tags", "growth_scalars", "growth_backends", "bends", "load"), NOT_RUN)
    if "peers" in results:
        parts |= _peers(results["peers"])
    if "growth" in results:
        parts |= _growth(results["growth"])
    if "load" in results:
        parts |= _load(results["load"])
    PAGE.write_text(Template(TEMPLATE.read_text()).substitute(parts))


def _made(section: dict) -> str:
    made = section["made"]
    rough = ", quick and rough" if made["quick"] else ""
    return f"{made['date']}, {made['system']}, Python {made['python']}{rough}"


def _peers(peers: dict) -> dict[str, str]:
    figures = peers["figures"]
    rows = [row for workload in COLUMNS if workload in figures for row in verdict(workload, figures[workload], REASONS)]
    network = "without a network but its own loopback" if peers["isolated"] else "offline by their settings alone"
    parts = {
        "peers_made": f"{_made(peers)}; medians of {peers['repeats']}; processes ran {network}",
        "verdicts": markdown(
            ["figure", "ml: tensorboard", "ml: three backends", "best peer", "peers not ahead", "ahead"],
            rows,
            texts=(0, 3, 5),
        ),
        "contenders": markdown(
            ["", "versions", "remark"],
            ([name, about["versions"], about["remark"]] for name, about in peers["contenders"].items()),
            texts=(0, 1, 2),
        ),
        "failed": "\n".join(f"- {what}: {why}" for what, why in peers["failed"].items()) or "Nothing: all ran.",
        "killed": killed_table(figures, ["killed_process", "killed_job", "killed_flush"]),
    }
    return parts | {
        name: figures_table(name, figures[name]) for name in ("scalars", "images", "histograms", "training")
    }


def _growth(growth: dict) -> dict[str, str]:
    parts = {"growth_made": _made(growth)}
    bends = []
    for axis, rows in growth["axes"].items():
        columns = list(next(iter(rows.values())))
        parts[f"growth_{axis}"] = markdown(
            [axis, *columns],
            ([f"{int(count):,}", *(number(value) for value in figures.values())] for count, figures in rows.items()),
        )
        least, most = next(iter(rows)), list(rows)[-1]
        for column in columns:
            before, after = rows[least][column], rows[most][column]
            if after > FLAT * before > 0:
                ends = f"from {number(before)} at {int(least):,} to {number(after)} at {int(most):,}"
                bends.append(f"- {axis}: {column}, grows {ends}.")
    parts["bends"] = "\n".join(bends) or "Nothing grows by more than half."
    return parts


def _load(load: dict) -> dict[str, str]:
    rows = [
        [reader, *(f"{seconds:.2f}" for seconds in times.values()), f"{times['ml'] / times['SummaryWriter']:.2f}"]
        for reader, times in load["seconds"].items()
    ]
    return {
        "load_made": f"{_made(load)}; medians of {load['repeats']}",
        "load": markdown([f"{load['scalars']:,} scalars", "ml, s", "SummaryWriter, s", "ratio"], rows),
    }
