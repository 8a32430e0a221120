"""Werkzeug's interactive debugger around an ASGI application, for the development server.

Werkzeug decides who may do what, by PIN, secret and host. What is added here: errors come as ASGI,
consoles stand on the loop and in the Context of their request, and only so many errors are kept.
"""

from __future__ import annotations

import ast
import codeop
import contextvars
import inspect
import itertools
import re
import threading
import typing as t
from collections import deque
from ctypes import c_ubyte
from multiprocessing.sharedctypes import Synchronized

import click
from werkzeug.datastructures import MIMEAccept
from werkzeug.debug import DebuggedApplication
from werkzeug.debug.tbtools import DebugTraceback
from werkzeug.http import parse_accept_header
from werkzeug.wrappers import Response

from .adapters.environ import DEBUGGER
from .adapters.environ import environ_from_scope
from .adapters.environ import route_path
from .adapters.sending import send_whole
from .lanes import Driver
from .lanes import run_awaitable
from .lanes import to_thread
from .lanes import Workers

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.types import Message
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send
    from werkzeug.debug.console import Console
    from werkzeug.wrappers import Request

    from .app import Flask

KEPT_ERRORS: t.Final = 20
"""Errors whose frames can be looked into; each holds all that was local to them."""
THREADS: t.Final = 8
"""Threads for pages and consoles, beside those of the application, which may all be blocked."""

_REFUSED: t.Final = (
    "The debugger does not answer this: the error is no longer kept, the server was restarted, or"
    " the PIN is missing. Reload the page.\n"
)

_replace_ids = re.compile(r'(?<=id="frame-)\d+(?=")').sub


class Kept:
    """The contexts of a request, as they were when it was over; consoles enter them again."""

    def __init__(self) -> None:
        self.contexts: list[t.ContextManager[t.Any]] = []
        self.variables: contextvars.Context | None = None

    def add(self, context: t.ContextManager[t.Any]) -> None:
        """Take a context that is about to be popped, in the Context of its request."""
        if self.variables is None:
            self.variables = contextvars.copy_context()
        self.contexts.append(context)


class _Refused(Exception):
    """A command that Werkzeug's debugger would pass on to the application."""


