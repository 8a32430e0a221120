"""Calls an application directly, without a server, and counts what that takes."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import typing as t
from collections.abc import Awaitable
from collections.abc import Callable
from types import FrameType

from .contenders import Case

#: Makes a number of requests, one after the other.
Requests = Callable[[int], Awaitable[None]]

HEADERS = {
    "Host": "127.0.0.1:8000",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
}
REQUEST = {"type": "http.request", "body": b"", "more_body": False}


def asgi_requests(app: t.Any, case: Case, sent: list[t.Any] | None = None) -> Requests:
    """Make requests in the way an ASGI server does.

    :param sent: where the messages of the application go; by default nowhere.
    """
    scope = asgi_scope(case.path)

    async def send(message: t.Any) -> None:
        if sent is not None:
            sent.append(message)

    async def requests(count: int) -> None:
        for _ in range(count):
            await app(dict(scope), one_request(), send)

    return requests


def one_request() -> Callable[[], Awaitable[t.Any]]:
    """Receive an empty body, and after it nothing: this client stays."""
    asked = False

    async def receive() -> t.Any:
        nonlocal asked
        if asked:
            await asyncio.get_running_loop().create_future()
        asked = True
        return REQUEST

    return receive


def wsgi_requests(app: t.Any, case: Case, sent: list[t.Any] | None = None) -> Requests:
    """Make requests in the way a WSGI server does."""
    environ = wsgi_environ(case.path)

    def start_response(status: str, headers: t.Any, exc_info: t.Any = None) -> None:
        if sent is not None:
            sent.append({"status": int(status[:3])})

    async def requests(count: int) -> None:
        for _ in range(count):
            chunks = app({**environ, "wsgi.input": io.BytesIO()}, start_response)
            for chunk in chunks:
                if sent is not None:
                    sent.append({"body": chunk})
            if hasattr(chunks, "close"):
                chunks.close()

    return requests


def asgi_scope(path: str) -> dict[str, t.Any]:
    """Make a scope as uvicorn does."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), text.encode()) for name, text in HEADERS.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


def wsgi_environ(path: str) -> dict[str, t.Any]:
    """Make an environ as gunicorn does."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "RAW_URI": path,
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
        **{f"HTTP_{name.upper().replace('-', '_')}": text for name, text in HEADERS.items()},
    }


SPEAKERS = {"asgi": asgi_requests, "wsgi": wsgi_requests}


def check_answer(name: str, case: Case, sent: list[t.Any]) -> None:
    """Make sure that what will be measured is an answer and no error page.

    :raises RuntimeError: status or body is not the expected one.
    """
    status = next((message["status"] for message in sent if "status" in message), None)
    body = b"".join(message.get("body", b"") for message in sent)
    # Frameworks set spaces and line ends in JSON differently.
    same = json.loads(body) == json.loads(case.body) if case.name == "json" else body == case.body
    if status != 200 or not same:
        raise RuntimeError(f"{name} answers {case.path!r} with {status!r} and {body!r}")


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
