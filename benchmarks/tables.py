"""Figures as text: for a terminal, and as Markdown."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from statistics import median

from .figures import Figures
from .figures import Key
from .figures import quartiles
from .figures import ratios
from .targets import Verdict

Row = list[str]


class Table(t.NamedTuple):
    """A table; its first column is text, the others are figures."""

    title: str
    head: Row
    rows: list[Row]


def workload_table(figures: Figures, level: str, workload: str, title: str) -> Table:
    """Make the table of a workload: a line for each contender, ratios to the first one's."""
    contenders = figures.contenders(level, workload)
    metrics = figures.metrics(level, workload)
    first = contenders[0]
    head = ["", metrics[0], f"× {first}", *metrics[1:]]
    rows = []
    for contender in contenders:
        series = [figures.series.get(Key(level, workload, contender, each)) for each in metrics]
        base = figures.series[Key(level, workload, first, metrics[0])]
        ratio = ratios(series[0], base) if series[0] else []
        cells = [describe(values) for values in series]
        rows.append([contender, cells[0], describe(ratio or None, 2), *cells[1:]])
    return Table(title, head, rows)


def describe(values: list[float] | None, digits: int | None = None) -> str:
    """Write the median of figures, and in brackets their quartiles."""
    if not values:
        return "–"
    low, high = quartiles(values)
    middle = median(values)
    places = digits_for(middle) if digits is None else digits
    if low == high:
        return f"{middle:.{0 if middle == int(middle) and digits is None else places}f}"
    return f"{middle:.{places}f} [{low:.{places}f}–{high:.{places}f}]"


def digits_for(value: float) -> int:
    """Choose how many decimals tell something."""
    return 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2


def target_table(verdicts: Sequence[Verdict]) -> Table:
    """Make the table of targets."""
    rows = [
        [
            f"{verdict.target.level}: {verdict.target}",
            "–" if verdict.value is None else f"{verdict.value:.2f}",
            verdict.outcome,
        ]
        for verdict in verdicts
    ]
    return Table("targets", ["", "measured", ""], rows)


def as_text(table: Table) -> str:
    """Lay a table out for a terminal."""
    lines = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(table.head))]
    texts = [table.title] if table.title else []
    for row in lines:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        texts.append("  ".join(cells).rstrip())
    return "\n".join(texts)


def as_markdown(table: Table) -> str:
    """Write a table as Markdown."""
    rule = ["---", *["--:"] * (len(table.head) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (table.head, rule, *table.rows)]
    return "\n".join([f"### {table.title}", "", *lines] if table.title else lines)
