"""Inkwell, a small blog: pages, a JSON API and a live feed in one asyncflask application."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping
from pathlib import Path

from asyncflask import Flask
from asyncflask import g
from asyncflask import Response

from . import api
from . import auth
from . import csrf
from . import db
from . import errors
from . import filters
from . import live
from . import posts


def create_app(config: Mapping[str, t.Any] | None = None) -> Flask:
    """Build the application and, at the first start, its data.

    :param config: settings that win over the defaults and over the ``BLOG_…`` variables.
    """
    app = Flask(__name__)
    app.config.from_mapping(
        DATA=app.instance_path,
        POSTS_PER_PAGE=7,
        MAX_CONTENT_LENGTH=5 * 2**20,
        SESSION_COOKIE_SAMESITE="Lax",
        PASSWORD_METHOD="scrypt",
        FEED_SECONDS=30,
    )
    app.config.from_prefixed_env("BLOG")  # BLOG_DATA, BLOG_POSTS_PER_PAGE, …
    app.config.from_mapping(config or {})
    app.config["DATA"] = Path(str(app.config["DATA"])).resolve()
    app.secret_key = db.prepare(app.config["DATA"])

    add_hooks(app)
    for part in (db, csrf, errors, filters, live):
        part.init_app(app)
    for part in (posts, auth, api, live):
        app.register_blueprint(part.bp)
    return app


def add_hooks(app: Flask) -> None:
    """Time every request and send the same security headers with every response.

    These hooks are ``async def``, most views are not: hooks and views may be mixed freely.
    """

    @app.before_request
    async def start_clock() -> None:
        g.started = time.perf_counter()

    @app.after_request
    async def add_headers(response: Response) -> Response:
        elapsed = (time.perf_counter() - g.started) * 1000
        response.headers["Server-Timing"] = f"app;dur={elapsed:.1f}"
        response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def __getattr__(name: str) -> Flask:
    # ``blog:app`` for servers, made when first asked for: importing the package writes no data.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = globals()["app"] = create_app()
    return app
