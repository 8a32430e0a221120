"""Sends requests to Flask and to asyncflask, and objects to what differs for no known reason."""

from __future__ import annotations

import asyncio
import collections
import re
import time
import typing as t
from pathlib import Path
from random import Random

import flask

import asyncflask
from tests.twins import painted

from .application import build
from .application import make_files
from .application import VARIANTS
from .asked import Asked
from .asked import environ_of
from .asked import scope_of
from .asked import simpler
from .rules import Case
from .rules import known
from .rules import Outcome

#: Seconds that any request may take, or a multiple of Flask's own time.
TIME = 0.2
TIMES = 5
#: Seconds after which a request hangs.
HANG = 10.0

#: Protocol and colour of the callbacks.
WAYS = (("asgi", "sync"), ("asgi", "async"), ("wsgi", "sync"), ("wsgi", "async"))
#: Three of them are enough for one of many requests.
TURNS = (WAYS[:3], (*WAYS[:2], WAYS[3]))

_signed = re.compile(r"(?P<payload>\.?[\w=-]+)\.[\w=-]+\.[\w=-]+")


class _TidyRequest(flask.Request):
    """A request of Flask's, which leaves the files of a broken form open."""

    opened: t.ClassVar[list[t.IO[bytes]]] = []

    def _get_file_stream(self, *args: t.Any, **kwargs: t.Any) -> t.IO[bytes]:
        self.opened.append(super()._get_file_stream(*args, **kwargs))
        return self.opened[-1]


