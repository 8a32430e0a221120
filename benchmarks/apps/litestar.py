"""Applications of Litestar."""

from __future__ import annotations

import typing as t
from collections.abc import AsyncIterator

from litestar import get
from litestar import Litestar
from litestar import MediaType
from litestar import post
from litestar import Request
from litestar.contrib.jinja import JinjaTemplateEngine
from litestar.middleware import DefineMiddleware
from litestar.response import Stream
from litestar.response import Template
from litestar.static_files import create_static_files_router
from litestar.template.config import TemplateConfig
from starlette.middleware.sessions import SessionMiddleware

from .content import CHUNK
from .content import CHUNKS
from .content import FIELDS
from .content import ROWS
from .content import SECRET
from .content import static_folder
from .content import TEMPLATES
from .middleware import Hooks
from .middleware import SyncHooks


@get("/", media_type=MediaType.TEXT)
async def hello() -> str:
    return "Hello, World!"


@get("/", media_type=MediaType.TEXT, sync_to_thread=True)
def sync_hello() -> str:
    return "Hello, World!"


@get("/items/{item_id:int}")
async def item(item_id: int) -> dict[str, t.Any]:
    return {"id": item_id, "name": "item"}


@get("/", media_type=MediaType.TEXT)
async def count_session(request: Request[t.Any, t.Any, t.Any]) -> str:
    request.session["count"] = request.session.get("count", 0) + 1
    return str(request.session["count"])


@get("/")
async def prices() -> Template:
    return Template("prices.html", context={"title": "Prices", "rows": ROWS})


@post("/", media_type=MediaType.TEXT, status_code=200)
async def register(request: Request[t.Any, t.Any, t.Any]) -> str:
    form = await request.form()
    return ", ".join(str(form[name]) for name in FIELDS)


@post("/", media_type=MediaType.TEXT, status_code=200)
async def upload(request: Request[t.Any, t.Any, t.Any]) -> str:
    form = await request.form()
    file = form["file"]
    return f"{form['title']}, {file.filename}, {len(await file.read())}"


@get("/")
async def stream() -> Stream:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(CHUNKS):
            yield CHUNK

    return Stream(chunks())


@post("/", media_type=MediaType.TEXT, status_code=200)
async def count_items(data: dict[str, t.Any]) -> str:
    return str(len(data["items"]))


def thing_handler(count: int) -> t.Any:
    """Make one handler for many routes: with many handlers, Litestar takes ten seconds to start."""

    @get(
        [f"/things{number}/{{thing_id:int}}" for number in range(1, count + 1)],
        media_type=MediaType.TEXT,
    )
    async def thing(thing_id: int) -> str:
        return str(thing_id)

    return thing


def define(middleware: t.Any, **options: t.Any) -> DefineMiddleware:
    """Take middleware that knows nothing of Litestar and its types."""
    return DefineMiddleware(middleware, **options)


class LitestarApps:
    """Makes the applications."""

    def hello(self) -> Litestar:
        return Litestar([hello])

    def json(self) -> Litestar:
        return Litestar([item])

    def routes_200(self) -> Litestar:
        return Litestar([thing_handler(200)])

    def routes_2000(self) -> Litestar:
        return Litestar([thing_handler(2000)])

    def hooks(self) -> Litestar:
        return Litestar([hello], middleware=[define(Hooks)])

    def sync_view(self) -> Litestar:
        return Litestar([sync_hello])

    def sync_hooks(self) -> Litestar:
        return Litestar([sync_hello], middleware=[define(SyncHooks)])

    def mixed_hooks(self) -> Litestar:
        return Litestar([hello], middleware=[define(SyncHooks)])

    def session(self) -> Litestar:
        sessions = define(SessionMiddleware, secret_key=SECRET)
        return Litestar([count_session], middleware=[sessions])

    def template(self) -> Litestar:
        config = TemplateConfig(directory=TEMPLATES, engine=JinjaTemplateEngine)
        return Litestar([prices], template_config=config)

    def form(self) -> Litestar:
        return Litestar([register])

    def upload(self) -> Litestar:
        return Litestar([upload])

    def static(self) -> Litestar:
        return Litestar([create_static_files_router("/static", directories=[static_folder()])])

    def stream(self) -> Litestar:
        return Litestar([stream])

    def body(self) -> Litestar:
        return Litestar([count_items])


make = LitestarApps
