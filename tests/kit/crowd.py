"""Many clients at once, each on a connection of its own, in one event loop.

::

    answers = crowd.ask(server, [crowd.get("/one"), crowd.get("/two")])
    assert {answer.status for answer in answers} == {200}
"""

from __future__ import annotations

import asyncio
import socket
import time
import typing as t
from dataclasses import dataclass

from .server import LIMIT
from .server import Server

BOUNDARY: t.Final = "crowd"


@dataclass
class Answer:
    """What one client got, and how many seconds after all of them had begun."""

    status: int
    body: bytes
    after: float


def get(path: str) -> bytes:
    """Make a request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: bytes, content_type: str) -> bytes:
    """Make a request with a body."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def upload(path: str, size: int) -> bytes:
    """Make a form with a file of *size* bytes."""
    disposition = 'Content-Disposition: form-data; name="file"; filename="file"'
    start = f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode()
    body = start + bytes(size) + f"\r\n--{BOUNDARY}--\r\n".encode()
    return post(path, body, f"multipart/form-data; boundary={BOUNDARY}")


def stall(server: Server, path: str) -> socket.socket:
    """Have a client ask for *path* that reads nothing by itself, and takes little unread."""
    client = socket.socket()
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(LIMIT)
        client.connect((server.host, server.port))
        client.sendall(get(path))
    except BaseException:
        client.close()
        raise
    return client


def ask(
    server: Server, requests: t.Sequence[bytes], drips: int = 0, pause: float = 0.2
) -> list[Answer]:
    """Have each request sent by a client of its own, all at once, and wait for the answers.

    :param drips: bytes at the end of each request that are sent one by one, by each client in
        its own beat.
    :param pause: seconds before each of those.
    """

    async def main() -> list[Answer]:
        began = time.perf_counter()
        clients = [
            _ask(server, request, began, drips, pause, number * pause / len(requests))
            for number, request in enumerate(requests)
        ]
        async with asyncio.timeout(2 * LIMIT):
            return await asyncio.gather(*clients)

    return asyncio.run(main())


async def _ask(
    server: Server, request: bytes, began: float, drips: int, pause: float, late: float
) -> Answer:
    if drips:
        await asyncio.sleep(late)
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        whole = len(request) - drips
        writer.write(request[:whole])
        for position in range(whole, len(request)):
            await asyncio.sleep(pause)
            writer.write(request[position : position + 1])
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.split(b"content-length:")[1].split()[0]))
        status = int(head.split(maxsplit=2)[1])
    finally:
        writer.close()
    return Answer(status, body, time.perf_counter() - began)