class _TidyResponse(flask.Response):
    """A response of Flask's, which leaves its file open at a date that is too large."""

    def make_conditional(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return super().make_conditional(*args, **kwargs)
        except OverflowError:
            self.close()
            raise


class Pair:
    """One application on both frameworks.

    :param folder: for its static files.
    :param variant: its settings.
    """

    def __init__(self, folder: Path, variant: str) -> None:
        config = VARIANTS[variant]
        self.flask = build(flask, lambda func: func, folder, config)
        self.flask.request_class = _TidyRequest
        self.flask.response_class = _TidyResponse
        self.ours = {
            (protocol, colour): build(
                asyncflask, lambda func, colour=colour: painted(func, colour), folder, config
            )
            for protocol, colour in WAYS
        }

    def ask_flask(self, asked: Asked) -> Outcome:
        """Have Flask answer a request."""
        try:
            return over_wsgi(self.flask, asked)
        finally:
            while _TidyRequest.opened:
                _TidyRequest.opened.pop().close()


class Differential:
    """Compares answers; what is found is counted by rule.

    :param folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        make_files(folder / "static")
        self.pairs = {name: Pair(folder / "static", name) for name in VARIANTS}
        self.counts: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0
        self._runner = asyncio.Runner()

    def close(self) -> None:
        """Close the event loop."""
        self._runner.close()

    def check(
        self,
        batch: list[Asked],
        variant: str = "plain",
        ways: t.Sequence[tuple[str, str]] = WAYS,
    ) -> None:
        """Assert that every request gets the same answer from both, or a known other one."""
        for case in self.differences(batch, variant, ways):
            raise AssertionError(told(self.least(case)))

    def differences(
        self, batch: list[Asked], variant: str, ways: t.Sequence[tuple[str, str]]
    ) -> t.Iterator[Case]:
        """Answer requests, and give the cases that no rule explains."""
        pair = self.pairs[variant]
        expected = [pair.ask_flask(asked) for asked in batch]
        answers = {
            way: self._runner.run(_over_asgi(pair.ours[way], batch))
            for way in ways
            if way[0] == "asgi"
        }
        for way in ways:
            if way[0] == "wsgi":
                answers[way] = [over_wsgi(pair.ours[way], asked) for asked in batch]
        self.counts["requests"] += len(batch)
        for way in ways:
            for asked, wanted, got in zip(batch, expected, answers[way], strict=True):
                case = Case(asked, wanted, got, way, variant, pair.ask_flask)
                self.slowest = max(self.slowest, got.seconds)
                if not self._is_known(case) or not self._is_in_time(case, pair.ours[way]):
                    yield case

    def _is_known(self, case: Case) -> bool:
        rule = known(case)
        if rule:
            self.counts[rule] += 1
        return rule is not None

    def _is_in_time(self, case: Case, app: t.Any) -> bool:
        """Whether it took no longer than it may, now or when asked again."""
        seconds, limit = case.ours.seconds, max(TIME, TIMES * case.flask.seconds)
        for _ in range(3):
            if seconds <= limit:
                return True
            again = [case.asked]
            if case.way[0] == "asgi":
                seconds = self._runner.run(_over_asgi(app, again))[0].seconds
            else:
                seconds = over_wsgi(app, case.asked).seconds
        return False

    def least(self, case: Case) -> Case:
        """Find the least request that still is answered differently."""
        end = time.monotonic() + 10
        found = True
        while found:
            found = False
            for less in simpler(case.asked):
                if less == case.asked or time.monotonic() > end:
                    continue
                worse = next(self.differences([less], case.variant, [case.way]), None)
                if worse is not None:
                    case, found = worse, True
                    break
        return case


def in_bulk(seed: int, size: int, make: t.Callable[[Random], Asked]) -> list[Asked]:
    """Give that many requests of a seed."""
    random = Random(seed)
    return [make(random) for _ in range(size)]


def over_wsgi(app: t.Any, asked: Asked) -> Outcome:
    """Have a WSGI application answer a request."""
    started: list[t.Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: t.Any = None) -> None:
        started[:] = [status, headers]

    environ = environ_of(asked)
    begun = time.perf_counter()
    chunks: list[bytes] = []
    try:
        body = app(environ, start_response)
        try:
            chunks += body
        finally:
            if hasattr(body, "close"):
                body.close()
    except Exception as exc:
        return Outcome(500, raised=type(exc).__name__, seconds=time.perf_counter() - begun)
    seconds = time.perf_counter() - begun
    status, headers = started
    code = int(status[:3]) if status[:3].isdigit() else 0
    return Outcome(code, status, _compared(headers), b"".join(chunks), None, seconds)


async def _over_asgi(app: t.Any, batch: list[Asked]) -> list[Outcome]:
    return [await _one_over_asgi(app, asked) for asked in batch]


async def _one_over_asgi(app: t.Any, asked: Asked) -> Outcome:
    waiting = list(asked.chunks or (b"",))
    start: dict[str, t.Any] = {}
    chunks: list[bytes] = []

    async def receive() -> dict[str, t.Any]:
        if waiting:
            chunk = waiting.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}
        await asyncio.get_running_loop().create_future()
        raise AssertionError("The client stays.")

    async def send(message: dict[str, t.Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            chunks.append(message.get("body", b""))

    begun = time.perf_counter()
    try:
        async with asyncio.timeout(HANG):
            await app(scope_of(asked), receive, send)
    except Exception as exc:
        return Outcome(500, raised=type(exc).__name__, seconds=time.perf_counter() - begun)
    seconds = time.perf_counter() - begun
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]
    ]
    return Outcome(start["status"], "", _compared(headers), b"".join(chunks), None, seconds)


def _compared(headers: list[tuple[str, str]]) -> list[tuple[str, t.Any]]:
    """Give the headers as they are compared: without the time of day, cookies taken apart."""
    found: list[tuple[str, t.Any]] = []
    for name, value in headers:
        # Servers take blanks around a value away, and so do we.
        name, value = name.lower(), value.strip(" \t")
        if name == "set-cookie":
            found.append((name, _cookie(value)))
        elif name != "date":
            found.append((name, value))
    return sorted(found, key=lambda pair: pair[0])


def _cookie(value: str) -> list[str]:
    """Give a cookie's parts; of a signed one what was signed, not when."""
    first, *rest = value.split("; ")
    name, _, content = first.partition("=")
    if name == "session" and (signed := _signed.fullmatch(content)):
        content = signed["payload"]
    # When it ends is told in seconds from now.
    rest = [
        "Expires" if part.startswith("Expires=") and "1970" not in part else part for part in rest
    ]
    return [name, content, *rest]


def told(case: Case) -> str:
    lines = [
        f"asyncflask over {', '.join(case.way)}, {case.variant!r} settings, differs from Flask for",
        repr(case.asked),
    ]
    mine, theirs = case.ours, case.flask
    for name, a, b in (
        ("status", theirs.status, mine.status),
        ("raised", theirs.raised, mine.raised),
        ("headers", sorted(set(map(str, theirs.headers)) ^ set(map(str, mine.headers))), ""),
        ("body", theirs.body, mine.body),
        ("seconds", theirs.seconds, mine.seconds),
    ):
        if a != b:
            lines.append(f"  {name}: {a!r}\n      is: {b!r}")
    return "\n".join(lines)
