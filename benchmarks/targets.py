"""What is to be reached, and whether it is."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from dataclasses import dataclass

from .figures import Figures
from .figures import Key

#: ``ratio``: ours divided by theirs; ``difference``: ours less theirs; ``value``: ours alone.
Measure = t.Literal["ratio", "difference", "value"]

INSIDE = "inprocess"
HTTP = "http"
TIME = "µs"
RATE = "requests/s"


@dataclass(frozen=True)
class Target:
    """A bound for a figure of ours, most often in relation to another one.

    :param at_least: whether the bound is a lower one.
    :param their_workload: where the figure comes from that ours is compared with, if it is
        another workload.
    """

    level: str
    workload: str
    metric: str
    ours: str
    theirs: str
    bound: float
    at_least: bool = False
    measure: Measure = "ratio"
    their_workload: str | None = None

    def __str__(self) -> str:
        """Say it in words."""
        side = "at least" if self.at_least else "at most"
        what = f"{self.workload}, {self.metric}: {self.ours} {side} {self.bound:g}"
        theirs = self.theirs + (f" ({self.their_workload})" if self.their_workload else "")
        return {
            "ratio": f"{what} × {theirs}",
            "difference": f"{what} more than {theirs}",
            "value": what,
        }[self.measure]


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured, None if it was not."""

    target: Target
    value: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None if that is not known."""
        if self.value is None:
            return None
        bound = self.target.bound
        return self.value >= bound if self.target.at_least else self.value <= bound

    @property
    def outcome(self) -> str:
        """Say whether it is met."""
        return {None: "not measured", True: "met", False: "NOT MET"}[self.met]


def judge(target: Target, figures: Figures) -> Verdict:
    """Compare what was measured with a target."""
    ours = figures.median(Key(target.level, target.workload, target.ours, target.metric))
    if target.measure == "value" or ours is None:
        return Verdict(target, ours)
    place = target.their_workload or target.workload
    theirs = figures.median(Key(target.level, place, target.theirs, target.metric))
    if theirs is None or (target.measure == "ratio" and not theirs):
        return Verdict(target, None)
    return Verdict(target, ours / theirs if target.measure == "ratio" else ours - theirs)


def inside_targets() -> Iterator[Target]:
    """Bound the time of a request in process."""
    for name in ("hello", "json", "template", "form", "session", "hooks"):
        yield Target(INSIDE, name, TIME, "asyncflask", "Starlette", 1.0)
    yield Target(INSIDE, "routes-200", TIME, "asyncflask", "Starlette", 0.25)
    yield Target(
        INSIDE,
        "routes-2000",
        TIME,
        "asyncflask",
        "asyncflask",
        1.1,
        their_workload="routes-200",
    )
    for name in ("hello", "json", "template", "form", "session", "hooks"):
        yield Target(INSIDE, name, TIME, "asyncflask, WSGI", "Flask", 0.4)


TARGETS = (*inside_targets(),)
