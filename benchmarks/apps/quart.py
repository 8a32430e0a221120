"""Applications of Quart: asyncflask's, but for what Quart wants awaited."""

from __future__ import annotations

import typing as t

from .asyncflask import AsyncFlaskApps
from .content import FIELDS
from .content import ROWS


class QuartApps(AsyncFlaskApps):
    """Makes the applications that are written otherwise."""

    def template(self) -> t.Any:
        app = self.make()
        render_template = self.flask.render_template

        @app.get("/")
        async def prices() -> str:
            return t.cast(str, await render_template("prices.html", title="Prices", rows=ROWS))

        return app

    def form(self) -> t.Any:
        app = self.make()
        request = self.flask.request

        @app.post("/")
        async def register() -> str:
            form = await request.form
            return ", ".join(form[name] for name in FIELDS)

        return app

    def upload(self) -> t.Any:
        app = self.make()
        request = self.flask.request

        @app.post("/")
        async def upload() -> str:
            file = (await request.files)["file"]
            return f"{(await request.form)['title']}, {file.filename}, {len(file.read())}"

        return app

    def body(self) -> t.Any:
        app = self.make()
        request = self.flask.request

        @app.post("/")
        async def count() -> str:
            return str(len((await request.get_json())["items"]))

        return app


def make() -> QuartApps:
    """Make those of Quart."""
    import quart

    return QuartApps(quart, quart.Quart)
