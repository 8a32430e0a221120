"""Makes very many requests in one process, and reports whether anything of them is left behind.

``python -m tests.kit.soak`` makes a million; with ``MIX COUNT`` it makes so many of one mix and
writes a :class:`Report` as JSON.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import json
import subprocess
import sys
import time
import typing as t
from array import array
from collections import Counter
from dataclasses import dataclass
from dataclasses import field

import psutil

from .left import wait_for_threads
from .server import ROOT

#: How often the memory is looked at in one run.
SAMPLES = 100
#: The part of a run after which caches are full, and the memory may not grow any more.
WARM_UP = 0.4
#: Requests under way at the same time.
CLIENTS = 4
#: Bytes per request by which the memory may grow: 1 KB per 1,000 requests.
MEMORY_BOUND = 1.024
#: What it may grow by in a run of any length as long as that does not go on: caches are still
#: being filled, and what is freed leaves holes.
NOISE = 128 * 1024
#: Parts of a run after the warm-up, in each of which a leak shows.
QUARTERS = 4
#: What the memory has to grow by in each of them to count as a leak; it is told in pages of 4 KiB.
STEP = 8 * 1024
#: Objects per request by which Python's memory may grow; it counts them exactly.
BLOCKS_BOUND = 0.01
#: Seconds that all threads without work together may take to end, on a machine with other work.
LIMIT = 30.0

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
PARTS = {"Content-Type": "multipart/form-data; boundary=b"}
FILE = (
    b'--b\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--b--\r\n'
)


@dataclass(frozen=True)
class Kind:
    """A kind of request; ``{n}`` in its path, method and headers is a number of its own.

    :param leaves: whether the client leaves after the first chunk.
    """

    method: str
    path: str
    status: int = 200
    body: bytes = b""
    headers: t.Mapping[str, str] = field(default_factory=dict)
    leaves: bool = False


PLAIN = [Kind("GET", path) for path in ("/async/{n}", "/folder/")]
MIXED = [
    *PLAIN * 35,
    *[Kind("GET", "/sync/{n}"), Kind("GET", "/unknown/{n}", 404), Kind("GET", "/session")] * 3,
    *(Kind("GET", path) for path in ("/looks?a={n}", "/sync-session", "/stream")),
    *(Kind("GET", path) for path in ("/sync-stream", "/file", "/starlette", "/watched")),
    *(Kind("GET", path, 500) for path in ("/fail", "/sync-fail")),
    Kind("GET", "/session", headers={"Cookie": "session={n}; other={n}"}),
    Kind("GET", "/endless", leaves=True),
    Kind("GET", "/known", 400),
    Kind("GET", "/abort", 403),
    Kind("GET", "/redirect", 302),
    Kind("GET", "/folder", 308),
    Kind("DELETE", "/looks", 405),
    Kind("HEAD", "/async/{n}"),
    Kind("OPTIONS", "/async/{n}"),
    Kind("POST", "/form", body=b"field=value", headers=FORM),
    Kind("POST", "/form", 400, body=b"other=value", headers=FORM),
    Kind("POST", "/sync-form", body=b"field=value", headers=FORM),
    Kind("POST", "/sync-form", body=FILE, headers=PARTS),
    Kind("POST", "/json", body=b'{"a": 1}', headers=JSON),
    Kind("POST", "/json", 400, body=b'{"a":', headers=JSON),
    Kind("POST", "/upload", body=b"x" * 1000),
]
LONG = "{n}, text/x-{n};q=0.5, " + "x" * 8000
#: What a cache would grow by that has no bound.
DISTINCT = [
    *[Kind("GET", "/unknown/{n}", 404), Kind("M{n}", "/looks", 405)] * 15,
    Kind("GET", "/{n}/looks", 404),
    Kind("M{n}", "/unknown/{n}", 404),
    Kind("GET", "/folder?next={n}", 308),
    Kind("GET", "/looks?a{n}={n}", headers={"Cookie": "c{n}={n}", "X-{n}": "{n}"}),
    Kind("GET", "/looks", headers={"Accept": LONG}),
    Kind("GET", "/looks", headers={"Accept-Language": LONG}),
    Kind("GET", "/looks", headers={"Accept-Encoding": LONG, "Accept-Charset": LONG}),
    Kind("GET", "/looks", headers={"Host": "host-{n}.example"}),
    Kind("POST", "/json", 415, body=b"x", headers={"Content-Type": "text/x-{n}; a={n}"}),
]
MIXES = {"mixed": MIXED, "distinct": DISTINCT}
#: How many requests of each mix the suite makes in a process of its own, and how many over sockets.
SHORT_RUNS = {"mixed": 50_000, "distinct": 50_000}
SHORT_SOCKETS = 50_000


@dataclass
class Report:
    """What a run has shown."""

    count: int = 0
    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    #: Numbers of requests, and the bytes and the objects that the process held after them. Of
    #: the objects in a list there would be more and more.
    at: t.MutableSequence[int] = field(default_factory=lambda: array("q"))
    memory: t.MutableSequence[int] = field(default_factory=lambda: array("q"))
    blocks: t.MutableSequence[int] = field(default_factory=lambda: array("q"))
    #: More of each after the run than before it.
    tasks: int = 0
    threads: int = 0
    files: int = 0
    garbage: int = 0
    #: What the threads are that were left.
    left: list[str] = field(default_factory=list)

    @property
    def memory_slope(self) -> float:
        """Bytes per request by which the memory grows once caches are full."""
        return slope(self.at, self.memory)

    @property
    def blocks_slope(self) -> float:
        """The same for the objects that Python has in its memory; 0 where it was not asked."""
        return slope(self.at, self.blocks) if self.blocks else 0.0

    @property
    def growth(self) -> list[int]:
        """Bytes by which the memory grows in each part of the run after the warm-up."""
        first, last = _first_after_warm_up(self.at), len(self.at) - 1
        edges = [first + (last - first) * part // QUARTERS for part in range(QUARTERS + 1)]
        return [self.memory[end] - self.memory[start] for start, end in itertools.pairwise(edges)]

    @property
    def leaks(self) -> bool:
        """Whether the memory grows by more than it may: by too much, or all the time."""
        grows = sum(self.growth) >= NOISE or min(self.growth) >= STEP
        return self.memory_slope >= MEMORY_BOUND and grows

    def check(self) -> str:
        """Assert that nothing was left behind, and give the figure for the table."""
        left = (self.tasks, self.threads, self.files, self.garbage)
        assert left == (0, 0, 0, 0), f"tasks, threads, files, garbage: {left}; {self.left}"
        assert not self.leaks, f"{self.figure()}; in parts: {self.growth}"
        assert self.blocks_slope < BLOCKS_BOUND, self.figure()
        return self.figure()

    def figure(self) -> str:
        """Say what was measured."""
        return (
            f"{self.count:,} requests ({self.count / self.seconds:,.0f}/s):"
            f" {self.memory_slope:+.2f} KB and {self.blocks_slope * 1000:+.1f} objects"
            f" per 1,000, {self.memory[-1] / 2**20:.0f} MB"
        )


def _first_after_warm_up(at: t.Sequence[int]) -> int:
    return next(index for index, number in enumerate(at) if number >= WARM_UP * at[-1])


def slope(at: t.Sequence[int], values: t.Sequence[int]) -> float:
    """Fit a line through what was measured after the warm-up, by least squares."""
    first = _first_after_warm_up(at)
    xs, ys = at[first:], values[first:]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    products = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return products / sum((x - x_mean) ** 2 for x in xs)


async def ask(app: t.Any, kind: Kind, number: int) -> int:
    """Make one request, without any more than that takes, and give the status.

    :raises AssertionError: if it is not the one that is expected.
    """
    status = 0
    gone = asyncio.Event()
    messages = [{"type": "http.request", "body": kind.body, "more_body": False}]

    async def receive() -> t.Any:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: t.Any) -> None:
        nonlocal status
        status = message.get("status", status)
        if kind.leaves and message.get("body"):
            gone.set()

    await app(_scope(kind, str(number)), receive, send)
    assert status == kind.status, f"{kind} was answered with {status}"
    return status


def _scope(kind: Kind, number: str) -> dict[str, t.Any]:
    path, _, query = kind.path.replace("{n}", number).partition("?")
    headers = {"Host": "localhost", **kind.headers}
    if kind.body:
        headers["Content-Length"] = str(len(kind.body))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": kind.method.replace("{n}", number),
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (name.replace("{n}", number).lower().encode(), value.replace("{n}", number).encode())
            for name, value in headers.items()
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def soak(app: t.Any, kinds: t.Sequence[Kind], report: Report) -> None:
    """Make the requests of all kinds in turns, several at the same time."""
    statuses: Counter[int] = Counter()
    numbers = iter(range(report.count))

    async def client() -> None:
        for number in itertools.islice(numbers, report.count // SAMPLES // CLIENTS):
            statuses[await ask(app, kinds[number % len(kinds)], number)] += 1

    for sample in range(1, SAMPLES + 1):
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client())
        gc.collect()
        report.at.append(sample * report.count // SAMPLES)
        report.memory.append(psutil.Process().memory_info().rss)
        report.blocks.append(sys.getallocatedblocks())
    report.statuses = dict(statuses)
    report.tasks = len(asyncio.all_tasks()) - 1


def run(mix: str, count: int) -> Report:
    """Make the requests in this process, and look for what they have left in it."""
    from .soak_app import app

    report = Report(count)
    files = psutil.Process().num_fds()
    began = time.monotonic()
    asyncio.run(soak(app, MIXES[mix], report))
    report.seconds = time.monotonic() - began
    report.left = wait_for_threads(LIMIT)
    report.threads = len(report.left)
    report.files = psutil.Process().num_fds() - files
    report.garbage = len(gc.garbage)
    return report


def run_apart(mix: str, count: int) -> Report:
    """Make the requests in a process of their own."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.kit.soak", mix, str(count)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        timeout=90 + count / 200,
        check=True,
    )
    return Report(**json.loads(result.stdout))


def _main(*args: str) -> None:
    if args:
        print(json.dumps(dataclasses.asdict(run(args[0], int(args[1]))), default=list))
        return
    from .soak_sockets import run_over_sockets

    print("in process, all kinds:", run_apart("mixed", 1_000_000).check(), flush=True)
    print("in process, all different:", run_apart("distinct", 200_000).check(), flush=True)
    print("over sockets:", run_over_sockets(100_000).check(), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
