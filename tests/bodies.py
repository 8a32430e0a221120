"""What the tests of request bodies share: senders over both transports, and a watcher."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import os
import typing as t

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.test import run_wsgi_app

from asyncflask import Flask
from asyncflask import request
from tests.kit.drive import fetch
from tests.kit.leaks import no_tasks_left

FORM = "application/x-www-form-urlencoded"
KIB = 1024
MIB = 1024 * KIB
both_transports = pytest.mark.parametrize("transport", ["wsgi", "asgi"])
both_colours = pytest.mark.parametrize("colour", ["sync", "async"])
marker: contextvars.ContextVar[str] = contextvars.ContextVar("marker", default="outside")


@contextlib.asynccontextmanager
async def nothing_left_behind() -> t.AsyncIterator[None]:
    """Fail if the block leaves a task or an open file behind."""
    before = open_files()
    async with no_tasks_left():
        yield
    assert open_files() <= before, "files were left open"


def open_files() -> int:
    """Count the files this process has open, apart from sockets, pipes and those of event loops."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("/")
        except FileNotFoundError:
            continue
    return count


def add(
    app: Flask, colour: str, func: t.Callable[[], t.Any], method: str = "POST", **options: t.Any
) -> None:
    """Add a view in one colour."""

    def view() -> t.Any:
        return func()

    async def view_async() -> t.Any:
        return func()

    view_func = view if colour == "sync" else view_async
    app.add_url_rule("/", "view", view_func, methods=[method], **options)


class Chunks(io.RawIOBase):
    """The input of a WSGI server, which gives a piece at a time, and never on an event loop.

    :param ends: whether it ends by itself; otherwise to read past the end is to wait for ever.
    """

    def __init__(self, chunks: t.Iterable[bytes], ends: bool = True) -> None:
        self._left = list(chunks)
        self._ends = ends

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        assert asyncio._get_running_loop() is None, "the input was read on an event loop"
        if not self._left:
            assert self._ends, "the input was read past its end"
            return 0
        part = self._left[0][: len(buffer)]
        buffer[: len(part)] = part
        self._left[0] = self._left[0][len(part) :]
        if not self._left[0]:
            del self._left[0]
        return len(part)


async def send(
    app: Flask,
    transport: str,
    body: bytes | t.Sequence[bytes] = b"",
    length: int | None = -1,
    content_type: str = FORM,
    method: str = "POST",
) -> tuple[int, bytes]:
    """Send a body over either transport and give status and body of the answer.

    :param length: what is declared; ``None`` for nothing, as with a chunked body.
    """
    if transport == "asgi":
        headers = {"Content-Type": content_type}
        answer = await fetch(app, method, body=body, length=length, headers=headers)
        return answer.status, answer.body
    chunks = [body] if isinstance(body, bytes) else body
    environ = EnvironBuilder("/", method=method).get_environ()
    environ["CONTENT_TYPE"] = content_type
    environ["wsgi.input"] = Chunks(chunks)
    environ["wsgi.input_terminated"] = True
    environ.pop("CONTENT_LENGTH", None)
    if length is None:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    else:
        size = sum(map(len, chunks)) if length < 0 else length
        environ["CONTENT_LENGTH"] = str(size)
    data, status, _ = await asyncio.to_thread(run_wsgi_app, app, environ, buffered=True)
    return int(status[:3]), b"".join(data)


class Watched:
    """Stands around an application and notes when, where and how much it receives.

    :param suspends: whether each message lets other tasks run first, as a server's does.
    """

    def __init__(self, app: Flask, suspends: bool = False) -> None:
        self._app = app
        self._suspends = suspends
        self.calls = 0
        self.taken = 0
        self.markers: set[str] = set()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        async def watch() -> t.Any:
            self.calls += 1
            self.markers.add(marker.get())
            self.loops.add(asyncio.get_running_loop())
            if self._suspends:
                await asyncio.sleep(0)
            message = await receive()
            self.taken += len(message.get("body", b""))
            return message

        await self._app(scope, watch, send)


BOUNDARY = "multipart/form-data; boundary=x"


def multipart(*parts: tuple[str, str | None, bytes]) -> bytes:
    """Make a form of parts, each a name, a file name if it is a file, and its content."""
    lines = []
    for name, filename, value in parts:
        suffix = f'; filename="{filename}"' if filename else ""
        lines.append(
            f'--x\r\nContent-Disposition: form-data; name="{name}"{suffix}\r\n\r\n'.encode()
        )
        lines.append(value + b"\r\n")
    return b"".join(lines) + b"--x--\r\n"


#: What views give back of the chunks ``one``, ``two``, ``three``.
EXPECTED = b"onetwothree"


async def iterate() -> bytes:
    """A view: gives its body back, read by ``async for``."""
    return b"".join([chunk async for chunk in request.stream])


async def read_all() -> bytes:
    """A view: gives its body back, read at once."""
    return await request.stream.read() + await request.stream.read()


async def load() -> bytes:
    """A view: gives its body back, after it has decided to load it."""
    await request.load_body()
    return request.get_data()
