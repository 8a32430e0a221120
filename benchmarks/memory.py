"""Measures the memory of a server process: idle, busy, and after very many requests."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

from . import load
from . import wrk
from .contenders import Contender
from .contenders import contenders_of
from .figures import Figures
from .figures import Key
from .http import client_process
from .serving import Memory
from .serving import serve
from .serving import Server
from .serving import two_cores
from .workloads import BY_NAME
from .workloads import Workload

LEVEL = "memory"
#: After the first request.
IDLE = "idle"
#: After requests of 64 connections.
BUSY = "busy"
GROWTH = "growth"
RSS = "MB RSS"
USS = "MB USS"
BUSY_SECONDS = 2.0
QUICK_BUSY_SECONDS = 0.3
#: Growth is counted from here: caches, pools and the allocator have what they need by then. Before,
#: even a process without a framework grows by 3 MB.
SETTLED = 120_000
GROWTH_REQUESTS = 200_000
QUICK_GROWTH_REQUESTS = 5_000
#: Who is asked so many requests; for slower ones that would take minutes.
GROWING = ("Starlette", "asyncflask", "raw ASGI")
TURN = 0.5


def growth_metric(requests: int) -> str:
    """Name the growth over so many requests."""
    return f"MB after {requests:,} more requests"


def measure_processes(contenders: Sequence[Contender], figures: Figures, *, quick: bool) -> None:
    """Measure a process of each framework, one after the other."""
    server_core, client_core = two_cores()
    workload = BY_NAME["hello"]
    with client_process(client_core) as client:
        for contender in contenders_of(workload, "http", contenders):
            with serve(contender, [workload]) as server:
                load.check_server(contender.name, server.ports[workload.app], workload)
                server.pin(server_core)
                add_memory(figures, IDLE, contender, server.memory)
                seconds = QUICK_BUSY_SECONDS if quick else BUSY_SECONDS
                put_load(server, workload, client, seconds)
                add_memory(figures, BUSY, contender, server.memory)
                if contender.name in GROWING:
                    requests = QUICK_GROWTH_REQUESTS if quick else GROWTH_REQUESTS
                    grown = measure_growth(server, workload, client, requests)
                    key = Key(LEVEL, GROWTH, contender.name, growth_metric(requests))
                    figures.add(key, grown)


def add_memory(figures: Figures, workload: str, contender: Contender, memory: Memory) -> None:
    """Add both figures."""
    figures.add(Key(LEVEL, workload, contender.name, RSS), memory.rss)
    figures.add(Key(LEVEL, workload, contender.name, USS), memory.uss)


def measure_growth(server: Server, workload: Workload, client: Executor, requests: int) -> float:
    """Tell by how many megabytes the process grows."""
    ask(server, workload, client, min(SETTLED, requests))
    before = server.memory.uss
    ask(server, workload, client, requests)
    return server.memory.uss - before


def ask(server: Server, workload: Workload, client: Executor, requests: int) -> None:
    """Make at least so many requests."""
    made = 0
    while made < requests:
        made += put_load(server, workload, client, TURN)


def put_load(server: Server, workload: Workload, client: Executor, seconds: float) -> int:
    """Have the client's process make requests.

    :returns: how many were answered.
    """
    make = wrk.make_load if wrk.find() else load.make_load
    return client.submit(make, server.ports[workload.app], workload, "", seconds).result().answers
