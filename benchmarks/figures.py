"""The figures of a run, and what is computed from them."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from dataclasses import field
from statistics import median
from statistics import quantiles


class Key(t.NamedTuple):
    """What a series of figures is about.

    :param metric: with its unit.
    """

    level: str
    workload: str
    contender: str
    metric: str


@dataclass
class Figures:
    """The series of a run, each with a figure for every round."""

    series: dict[Key, list[float]] = field(default_factory=dict)

    def add(self, key: Key, *values: float) -> None:
        """Add to a series."""
        self.series.setdefault(key, []).extend(values)

    def median(self, key: Key) -> float | None:
        """Give the median of a series, None if there is none."""
        values = self.series.get(key)
        return median(values) if values else None

    def workloads(self, level: str) -> list[str]:
        """List the workloads of a level, in the order they were measured in."""
        return list(dict.fromkeys(key.workload for key in self.series if key.level == level))

    def contenders(self, level: str, workload: str) -> list[str]:
        """List who took part in a workload."""
        every = (key for key in self.series if (key.level, key.workload) == (level, workload))
        return list(dict.fromkeys(key.contender for key in every))

    def metrics(self, level: str, workload: str) -> list[str]:
        """List what was measured in a workload."""
        every = (key for key in self.series if (key.level, key.workload) == (level, workload))
        return list(dict.fromkeys(key.metric for key in every))


def quartiles(values: list[float]) -> tuple[float, float]:
    """Give the lower and the upper quartile."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def ratios(mine: list[float], theirs: list[float]) -> list[float]:
    """Divide round by round, so that what slows a whole round cancels out."""
    return [one / other for one, other in zip(mine, theirs, strict=False) if other]
