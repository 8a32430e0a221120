"""What the benchmarks count as an answer."""

from __future__ import annotations

import asyncio
import socket

import pytest

from benchmarks.load import Connection
from benchmarks.load import make_load

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written.append(data)

    def abort(self) -> None:
        self.written.append(b"aborted")


async def connect() -> tuple[Connection, Transport, asyncio.Future[None]]:
    broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection, transport = Connection(b"ask", b"hello", broken), Transport()
    connection.connection_made(transport)
    return connection, transport, broken


@pytest.mark.parametrize("size", [1, 7, len(ANSWER)])
async def test_an_answer_counts_once_it_is_complete(size: int) -> None:
    connection, transport, broken = await connect()
    for start in range(0, len(ANSWER), size):
        assert connection.answers == 0
        connection.data_received(ANSWER[start : start + size])
    assert connection.answers == 1 and connection.first.done() and not broken.done()
    assert transport.written == [b"ask", b"ask"]


@pytest.mark.parametrize(
    "wrong",
    [
        ANSWER.replace(b"200 OK", b"500 No"),
        ANSWER.replace(b"hello", b"jello"),
        ANSWER + b"!",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_wrong_answer_ends_the_load(wrong: bytes) -> None:
    connection, transport, broken = await connect()
    connection.data_received(wrong)
    assert transport.written == [b"ask", b"aborted"] and connection.answers == 0
    with pytest.raises(ConnectionError, match="not the expected answer"):
        broken.result()


async def test_a_connection_that_the_server_closes_ends_the_load() -> None:
    connection, _, broken = await connect()
    connection.connection_lost(None)
    with pytest.raises(ConnectionError, match="has closed"):
        broken.result()


async def test_a_connection_that_is_left_reports_nothing() -> None:
    connection, _, broken = await connect()
    connection.close()
    connection.connection_lost(None)
    assert not broken.done()


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionError):
        make_load(port, "/", b"hello", 0.1)
