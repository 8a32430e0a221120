"""The load: connections that ask again as soon as they have their answer.

Where the system has no wrk, this is what asks; it checks each answer, which costs it some speed.
"""

from __future__ import annotations

import asyncio
import socket
import time
import typing as t
from functools import partial
from statistics import quantiles

import uvloop

from .answers import Answer
from .answers import check_answer
from .answers import cookie_of
from .reading import AnswerReader
from .reading import format_request
from .workloads import Workload

#: Seconds within which every connection has to have its first answer.
LIMIT = 30.0


class Load(t.NamedTuple):
    """What a server has stood; latencies in milliseconds."""

    per_second: float
    #: All answers, also those before the clock was started.
    answers: int
    p50: float
    p99: float


def fetch(port: int, workload: Workload, cookie: str) -> Answer:
    """Make one request.

    :raises ConnectionError: the server closes the connection instead of answering.
    """
    reader = AnswerReader()
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connection:
        connection.sendall(format_request(workload, cookie))
        while data := connection.recv(1 << 20):
            answer = reader.feed(data)
            if answer is not None:
                return answer
    raise ConnectionError("the server has closed the connection")


def check_server(name: str, port: int, workload: Workload) -> str:
    """Make sure that a server answers as it should.

    :returns: the cookie to send along.
    """
    cookie = cookie_of(fetch(port, workload, "")) if workload.session else ""
    check_answer(name, workload, fetch(port, workload, cookie))
    return cookie


def make_load(port: int, workload: Workload, cookie: str, seconds: float) -> Load:
    """Put a server on this machine under load.

    :param seconds: how long answers are counted, once every connection has had one.
    :raises ConnectionError: an answer is wrong, or a connection is closed.
    :raises TimeoutError: a connection waits too long for its first answer.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(count_answers(port, workload, cookie, seconds))


async def count_answers(port: int, workload: Workload, cookie: str, seconds: float) -> Load:
    """Open the connections, wait for the first answers, and count those after them."""
    loop = asyncio.get_running_loop()
    broken: asyncio.Future[None] = loop.create_future()
    make = partial(Connection, workload, format_request(workload, cookie), broken)
    opened: list[Connection] = []
    try:
        async with asyncio.timeout(LIMIT):
            for _ in range(workload.connections):
                opened.append((await loop.create_connection(make, "127.0.0.1", port))[1])
            # Not before: a server with slow answers would take ever longer to accept the next one.
            for connection in opened:
                connection.ask()
            either: list[asyncio.Future[t.Any]] = [broken]
            either.append(asyncio.gather(*(connection.first for connection in opened)))
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        before, start = [len(each.times) for each in opened], time.perf_counter()
        await asyncio.wait([broken], timeout=seconds)
        # The first answers, which all are asked for at once, say little about the usual ones.
        counted = [each.times[first:] for each, first in zip(opened, before, strict=True)]
        end = time.perf_counter()
    finally:
        for connection in opened:
            connection.close()
    if broken.done():
        broken.result()
    times = [taken for each in counted for taken in each]
    p50, p99 = percentiles(times)
    return Load(len(times) / (end - start), sum(before) + len(times), p50 * 1e3, p99 * 1e3)


def percentiles(times: list[float]) -> tuple[float, float]:
    """Give the median and the 99th percentile."""
    if len(times) < 2:
        return (times[0], times[0]) if times else (0.0, 0.0)
    cuts = quantiles(times, n=100, method="inclusive")
    return cuts[49], cuts[98]


class Connection(asyncio.Protocol):
    """Sends its request, checks the answer, and sends it again.

    :param request: the workload's, as bytes.
    :param broken: gets the error of the connection that is the first to have one.
    """

    def __init__(self, workload: Workload, request: bytes, broken: asyncio.Future[None]) -> None:
        #: Seconds that each answer has taken.
        self.times: list[float] = []
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._workload = workload
        self._request = request
        self._broken = broken
        self._reader = AnswerReader()
        self._checked: tuple[int, bytes] | None = None
        self._asked = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = t.cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            answer = self._reader.feed(data)
            # To look at the same body again would only cost the client's time.
            if answer is not None and (answer.status, answer.body) != self._checked:
                check_answer("the server", self._workload, answer)
                self._checked = answer.status, answer.body
        except (ValueError, RuntimeError) as error:
            self._fail(f"not the expected answer: {error}")
            return
        if answer is not None:
            self.times.append(time.perf_counter() - self._asked)
            if not self.first.done():
                self.first.set_result(None)
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._fail(f"the server has closed a connection: {error!r}")

    def close(self) -> None:
        """Leave, whatever is on its way."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def ask(self) -> None:
        """Send the request, unless the connection is closed."""
        if self._transport is not None:
            self._asked = time.perf_counter()
            self._transport.write(self._request)

    def _fail(self, message: str) -> None:
        if not self._broken.done():
            self._broken.set_exception(ConnectionError(message))
        self.close()
