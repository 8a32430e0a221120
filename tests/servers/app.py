"""An application as one writes it, which every server has to serve in the same way."""

from __future__ import annotations

import asyncio
import os
import typing as t

import asyncflask
from asyncflask import current_app
from asyncflask import Flask
from asyncflask import request
from asyncflask import Response
from asyncflask import stream_with_context
from tests.servers.shared import build
from tests.servers.shared import described

app: Flask = build(asyncflask)
counted: dict[str, int] = app.extensions["counted"]


@app.before_serving
async def open_pool() -> None:
    """Bind something to the loop that serves the requests, as a database pool is."""
    current_app.extensions["pool"] = asyncio.get_running_loop()


@app.while_serving
def keep_open() -> t.Iterator[None]:
    """Hold something open for as long as the application serves."""
    current_app.extensions["kept"] = "open"
    yield
    current_app.extensions["kept"] = "closed"


@app.get("/serving")
async def serving() -> dict[str, object]:
    on_this_loop = current_app.extensions.get("pool") is asyncio.get_running_loop()
    return {"pool on this loop": on_this_loop, "kept": current_app.extensions.get("kept")}


@app.get("/loop")
async def loop() -> dict[str, object]:
    return {
        "process": os.getpid(),
        "loop": id(asyncio.get_running_loop()),
        "protocol": "WSGI" if request.scope is None else "ASGI",
    }


@app.post("/body-streamed", stream_body=True)
async def body_streamed() -> dict[str, object]:
    data = bytearray()
    async for chunk in request.stream:
        data += chunk
    return described(bytes(data))


@app.get("/stream-async")
async def stream_async() -> Response:
    async def lines() -> t.AsyncIterator[str]:
        for number in range(100):
            await asyncio.sleep(0)
            yield f"line {number}\n"

    return Response(lines(), mimetype="text/plain")


@app.get("/stream-slow/<float:seconds>")
async def stream_slow(seconds: float) -> t.AsyncIterator[str]:
    @stream_with_context
    async def lines() -> t.AsyncIterator[str]:
        for number in range(10):
            yield f"line {number}\n"
            await asyncio.sleep(seconds / 10)
        yield "end\n"

    return lines()
