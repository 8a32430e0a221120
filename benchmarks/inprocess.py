"""Measures in process: an application is called as a server calls it, without one.

All frameworks of a workload are measured in turns, so that a busy machine slows them all.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterable
from dataclasses import dataclass

import uvloop

from .calling import count_calls
from .calling import make_concurrently
from .calling import prepare_requests
from .calling import Requests
from .contenders import Contender
from .contenders import contenders_of
from .figures import Figures
from .figures import Key
from .workloads import Workload

LEVEL = "inprocess"
TIME = "µs"
CALLS = "calls"

#: How long one framework is measured before it is the next one's turn, in seconds.
TURN = 0.02
ROUNDS = 31
QUICK_TURN = 0.01
QUICK_ROUNDS = 3
#: Requests that are made before; slow ones are made for so many turns.
WARM_UP = 200
FIRST_ONES = 10
WARM_UP_TURNS = 3


@dataclass
class Runner:
    """One framework in one workload."""

    contender: Contender
    requests: Requests
    per_turn: int
    calls: int | None


def measure_workloads(
    workloads: Iterable[Workload],
    contenders: Iterable[Contender],
    rounds: int,
    turn: float,
    figures: Figures,
) -> None:
    """Measure workloads, one after the other."""
    contenders = tuple(contenders)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for workload in workloads:
            rivals = contenders_of(workload, "inprocess", contenders)
            if rivals:
                runner.run(measure(workload, rivals, rounds, turn, figures))


async def measure(
    workload: Workload, contenders: list[Contender], rounds: int, turn: float, figures: Figures
) -> None:
    """Measure one workload in every framework, in turns."""
    runners = [await prepare(workload, contender, turn) for contender in contenders]
    # What is set up by now is no garbage of anyone's: a collection looks at it no more.
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            # Another one begins in each round: none always runs after the same one.
            start = number % len(runners)
            for runner in runners[start:] + runners[:start]:
                gc.collect()
                seconds = await time_requests(runner.requests, runner.per_turn, workload)
                key = Key(LEVEL, workload.name, runner.contender.name, TIME)
                figures.add(key, seconds * 1e6)
    finally:
        gc.unfreeze()
    for runner in runners:
        if runner.calls is not None:
            figures.add(Key(LEVEL, workload.name, runner.contender.name, CALLS), runner.calls)


async def prepare(workload: Workload, contender: Contender, turn: float) -> Runner:
    """Check the answer, warm up, count calls, and find out how many requests fill a turn."""
    app = contender.make(workload)
    requests = await prepare_requests(app, contender.protocol, workload, contender.name)
    seconds = await warm_up(requests, workload, turn)
    calls = None if workload.threads else await count_calls(requests)
    return Runner(contender, requests, max(1, round(turn / seconds)), calls)


async def warm_up(requests: Requests, workload: Workload, turn: float) -> float:
    """Make requests for a while.

    :returns: the seconds that one of them took at the end.
    """
    end = time.perf_counter() + turn * WARM_UP_TURNS
    made, step, seconds = 0, 1, 0.0
    # The first ones make what the others find: they say nothing about these.
    while made < FIRST_ONES or (made < WARM_UP and time.perf_counter() < end):
        seconds = await time_requests(requests, step, workload)
        made += step
        step = max(1, min(WARM_UP, round(turn / seconds)))
    return seconds


async def time_requests(requests: Requests, count: int, workload: Workload) -> float:
    """Return the seconds one request takes."""
    start = time.perf_counter()
    made = await make_concurrently(requests, count, workload.concurrent)
    return (time.perf_counter() - start) / made
