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
MOUNTED = "asyncflask, mounted"


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


#: What runs over HTTP in asyncflask and in Quart.
QUART_TOO = (
    *("hello", "json", "routes-200", "routes-2000", "hooks", "session", "template", "form"),
    *("upload", "sync-1", "sync-64", "sync-hooks", "mixed-hooks", "static-10k", "static-10m"),
    *("stream", "body-1m"),
)


def http_targets() -> Iterator[Target]:
    """Bound requests per second and latencies over HTTP."""

    def faster(workload: str, theirs: str, times: float, place: str | None = None) -> Target:
        return Target(
            HTTP,
            workload,
            RATE,
            "asyncflask",
            theirs,
            times,
            at_least=True,
            their_workload=place,
        )

    yield faster("hello", "Starlette", 1.0)
    yield faster("hello", "raw ASGI", 0.6)
    yield faster("json", "Starlette", 1.0)
    for name in ("hello", "json"):
        yield Target(HTTP, name, "p99 ms", "asyncflask", "Starlette", 1.0)
    yield faster("sync-64", "Starlette", 2.0)
    yield faster("sync-64", "Flask", 3.0)
    yield faster("mixed-hooks", "Quart", 2.0)
    yield faster("mixed-hooks", "Starlette", 1.3, "sync-64")
    for name in QUART_TOO:
        yield faster(name, "Quart", 3.0)


def race_targets() -> Iterator[Target]:
    """Bound what a mounted application and gunicorn's threads do, in requests per second."""
    for workload, adapter in (
        ("mounted", "a2wsgi, 10 threads"),
        ("mounted-legacy", "a2wsgi, 10 threads"),
        ("mounted", "a2wsgi, 40 threads"),
    ):
        place = "mounted" if workload != "mounted" else None
        yield Target(HTTP, workload, RATE, MOUNTED, adapter, 1.5, True, their_workload=place)
    yield Target(HTTP, "sync-64", RATE, "asyncflask, WSGI", "Flask", 1.0, at_least=True)


def process_targets() -> Iterator[Target]:
    """Bound the import and the memory."""
    yield Target("startup", "start", "import ms", "asyncflask", "Flask", 1.0)
    for theirs, more in (("Quart", 0.0), ("Starlette", 15.0)):
        yield Target("memory", "idle", "MB RSS", "asyncflask", theirs, more, measure="difference")
    grown = "MB after 200,000 more requests"
    yield Target("memory", "growth", grown, "asyncflask", "", 2.0, measure="value")


TARGETS = (*inside_targets(), *http_targets(), *race_targets(), *process_targets())
