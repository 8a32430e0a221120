"""Calls an application directly, without a server, and counts what that takes."""

from __future__ import annotations

import asyncio
import io
import sys
import typing as t
from collections.abc import Awaitable
from collections.abc import Callable
from types import FrameType

from .answers import Answer
from .answers import check_answer
from .answers import cookie_of
from .answers import request_headers
from .workloads import Workload

#: Makes a number of requests, one after the other.
Requests = Callable[[int], Awaitable[None]]
Sent = list[t.Any]

#: A server hands on what it has read from the socket, which is this much at most.
PIECE = 65_536
#: Seconds that an answer may take.
LIMIT = 10.0


class Caller(t.Protocol):
    """Makes requests in the way a server does."""

    def __call__(self, app: t.Any, workload: Workload, cookie: str, sent: Sent | None) -> Requests:
        """Prepare the requests.

        :param sent: where the answers go; by default nowhere.
        """


class Exchange:
    """The server's side of one request.

    As under uvicorn the client stays until it has the answer, which whoever still receives is
    then told: some frameworks wait for that.
    """

    __slots__ = ("_complete", "_pieces", "_sent", "_waiting")

    def __init__(self, pieces: list[t.Any], sent: Sent | None) -> None:
        self._pieces = iter(pieces)
        self._sent = sent
        self._complete = False
        self._waiting: asyncio.Future[None] | None = None

    async def receive(self) -> t.Any:
        """Give the pieces of the body, and after them the disconnect."""
        for piece in self._pieces:
            return piece
        if not self._complete:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return {"type": "http.disconnect"}

    async def send(self, message: t.Any) -> None:
        """Take a message."""
        if self._sent is not None:
            self._sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._complete = True
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(None)


def asgi_requests(app: t.Any, workload: Workload, cookie: str, sent: Sent | None) -> Requests:
    """Make requests in the way an ASGI server does."""
    scope = asgi_scope(workload, cookie)
    pieces = body_messages(workload.body)

    async def requests(count: int) -> None:
        for _ in range(count):
            exchange = Exchange(pieces, sent)
            fresh = {**scope, "headers": scope["headers"].copy(), "state": {}}
            await app(fresh, exchange.receive, exchange.send)

    return requests


def body_messages(body: bytes) -> list[t.Any]:
    """Cut a body into the messages that carry it."""
    starts = range(0, max(1, len(body)), PIECE)
    return [
        {
            "type": "http.request",
            "body": body[start : start + PIECE],
            "more_body": start + PIECE < len(body),
        }
        for start in starts
    ]


def wsgi_requests(app: t.Any, workload: Workload, cookie: str, sent: Sent | None) -> Requests:
    """Make requests in the way a WSGI server does."""
    environ = wsgi_environ(workload, cookie)

    def start_response(status: str, headers: t.Any, exc_info: t.Any = None) -> None:
        if sent is not None:
            encoded = [(name.encode(), text.encode("latin-1")) for name, text in headers]
            sent.append({"status": int(status[:3]), "headers": encoded})

    async def requests(count: int) -> None:
        for _ in range(count):
            body = io.BytesIO(workload.body)
            chunks = app({**environ, "wsgi.input": body}, start_response)
            for chunk in chunks:
                if sent is not None:
                    sent.append({"body": chunk})
            if hasattr(chunks, "close"):
                chunks.close()

    return requests


def asgi_scope(workload: Workload, cookie: str) -> dict[str, t.Any]:
    """Make a scope as uvicorn does."""
    headers = request_headers(workload, cookie).items()
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": workload.method,
        "scheme": "http",
        "path": workload.path,
        "raw_path": workload.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }


def wsgi_environ(workload: Workload, cookie: str) -> dict[str, t.Any]:
    """Make an environ as gunicorn does."""
    headers = {
        f"HTTP_{name.upper().replace('-', '_')}": text
        for name, text in request_headers(workload, cookie).items()
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if f"HTTP_{name}" in headers:
            headers[name] = headers.pop(f"HTTP_{name}")
    return {
        "REQUEST_METHOD": workload.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": workload.path,
        "QUERY_STRING": "",
        "RAW_URI": workload.path,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **headers,
    }


CALLERS: dict[str, Caller] = {"asgi": asgi_requests, "wsgi": wsgi_requests}


async def prepare_requests(app: t.Any, protocol: str, workload: Workload, name: str) -> Requests:
    """Check the answer that an application gives, and prepare to ask for it again.

    :param name: whose application it is, for the message.
    :raises RuntimeError: the answer is not the expected one.
    """
    call, cookie = CALLERS[protocol], ""
    try:
        async with asyncio.timeout(LIMIT):
            if workload.session:
                cookie = cookie_of(await ask(call, app, workload, cookie))
            check_answer(name, workload, await ask(call, app, workload, cookie))
    except TimeoutError:
        raise RuntimeError(f"{name} does not answer {workload.name!r}") from None
    return call(app, workload, cookie, None)


async def ask(call: Caller, app: t.Any, workload: Workload, cookie: str) -> Answer:
    """Make one request and collect what is sent."""
    sent: Sent = []
    await call(app, workload, cookie, sent)(1)
    start: t.Any = next((message for message in sent if "status" in message), {})
    headers = [(name.decode(), text.decode("latin-1")) for name, text in start.get("headers", ())]
    body = b"".join(message.get("body", b"") for message in sent)
    return Answer(start.get("status", 0), headers, body)


async def make_concurrently(requests: Requests, count: int, concurrent: int) -> int:
    """Make requests, so many at the same time.

    :returns: how many that were.
    """
    if concurrent == 1:
        await requests(count)
        return count
    each = max(1, count // concurrent)
    await asyncio.gather(*(requests(each) for _ in range(concurrent)))
    return each * concurrent


async def count_calls(requests: Requests) -> int:
    """Count the Python functions called for one request on this thread."""
    calls = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename != __file__

    sys.setprofile(profile)
    try:
        await requests(1)
    finally:
        sys.setprofile(None)
    return calls
