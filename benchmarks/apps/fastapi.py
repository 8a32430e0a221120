"""Applications of FastAPI, with typed parameters as its users write them."""

from __future__ import annotations

import typing as t
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi import Form
from fastapi import Request
from fastapi import UploadFile
from fastapi.responses import HTMLResponse
from fastapi.responses import PlainTextResponse
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.middleware.sessions import SessionMiddleware

from .content import CHUNK
from .content import CHUNKS
from .content import ROWS
from .content import SECRET
from .content import static_folder
from .content import TEMPLATES
from .middleware import Hooks
from .middleware import SyncHooks

Text = t.Annotated[str, Form()]


class FastAPIApps:
    """Makes the applications."""

    def hello(self) -> FastAPI:
        app = FastAPI()

        @app.get("/", response_class=PlainTextResponse)
        async def hello() -> str:
            return "Hello, World!"

        return app

    def json(self) -> FastAPI:
        app = FastAPI()

        @app.get("/items/{item_id}")
        async def item(item_id: int) -> dict[str, t.Any]:
            return {"id": item_id, "name": "item"}

        return app

    def routes_200(self) -> FastAPI:
        return self._routes(200)

    def routes_2000(self) -> FastAPI:
        return self._routes(2000)

    def _routes(self, count: int) -> FastAPI:
        app = FastAPI()

        async def thing(thing_id: int) -> str:
            return str(thing_id)

        for number in range(1, count + 1):
            app.get(f"/things{number}/{{thing_id}}", response_class=PlainTextResponse)(thing)
        return app

    def hooks(self) -> FastAPI:
        app = self.hello()
        app.add_middleware(Hooks)
        return app

    def sync_view(self) -> FastAPI:
        app = FastAPI()

        @app.get("/", response_class=PlainTextResponse)
        def hello() -> str:
            return "Hello, World!"

        return app

    def sync_hooks(self) -> FastAPI:
        app = self.sync_view()
        app.add_middleware(SyncHooks)
        return app

    def mixed_hooks(self) -> FastAPI:
        app = self.hello()
        app.add_middleware(SyncHooks)
        return app

    def session(self) -> FastAPI:
        app = FastAPI()
        app.add_middleware(SessionMiddleware, secret_key=SECRET)

        @app.get("/", response_class=PlainTextResponse)
        async def count(request: Request) -> str:
            request.session["count"] = request.session.get("count", 0) + 1
            return str(request.session["count"])

        return app

    def template(self) -> FastAPI:
        app = FastAPI()
        templates = Jinja2Templates(TEMPLATES)

        @app.get("/", response_class=HTMLResponse)
        async def prices(request: Request) -> t.Any:
            context = {"title": "Prices", "rows": ROWS}
            return templates.TemplateResponse(request, "prices.html", context)

        return app

    def form(self) -> FastAPI:
        app = FastAPI()

        @app.post("/", response_class=PlainTextResponse)
        async def register(name: Text, email: Text, age: Text, city: Text, note: Text) -> str:
            return ", ".join((name, email, age, city, note))

        return app

    def upload(self) -> FastAPI:
        app = FastAPI()

        @app.post("/", response_class=PlainTextResponse)
        async def upload(title: Text, file: UploadFile) -> str:
            return f"{title}, {file.filename}, {len(await file.read())}"

        return app

    def static(self) -> FastAPI:
        app = FastAPI()
        app.mount("/static", StaticFiles(directory=static_folder()))
        return app

    def stream(self) -> FastAPI:
        app = FastAPI()

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(CHUNKS):
                yield CHUNK

        @app.get("/")
        async def stream() -> StreamingResponse:
            return StreamingResponse(chunks())

        return app

    def body(self) -> FastAPI:
        app = FastAPI()

        @app.post("/", response_class=PlainTextResponse)
        async def count(body: dict[str, t.Any]) -> str:
            return str(len(body["items"]))

        return app


make = FastAPIApps