class Consoles(DebuggedApplication):
    """Shows errors, and answers what their pages ask for.

    :param app: the application.
    """

    frames: dict[int, t.Any]

    def __init__(self, app: Flask) -> None:
        # Told by announce(); Werkzeug waits for its own reloader.
        super().__init__(t.cast(t.Any, app), evalex=True, pin_logging=False)
        self.pin_logging = True
        # Werkzeug's is shared by processes; of one that a signal ends the semaphore would be left.
        lock = t.cast(t.Any, threading.RLock())
        self._failed_pin_auth = t.cast(t.Any, Synchronized(c_ubyte(0), lock))
        self._numbers = itertools.count(1)
        self._errors: deque[list[int]] = deque()
        self._variables: dict[int, contextvars.Context | None] = {}

    def announce(self) -> None:
        """Tell the PIN to who reads the terminal."""
        click.echo(" * Debugger is active!", err=True)
        pin = self.pin
        if pin is None:
            click.secho(" * Debugger PIN disabled. DEBUGGER UNSECURED!", err=True, fg="red")
        else:
            click.echo(f" * Debugger PIN: {pin}", err=True)

    # -- pages -------------------------------------------------------------------------------

    def show(self, error: Exception, environ: WSGIEnvironment, kept: Kept) -> Response:
        """Make the page of an error, and write its traceback to the terminal."""
        # The first frame is the debugger's own.
        shown = DebugTraceback(error, skip=1)
        text = shown.render_traceback_text()
        click.echo(text, err=True, nl=False)
        if wants_text(environ):
            return _response(text, "text/plain")
        evalex = self.check_host_trust(environ)
        numbers = self._keep(shown, kept) if evalex else {}
        page = shown.render_debugger_html(
            evalex=evalex,
            secret=self.secret,
            evalex_trusted=bool(self.check_pin_trust(environ)),
        )
        # Those of Werkzeug's are addresses, which come again once an error is forgotten.
        page = _replace_ids(lambda found: str(numbers.get(int(found[0]), found[0])), page)
        return _response(page, "text/html")

    def _keep(self, shown: DebugTraceback, kept: Kept) -> dict[int, int]:
        """Keep the frames of an error, and let go of the oldest; gives their numbers."""
        while len(self._errors) >= KEPT_ERRORS:
            for number in self._errors.popleft():
                self.frame_contexts.pop(id(self.frames.pop(number)), None)
                self._variables.pop(number)
        numbers = {id(frame): next(self._numbers) for frame in shown.all_frames}
        for frame in shown.all_frames:
            number = numbers[id(frame)]
            self.frames[number] = frame
            self.frame_contexts[id(frame)] = kept.contexts
            self._variables[number] = kept.variables
        self._errors.append(list(numbers.values()))
        return numbers

    # -- commands ----------------------------------------------------------------------------

    def takes(self, scope: Scope) -> bool:
        """Tell whether a request is for the debugger."""
        if b"__debugger__=yes" in scope.get("query_string", b"").split(b"&"):
            return True
        return route_path(scope)[1] == self.console_path

    def answer(self, environ: WSGIEnvironment) -> Response:
        """Answer a request that is for the debugger."""
        try:
            return Response.from_app(self, environ, buffered=True)
        except _Refused:
            return Response(_REFUSED, 403, mimetype="text/plain")

    def debug_application(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterator[bytes]:
        """Refuse what is no command that may be answered, rather than run a view again."""
        raise _Refused

    def execute_command(self, request: Request, command: str, frame: t.Any) -> Response:
        """Execute a command in a console, where the ContextVars of its request are set."""
        number = request.args.get("frm", type=int)
        variables = self._variables.get(t.cast(int, number)) or contextvars.Context()
        learn_await(frame.console)
        return variables.copy().run(super().execute_command, request, command, frame)


def _response(text: str, mimetype: str) -> Response:
    # A traceback may have half of a surrogate pair in it.
    return Response(text.encode("utf-8", "backslashreplace"), 500, mimetype=mimetype)


def wants_text(environ: WSGIEnvironment) -> bool:
    """Tell whether a client prefers JSON or plain text to a page, so a program rather than one."""
    accept = parse_accept_header(environ.get("HTTP_ACCEPT"), MIMEAccept)
    plain = [name for name in accept.values() if name.lower().endswith(("/json", "+json"))]
    best = accept.best_match(["text/html", "application/xhtml+xml", "text/plain", *plain])
    return best == "text/plain" or best in plain


def learn_await(console: Console) -> None:
    """Have a console understand ``await``; what is awaited runs on the server's event loop."""
    inner: t.Any = console._ipy
    if "runcode" in vars(inner):
        return
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def compile_command(source: str, filename: str, symbol: str) -> t.Any:
        code = compiler(source, filename, symbol)
        if code is not None:
            inner.loader.register(code, source)
        return code

    def run_code(code: t.Any) -> None:
        try:
            result = eval(code, inner.locals)  # noqa: S307
            if inspect.iscoroutine(result):
                run_awaitable(result)
        except BaseException as error:
            # SystemExit, too, which would end the server.
            _leave_own_frames_out(error)
            inner.showtraceback()

    inner.compile, inner.runcode = compile_command, run_code


def _leave_own_frames_out(error: BaseException) -> None:
    """Have a traceback begin at the last frame before what was typed in; that one is skipped."""
    position = error.__traceback__
    while position is not None and position.tb_next is not None:
        if position.tb_next.tb_frame.f_code.co_filename == "<debugger>":
            error.__traceback__ = position
            return
        position = position.tb_next


class Debugger:
    """An ASGI application that shows the errors of another one in Werkzeug's debugger.

    :param app: the application, which has to be in debug mode.
    :param hosts: hosts by which the debugger may be reached, besides ``localhost``.
    """

    def __init__(self, app: Flask, hosts: t.Iterable[str] = ()) -> None:
        self.app = app
        self.consoles = Consoles(app)
        self.consoles.trusted_hosts += hosts
        self._workers = Workers(THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; all but HTTP goes to the application as it is."""
        if scope["type"] != "http" or not self.app.debug:
            await self.app(scope, receive, send)
            return
        if self.consoles.takes(scope):
            response = await self._on_thread(self.consoles.answer, environ_from_scope(scope, None))
            await _send(response, scope, send)
            return
        kept = Kept()
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(_with_contexts_for(kept, scope), receive, send_noted)
        except Exception as error:
            if started:
                # Too late for a page: the server aborts the connection and logs the error.
                raise
            environ = environ_from_scope(scope, None)
            response = await self._on_thread(self.consoles.show, error, environ, kept)
            await _send(response, scope, send)

    async def _on_thread(self, func: t.Callable[..., Response], *args: t.Any) -> Response:
        """Call a function on a thread from which awaitables run on this loop."""

        async def work() -> Response:
            await to_thread()
            return func(*args)

        driver = Driver(contextvars.copy_context(), self._workers)
        try:
            return t.cast(Response, await driver.drive(work()))
        finally:
            driver.release()


def _with_contexts_for(kept: Kept, scope: Scope) -> Scope:
    """Ask for the contexts of a request, in the way Werkzeug's debugger asks Flask for them."""
    environ = scope.get("wsgi_environ", {})
    asked = {DEBUGGER: True, "werkzeug.debug.preserve_context": kept.add}
    return {**scope, "wsgi_environ": {**environ, **asked}}


async def _send(response: Response, scope: Scope, send: Send) -> None:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers
        # The server's.
        if name != "Date"
    ]
    await send_whole(send, scope["method"], response.status_code, headers, response.get_data())
