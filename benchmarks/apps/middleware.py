"""Hooks for frameworks without them: one pure ASGI middleware that does the work of five.

That is the cheapest way Starlette's documentation shows. ``BaseHTTPMiddleware``, the first one it
shows, costs several times as much, and is measured beside it.
"""

from __future__ import annotations

import typing as t

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send


class Hooks:
    """Does what the async hooks of the others do."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["first"] = "1"
        state["second"] = "2"

        async def send_hooked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-First"] = state["first"]
                headers["X-Second"] = state["second"]
            await send(message)

        try:
            await self.app(scope, receive, send_hooked)
        finally:
            state.pop("first", None)


class DispatchedHooks(BaseHTTPMiddleware):
    """Does the same, written as a function around the view."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Do what is before and after the view."""
        request.state.first = "1"
        request.state.second = "2"
        try:
            response = await call_next(request)
            response.headers["X-First"] = request.state.first
            response.headers["X-Second"] = request.state.second
            return response
        finally:
            del request.state.first


class SyncHooks:
    """Does what the sync hooks of the others do: on a thread, since they might block.

    It goes there once for all that is before the view, and once for all that is after it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        await run_in_threadpool(before, state)

        async def send_hooked(message: Message) -> None:
            if message["type"] == "http.response.start":
                await run_in_threadpool(after, state, MutableHeaders(scope=message))
            await send(message)

        try:
            await self.app(scope, receive, send_hooked)
        finally:
            # After an answer this has been done along with the rest.
            if "first" in state:
                await run_in_threadpool(forget, state)


def before(state: dict[str, t.Any]) -> None:
    """Do what the two hooks before a request do."""
    state["first"] = "1"
    state["second"] = "2"


def after(state: dict[str, t.Any], headers: MutableHeaders) -> None:
    """Do what the two hooks after a request do, and the teardown."""
    headers["X-First"] = state["first"]
    headers["X-Second"] = state["second"]
    forget(state)


def forget(state: dict[str, t.Any]) -> None:
    """Do what the teardown does."""
    state.pop("first", None)
