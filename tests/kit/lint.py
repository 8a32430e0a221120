"""An ASGI lint: wraps an application and objects to messages that break the rules.

It goes around any application, whatever calls it::

    app = Lint(app)

What it finds is raised to the application in place of its ``send``, kept in ``violations``, and
raised again when the application swallowed it. Scopes other than ``http`` pass through.
"""

from __future__ import annotations

import re
import typing as t

_is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_value = re.compile(rb"(?![\t ])[\t\x20-\x7e\x80-\xff]*(?<![\t ])").fullmatch

#: Messages that may be on their way already when an application hears that its client has left.
STRAGGLERS = 3

Message = t.MutableMapping[str, t.Any]


class Violation(AssertionError):
    """The application broke a rule of ASGI or HTTP."""


class Lint:
    """Checks every HTTP exchange of an ASGI application.

    :param app: the application.
    """

    #: How many exchanges were checked in this process.
    checked = 0

    def __init__(self, app: t.Callable[..., t.Awaitable[None]]) -> None:
        self.app = app
        self.violations: list[Violation] = []

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        Lint.checked += 1
        exchange = _Exchange(scope, receive, send, self.violations)
        await self.app(scope, exchange.receive, exchange.send)
        exchange.finish()


class _Exchange:
    """What is known of one request: its messages so far, and whether the client is still there."""

    def __init__(self, scope: t.Any, receive: t.Any, send: t.Any, found: list[Violation]) -> None:
        self._method: str = scope["method"]
        self._path: str = scope["path"]
        self._receive = receive
        self._send = send
        self._found = found
        self._violation: Violation | None = None
        self._status = 0
        self._length: int | None = None
        self._sent = 0
        self._complete = False
        self._told = False
        self._started_in_time = False
        self._after_disconnect = 0
        self._refused = False

    async def receive(self) -> Message:
        message: Message = await self._receive()
        if message["type"] == "http.disconnect" and not self._told:
            self._told = True
            self._started_in_time = bool(self._status)
        return message

    async def send(self, message: Message) -> None:
        if self._refused:
            self._object("sent after send() had said by an OSError that the client has left")
        if self._complete:
            self._object(f"sent after the end of the response: {message!r}")
        if message["type"] == "http.response.start":
            self._check_start(message)
        elif message["type"] == "http.response.body":
            self._check_body(message)
        else:
            self._object(f"a message that was not offered: {message['type']!r}")
        try:
            await self._send(message)
        except OSError:
            self._refused = True
            raise

    def finish(self) -> None:
        """Check the end; called when the application has returned."""
        if self._violation is not None:
            raise self._violation
        if not (self._complete or self._told or self._refused):
            self._object("returned without a complete response to a client that is still there")

    def _check_start(self, message: Message) -> None:
        if self._status:
            self._object("a second http.response.start")
        status = message["status"]
        if type(status) is not int or not 200 <= status <= 999:
            self._object(f"a status that no final response may have: {status!r}")
        self._status = status
        for pair in message.get("headers", ()):
            self._check_header(*pair)
        if status == 204 and self._length is not None:
            self._object("a Content-Length with a 204")

    def _check_header(self, name: object, value: object) -> None:
        if type(name) is not bytes or type(value) is not bytes:
            self._object(f"a header that is not made of bytes: {name!r}: {value!r}")
        if _is_token(name) is None:
            self._object(f"a header name that is no lower-case token: {name!r}")
        if _is_value(value) is None:
            self._object(f"a header value that some server will refuse: {name!r}: {value!r}")
        if name == b"content-length":
            if self._length is not None or not value.isdigit():
                self._object(f"a second or senseless Content-Length: {value!r}")
            self._length = int(value)

    def _check_body(self, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if not self._status:
            self._object("a body before http.response.start")
        if type(body) is not bytes or type(more) is not bool:
            self._object(f"a body that is no bytes, or more_body that is no bool: {message!r}")
        if self._told and self._started_in_time:
            self._after_disconnect += 1
            if self._after_disconnect > STRAGGLERS:
                self._object("the response goes on after its client has left")
        self._sent += len(body)
        bodiless = self._method == "HEAD" or self._status in (204, 304)
        if bodiless and self._sent:
            self._object(f"a body where none may be: {self._method}, {self._status}, {body!r}")
        self._complete = not more
        if self._length is None or bodiless:
            return
        if self._sent > self._length or (self._complete and self._sent < self._length):
            self._object(f"{self._sent} bytes under a Content-Length of {self._length}")

    def _object(self, what: str) -> t.NoReturn:
        violation = Violation(f"{self._method} {self._path}: {what}")
        self._found.append(violation)
        self._violation = self._violation or violation
        raise violation
