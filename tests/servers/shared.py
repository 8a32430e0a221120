"""What the application of these tests is on Flask and on asyncflask alike."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import threading
import time
import typing as t

seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


def build(framework: t.Any) -> t.Any:
    """Make the application; its extension ``"counted"`` tells how often each hook has run.

    :param framework: the module :mod:`flask` or :mod:`asyncflask`.
    """
    app = framework.Flask(__name__)
    app.secret_key = "for the tests"
    for add in (add_hooks, add_plain, add_slow, add_forms, add_bodies, add_streams, add_answers):
        add(app, framework)
    return app


def described(data: bytes) -> dict[str, object]:
    """Tell of a body what can be compared."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def add_hooks(app: t.Any, framework: t.Any) -> None:
    counted = app.extensions["counted"] = {"before": 0, "after": 0, "teardown": 0}

    @app.before_request
    def before() -> None:
        counted["before"] += 1
        seen.set(framework.request.path)
        framework.g.thread = threading.get_ident()

    @app.after_request
    async def after(response: t.Any) -> t.Any:
        counted["after"] += 1
        response.headers["X-Seen"] = seen.get()
        return response

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        counted["teardown"] += 1

    @app.get("/counts")
    def counts() -> dict[str, int]:
        return counted


def add_plain(app: t.Any, framework: t.Any) -> None:
    @app.get("/async")
    async def async_view() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"variable": seen.get(), "query": framework.request.args.get("q", "")}

    @app.get("/sync")
    def sync_view() -> dict[str, object]:
        same = framework.g.thread == threading.get_ident()
        return {"variable": seen.get(), "same thread": same}

    @app.get("/visits")
    async def visits() -> str:
        session = framework.session
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])


def add_slow(app: t.Any, framework: t.Any) -> None:
    @app.get("/nap/<float:seconds>")
    async def nap(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    @app.get("/block/<float:seconds>")
    def block(seconds: float) -> str:
        time.sleep(seconds)
        return "blocked"


def add_forms(app: t.Any, framework: t.Any) -> None:
    request = framework.request

    def described_form() -> dict[str, object]:
        file = request.files["file"]
        return {"title": request.form["title"], "name": file.filename, "bytes": len(file.read())}

    @app.post("/form")
    def form() -> dict[str, object]:
        return described_form()

    @app.post("/form-async")
    async def form_async() -> dict[str, object]:
        return described_form()

    @app.post("/json")
    async def json() -> dict[str, object]:
        return {"sum": sum(request.get_json()["numbers"])}


def add_bodies(app: t.Any, framework: t.Any) -> None:
    @app.post("/body")
    def body() -> dict[str, object]:
        return described(framework.request.get_data())

    @app.post("/body-async")
    async def body_async() -> dict[str, object]:
        return described(framework.request.get_data())


def add_streams(app: t.Any, framework: t.Any) -> None:
    @app.get("/stream")
    def stream() -> t.Iterator[str]:
        return (f"line {number}\n" for number in range(100))

    @app.get("/stream-kept")
    def stream_kept() -> t.Iterator[str]:
        @framework.stream_with_context
        def lines() -> t.Iterator[str]:
            for number in range(100):
                yield f"{framework.request.path} {number}\n"

        return t.cast("t.Iterator[str]", lines())


def add_answers(app: t.Any, framework: t.Any) -> None:
    @app.get("/fails")
    async def fails() -> str:
        raise LookupError("for the log")

    @app.get("/refused")
    def refused() -> str:
        framework.abort(403)

    @app.errorhandler(404)
    async def not_found(error: Exception) -> tuple[dict[str, str], int]:
        return {"missing": framework.request.path}, 404

    @app.get("/redirect")
    def redirected() -> t.Any:
        return framework.redirect(framework.url_for("sync_view"))

    @app.get("/slash/")
    def slash() -> str:
        return "slash"

    @app.get("/nothing")
    async def nothing() -> tuple[str, int]:
        return "", 204

    @app.get("/tagged")
    def tagged() -> t.Any:
        response = framework.Response("tagged")
        response.set_etag("one")
        return response.make_conditional(framework.request)
