"""Has every test's requests go through the lint, those of the examples' tests as well."""

from __future__ import annotations

import functools
import typing as t

import pytest

from .lint import Lint


@pytest.fixture(autouse=True)
def _linted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put every request that goes through ASGI under the lint, whatever client makes it."""
    if request.node.get_closest_marker("bare"):
        return
    from asyncflask import Flask

    plain = Flask.asgi_app

    def asgi_app(self: Flask, scope: t.Any, receive: t.Any, send: t.Any) -> t.Awaitable[None]:
        return Lint(functools.partial(plain, self))(scope, receive, send)

    monkeypatch.setattr(Flask, "asgi_app", asgi_app)
