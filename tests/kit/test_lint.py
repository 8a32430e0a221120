"""The lint finds what it should, and lets pass what is right."""

from __future__ import annotations

import typing as t

import pytest

import asyncflask.app
from asyncflask import Flask
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.lint import Lint
from tests.kit.lint import Violation
from tests.kit.server import serve

pytestmark = [pytest.mark.anyio, pytest.mark.case("A45")]

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}


def start(status: int = 200, *headers: tuple[t.Any, t.Any]) -> dict[str, t.Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


VIOLATIONS: dict[str, list[dict[str, t.Any]]] = {
    "two starts": [START, START, BODY],
    "body first": [BODY],
    "no end": [START],
    "after the end": [START, BODY, BODY],
    "too short": [START, {**BODY, "body": b"o"}],
    "too long": [START, {**BODY, "body": b"ok!"}],
    "text": [start(), {**BODY, "body": "ok"}],
    "upper case": [start(200, (b"X-A", b"a")), BODY],
    "no token": [start(200, (b"x a", b"a")), BODY],
    "control character": [start(200, (b"x-a", b"a\nb")), BODY],
    "text in headers": [start(200, ("x-a", "a")), BODY],
    "two lengths": [start(200, (b"content-length", b"2"), (b"content-length", b"2")), BODY],
    "interim": [start(100), BODY],
    "body of a 204": [start(204), BODY],
    "length of a 204": [start(204, (b"content-length", b"0")), {**BODY, "body": b""}],
    "unknown message": [start(), {"type": "http.response.zzz"}, BODY],
}


@pytest.mark.parametrize("kind", VIOLATIONS)
async def test_it_finds(kind: str) -> None:
    async def broken(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        for message in VIOLATIONS[kind]:
            await send(message)

    async def swallowing(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        try:
            await broken(scope, receive, send)
        except AssertionError:
            return

    for bad in (broken, swallowing):
        lint = Lint(bad)
        exchange = Exchange(lint, lint=False)
        with pytest.raises(AssertionError):
            async with exchange:
                await exchange.end()
        assert len(lint.violations) == 1


async def test_it_finds_what_is_sent_to_a_client_that_has_left() -> None:
    async def stubborn(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        await send(start())
        while (await receive())["type"] != "http.disconnect":
            await send({**BODY, "more_body": True})
        for _ in range(10):
            await send({**BODY, "more_body": True})

    with pytest.raises(AssertionError, match="goes on"):
        async with Exchange(stubborn) as exchange:
            await exchange.chunk()
            exchange.disconnect()
            await exchange.end()


async def test_it_is_content_with_a_bodiless_head() -> None:
    async def head(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        await send(START)
        await send({"type": "http.response.body"})

    assert (await fetch(head, "HEAD")).header("content-length") == "2"
    with pytest.raises(AssertionError):
        await fetch(head, "GET")


def break_application(monkeypatch: pytest.MonkeyPatch) -> Flask:
    async def broken(app: Flask, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        await send(start())
        await send({**BODY, "body": "text"})

    monkeypatch.setattr(asyncflask.app, "handle_http", broken)
    return Flask(__name__)


async def test_it_is_around_the_application_in_every_test(monkeypatch: pytest.MonkeyPatch) -> None:
    app = break_application(monkeypatch)
    with pytest.raises(Violation, match="no bytes"):
        await app.async_test_client().get("/")
    with pytest.raises(Violation, match="no bytes"):
        app.test_client(transport="asgi").get("/")


def test_it_is_around_what_is_served() -> None:
    source = """
    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-A", b"a")]})
        await send({"type": "http.response.body", "body": b"ok"})
    """
    with pytest.raises(AssertionError, match="no lower-case token"):
        with serve(source, "--lifespan=off") as server:
            server.get("/")
