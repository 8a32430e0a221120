"""The control for times: an ASGI application without a framework, which answers at once."""

from __future__ import annotations

import typing as t


async def app(scope: t.Any, receive: t.Any, send: t.Any) -> None:
    """Answer every HTTP request with the same."""
    if scope["type"] != "http":
        return
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"pong"})
