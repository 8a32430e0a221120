"""How long a server takes to answer while something else happens to it.

A process of its own asks for a path again and again, and at the same time for one of a control,
so that what the machine is slow at is not held against the framework::

    with pinging(server, "/ping", control=control) as pings:
        ...
    pings.check(0.05)
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from dataclasses import field

from . import crowd
from .server import LIMIT
from .server import ROOT
from .server import Server

#: Seconds between the end of one request and the start of the next.
PAUSE = 0.01
#: How much slower than the control an answer may be where the control itself is slow.
SLACK = 3.0
#: How often it is tried: a machine with other work to do is slow at times.
ATTEMPTS = 3


@dataclass
class Pings:
    """How long the answers took, in seconds; complete when the block has ended."""

    taken: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """What 99 of 100 answers took at most."""
        return percentile(self.taken, 99)

    @property
    def slowest(self) -> float:
        """What the slowest answer took."""
        return max(self.taken)

    def allowed(self, bound: float) -> float:
        """Give the bound to hold: *bound*, or more where the control was slow itself."""
        return max(bound, SLACK * percentile(self.control, 99)) if self.control else bound

    def check(self, bound: float, at_least: int = 20) -> str:
        """Assert that 99 of 100 answers came within *bound* seconds.

        :param at_least: how many answers there must be.
        :returns: the figure, for the table of measured ones.
        """
        assert len(self.taken) >= at_least, f"only {len(self.taken)} answers"
        allowed = self.allowed(bound)
        assert self.p99 <= allowed, f"{self.figure()}, allowed {allowed * 1000:.0f} ms"
        return self.figure()

    def figure(self) -> str:
        """Say what was measured, in milliseconds."""
        text = f"p99 {self.p99 * 1000:.0f} ms, max {self.slowest * 1000:.0f} ms"
        if self.control:
            text += f" (control {percentile(self.control, 99) * 1000:.0f} ms)"
        return text


def percentile(values: t.Sequence[float], percent: float) -> float:
    """Give the value below which so many of a hundred lie."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def check_repeated(bound: float, measure: t.Callable[[], Pings]) -> str:
    """Assert that *measure*, which may be noisy, sees answers within *bound* seconds once.

    What holds answers up does so each time; a machine with other work to do, at times.

    :returns: the figure, which tells of an attempt that is not the first what those before it saw.
    """
    failed: list[str] = []
    for _ in range(ATTEMPTS):
        pings = measure()
        if pings.p99 <= pings.allowed(bound):
            break
        failed.append(f"{pings.figure()}, allowed {pings.allowed(bound) * 1000:.0f} ms")
    else:
        raise AssertionError(f"each of {ATTEMPTS} attempts was too slow: {'; '.join(failed)}")
    figure = pings.check(bound)
    if failed:
        figure += f" in attempt {len(failed) + 1} of {ATTEMPTS}, before it {' and '.join(failed)}"
    return figure


@contextlib.contextmanager
def pinging(
    server: Server, path: str = "/ping", control: Server | None = None, upload: int = 0
) -> t.Iterator[Pings]:
    """Ask a server, and a control beside it, for a path during the block.

    :param control: another server, of which the same path is asked.
    :param upload: bytes of a file to be sent in a form each time, instead of a plain GET.
    """
    targets = [server.port] + ([control.port] if control is not None else [])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.kit.pings", path, str(upload), *map(str, targets)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    pings = Pings()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the pings did not start"
        yield pings
        output, _ = process.communicate("stop\n", timeout=3 * LIMIT)
        results = json.loads(output)
        pings.taken = results[0]
        pings.control = results[1] if control is not None else []
    finally:
        process.kill()
        process.wait(LIMIT)


def _ask(connection: socket.socket, request: bytes) -> float:
    began = time.perf_counter()
    connection.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head:
        received = connection.recv(65536)
        if not received:
            raise ConnectionError(f"{request[:100]!r} was not answered")
        head += received
    head, _, body = head.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"{request[:100]!r} was answered by {head!r}")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return time.perf_counter() - began


def _main(path: str, upload: str, *ports: str) -> None:
    """Ping until a line comes on standard input, and write all times as JSON."""
    import selectors

    size = int(upload)
    request = crowd.upload(path, size) if size else crowd.get(path)
    connections = [socket.create_connection(("127.0.0.1", int(port)), LIMIT) for port in ports]
    taken: list[list[float]] = [[] for _ in ports]
    for connection in connections:
        _ask(connection, request)
    print("ready", flush=True)
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin, selectors.EVENT_READ)
    stopped = False
    while not stopped:
        for connection, times in zip(connections, taken, strict=True):
            times.append(_ask(connection, request))
        stopped = bool(waiting.select(PAUSE))
    print(json.dumps(taken))


if __name__ == "__main__":
    _main(*sys.argv[1:])
