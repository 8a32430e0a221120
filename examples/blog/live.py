"""New posts as they appear. These views wait for something to happen rather than compute it,
so they are ``async def``: thousands may wait on the event loop and none holds a thread."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator

from asyncflask import Blueprint
from asyncflask import current_app
from asyncflask import Flask
from asyncflask import request
from asyncflask import url_for
from asyncflask.typing import ResponseReturnValue

from .feed import Feed

HEARTBEAT = 10.0

bp = Blueprint("live", __name__)


def init_app(app: Flask) -> None:
    """Give the application its feed."""
    app.extensions["feed"] = Feed()


def get_feed() -> Feed:
    """The feed of the current application."""
    feed: Feed = current_app.extensions["feed"]
    return feed


def announce(post: sqlite3.Row) -> None:
    """Tell everybody who is listening that there is a new post."""
    url = url_for("posts.detail", post_id=post["id"])
    get_feed().publish(
        {"id": post["id"], "title": post["title"], "author": post["author"], "url": url}
    )


@bp.get("/live")
async def stream() -> ResponseReturnValue:
    """Stream new posts as server-sent events."""
    after = request.headers.get("Last-Event-ID", type=int)
    events = new_posts(get_feed(), after, current_app.config["FEED_SECONDS"])
    return events, {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


async def new_posts(feed: Feed, after: int | None, seconds: float) -> AsyncIterator[str]:
    """Give an event for every new post, for some seconds; then the browser connects again.

    The end is what lets a server shut down in good time while pages are open.
    """
    end = time.monotonic() + seconds
    with feed.listen(after) as queue:
        yield "retry: 1000\n\n"
        while (left := end - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(min(left, HEARTBEAT)):
                    post = await queue.get()
            except TimeoutError:
                yield ": nothing new\n\n"
            else:
                yield f"id: {post['id']}\nevent: post\ndata: {json.dumps(post)}\n\n"
