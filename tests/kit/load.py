"""Many requests to a server at the same time."""

from __future__ import annotations

import asyncio
import time
import typing as t
from dataclasses import dataclass

from .server import Server

#: Seconds that all of them together may take.
LIMIT = 60.0


@dataclass
class Reply:
    """What came back, and when: seconds after the first of the requests was sent."""

    status: int
    body: bytes
    at: float


async def ask(server: Server, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Make one request on a connection of its own; give status and body."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        start, _, content = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return int(start.split()[1]), content


async def ask_many(server: Server, requests: t.Iterable[tuple[str, str]]) -> list[Reply]:
    """Make requests (methods and paths) all at once.

    :returns: the replies in the order of the requests.
    """
    began = time.perf_counter()

    async def one(method: str, path: str) -> Reply:
        status, body = await ask(server, method, path)
        return Reply(status, body, time.perf_counter() - began)

    async with asyncio.timeout(LIMIT):
        return await asyncio.gather(*(one(*request) for request in requests))
