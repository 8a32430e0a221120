"""Applications of Starlette, with its own router and responses."""

from __future__ import annotations

import typing as t
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import PlainTextResponse
from starlette.responses import Response
from starlette.responses import StreamingResponse
from starlette.routing import Mount
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from .content import CHUNK
from .content import CHUNKS
from .content import FIELDS
from .content import ROWS
from .content import SECRET
from .content import static_folder
from .content import TEMPLATES
from .middleware import DispatchedHooks
from .middleware import Hooks
from .middleware import SyncHooks


async def hello(request: Request) -> Response:
    return PlainTextResponse("Hello, World!")


def sync_hello(request: Request) -> Response:
    return PlainTextResponse("Hello, World!")


async def item(request: Request) -> Response:
    return JSONResponse({"id": request.path_params["item_id"], "name": "item"})


async def thing(request: Request) -> Response:
    return PlainTextResponse(str(request.path_params["thing_id"]))


async def count_session(request: Request) -> Response:
    request.session["count"] = request.session.get("count", 0) + 1
    return PlainTextResponse(str(request.session["count"]))


async def register(request: Request) -> Response:
    form = await request.form()
    return PlainTextResponse(", ".join(str(form[name]) for name in FIELDS))


async def upload(request: Request) -> Response:
    async with request.form() as form:
        file: t.Any = form["file"]
        return PlainTextResponse(f"{form['title']}, {file.filename}, {len(await file.read())}")


async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(CHUNKS):
            yield CHUNK

    return StreamingResponse(chunks())


async def count_items(request: Request) -> Response:
    return PlainTextResponse(str(len((await request.json())["items"])))


class StarletteApps:
    """Makes the applications."""

    def hello(self) -> Starlette:
        return Starlette(routes=[Route("/", hello)])

    def json(self) -> Starlette:
        return Starlette(routes=[Route("/items/{item_id:int}", item)])

    def routes_200(self) -> Starlette:
        return self._routes(200)

    def routes_2000(self) -> Starlette:
        return self._routes(2000)

    def _routes(self, count: int) -> Starlette:
        numbers = range(1, count + 1)
        return Starlette(
            routes=[Route(f"/things{number}/{{thing_id:int}}", thing) for number in numbers]
        )

    def hooks(self) -> Starlette:
        return Starlette(routes=[Route("/", hello)], middleware=[Middleware(Hooks)])

    def sync_view(self) -> Starlette:
        return Starlette(routes=[Route("/", sync_hello)])

    def sync_hooks(self) -> Starlette:
        return Starlette(routes=[Route("/", sync_hello)], middleware=[Middleware(SyncHooks)])

    def mixed_hooks(self) -> Starlette:
        return Starlette(routes=[Route("/", hello)], middleware=[Middleware(SyncHooks)])

    def session(self) -> Starlette:
        middleware = [Middleware(SessionMiddleware, secret_key=SECRET)]
        return Starlette(routes=[Route("/", count_session)], middleware=middleware)

    def template(self) -> Starlette:
        templates = Jinja2Templates(TEMPLATES)

        async def prices(request: Request) -> Response:
            context = {"title": "Prices", "rows": ROWS}
            return templates.TemplateResponse(request, "prices.html", context)

        return Starlette(routes=[Route("/", prices)])

    def form(self) -> Starlette:
        return Starlette(routes=[Route("/", register, methods=["POST"])])

    def upload(self) -> Starlette:
        return Starlette(routes=[Route("/", upload, methods=["POST"])])

    def static(self) -> Starlette:
        return Starlette(routes=[Mount("/static", StaticFiles(directory=static_folder()))])

    def stream(self) -> Starlette:
        return Starlette(routes=[Route("/", stream)])

    def body(self) -> Starlette:
        return Starlette(routes=[Route("/", count_items, methods=["POST"])])


class StarletteDispatched:
    """Makes the one application that may have another kind of middleware."""

    def hooks(self) -> Starlette:
        return Starlette(routes=[Route("/", hello)], middleware=[Middleware(DispatchedHooks)])


make = StarletteApps
