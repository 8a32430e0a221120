"""The load: connections that ask again as soon as they have their answer."""

from __future__ import annotations

import asyncio
import time
import typing as t
from functools import partial

import uvloop

from .answers import CLIENT_HEADERS as HEADERS

CONNECTIONS = 64
#: Seconds within which every connection has to have its first answer.
LIMIT = 15.0

OK = b"HTTP/1.1 200 "


class Load(t.NamedTuple):
    """What a server has stood."""

    per_second: float
    #: All answers, also those before the clock was started.
    answers: int


def make_load(port: int, path: str, body: bytes, seconds: float) -> Load:
    """Put a server on this machine under load.

    :param body: what it has to answer, each time.
    :param seconds: how long answers are counted, once every connection has had one.
    :raises ConnectionError: an answer is wrong, or a connection is closed.
    :raises TimeoutError: a connection waits too long for its first answer.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(count_answers(port, path, body, seconds))


async def count_answers(port: int, path: str, body: bytes, seconds: float) -> Load:
    """Open the connections, wait for the first answers, and count those after them."""
    loop = asyncio.get_running_loop()
    broken: asyncio.Future[None] = loop.create_future()
    make = partial(Connection, format_request(path), body, broken)
    opened: list[Connection] = []
    try:
        async with asyncio.timeout(LIMIT):
            for _ in range(CONNECTIONS):
                opened.append((await loop.create_connection(make, "127.0.0.1", port))[1])
            either: list[asyncio.Future[t.Any]] = [broken]
            either.append(asyncio.gather(*(connection.first for connection in opened)))
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        before, start = sum(each.answers for each in opened), time.perf_counter()
        await asyncio.wait([broken], timeout=seconds)
        answers, end = sum(each.answers for each in opened), time.perf_counter()
    finally:
        for connection in opened:
            connection.close()
    if broken.done():
        broken.result()
    return Load((answers - before) / (end - start), answers)


def format_request(path: str) -> bytes:
    """Format a request as a browser's."""
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {text}" for name, text in HEADERS.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class Connection(asyncio.Protocol):
    """Sends its request, checks the answer, and sends it again.

    :param body: what has to be answered.
    :param broken: gets the error of the connection that is the first to have one.
    """

    def __init__(self, request: bytes, body: bytes, broken: asyncio.Future[None]) -> None:
        self.answers = 0
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._body = body
        self._broken = broken
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = t.cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        if mark and not (head.startswith(OK) and self._body.startswith(body)):
            self._fail(f"not the expected answer: {self._received!r}")
        elif mark and len(body) == len(self._body):
            self._received = b""
            self.answers += 1
            if not self.first.done():
                self.first.set_result(None)
            if self._transport is not None:
                self._transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._fail(f"the server has closed a connection: {error!r}")

    def close(self) -> None:
        """Leave, whatever is on its way."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def _fail(self, message: str) -> None:
        if not self._broken.done():
            self._broken.set_exception(ConnectionError(message))
        self.close()
