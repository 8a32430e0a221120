"""Plots: how many times as fast or as slow as Starlette, with the spread."""

from __future__ import annotations

import typing as t
from pathlib import Path
from statistics import median

from .figures import Figures
from .figures import Key
from .figures import quartiles
from .figures import ratios
from .results import Results

BASE = "Starlette"
SHOWN = ("asyncflask", "FastAPI", "Litestar", "Quart")
PLOTS = (
    ("inprocess", "µs", "time per request in process (less is better)"),
    ("http", "requests/s", "requests per second over HTTP (more is better)"),
)


class Bar(t.NamedTuple):
    """A ratio with its quartiles."""

    workload: str
    contender: str
    value: float
    low: float
    high: float


def bars_of(figures: Figures, level: str, metric: str) -> list[Bar]:
    """Compute the bars of a plot, ratios to the base's figures of the same round."""
    bars = []
    for workload in figures.workloads(level):
        base = figures.series.get(Key(level, workload, BASE, metric), [])
        for contender in SHOWN:
            mine = figures.series.get(Key(level, workload, contender, metric), [])
            compared = ratios(mine, base)
            if compared:
                bars.append(Bar(workload, contender, median(compared), *quartiles(compared)))
    return bars


def save_plots(results: Results, folder: Path) -> None:
    """Save each plot as PNG and as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    # Otherwise names of elements are random, and each run changes all of the file.
    matplotlib.rcParams["svg.hashsalt"] = "asyncflask"
    for level, metric, title in PLOTS:
        bars = bars_of(results.figures, level, metric)
        if bars:
            save_plot(bars, title, results.machine, folder / level)


def save_plot(bars: list[Bar], title: str, machine: dict[str, str], path: Path) -> None:
    """Draw bars, a group for each workload."""
    from matplotlib import pyplot

    workloads = list(dict.fromkeys(bar.workload for bar in bars))
    height = 0.8 / len(SHOWN)
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.62 * len(workloads)))
    for number, contender in enumerate(SHOWN):
        mine = [bar for bar in bars if bar.contender == contender]
        axes.barh(
            [workloads.index(bar.workload) + (number - 1.5) * height for bar in mine],
            [bar.value for bar in mine],
            height,
            xerr=[
                [max(0.0, bar.value - bar.low) for bar in mine],
                [max(0.0, bar.high - bar.value) for bar in mine],
            ],
            label=contender,
            error_kw={"linewidth": 0.8},
        )
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_ymargin(0.01)
    axes.set_yticks(range(len(workloads)), workloads)
    axes.invert_yaxis()
    axes.set_xlabel(f"times {BASE}, logarithmic")
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['date']}"
    versions = ", ".join(
        f"{each} {machine[each.lower()]}" for each in (BASE, *SHOWN) if each.lower() in machine
    )
    axes.set_title(f"{title}\n{where}\n{versions}", fontsize=9)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=110, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    pyplot.close(figure)
