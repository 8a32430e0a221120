"""What test_serving.py has served: an application, and two controls without a framework."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import typing as t
from collections import defaultdict

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import asyncflask
from asyncflask import Flask
from asyncflask import g
from asyncflask import request
from asyncflask import Response
from asyncflask import stream_with_context

app = Flask(__name__)
left_over = contextvars.ContextVar("left_over", default="nothing")
events: dict[str, asyncio.Event] = defaultdict(asyncio.Event)


@app.get("/ping")
async def ping() -> str:
    return "pong"


@app.get("/happened/<name>")
async def happened(name: str) -> str:
    """Wait until something has happened."""
    await asyncio.wait_for(events[name].wait(), 15)
    return name


@app.get("/happen/<name>")
async def happen(name: str) -> str:
    events[name].set()
    return name


# -- what one request leaves to the next ---------------------------------------------------------


def find_and_leave(name: str) -> str:
    """Tell what is found of an earlier request, and leave something behind."""
    found = f"{left_over.get()} {g.get('left_over')}"
    left_over.set(name)
    g.left_over = name
    return found


@app.before_request
def before() -> None:
    if request.endpoint in ("leave", "leave_async"):
        g.found = find_and_leave(request.path)
        del g.left_over


@app.route("/leave/<name>", methods=["GET", "POST"])
def leave(name: str) -> str:
    asyncflask.session["name"] = name
    g.left_over = request.get_data()
    return f"{request.path} found {g.found}"


@app.route("/leave-async/<name>", methods=["GET", "POST"])
async def leave_async(name: str) -> str:
    await asyncio.sleep(0)
    g.left_over = request.get_data()
    return f"{request.path} found {g.found}"


async def control(scope: t.Any, receive: t.Any, send: t.Any) -> None:
    """The same as a bare ASGI application."""
    if scope["type"] != "http":
        return
    body = f"{scope['path']} found {left_over.get()} None".encode()
    left_over.set(scope["path"])
    while (await receive()).get("more_body"):
        continue
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def starlette_view(request: t.Any) -> PlainTextResponse:
    found = left_over.get()
    left_over.set(request.url.path)
    await request.body()
    return PlainTextResponse(f"{request.url.path} found {found} None")


starlette_control = Starlette(
    routes=[Route("/{path:path}", starlette_view, methods=["GET", "POST"])]
)


# -- streams -------------------------------------------------------------------------------------


@app.get("/stream/<kind>")
async def stream(kind: str) -> t.Any:
    name = request.args["name"]
    loop = asyncio.get_running_loop()
    sources = {"tight": tight, "waiting": waiting, "gated": gated}
    if kind == "sync":
        return stream_with_context(sync_stream(loop, name))
    return sources[kind](name)


async def tight(name: str) -> t.AsyncIterator[bytes]:
    """Never suspend."""
    try:
        for _ in itertools.count():
            yield b"x" * 10_000
    finally:
        events[f"closed {name}"].set()


async def waiting(name: str) -> t.AsyncIterator[bytes]:
    """Wait for what never comes."""
    try:
        yield b"first"
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.001)
        events[f"closed {name}"].set()


async def gated(name: str) -> t.AsyncIterator[bytes]:
    """Wait before each chunk."""
    for number in range(3):
        await events[f"gate {name} {number}"].wait()
        yield f"chunk {number}".encode()


def sync_stream(loop: asyncio.AbstractEventLoop, name: str) -> t.Iterator[bytes]:
    try:
        for _ in itertools.count():
            yield b"x" * 10_000
    finally:
        loop.call_soon_threadsafe(events[f"closed {name}"].set)


@app.get("/error/<int:at>/<colour>")
async def error(at: int, colour: str) -> Response:
    def chunks() -> t.Iterator[bytes]:
        for number in range(3):
            if number == at:
                raise LookupError(f"no chunk {number}")
            yield b"chunk"

    async def async_chunks() -> t.AsyncIterator[bytes]:
        for chunk in chunks():
            yield chunk

    headers = {"Content-Length": "15"} if "length" in request.args else {}
    return Response(chunks() if colour == "sync" else async_chunks(), headers=headers)


# -- others --------------------------------------------------------------------------------------


@app.get("/waits", cancel_on_disconnect=True)
async def waits() -> str:
    name = request.args["name"]
    try:
        events[f"waiting {name}"].set()
        await asyncio.Event().wait()
    finally:
        events[f"cancelled {name}"].set()
    return "never"


@app.get("/bad")
def bad() -> Response:
    kind = request.args["kind"]
    if kind == "status":
        return Response("evil", "200 OK\r\nX-Evil: evil")
    headers = {"name": ("X-Evil\r\nX-B", "v"), "value": ("X-A", "evil\0"), "blank": ("X A", "evil")}
    return Response("evil", headers=[headers[kind]])


@app.get("/empty")
def empty() -> tuple[str, int]:
    return "", 204


@app.get("/slow/<int:turns>")
async def slow(turns: int) -> str:
    for _ in range(turns):
        await asyncio.sleep(0.001)
    return str(turns)


@app.get("/file")
def file() -> Response:
    return asyncflask.send_file(__file__, conditional=True)


@app.before_serving
def open_session() -> None:
    app.secret_key = "for the tests"


@app.after_serving
async def say_goodbye() -> None:
    print("goodbye")
