"""The JSON API. A client shows a token (``Authorization: Bearer …``) or, from our own pages,
the session and the header ``X-CSRF-Token``."""

from __future__ import annotations

import asyncio
import sqlite3
import typing as t

from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import Unauthorized

from asyncflask import abort
from asyncflask import Blueprint
from asyncflask import request
from asyncflask import url_for
from asyncflask.typing import ResponseReturnValue

from . import live
from . import store
from .auth import current_user

bp = Blueprint("api", __name__, url_prefix="/api")


@bp.errorhandler(HTTPException)
def json_error(error: HTTPException) -> ResponseReturnValue:
    """Answer errors of the API in JSON too."""
    headers = [(name, value) for name, value in error.get_headers() if name != "Content-Type"]
    return {"error": error.name, "message": error.description}, error.code or 500, headers


@bp.get("/posts")
def list_posts() -> ResponseReturnValue:
    """List the posts, page by page."""
    page = store.list_posts(request.args.get("page", 1, type=int)) or abort(404)
    return {
        "posts": [as_dict(post) for post in page.posts],
        "page": page.number,
        "pages": page.last,
        "total": page.total,
        "next": url_for(".list_posts", page=page.number + 1) if page.number < page.last else None,
    }


@bp.get("/posts/<int:post_id>")
def show_post(post_id: int) -> ResponseReturnValue:
    """Show one post."""
    return as_dict(store.find_post(post_id) or abort(404))


@bp.post("/posts")
def create_post() -> ResponseReturnValue:
    """Publish a post from ``{"title": …, "body": …}``."""
    user = current_user()
    if user is None:
        raise Unauthorized("Send an API token.", www_authenticate=WWWAuthenticate("bearer"))
    title, body = read_text("title"), read_text("body")
    problem = store.check_post(title, body)
    if problem:
        abort(400, problem)
    post = store.add_post(user["id"], title, body)
    live.announce(post)
    location = url_for(".show_post", post_id=post["id"])
    return as_dict(post), 201, {"Location": location}


def read_text(name: str) -> str:
    """Read a text from the JSON that was sent; 400 if it is not there."""
    data = request.get_json()
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, str):
        abort(400, f"Send a JSON object in which {name!r} is a text.")
    return value.strip()


@bp.get("/posts/next")
async def next_post() -> ResponseReturnValue:
    """Wait for the next post; 204 if there is none within ``?timeout=`` seconds.

    With ``?after=`` and the id of the last post seen, none is missed between two calls.
    """
    timeout = min(request.args.get("timeout", 20, type=int), 60)
    with live.get_feed().listen(request.args.get("after", type=int)) as queue:
        try:
            async with asyncio.timeout(timeout):
                return {"post": await queue.get()}
        except TimeoutError:
            return "", 204


def as_dict(post: sqlite3.Row) -> dict[str, t.Any]:
    """What the API tells about a post."""
    image = url_for("posts.image", name=post["image"]) if post["image"] else None
    shown = ("id", "title", "body", "author", "created", "updated")
    links = {"image": image, "url": url_for("posts.detail", post_id=post["id"])}
    return {name: post[name] for name in shown} | links
