"""Test clients: requests and commands for an application, without a server."""

from __future__ import annotations

import importlib.metadata
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from copy import copy
from functools import cache
from inspect import isawaitable
from urllib.parse import urlsplit

import werkzeug.test
from click.testing import CliRunner
from click.testing import Result
from werkzeug.test import Client
from werkzeug.wrappers import Request as BaseRequest
from werkzeug.wsgi import get_current_url

from .adapters.background import TESTING
from .adapters.bridges import AsgiToWsgi
from .cli import ScriptInfo
from .lanes import run_awaitable
from .sessions import SessionMixin

if t.TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.datastructures import Headers
    from werkzeug.test import TestResponse

    from .app import Flask

_TRANSPORTS = ("wsgi", "asgi")


class EnvironBuilder(werkzeug.test.EnvironBuilder):
    """A :class:`werkzeug.test.EnvironBuilder` with the application's defaults.

    :param app: gives defaults and serializes JSON.
    :param path: the path of the request, or its whole URL.
    :param base_url: where the application is. By default made from the parameters below and
        :data:`SERVER_NAME`, :data:`APPLICATION_ROOT`, :data:`PREFERRED_URL_SCHEME`.
    :param subdomain: put before :data:`SERVER_NAME`.
    :param url_scheme: in place of :data:`PREFERRED_URL_SCHEME`.
    :param args: for :class:`werkzeug.test.EnvironBuilder`.
    :param kwargs: for :class:`werkzeug.test.EnvironBuilder`.
    :raises TypeError: if ``base_url`` is given beside ``subdomain`` or ``url_scheme``.
    """

    def __init__(
        self,
        app: Flask,
        path: str = "/",
        base_url: str | None = None,
        subdomain: str | None = None,
        url_scheme: str | None = None,
        *args: t.Any,
        **kwargs: t.Any,
    ) -> None:
        if base_url is None:
            base_url, path = _split_target(app, path, subdomain, url_scheme)
        elif subdomain or url_scheme:
            raise TypeError(
                f"'base_url' ({base_url!r}) says all that 'subdomain' ({subdomain!r}) and"
                f" 'url_scheme' ({url_scheme!r}) would say: give either it or them."
            )
        self.app = app
        super().__init__(path, base_url, *args, **kwargs)

    def json_dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Serialize *obj* as the application does."""
        return self.app.json.dumps(obj, **kwargs)


def _split_target(
    app: Flask, path: str, subdomain: str | None, url_scheme: str | None
) -> tuple[str, str]:
    """Give the base URL of a request, and its path below it."""
    url = urlsplit(path)
    host = app.config.get("SERVER_NAME") or "localhost"
    if subdomain:
        host = f"{subdomain}.{host}"
    scheme = url_scheme or app.config["PREFERRED_URL_SCHEME"]
    root = app.config["APPLICATION_ROOT"].lstrip("/")
    base_url = f"{url.scheme or scheme}://{url.netloc or host}/{root}"
    return base_url, f"{url.path}?{url.query}" if url.query else url.path


@cache
def _user_agent() -> str:
    return f"Werkzeug/{importlib.metadata.version('werkzeug')}"


class FlaskClient(Client):
    """Werkzeug's test client, which knows sessions and contexts.

    In a ``with`` block the context of the last request stays, so that ``request``, ``session``
    and ``g`` can be looked at.

    :param args: for :class:`werkzeug.test.Client`.
    :param transport: how requests reach the application: ``"wsgi"`` calls it in this thread,
        ``"asgi"`` has it run on the process's background event loop. Both work inside a running
        event loop, which waits meanwhile. Default: the class's :attr:`transport`.
    :param kwargs: for :class:`werkzeug.test.Client`.
    :raises ValueError: for any other transport.
    """

    application: Flask
    #: The transport of clients that are not given one.
    transport: str = "wsgi"

    def __init__(self, *args: t.Any, transport: str | None = None, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        if transport is not None:
            self.transport = transport
        if self.transport not in _TRANSPORTS:
            raise ValueError(f"There is no transport {self.transport!r}: use one of {_TRANSPORTS}.")
        self.preserve_context = False
        self._new_contexts: list[t.ContextManager[t.Any]] = []
        self._context_stack = ExitStack()
        #: Entries for the environ of every request.
        self.environ_base = {"REMOTE_ADDR": "127.0.0.1", "HTTP_USER_AGENT": _user_agent()}

    @contextmanager
    def session_transaction(self, *args: t.Any, **kwargs: t.Any) -> Iterator[SessionMixin]:
        """Open the client's session to be changed; it is saved at the end of the block.

        :param args: for :meth:`Flask.test_request_context`, since the session interface looks at
            a request.
        :param kwargs: the same.
        :raises TypeError: if the client keeps no cookies.
        :raises RuntimeError: if the session interface opens none.
        """
        if self._cookies is None:
            raise TypeError(
                "Cookies are disabled. Create a client with 'use_cookies=True' to have a session."
            )
        app = self.application
        interface = app.session_interface
        ctx = app.test_request_context(*args, **kwargs)
        self._add_cookies_to_wsgi(ctx.request.environ)
        with ctx:
            session = _result_of(interface.open_session(app, ctx.request))
        if session is None:
            raise RuntimeError("Session backend did not open a session. Is 'SECRET_KEY' set?")

        yield session

        if interface.is_null_session(session):
            return
        response = app.response_class()
        with ctx:
            _result_of(interface.save_session(app, session, response))
        self._update_cookies_from_response(
            ctx.request.host.partition(":")[0],
            ctx.request.path,
            response.headers.getlist("Set-Cookie"),
        )

    def open(
        self,
        *args: t.Any,
        buffered: bool = False,
        follow_redirects: bool = False,
        **kwargs: t.Any,
    ) -> TestResponse:
        """Make a request.

        :param args: for :class:`EnvironBuilder`; or one builder, environ or request.
        :param buffered: whether the response is read and closed at once.
        :param follow_redirects: whether to go on to where a redirect leads.
        :param kwargs: for :class:`EnvironBuilder`.
        :raises Exception: what the application raises, see :data:`PROPAGATE_EXCEPTIONS`.
        """
        request = self._make_request(args, kwargs)
        # What an earlier request left would lie below the new context, and come back after it.
        self._context_stack.close()
        response = super().open(request, buffered=buffered, follow_redirects=follow_redirects)
        response.json_module = self.application.json  # type: ignore[assignment]
        while self._new_contexts:
            self._context_stack.enter_context(self._new_contexts.pop(0))
        return response

    def run_wsgi_app(
        self, environ: WSGIEnvironment, buffered: bool = False
    ) -> tuple[t.Iterable[bytes], str, Headers]:
        """Call the application over the client's transport."""
        environ[TESTING] = True
        if self.transport == "wsgi":
            return super().run_wsgi_app(environ, buffered=buffered)
        self._add_cookies_to_wsgi(environ)
        answer = werkzeug.test.run_wsgi_app(self._call_asgi, environ, buffered=buffered)
        url = urlsplit(get_current_url(environ))
        self._update_cookies_from_response(
            url.hostname or "localhost", url.path, answer[2].getlist("Set-Cookie")
        )
        return answer

    def __enter__(self) -> FlaskClient:
        if self.preserve_context:
            raise RuntimeError("Cannot nest client invocations: use another client inside.")
        self.preserve_context = True
        return self

    def __exit__(
        self,
        exc_type: type | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.preserve_context = False
        self._context_stack.close()

    def _call_asgi(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        body = environ["wsgi.input"]
        position = body.tell() if body.seekable() else None
        bridge = AsgiToWsgi(self.application, extra_scope={"wsgi_environ": environ})
        response = bridge(environ, start_response)
        # Nobody has to read a response for the request to come to its end.
        response.settle()
        if response.ended and position is not None:
            # What was read ahead belongs to the next request if this one is redirected.
            body.seek(position)
        return response

    def _make_request(self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any]) -> BaseRequest:
        given = args[0] if args else None
        if isinstance(given, werkzeug.test.EnvironBuilder):
            builder = copy(given)
            builder.environ_base = self._complete_environ(builder.environ_base or {})
            return builder.get_request()
        if isinstance(given, dict):
            return EnvironBuilder.from_environ(
                given, app=self.application, environ_base=self._complete_environ({})
            ).get_request()
        if isinstance(given, BaseRequest):
            request = copy(given)
            request.environ = self._complete_environ(request.environ)
            return request
        kwargs["environ_base"] = self._complete_environ(kwargs.get("environ_base", {}))
        builder = EnvironBuilder(self.application, *args, **kwargs)
        try:
            return builder.get_request()
        finally:
            builder.close()

    def _complete_environ(self, environ: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        complete = {**self.environ_base, **environ}
        if self.preserve_context:
            complete["werkzeug.debug.preserve_context"] = self._new_contexts.append
        return complete


def _result_of(value: t.Any) -> t.Any:
    """Give what a session interface returned, which may be written in ``async def``."""
    return run_awaitable(value) if isawaitable(value) else value


class FlaskCliRunner(CliRunner):
    """A :class:`click.testing.CliRunner` for the commands of an application.

    :param app: the application.
    :param kwargs: for :class:`click.testing.CliRunner`.
    """

    def __init__(self, app: Flask, **kwargs: t.Any) -> None:
        self.app = app
        super().__init__(**kwargs)

    def invoke(  # type: ignore[override]
        self, cli: t.Any = None, args: t.Any = None, **kwargs: t.Any
    ) -> Result:
        """Run a command as :meth:`click.testing.CliRunner.invoke` does.

        :param cli: the command; default: the group ``app.cli``.
        :param args: its arguments, as a list or a line.
        :param kwargs: ``obj`` is a :class:`ScriptInfo` for the application unless given.
        """
        if "obj" not in kwargs:
            kwargs["obj"] = ScriptInfo(create_app=lambda: self.app)
        return super().invoke(self.app.cli if cli is None else cli, args, **kwargs)
