"""``Flask``: an application that handles requests, for ASGI and WSGI servers alike."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import typing as t
import weakref

from werkzeug.routing import BuildError as BuildError
from werkzeug.routing import Rule as Rule

from .adapters.asgi import handle_http
from .adapters.background import begin_serving
from .adapters.lifespan import handle_lifespan
from .adapters.process import is_serving
from .adapters.wsgi import handle_environ
from .application import App as App
from .ctx import AppContext
from .ctx import RequestContext
from .dispatcher import Dispatcher
from .entry import is_own_wsgi_app
from .entry import Served
from .entry import serves_asgi
from .globals import _cv_app
from .globals import g
from .helpers import get_debug_flag
from .helpers import get_load_dotenv
from .lanes import adds_code
from .lanes import colour_of
from .lanes import does_io
from .lanes import Lane
from .lanes import Stage
from .lanes import workers_for
from .pipeline.plan import find_overrides
from .pipeline.plan import is_overridable
from .pipeline.plan import overridable
from .pipeline.plan import Plan
from .scaffold import Scaffold
from .scaffold import setupmethod
from .sessions import SecureCookieSessionInterface
from .sessions import SessionInterface
from .teardown import run_stage
from .teardown import teardown_appcontext
from .teardown import teardown_request
from .wrappers import Request
from .wrappers import Response

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.types import ASGIApp
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send

    from .application import Lifespan
    from .cli import AppGroup
    from .lanes.workers import Workers
    from .testing import FlaskClient
    from .testing import FlaskCliRunner
    from .testing_async import AsyncClient

_sentinel: t.Any = object()
_DEFAULT_PORT: t.Final = 5000


class Flask(Dispatcher, metaclass=Served):
    """An application: Flask's API, served by ASGI servers, and by WSGI servers as well.

    The parameters are those of :class:`~asyncflask.application.App`.
    """

    request_class: type[Request] = Request
    response_class: type[Response] = Response
    session_interface: SessionInterface = SecureCookieSessionInterface()

    _through_wsgi: bool
    """Whether HTTP requests go through the WSGI face under ASGI servers as well."""

    def __init__(
        self,
        import_name: str,
        static_url_path: str | None = None,
        static_folder: str | os.PathLike[str] | None = "static",
        static_host: str | None = None,
        host_matching: bool = False,
        subdomain_matching: bool = False,
        template_folder: str | os.PathLike[str] | None = "templates",
        instance_path: str | None = None,
        instance_relative_config: bool = False,
        root_path: str | None = None,
        *,
        lifespan: Lifespan | None = None,
    ) -> None:
        self._plans: dict[str | None, Plan] = {}
        # Hosts that binding accepts, each with the ``SERVER_NAME`` it was accepted under.
        self._hosts: dict[bytes | str | None, t.Any] = {}
        self._middleware: list[t.Callable[[ASGIApp], ASGIApp]] = []
        self._stack: ASGIApp | None = None
        self._serving = False
        self._serves_in: object = None
        self._under_way: set[object] = set()
        super().__init__(
            import_name=import_name,
            static_url_path=static_url_path,
            static_folder=static_folder,
            static_host=static_host,
            host_matching=host_matching,
            subdomain_matching=subdomain_matching,
            template_folder=template_folder,
            instance_path=instance_path,
            instance_relative_config=instance_relative_config,
            root_path=root_path,
            lifespan=lifespan,
        )
        if self.has_static_folder:
            self._add_static_route(static_host, host_matching)

    def _add_static_route(self, static_host: str | None, host_matching: bool) -> None:
        if bool(static_host) != host_matching:
            raise AssertionError(
                f"Invalid static_host/host_matching combination: static_host is {static_host!r}"
                f" and host_matching is {host_matching!r}. Give both, or neither."
            )
        # A bound method would keep the application alive through its own view functions.
        app_ref = weakref.ref(self)
        view = lambda **kwargs: app_ref().send_static_file(**kwargs)  # type: ignore[union-attr]  # noqa: E731
        does_io(view)
        self.add_url_rule(
            f"{self.static_url_path}/<path:filename>",
            endpoint="static",
            host=static_host,
            view_func=view,
        )

    def __setattr__(self, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        self._note_change(name)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._note_change(name)

    def _note_change(self, name: str) -> None:
        if is_overridable(name):
            self._forget_plans()
        elif name == "wsgi_app":
            self.__dict__.pop("_through_wsgi", None)
            if not is_own_wsgi_app(self):
                self.__dict__["_through_wsgi"] = True

    def _forget_plans(self) -> None:
        self._plans.clear()
        self.__dict__.pop("_overrides", None)
        self.__dict__.pop("_session_stages", None)

    # -- what requests run, settled at the first one -----------------------------------------

    @functools.cached_property
    def _overrides(self) -> dict[str, Stage]:
        return find_overrides(self)

    @functools.cached_property
    def _session_stages(self) -> tuple[Stage, Stage]:
        interface = self.session_interface
        return (
            (interface.open_session, colour_of(interface.open_session)),
            (interface.save_session, colour_of(interface.save_session)),
        )

    @functools.cached_property
    def _workers(self) -> Workers:
        config = self.config
        return workers_for(
            config["SYNC_THREADS"], config["SYNC_QUEUE_LIMIT"], config["SYNC_QUEUE_TIMEOUT"]
        )

    @functools.cached_property
    def _wsgi_face(self) -> ASGIApp:
        """Serves ASGI requests by what is around ``wsgi_app`` and ``__call__``."""
        from .adapters.wsgi_to_asgi import WsgiToAsgi

        return WsgiToAsgi(
            self,
            workers=self._workers,
            body_timeout=self.config["BODY_TIMEOUT"],
            max_header_size=self.config["MAX_HEADER_SIZE"],
        )

    def _sends_files_itself(self, owner: Scaffold) -> bool:
        """Tell whether none of the user's functions takes part in sending static files.

        :param owner: the application or the blueprint whose files they are.
        """
        if adds_code(self.response_class, Response):
            return False
        return all(
            inspect.getattr_static(holder, name) is vars(Scaffold)[name]
            for holder in (self, owner)
            for name in ("get_send_file_max_age", "send_static_file", "static_folder")
        )

    def _new_plan(self, endpoint: str | None) -> Plan:
        plan = self._plans[endpoint] = Plan(self, endpoint)
        return plan

    # -- serving -----------------------------------------------------------------------------

    @serves_asgi
    def __call__(self, scope: t.Any, receive: t.Any, send: t.Any = None, /) -> t.Any:
        """Serve as an ASGI application (three arguments) or a WSGI application (two)."""
        if send is not None:
            return self.asgi_app(scope, receive, send)
        return self.wsgi_app(scope, receive)

    def asgi_app(self, scope: Scope, receive: Receive, send: Send) -> t.Awaitable[None]:
        """The ASGI face; ``app.asgi_app = Middleware(app.asgi_app)`` wraps it."""
        if not self._serving:
            self._serving = True
        if self._middleware:
            if self._stack is None:
                self._stack = self._build_stack()
            return self._stack(scope, receive, send)
        if scope["type"] == "http" and not (self._through_wsgi or self._mounts):
            return handle_http(self, scope, receive, send)
        return self._serve(scope, receive, send)

    def wsgi_app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        """The WSGI face; ``app.wsgi_app = Middleware(app.wsgi_app)`` wraps it.

        A middleware around it is gone through by requests that come as ASGI as well.
        """
        if not is_serving(self):
            begin_serving(self, environ)
        if self._mounts:
            from .adapters.mounts import mount_for_environ

            mount = mount_for_environ(self, environ)
            if mount is not None:
                return mount.call_wsgi(environ, start_response)
        return handle_environ(self, environ, start_response)

    def add_middleware(
        self, middleware_class: t.Callable[..., ASGIApp], *args: t.Any, **kwargs: t.Any
    ) -> None:
        """Put an ASGI middleware around the application, outside of those added before.

        :param middleware_class: called with the inner ASGI application and the other arguments.
        :raises RuntimeError: once the application has begun to serve.
        """
        if self._serving:
            raise RuntimeError(
                f"add_middleware({middleware_class!r}) came after the application had begun to"
                " serve: add middleware before."
            )
        self._middleware.append(lambda inner: middleware_class(inner, *args, **kwargs))

    @setupmethod
    def mount(
        self, path: str, app: t.Any, *, host: str | None = None, protocol: str | None = None
    ) -> None:
        """Have another application answer everything below a path.

        Its requests run no hooks of this one, and its errors are its own. Where several mounts
        fit, one with a host comes first, then the longest path. One on ``"/"`` gets what this
        application has no route for. An ASGI application's lifespan runs inside this one's.

        :param path: where it is; ends at a slash of the request's path only.
        :param app: an ASGI or a WSGI application, or another :class:`Flask`.
        :param host: the host name it answers for; default: any.
        :param protocol: ``"asgi"`` or ``"wsgi"``, if that cannot be told from *app*.
        :raises TypeError: if it cannot.
        :raises ValueError: if the path does not begin with a slash, or is taken.
        """
        from .adapters.mounts import Mount
        from .adapters.mounts import precedence

        mount = Mount(self, path, app, host, protocol)
        if any((other.path, other.host) == (mount.path, mount.host) for other in self._mounts):
            raise ValueError(f"mount({path!r}): something is mounted there already.")
        self._mounts = sorted([*self._mounts, mount], key=precedence)

    def _build_stack(self) -> ASGIApp:
        stack: ASGIApp = self._serve
        for wrap in self._middleware:
            stack = wrap(stack)
        return stack

    def _serve(self, scope: Scope, receive: Receive, send: Send) -> t.Awaitable[None]:
        kind = scope["type"]
        if kind == "lifespan":
            return handle_lifespan(self, scope, receive, send)
        if kind == "http" and self._through_wsgi:
            return self._wsgi_face(scope, receive, send)
        if self._mounts:
            from .adapters.mounts import mount_for_scope

            mount = mount_for_scope(self, scope)
            if mount is not None:
                return mount.call_asgi(scope, receive, send)
        if kind == "http":
            return handle_http(self, scope, receive, send)
        if kind == "websocket":
            return _refuse_websocket(receive, send)
        raise ValueError(f"An ASGI scope of type {kind!r} is not known to asyncflask.")

    def run(
        self,
        host: str | None = None,
        port: int | None = None,
        debug: bool | None = None,
        load_dotenv: bool = True,
        **options: t.Any,
    ) -> None:
        """Serve the application with uvicorn, for development.

        :param host: the address to listen on; ``SERVER_NAME``'s or ``127.0.0.1`` by default.
        :param port: the port; ``SERVER_NAME``'s or 5000 by default.
        :param debug: sets :attr:`debug` if given.
        :param load_dotenv: whether ``.env`` and ``.flaskenv`` files are read.
        :param options: ``use_debugger``, ``use_reloader`` and others of Flask's, and more of
            :func:`uvicorn.run`.
        """
        from .devserver import run_app

        if get_load_dotenv(load_dotenv):
            from .cli import load_dotenv as read_dotenv

            read_dotenv()
            if "FLASK_DEBUG" in os.environ:
                self.debug = get_debug_flag()
        if debug is not None:
            self.debug = bool(debug)
        name, _, name_port = (self.config.get("SERVER_NAME") or "").partition(":")
        if port is None:
            port = int(name_port) if name_port else _DEFAULT_PORT
        run_app(self, host or name or "127.0.0.1", int(port), **options)

    # -- contexts ----------------------------------------------------------------------------

    @overridable
    def app_context(self) -> AppContext:
        """Make an application context, for ``with`` and ``async with``."""
        return AppContext(self)

    @overridable
    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        """Make the context of a request, for ``with`` and ``async with``.

        :param environ: a WSGI environ or an ASGI HTTP scope.
        """
        return RequestContext(self, environ)

    def test_request_context(self, *args: t.Any, **kwargs: t.Any) -> RequestContext:
        """Make the context of a request as the test client would send it.

        Takes the arguments of :class:`~asyncflask.testing.EnvironBuilder`.
        """
        from .testing import EnvironBuilder

        builder = EnvironBuilder(self, *args, **kwargs)
        try:
            return self.request_context(builder.get_environ())
        finally:
            builder.close()

    @overridable
    def do_teardown_request(self, exc: BaseException | None = _sentinel) -> None:
        """Run the teardown functions of the current request.

        :param exc: what ended it; by default the exception being handled.
        """
        return self._run_here(_teardown_request, sys.exc_info()[1] if exc is _sentinel else exc)

    @overridable
    def do_teardown_appcontext(self, exc: BaseException | None = _sentinel) -> None:
        """Run the teardown functions of the current application context.

        :param exc: what ended it; by default the exception being handled.
        """
        error = sys.exc_info()[1] if exc is _sentinel else exc
        ctx = _cv_app.get(None) or AppContext(self)
        return run_stage(ctx, lambda lane: teardown_appcontext(ctx, lane, error))

    # -- testing and the command line ----------------------------------------------------------

    @functools.cached_property
    def cli(self) -> AppGroup:  # type: ignore[override]
        """The application's commands; ``@app.cli.command()`` adds one."""
        from .cli import AppGroup

        group = AppGroup()
        group.name = self.name
        return group

    def test_client(self, use_cookies: bool = True, **kwargs: t.Any) -> FlaskClient:
        """Make a test client.

        :param use_cookies: whether it keeps cookies.
        :param kwargs: more of :class:`~asyncflask.testing.FlaskClient`, among them
            ``transport="asgi"`` to go through the ASGI face.
        """
        kind = self.test_client_class
        if kind is None:
            from .testing import FlaskClient

            kind = FlaskClient
        return kind(self, self.response_class, use_cookies=use_cookies, **kwargs)

    def async_test_client(self, **kwargs: t.Any) -> AsyncClient:
        """Make a test client to be awaited: httpx over ASGI, for ``async with``.

        :param kwargs: more of :class:`httpx.AsyncClient`.
        """
        from .testing_async import AsyncClient

        return AsyncClient(self, **kwargs)

    def test_cli_runner(self, **kwargs: t.Any) -> FlaskCliRunner:
        """Make a runner for commands; takes the arguments of :class:`click.testing.CliRunner`."""
        kind = self.test_cli_runner_class
        if kind is None:
            from .testing import FlaskCliRunner

            kind = FlaskCliRunner
        return kind(self, **kwargs)

    def make_shell_context(self) -> dict[str, t.Any]:
        """Give the names an interactive shell starts with."""
        names: dict[str, t.Any] = {"app": self, "g": g}
        for processor in self.shell_context_processors:
            names.update(self.ensure_sync(processor)())
        return names

    def open_instance_resource(
        self, resource: str, mode: str = "rb", encoding: str | None = "utf-8"
    ) -> t.IO[t.AnyStr]:
        """Open a file of the instance folder.

        :param resource: its path, relative to the folder.
        :param encoding: for text modes.
        """
        path = os.path.join(self.instance_path, resource)
        return t.cast(
            "t.IO[t.AnyStr]", open(path, mode, encoding=None if "b" in mode else encoding)
        )


async def _teardown_request(
    app: Flask, ctx: RequestContext, lane: Lane, exc: BaseException | None
) -> None:
    await teardown_request(ctx, lane, exc)


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1000, "reason": ""})
