"""No framework: what a server and a client can do at most."""

from __future__ import annotations

import json
import typing as t

from .content import CHUNK
from .content import CHUNKS

JSON = [(b"content-type", b"application/json")]
TEXT = [(b"content-type", b"text/plain; charset=utf-8")]


class RawApps:
    """Makes the applications."""

    def hello(self) -> t.Any:
        return respond

    def json(self) -> t.Any:
        return respond_json

    def stream(self) -> t.Any:
        return respond_stream

    def body(self) -> t.Any:
        return respond_count


async def respond(scope: t.Any, receive: t.Any, send: t.Any) -> None:
    await answer(send, b"Hello, World!", TEXT)


async def respond_json(scope: t.Any, receive: t.Any, send: t.Any) -> None:
    item_id = int(scope["path"].rpartition("/")[2])
    await answer(send, json.dumps({"id": item_id, "name": "item"}).encode(), JSON)


async def respond_stream(scope: t.Any, receive: t.Any, send: t.Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def respond_count(scope: t.Any, receive: t.Any, send: t.Any) -> None:
    chunks = []
    more = True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, str(len(json.loads(b"".join(chunks))["items"])).encode(), TEXT)


async def answer(send: t.Any, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Send all of it."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


make = RawApps
