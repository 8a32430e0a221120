"""Microseconds per request in process: ``python -m benchmarks.inprocess [--quick]``.

All frameworks are measured in one run, in turns, so that a busy machine slows them all; the
ratios are what can be compared between runs. No server and no network are involved.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
import typing as t
from dataclasses import dataclass
from dataclasses import field
from statistics import median
from statistics import quantiles

import uvloop

from .calling import check_answer
from .calling import count_calls
from .calling import Requests
from .calling import SPEAKERS
from .contenders import Case
from .contenders import CASES
from .contenders import CONTENDERS

WARM_UP = 200
#: How long one framework is measured before it is the next one's turn, in seconds.
TURN = 0.02
ROUNDS = 41
QUICK_ROUNDS = 9


@dataclass
class Measured:
    """One framework in one case."""

    name: str
    requests: Requests
    per_turn: int
    calls: int | None
    #: Microseconds per request, one figure for each round.
    times: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print a table for each case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inprocess", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, so more noise")
    parser.add_argument("--only", metavar="CASE", choices=[case.name for case in CASES])
    options = parser.parse_args()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    apps = make_apps()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for case in CASES:
            if options.only in (None, case.name):
                print_case(case, runner.run(measure(case, apps, rounds)))
    print("\nquartiles in brackets; calls: Python functions called for one request")


def make_apps() -> dict[str, tuple[str, t.Any]]:
    """Make the applications of the frameworks that are installed."""
    apps: dict[str, tuple[str, t.Any]] = {}
    for contender in CONTENDERS:
        try:
            apps[contender.name] = contender.protocol, contender.make()
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("asyncflask"):
                raise
            print(f"{contender.name} is left out: {error}")
    return apps


async def measure(case: Case, apps: dict[str, tuple[str, t.Any]], rounds: int) -> list[Measured]:
    """Measure one case in every framework, in turns."""
    measured = [await prepare(case, name, *apps[name]) for name in apps]
    for turn in range(rounds):
        # Another one begins in each round: none always runs after the same one.
        start = turn % len(measured)
        for one in measured[start:] + measured[:start]:
            gc.collect()
            one.times.append(await time_requests(one.requests, one.per_turn) * 1e6)
    return measured


async def prepare(case: Case, name: str, protocol: str, app: t.Any) -> Measured:
    """Check the answer, warm up, and find out how many requests fill a turn."""
    sent: list[t.Any] = []
    await SPEAKERS[protocol](app, case, sent)(1)
    check_answer(name, case, sent)
    requests = SPEAKERS[protocol](app, case)
    seconds = await time_requests(requests, WARM_UP)
    # Calls on a worker thread are not seen, so the figure would say too little.
    threaded = protocol == "asgi" and case.name == "sync view"
    calls = None if threaded else await count_calls(requests)
    return Measured(name, requests, max(1, round(TURN / seconds)), calls)


async def time_requests(requests: Requests, count: int) -> float:
    """Return the seconds one request takes."""
    start = time.perf_counter()
    await requests(count)
    return (time.perf_counter() - start) / count


def print_case(case: Case, measured: list[Measured]) -> None:
    """Print a table: times, and ratios to the first framework."""
    first = measured[0]
    print(f"\n{case.name + ': GET ' + case.path:28}{'µs per request':>24}", end="")
    print(f"{'times ' + first.name:>28}{'calls':>8}")
    for one in measured:
        ratios = [mine / theirs for mine, theirs in zip(one.times, first.times, strict=True)]
        ratio = median(one.times) / median(first.times)
        print(f"{one.name:28}{median(one.times):10.1f} {spread(one.times, 1):>13}", end="")
        print(f"{ratio:14.2f} {spread(ratios, 2):>13}{'–' if one.calls is None else one.calls:>8}")


def spread(figures: list[float], digits: int) -> str:
    """Format the quartiles."""
    low, _, high = quantiles(figures, n=4)
    return f"[{low:.{digits}f}–{high:.{digits}f}]"


if __name__ == "__main__":
    main()
