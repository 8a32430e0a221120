"""An asyncflask application around a Flask and a Django one that stay as they are.

``uvicorn --app-dir examples/legacy main:app``
"""

from __future__ import annotations

import asyncio
import typing as t

import kept
from office.asgi import application as office_asgi
from office.setup import prepare
from office.wsgi import application as office_wsgi
from shop import create_app as create_shop
from starlette.staticfiles import StaticFiles

from asyncflask import Flask
from asyncflask import render_template
from asyncflask import session


def create_app() -> Flask:
    """Put the old applications below paths of the new one, beside its own async routes."""
    app = Flask(__name__)
    # Flask's session cookies are read here: the new routes know what is in the old basket.
    app.secret_key = kept.secret("shop_key")
    app.mount("/shop", create_shop(app.secret_key))
    mount_office(app)
    add_routes(app)
    return app


def mount_office(app: Flask) -> None:
    """Mount the Django project, once as WSGI and once as ASGI."""
    prepare()
    app.mount("/django", office_wsgi)
    app.mount("/django-async", office_asgi)
    # The longest path wins: a Django application does not serve these files itself, and asks for
    # them below whichever prefix its first request has had.
    files = StaticFiles(packages=[("django.contrib.admin", "static")])
    for prefix in ("/django", "/django-async"):
        app.mount(f"{prefix}/static", files)


def add_routes(app: Flask) -> None:
    """Add what is new."""

    @app.get("/")
    async def index() -> str:
        return render_template("index.html")

    @app.get("/basket.json")
    async def basket() -> dict[str, t.Any]:
        return {"basket": session.get("basket", {})}

    @app.get("/ticks")
    async def ticks() -> tuple[t.AsyncIterator[str], dict[str, str]]:
        return count(3), {"Content-Type": "text/event-stream"}


async def count(number: int) -> t.AsyncIterator[str]:
    """Send an event now and then; whoever waits for them holds no thread."""
    for tick in range(number):
        yield f"data: {tick}\n\n"
        await asyncio.sleep(0.1)


app = create_app()
