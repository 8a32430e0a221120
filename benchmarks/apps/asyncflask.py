"""Applications of asyncflask: async views, and sync ones where the workload says so."""

from __future__ import annotations

import typing as t
from collections.abc import AsyncIterator

from .content import CHUNK
from .content import CHUNKS
from .content import FIELDS
from .content import ROWS
from .content import SECRET
from .content import static_folder
from .content import TEMPLATES
from .flask import FlaskApps


class AsyncFlaskApps:
    """Makes the applications.

    :param flask: the module ``asyncflask``, or one like it.
    :param application: its class.
    """

    def __init__(self, flask: t.Any, application: t.Any) -> None:
        self.flask = flask
        self.application = application

    def make(self, **options: t.Any) -> t.Any:
        """Make an application without routes."""
        return self.application("benchmarks", template_folder=str(TEMPLATES), **options)

    def hello(self) -> t.Any:
        app = self.make()

        @app.get("/")
        async def hello() -> str:
            return "Hello, World!"

        return app

    def json(self) -> t.Any:
        app = self.make()

        @app.get("/items/<int:item_id>")
        async def item(item_id: int) -> dict[str, t.Any]:
            return {"id": item_id, "name": "item"}

        return app

    def routes_200(self) -> t.Any:
        return self._routes(200)

    def routes_2000(self) -> t.Any:
        return self._routes(2000)

    def _routes(self, count: int) -> t.Any:
        app = self.make()

        async def thing(thing_id: int) -> str:
            return str(thing_id)

        for number in range(1, count + 1):
            app.add_url_rule(f"/things{number}/<int:thing_id>", f"thing{number}", thing)
        return app

    def hooks(self) -> t.Any:
        app = self.hello()
        g = self.flask.g

        @app.before_request
        async def first_before() -> None:
            g.first = "1"

        @app.before_request
        async def second_before() -> None:
            g.second = "2"

        @app.after_request
        async def second_after(response: t.Any) -> t.Any:
            response.headers["X-Second"] = g.second
            return response

        @app.after_request
        async def first_after(response: t.Any) -> t.Any:
            response.headers["X-First"] = g.first
            return response

        @app.teardown_request
        async def forget(error: BaseException | None) -> None:
            g.pop("first", None)

        return app

    def sync_view(self) -> t.Any:
        app = self.make()

        @app.get("/")
        def hello() -> str:
            return "Hello, World!"

        return app

    def sync_hooks(self) -> t.Any:
        return self._add_sync_hooks(self.sync_view())

    def mixed_hooks(self) -> t.Any:
        return self._add_sync_hooks(self.hello())

    def _add_sync_hooks(self, app: t.Any) -> t.Any:
        g = self.flask.g

        @app.before_request
        def first_before() -> None:
            g.first = "1"

        @app.before_request
        def second_before() -> None:
            g.second = "2"

        @app.after_request
        def second_after(response: t.Any) -> t.Any:
            response.headers["X-Second"] = g.second
            return response

        @app.after_request
        def first_after(response: t.Any) -> t.Any:
            response.headers["X-First"] = g.first
            return response

        @app.teardown_request
        def forget(error: BaseException | None) -> None:
            g.pop("first", None)

        return app

    def session(self) -> t.Any:
        app = self.make()
        app.secret_key = SECRET
        session = self.flask.session

        @app.get("/")
        async def count() -> str:
            session["count"] = session.get("count", 0) + 1
            return str(session["count"])

        return app

    def template(self) -> t.Any:
        app = self.make()
        render_template = self.flask.render_template

        @app.get("/")
        async def prices() -> str:
            return t.cast(str, render_template("prices.html", title="Prices", rows=ROWS))

        return app

    def form(self) -> t.Any:
        app = self.make()
        request = self.flask.request

        @app.post("/")
        async def register() -> str:
            return ", ".join(request.form[name] for name in FIELDS)

        return app

    def upload(self) -> t.Any:
        app = self.make()
        request = self.flask.request

        @app.post("/")
        async def upload() -> str:
            file = request.files["file"]
            return f"{request.form['title']}, {file.filename}, {len(file.read())}"

        return app

    def static(self) -> t.Any:
        return self.make(static_folder=str(static_folder()), static_url_path="/static")

    def stream(self) -> t.Any:
        app = self.make()

        @app.get("/")
        async def stream() -> AsyncIterator[bytes]:
            async def chunks() -> AsyncIterator[bytes]:
                for _ in range(CHUNKS):
                    yield CHUNK

            return chunks()

        return app

    def body(self) -> t.Any:
        app = self.make()
        request = self.flask.request

        @app.post("/")
        async def count() -> str:
            return str(len(request.get_json()["items"]))

        return app


def make() -> AsyncFlaskApps:
    """Make those of asyncflask."""
    import asyncflask

    return AsyncFlaskApps(asyncflask, asyncflask.Flask)


def make_sync() -> FlaskApps:
    """Make those of asyncflask that are for WSGI: the very views that Flask has."""
    import asyncflask

    return FlaskApps(asyncflask)
