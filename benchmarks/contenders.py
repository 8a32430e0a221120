"""The same small application in each framework, made when asked for."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One kind of request and the answer every framework has to give."""

    name: str
    path: str
    body: bytes


CASES = (
    Case("hello", "/", b"Hello, World!"),
    Case("json", "/items/42", b'{"id":42,"name":"item"}'),
    Case("sync view", "/sync", b"Hello, World!"),
)


@dataclass(frozen=True)
class Contender:
    """A framework, spoken to over one protocol."""

    name: str
    protocol: t.Literal["asgi", "wsgi"]
    make: Callable[[], t.Any]


def make_asyncflask() -> t.Any:
    """Async views, and a sync one for the case of that name."""
    from asyncflask import Flask

    return with_async_views(Flask("benchmarks"))


def make_quart() -> t.Any:
    """As asyncflask's, which has the same decorators."""
    from quart import Quart

    return with_async_views(Quart("benchmarks"))


def with_async_views(app: t.Any) -> t.Any:
    """Add the routes in Flask's way."""

    @app.get("/")
    async def hello() -> str:
        return "Hello, World!"

    @app.get("/items/<int:item_id>")
    async def item(item_id: int) -> dict[str, t.Any]:
        return {"id": item_id, "name": "item"}

    @app.get("/sync")
    def sync_hello() -> str:
        return "Hello, World!"

    return app


def make_asyncflask_sync() -> t.Any:
    """Sync views only, for WSGI."""
    from asyncflask import Flask

    return with_sync_views(Flask("benchmarks"))


def make_flask() -> t.Any:
    """Flask itself."""
    from flask import Flask

    return with_sync_views(Flask("benchmarks"))


def with_sync_views(app: t.Any) -> t.Any:
    """Add the routes in Flask's way, without a coroutine."""

    @app.get("/")
    @app.get("/sync")
    def hello() -> str:
        return "Hello, World!"

    @app.get("/items/<int:item_id>")
    def item(item_id: int) -> dict[str, t.Any]:
        return {"id": item_id, "name": "item"}

    return app


def make_starlette() -> t.Any:
    """Starlette with its own router and responses."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("Hello, World!")

    async def item(request: Request) -> JSONResponse:
        return JSONResponse({"id": request.path_params["item_id"], "name": "item"})

    def sync_hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("Hello, World!")

    return Starlette(
        routes=[
            Route("/", hello),
            Route("/items/{item_id:int}", item),
            Route("/sync", sync_hello),
        ]
    )


#: The first one is what the others are compared with.
CONTENDERS = (
    Contender("Starlette", "asgi", make_starlette),
    Contender("asyncflask", "asgi", make_asyncflask),
    Contender("Quart", "asgi", make_quart),
    Contender("asyncflask (WSGI)", "wsgi", make_asyncflask_sync),
    Contender("Flask (WSGI)", "wsgi", make_flask),
)
