"""Callbacks in both colours, for the tests of every place that takes them."""

from __future__ import annotations

import functools
import typing as t

import anyio.lowlevel
import pytest

from asyncflask.lanes import runs_on_loop

COLOURS = ("def", "async def")
TRANSPORTS = ("wsgi", "asgi")

each_colour = pytest.mark.parametrize("colour", COLOURS)
each_view = pytest.mark.parametrize("view_colour", COLOURS)
each_transport = pytest.mark.parametrize("transport", TRANSPORTS)

Paint = t.Callable[[t.Callable[..., t.Any]], t.Any]
Log = list[t.Any]


def painter(colour: str) -> Paint:
    """Give what makes a callback of one colour from a plain function."""

    def paint(func: t.Callable[..., t.Any]) -> t.Any:
        @functools.wraps(func)
        async def asynchronous(*args: t.Any, **kwargs: t.Any) -> t.Any:
            await anyio.lowlevel.checkpoint()
            assert runs_on_loop(), "an async callback must run on the event loop"
            return func(*args, **kwargs)

        return func if colour == "def" else asynchronous

    return paint


def off_the_loop(func: t.Callable[..., t.Any]) -> t.Any:
    """Make a function fail where it runs on the event loop, unless it is painted ``async def``."""

    @functools.wraps(func)
    def checked(*args: t.Any, **kwargs: t.Any) -> t.Any:
        assert not runs_on_loop(), "a sync callback must not run on the event loop"
        return func(*args, **kwargs)

    return checked


def careful(colour: str) -> Paint:
    """Give a painter whose sync callbacks must stay off the event loop."""
    if colour == "def":
        return off_the_loop
    return painter(colour)
