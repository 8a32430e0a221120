"""Runs one application on Flask and here, on both transports and in every colour, and compares."""

from __future__ import annotations

import asyncio
import functools
import logging
import typing as t
from dataclasses import dataclass
from dataclasses import field
from types import ModuleType

import flask

import asyncflask

TRANSPORTS = ("wsgi", "asgi")
COLOURS = ("sync", "async", "inline", "mixed")


def painted(func: t.Callable[..., t.Any], colour: str) -> t.Callable[..., t.Any]:
    """Give a function that does what *func* does, in another colour."""

    @functools.wraps(func)
    async def run_async(*args: t.Any, **kwargs: t.Any) -> t.Any:
        await asyncio.sleep(0)
        return func(*args, **kwargs)

    @asyncflask.inline
    @functools.wraps(func)
    def run_inline(*args: t.Any, **kwargs: t.Any) -> t.Any:
        return func(*args, **kwargs)

    return {"sync": func, "async": run_async, "inline": run_inline}[colour]


@dataclass
class Kit:
    """What an application is built with.

    :param web: ``flask`` or ``asyncflask``.
    :param colour: what :meth:`paint` makes callbacks; ``mixed`` for one after the other.
    :param cleanups: called when all requests have been made.
    """

    web: ModuleType
    colour: str = "sync"
    events: list[t.Any] = field(default_factory=list)
    cleanups: list[t.Callable[[], object]] = field(default_factory=list)
    _painted: int = 0

    def paint(self, func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Give a callback the colour."""
        self._painted += 1
        colour = self.colour
        if colour == "mixed":
            colour = COLOURS[self._painted % 3]
        return painted(func, colour)

    def note(self, *what: t.Any) -> None:
        """Record that something was called."""
        self.events.append(what if len(what) > 1 else what[0])

    def noting(self, name: str, result: t.Any = None) -> t.Callable[..., t.Any]:
        """Make a callback that records its call; an exception as its result is raised.

        :param result: ``"argument"`` for the callback's first argument.
        """

        def callback(*args: t.Any, **kwargs: t.Any) -> t.Any:
            self.note(name)
            if isinstance(result, BaseException):
                raise result
            return args[0] if result == "argument" else result

        callback.__name__ = name.replace(" ", "_")
        return self.paint(callback)


@dataclass
class Outcome:
    """What came of one request."""

    status: int | None
    body: str
    error: str | None
    headers: list[tuple[str, str]]
    events: list[t.Any]
    logged: list[tuple[str, str, str | None]]


Build: t.TypeAlias = t.Callable[[Kit], t.Any]
Asked: t.TypeAlias = "str | tuple[str, str]"


class _Records(logging.Handler):
    def __init__(self, kept: list[tuple[str, str, str | None]]) -> None:
        super().__init__()
        self.kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.kept.append((record.levelname, record.getMessage(), error and repr(error)))


def run(build: Build, asked: t.Iterable[Asked], kit: Kit, **client_options: t.Any) -> list[Outcome]:
    """Build the application with a kit and send it requests: paths, or methods and paths."""
    app = build(kit)
    logged: list[tuple[str, str, str | None]] = []
    app.logger.handlers = [_Records(logged)]
    app.logger.propagate = False
    client = app.test_client(**client_options)
    outcomes = []
    for one in asked:
        method, path = ("GET", one) if isinstance(one, str) else one
        kit.events.clear()
        logged.clear()
        outcome = Outcome(None, "", None, [], [], [])
        try:
            with client.open(path, method=method) as response:
                outcome.status, outcome.body = response.status_code, response.text
                outcome.headers = sorted((k.lower(), v) for k, v in response.headers)
        except BaseException as exc:
            outcome.error = repr(exc)
        outcome.events, outcome.logged = kit.events[:], logged[:]
        outcomes.append(outcome)
    for clean_up in kit.cleanups:
        clean_up()
    return outcomes


EVERY_WAY = tuple((transport, colour) for transport in TRANSPORTS for colour in COLOURS)
#: For what is asked very often.
FEW_WAYS = (("wsgi", "mixed"), ("asgi", "sync"), ("asgi", "async"))


def check(
    build: Build, *asked: Asked, ways: t.Iterable[tuple[str, str]] = EVERY_WAY
) -> list[Outcome]:
    """Assert that an application does here what it does on Flask, and tell what that is."""
    expected = run(build, asked, Kit(flask))
    for transport, colour in ways:
        outcomes = run(build, asked, Kit(asyncflask, colour), transport=transport)
        for one, outcome, wanted in zip(asked, outcomes, expected, strict=True):
            assert outcome == wanted, f"{one} over {transport}, {colour}"
    return expected
