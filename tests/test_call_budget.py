"""What a request costs, counted in Python function calls: a figure without noise."""

from __future__ import annotations

import asyncio
import sys
import typing as t
from collections import Counter
from types import FrameType

import pytest

from asyncflask import Flask
from asyncflask import request
from asyncflask import session

pytestmark = pytest.mark.bare

#: Python functions called for one trivial GET, in the package and its libraries together.
BUDGET = 18
#: The same for a POST of a small form, read by an async view.
FORM_BUDGET = 60
#: The same for a session that is read and written, with its cookie.
SESSION_BUDGET = 78
#: The same for a dict that is sent as JSON.
JSON_BUDGET = 24

SCOPE: dict[str, t.Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*")],
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 8000),
}
WARM_UP = 20


def count_calls(
    app: Flask, scope: t.Mapping[str, t.Any] = SCOPE, body: bytes = b""
) -> Counter[str]:
    """Count the functions called for one request, by place; those of this file left out."""
    calls: Counter[str] = Counter()
    sent: list[t.MutableMapping[str, t.Any]] = []

    async def receive() -> dict[str, t.Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: t.MutableMapping[str, t.Any]) -> None:
        sent.append(message)

    def profile(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename != __file__:
            calls[f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}"] += 1

    async def requests() -> None:
        for _ in range(WARM_UP):
            await app(dict(scope), receive, send)
        sent.clear()
        sys.setprofile(profile)
        try:
            await app(dict(scope), receive, send)
        finally:
            sys.setprofile(None)

    asyncio.run(requests())
    assert (sent[0]["status"], b"Hello" in sent[1]["body"]) == (200, True)
    return calls


def test_trivial_request_stays_within_the_budget() -> None:
    app = Flask(__name__)

    @app.get("/")
    async def index() -> str:
        return "Hello"

    calls = count_calls(app)
    listing = "\n".join(f"{count:4} {place}" for place, count in calls.items())
    assert calls.total() <= BUDGET, f"{calls.total()} calls:\n{listing}"


def test_a_small_form_stays_within_its_budget() -> None:
    app = Flask(__name__)

    @app.post("/")
    async def index() -> str:
        return request.form["a"]

    body = b"a=Hello&b=2&c=hello+world"
    headers = [
        *SCOPE["headers"],
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-length", str(len(body)).encode()),
    ]
    calls = count_calls(app, {**SCOPE, "method": "POST", "headers": headers}, body)
    listing = "\n".join(f"{count:4} {place}" for place, count in calls.items())
    assert calls.total() <= FORM_BUDGET, f"{calls.total()} calls:\n{listing}"


def test_a_session_stays_within_its_budget() -> None:
    app = Flask(__name__)
    app.secret_key = "key"

    @app.get("/")
    async def index() -> str:
        session["n"] = session.get("n", 0) + 1
        return "Hello"

    cookie = app.test_client().get("/").headers["Set-Cookie"].partition(";")[0]
    headers = [*SCOPE["headers"], (b"cookie", cookie.encode())]
    calls = count_calls(app, {**SCOPE, "headers": headers})
    listing = "\n".join(f"{count:4} {place}" for place, count in calls.items())
    assert calls.total() <= SESSION_BUDGET, f"{calls.total()} calls:\n{listing}"


def test_a_dict_stays_within_its_budget() -> None:
    app = Flask(__name__)

    @app.get("/")
    async def index() -> dict[str, str]:
        return {"greeting": "Hello"}

    calls = count_calls(app)
    listing = "\n".join(f"{count:4} {place}" for place, count in calls.items())
    assert calls.total() <= JSON_BUDGET, f"{calls.total()} calls:\n{listing}"
