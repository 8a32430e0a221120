"""An application as one writes it, which every server has to serve in the same way."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import os
import threading
import time
import typing as t

from asyncflask import abort
from asyncflask import current_app
from asyncflask import Flask
from asyncflask import g
from asyncflask import redirect
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import stream_with_context
from asyncflask import url_for

app = Flask(__name__)
app.secret_key = "for the tests"
seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")
counted = {"before": 0, "after": 0, "teardown": 0}


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


@app.before_request
def before() -> None:
    counted["before"] += 1
    seen.set(request.path)
    g.thread = threading.get_ident()


@app.after_request
async def after(response: Response) -> Response:
    counted["after"] += 1
    response.headers["X-Seen"] = seen.get()
    return response


@app.teardown_request
def teardown(error: BaseException | None) -> None:
    counted["teardown"] += 1


@app.get("/counts")
def counts() -> dict[str, int]:
    return counted


@app.get("/serving")
async def serving() -> dict[str, object]:
    on_this_loop = current_app.extensions.get("pool") is asyncio.get_running_loop()
    return {"pool on this loop": on_this_loop, "kept": current_app.extensions.get("kept")}


@app.get("/async")
async def async_view() -> dict[str, str]:
    await asyncio.sleep(0)
    return {"variable": seen.get(), "query": request.args.get("q", "")}


@app.get("/sync")
def sync_view() -> dict[str, object]:
    return {"variable": seen.get(), "same thread": g.thread == threading.get_ident()}


@app.get("/loop")
async def loop() -> dict[str, object]:
    return {
        "process": os.getpid(),
        "loop": id(asyncio.get_running_loop()),
        "protocol": "WSGI" if request.scope is None else "ASGI",
    }


@app.get("/nap/<float:seconds>")
async def nap(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@app.get("/block/<float:seconds>")
def block(seconds: float) -> str:
    time.sleep(seconds)
    return "blocked"


@app.post("/form")
def form() -> dict[str, object]:
    file = request.files["file"]
    return {"title": request.form["title"], "name": file.filename, "bytes": len(file.read())}


@app.post("/form-async")
async def form_async() -> dict[str, object]:
    file = request.files["file"]
    return {"title": request.form["title"], "name": file.filename, "bytes": len(file.read())}


@app.post("/json")
async def json() -> dict[str, object]:
    return {"sum": sum(request.get_json()["numbers"])}


def described(data: bytes) -> dict[str, object]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@app.post("/body")
def body() -> dict[str, object]:
    return described(request.get_data())


@app.post("/body-async")
async def body_async() -> dict[str, object]:
    return described(request.get_data())


@app.post("/body-streamed", stream_body=True)
async def body_streamed() -> dict[str, object]:
    data = bytearray()
    async for chunk in request.stream:
        data += chunk
    return described(bytes(data))


@app.get("/visits")
async def visits() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/stream")
def stream() -> t.Iterator[str]:
    return (f"line {number}\n" for number in range(100))


@app.get("/stream-async")
async def stream_async() -> Response:
    async def lines() -> t.AsyncIterator[str]:
        for number in range(100):
            await asyncio.sleep(0)
            yield f"line {number}\n"

    return Response(lines(), mimetype="text/plain")


@app.get("/stream-kept")
def stream_kept() -> t.Iterator[str]:
    @stream_with_context
    def lines() -> t.Iterator[str]:
        for number in range(100):
            yield f"{request.path} {number}\n"

    return lines()


@app.get("/stream-slow/<float:seconds>")
async def stream_slow(seconds: float) -> t.AsyncIterator[str]:
    @stream_with_context
    async def lines() -> t.AsyncIterator[str]:
        for number in range(10):
            yield f"line {number}\n"
            await asyncio.sleep(seconds / 10)
        yield "end\n"

    return lines()


@app.get("/fails")
async def fails() -> str:
    raise LookupError("for the log")


@app.get("/refused")
def refused() -> str:
    abort(403)


@app.errorhandler(404)
async def not_found(error: Exception) -> tuple[dict[str, str], int]:
    return {"missing": request.path}, 404


@app.get("/redirect")
def redirected() -> Response:
    return redirect(url_for("sync_view"))


@app.get("/slash/")
def slash() -> str:
    return "slash"


@app.get("/nothing")
async def nothing() -> tuple[str, int]:
    return "", 204


@app.get("/tagged")
def tagged() -> Response:
    response = Response("tagged")
    response.set_etag("one")
    return response.make_conditional(request)
