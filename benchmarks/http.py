"""Requests per second over HTTP: ``python -m benchmarks.http [--quick]``.

A server has one core and the client another. The servers of a race are measured in turns, so that
a busy machine slows them all; the ratios are what can be compared between runs.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import signal
import sys
from concurrent.futures import Executor
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from dataclasses import field
from statistics import median

from .inprocess import spread
from .load import CONNECTIONS
from .load import Load
from .load import make_load
from .races import Race
from .races import RACES
from .races import Served
from .races import Target
from .serving import pin
from .serving import serve
from .serving import Server
from .serving import two_cores

#: How long one server is measured before it is the next one's turn, in seconds.
TURN = 1.2
ROUNDS = 7
QUICK_TURN = 0.5
QUICK_ROUNDS = 3


@dataclass
class Measured:
    """One server in one race; a figure for each round."""

    served: Served
    server: Server
    per_second: list[float] = field(default_factory=list)
    #: Microseconds of the server's processor time for each request.
    cpu: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print a table for each race."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, so more noise")
    parser.add_argument("--only", metavar="RACE", choices=[race.name for race in RACES])
    options = parser.parse_args()
    rounds, turn = (QUICK_ROUNDS, QUICK_TURN) if options.quick else (ROUNDS, TURN)
    # Unlike the signal itself, an exception lets the servers be stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    server_core, client_core = two_cores()
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=pin, initargs=(client_core,)
    ) as client:
        for race in RACES:
            if options.only in (None, race.name):
                print_race(race, measure(race, client, server_core, rounds, turn))
    print("\nquartiles in brackets; µs: processor time of the server for one request")


def measure(
    race: Race, client: Executor, core: int | None, rounds: int, turn: float
) -> list[Measured]:
    """Measure the servers of a race, in turns."""
    with contextlib.ExitStack() as stack:
        started = [
            Measured(served, stack.enter_context(serve(served.server, served.make, core)))
            for served in race.served
        ]
        measured = [one for one in started if answers(race, one, client)]
        for number in range(rounds):
            # Another one begins in each round: none always runs after the same one.
            start = number % max(1, len(measured))
            for one in measured[start:] + measured[:start]:
                before = one.server.cpu_seconds
                load = put_load(race, one, client, turn)
                one.per_second.append(load.per_second)
                one.cpu.append((one.server.cpu_seconds - before) * 1e6 / load.answers)
    return measured


def answers(race: Race, one: Measured, client: Executor) -> bool:
    """Wait for a server and warm it up; say so if it does not answer as it should."""
    try:
        put_load(race, one, client, QUICK_TURN / 2)
    except (ConnectionError, TimeoutError) as error:
        print(f"{one.served.name} is left out of {race.name!r}: {error!r}", file=sys.stderr)
        return False
    return True


def put_load(race: Race, one: Measured, client: Executor, seconds: float) -> Load:
    """Have the client's process make requests."""
    return client.submit(make_load, one.server.port, one.served.path, race.body, seconds).result()


def print_race(race: Race, measured: list[Measured]) -> None:
    """Print a table, and which targets hold."""
    if not measured:
        return
    first = measured[0]
    print(f"\n{race.name + f', {CONNECTIONS} connections':34}{'requests per second':>28}", end="")
    print(f"{'times the first':>17}{'µs':>8}")
    for one in measured:
        print(f"{one.served.name:34}{median(one.per_second):13.0f}", end=" ")
        print(f"{spread(one.per_second, 0):>14}{compare(one, first):17.2f}", end="")
        print(f"{median(one.cpu):8.0f}")
    for target in race.targets:
        print_target(target, {one.served.name: one for one in measured})


def print_target(target: Target, measured: dict[str, Measured]) -> None:
    """Say whether a target holds, which in a short run is a matter of luck if it is close."""
    print(f"target: {target.ours} at least {target.times} times {target.theirs}: ", end="")
    if target.ours in measured and target.theirs in measured:
        ratio = compare(measured[target.ours], measured[target.theirs])
        print(f"{ratio:.2f}, {'holds' if ratio >= target.times else 'DOES NOT HOLD'}")
    else:
        print("not measured")


def compare(one: Measured, other: Measured) -> float:
    """Give the ratio of the medians."""
    return median(one.per_second) / median(other.per_second)


if __name__ == "__main__":
    main()
