"""Measures over HTTP: requests per second, latencies, and the server's processor time.

A server has one core and the client another. The frameworks are measured in short turns, and the
workloads in many rounds: the speed of a machine changes from one second to the next.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import sys
import time
import typing as t
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import Executor
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from dataclasses import replace

from . import load
from . import wrk
from .contenders import Contender
from .contenders import contenders_of
from .figures import Figures
from .figures import Key
from .load import Load
from .serving import pin
from .serving import serve
from .serving import Server
from .serving import two_cores
from .workloads import Workload

LEVEL: t.Literal["http"] = "http"
RATE = "requests/s"
P50 = "p50 ms"
P99 = "p99 ms"
CPU = "cpu µs"

#: How long one server is measured before it is the next one's turn, in seconds.
TURN = 0.25
ROUNDS = 16
#: So many workloads take turns; a server with one application for each is up meanwhile.
GROUP = 5
QUICK_TURN = 0.1
QUICK_ROUNDS = 2
#: The client that checks every answer warms the servers up, for so many turns.
WARM_CONNECTIONS = 8
WARM_TURNS = 0.4
#: Where one answer takes longer than this, the turns of its workload are long enough for each
#: connection to have one, up to so many usual turns, and there are fewer rounds of it.
SLOW = 0.01
LONGEST_TURN = 4
#: A turn without any answers is made anew, so many times as long, until that takes too long, too.
LONGER = 3
TOO_LONG = 30.0


@dataclass
class Rival:
    """One server in one workload."""

    contender: Contender
    server: Server
    port: int
    cookie: str = ""
    turn: float = TURN


class Race(t.NamedTuple):
    """The rivals in a workload, who meet in one round of so many."""

    workload: Workload
    rivals: list[Rival]
    every: int


def measure_workloads(
    workloads: Sequence[Workload],
    contenders: Sequence[Contender],
    rounds: int,
    turn: float,
    figures: Figures,
    shared: bool = False,
) -> None:
    """Measure workloads in turns.

    :param shared: whether a process serves all the workloads of a framework, which starts sooner.
    """
    server_core, client_core = two_cores()
    size = len(workloads) if shared else GROUP
    with client_process(client_core) as client:
        for start in range(0, len(workloads), size):
            group = workloads[start : start + size]
            with contextlib.ExitStack() as stack:
                served = start_servers(stack, group, contenders, shared)
                races = [prepare(each, contenders, served, turn, client) for each in group]
                for server in served.values():
                    server.pin(server_core)
                for number in range(rounds):
                    for race in races:
                        measure(race, client, number, figures)


@contextlib.contextmanager
def client_process(core: int | None) -> Iterator[Executor]:
    """Start the process that asks, and that starts wrk, on a core of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=pin, initargs=(core,)) as client:
        yield client


def start_servers(
    stack: contextlib.ExitStack,
    workloads: Sequence[Workload],
    contenders: Sequence[Contender],
    shared: bool,
) -> dict[tuple[str, str], Server]:
    """Start a server for each application of a framework, or for all of them.

    :param shared: whether it is one for all, unless it is gunicorn.
    """
    served: dict[tuple[str, str], Server] = {}
    for contender in contenders:
        takes = [each for each in workloads if contender in contenders_of(each, LEVEL, [contender])]
        together = shared and contender.server != "gunicorn"
        groups = [takes] if together else [[each] for each in takes]
        for group in groups:
            if group and (contender.name, group[0].app) not in served:
                server = stack.enter_context(serve(contender, group))
                served.update({(contender.name, each.app): server for each in group})
    return served


def measure(race: Race, client: Executor, number: int, figures: Figures) -> None:
    """Measure the servers of a workload, each for a turn, if they meet in this round.

    :param number: that of the round.
    """
    workload, rivals, every = race
    if number % every:
        return
    # Another one begins in each round: none always runs after the same one.
    start = number % max(1, len(rivals))
    for rival in rivals[start:] + rivals[:start]:
        before = rival.server.cpu_seconds
        stood = put_load(workload, rival, client)
        cpu = (rival.server.cpu_seconds - before) * 1e6 / stood.answers
        measured = {RATE: stood.per_second, P50: stood.p50, P99: stood.p99, CPU: cpu}
        for metric, value in measured.items():
            figures.add(Key(LEVEL, workload.name, rival.contender.name, metric), value)


def prepare(
    workload: Workload,
    contenders: Sequence[Contender],
    served: dict[tuple[str, str], Server],
    turn: float,
    client: Executor,
) -> Race:
    """Warm the servers of a workload up, and see how long their turns have to be."""
    ready: list[Rival] = []
    slowest, times = 0.0, 1
    for contender in contenders_of(workload, LEVEL, contenders):
        rival = Rival(contender, served[contender.name, workload.app], 0, turn=turn)
        seconds = warm_up(workload, rival, client)
        if seconds is not None:
            ready.append(rival)
            slowest = max(slowest, seconds)
    if slowest > SLOW:
        times = max(1, min(LONGEST_TURN, math.ceil(slowest * workload.connections / turn)))
    for each in ready:
        each.turn *= times
    return Race(workload, ready, times)


def warm_up(workload: Workload, rival: Rival, client: Executor) -> float | None:
    """Wait for a server, check its answer and warm it up.

    :returns: how long an answer takes, in seconds; ``None`` if it is not right, which is said.
    """
    rival.port = rival.server.ports[workload.app]
    name = rival.contender.name
    try:
        rival.cookie = load.check_server(name, rival.port, workload)
        few = replace(workload, connections=min(WARM_CONNECTIONS, workload.connections))
        seconds = rival.turn * WARM_TURNS
        client.submit(load.make_load, rival.port, few, rival.cookie, seconds).result()
        start = time.perf_counter()
        load.fetch(rival.port, workload, rival.cookie)
    except (OSError, RuntimeError) as error:
        print(f"{name} is left out of {workload.name!r}: {error}", file=sys.stderr)
        return None
    return time.perf_counter() - start


def put_load(workload: Workload, rival: Rival, client: Executor) -> Load:
    """Have the client's process make requests.

    :raises TimeoutError: none is answered.
    """
    make = wrk.make_load if wrk.find() else load.make_load
    while rival.turn < TOO_LONG:
        task = client.submit(make, rival.port, workload, rival.cookie, rival.turn)
        stood = task.result()
        if stood.per_second:
            return stood
        rival.turn *= LONGER
    raise TimeoutError(f"{rival.contender.name} answers nothing in {workload.name!r}")
