"""``Flask``: an application that handles requests, for ASGI and WSGI servers alike."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import typing as t
import weakref
from urllib.parse import quote

from werkzeug.routing import BuildError as BuildError
from werkzeug.routing import MapAdapter
from werkzeug.routing import Rule as Rule

from . import typing as ft
from .adapters.asgi import handle_http
from .adapters.background import begin_serving
from .adapters.lifespan import handle_lifespan
from .adapters.lifespan import is_serving
from .adapters.mounts import Mount
from .adapters.mounts import mount_for_environ
from .adapters.mounts import mount_for_scope
from .adapters.mounts import precedence
from .adapters.wsgi import handle_environ
from .adapters.wsgi_to_asgi import WsgiToAsgi
from .application import App as App
from .ctx import AppContext
from .ctx import RequestContext
from .entry import is_own_wsgi_app
from .entry import Served
from .entry import serves_asgi
from .globals import _cv_app
from .globals import _cv_request
from .globals import g
from .globals import request_ctx
from .helpers import get_debug_flag
from .helpers import get_load_dotenv
from .lanes import adds_code
from .lanes import async_to_sync
from .lanes import colour_of
from .lanes import does_io
from .lanes import ensure_sync
from .lanes import Lane
from .lanes import Stage
from .lanes import workers_for
from .logging import escaped
from .pipeline import returns
from .pipeline import stages
from .pipeline.plan import find_overrides
from .pipeline.plan import is_overridable
from .pipeline.plan import overridable
from .pipeline.plan import Plan
from .routing import read_host
from .routing import Router
from .scaffold import Scaffold
from .scaffold import setupmethod
from .sessions import SecureCookieSessionInterface
from .sessions import SessionInterface
from .teardown import run_stage
from .teardown import teardown_appcontext
from .teardown import teardown_request
from .templating import update_context
from .wrappers import Request
from .wrappers import Response

if t.TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.types import ASGIApp
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send
    from werkzeug.exceptions import HTTPException

    from .application import Lifespan
    from .cli import AppGroup
    from .lanes.workers import Workers
    from .testing import FlaskClient
    from .testing import FlaskCliRunner
    from .testing_async import AsyncClient

T = t.TypeVar("T")
Step: t.TypeAlias = t.Callable[..., t.Coroutine[t.Any, t.Any, T]]

_sentinel: t.Any = object()
_ANCHOR_SAFE: t.Final = "%!#$&'()*+,/:;=?@"
_DEFAULT_PORT: t.Final = 5000


class Flask(App, metaclass=Served):
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
        self._router = Router()
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
        return WsgiToAsgi(self, workers=self._workers, body_timeout=self.config["BODY_TIMEOUT"])

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

    def _plan_for(self, endpoint: str | None) -> Plan:
        plan = self._plans.get(endpoint)
        if plan is None or not plan.is_current():
            plan = self._plans[endpoint] = Plan(self, endpoint)
        return plan

    # -- serving -----------------------------------------------------------------------------

    @serves_asgi
    def __call__(self, *args: t.Any) -> t.Any:
        """Serve as an ASGI application (three arguments) or a WSGI application (two)."""
        if len(args) == 3:
            return self.asgi_app(*args)
        return self.wsgi_app(*args)

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
        mount = mount_for_environ(self, environ) if self._mounts else None
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
        mount = mount_for_scope(self, scope) if self._mounts else None
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
        :param options: more of :func:`uvicorn.run`.
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

    # -- URLs --------------------------------------------------------------------------------

    @overridable
    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Make what matches a request and builds URLs.

        :param request: ``None`` for URLs outside of a request.
        :returns: ``None`` outside of a request when ``SERVER_NAME`` is not set.
        :raises HTTPException: if the host of the request is not trusted, or is none.
        """
        server_name = self.config["SERVER_NAME"]
        if request is None:
            if server_name is None:
                return None
            return self.url_map.bind(
                server_name,
                script_name=self.config["APPLICATION_ROOT"],
                url_scheme=self.config["PREFERRED_URL_SCHEME"],
            )
        trusted = self.config["TRUSTED_HOSTS"]
        if trusted is not None:
            request.trusted_hosts = trusted
        request.host = read_host(request)
        subdomain = None
        if self.url_map.host_matching:
            # Rules say which hosts are theirs; the server's name has no part in it.
            server_name = None
        elif not self.subdomain_matching:
            subdomain = self.url_map.default_subdomain or ""
        raw = request.raw_headers
        if raw is not None and server_name is None and not request.root_path:
            if b"upgrade" not in raw:
                # What bind_to_environ() comes to, without making an environ for it.
                if subdomain is None and not self.url_map.host_matching:
                    # Without a server's name no part of the host is a subdomain.
                    subdomain = ""
                return self.url_map.bind(
                    request.host.lower(),
                    script_name="/",
                    subdomain=subdomain,
                    url_scheme=request.scheme,
                    default_method=request.method,
                    path_info=request.path,
                    query_args=request.query_string.decode("utf-8", "replace"),
                )
        return self.url_map.bind_to_environ(
            request.environ, server_name=server_name, subdomain=subdomain
        )

    def url_for(
        self,
        /,
        endpoint: str,
        *,
        _anchor: str | None = None,
        _method: str | None = None,
        _scheme: str | None = None,
        _external: bool | None = None,
        **values: t.Any,
    ) -> str:
        """Build the URL of an endpoint.

        :param endpoint: its name; a dot in front means the current blueprint.
        :param _anchor: what comes after ``#``.
        :param _method: picks the rule by method, where an endpoint has several.
        :param _scheme: the scheme of an external URL.
        :param _external: whether scheme and host are in it; by default only where there is no
            request.
        :param values: for the variable parts of the rule; the rest goes into the query.
        :raises BuildError: if no rule fits.
        :raises RuntimeError: outside of a request, if ``SERVER_NAME`` is not set.
        """
        ctx = _cv_request.get(None)
        adapter = ctx.url_adapter if ctx is not None else self._adapter_outside_request()
        if adapter is None and ctx is not None:
            # The request was refused for its host: the error page may have links all the same.
            root, scheme = ctx.request.root_path, ctx.request.scheme
            adapter = self.url_map.bind("", script_name=root or "/", url_scheme=scheme)
        if _external is None:
            _external = ctx is None or _scheme is not None
        if ctx is not None and endpoint.startswith("."):
            blueprint = ctx.request.blueprint
            endpoint = endpoint[1:] if blueprint is None else f"{blueprint}{endpoint}"
        if _scheme is not None and not _external:
            raise ValueError("When specifying '_scheme', '_external' must be True.")
        self.inject_url_defaults(endpoint, values)
        try:
            url: str = adapter.build(  # type: ignore[union-attr]
                endpoint, values, method=_method, url_scheme=_scheme, force_external=_external
            )
        except BuildError as error:
            values.update(_anchor=_anchor, _method=_method, _scheme=_scheme, _external=_external)
            return self.handle_url_build_error(error, endpoint, values)
        return url if _anchor is None else f"{url}#{quote(_anchor, safe=_ANCHOR_SAFE)}"

    def _adapter_outside_request(self) -> MapAdapter:
        ctx = _cv_app.get(None)
        adapter = ctx.url_adapter if ctx is not None else self.create_url_adapter(None)
        if adapter is None:
            raise RuntimeError(
                "Unable to build URLs outside an active request without 'SERVER_NAME' configured."
                " Also configure 'APPLICATION_ROOT' and 'PREFERRED_URL_SCHEME' as needed."
            )
        return adapter

    # -- sync and async ----------------------------------------------------------------------

    @overridable
    def ensure_sync(self, func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Make a function usable from sync code, whatever it is; see :meth:`async_to_sync`."""
        wrapped = ensure_sync(func)
        return func if wrapped is func else self.async_to_sync(func)

    @overridable
    def async_to_sync(
        self, func: t.Callable[..., t.Coroutine[t.Any, t.Any, t.Any]]
    ) -> t.Callable[..., t.Any]:
        """Wrap an async function in a sync one that runs it on the request's event loop."""
        return async_to_sync(func)

    # -- the stages of a request, for those who override or call them ----------------------------

    def update_template_context(self, context: dict[str, t.Any]) -> None:
        """Add what context processors give to the names of a template, in place."""
        update_context(self, _cv_request.get(None), context)

    @overridable
    def full_dispatch_request(self) -> Response:
        """Run everything from the before hooks to the finished response."""
        return self._run_here(stages.full_dispatch)

    @overridable
    def preprocess_request(self) -> ft.ResponseReturnValue | None:
        """Run the URL value preprocessors and before hooks of the current request."""
        rv: ft.ResponseReturnValue | None = self._run_here(stages.preprocess)
        return rv

    @overridable
    def dispatch_request(self) -> ft.ResponseReturnValue:
        """Call the view of the current request."""
        rv: ft.ResponseReturnValue = self._run_here(stages.dispatch)
        return rv

    @overridable
    def raise_routing_exception(self, request: Request) -> t.NoReturn:
        """Raise what matching the request has found."""
        stages.raise_routing_exception(self, request)

    @overridable
    def make_default_options_response(self) -> Response:
        """Answer an ``OPTIONS`` request with the methods of its URL."""
        response = self.response_class()
        adapter = request_ctx.url_adapter
        response.allow.update(adapter.allowed_methods() if adapter is not None else ())
        return response

    @overridable
    def make_response(self, rv: ft.ResponseReturnValue) -> Response:
        """Make a response of anything a view may return.

        :raises TypeError: if it is nothing a response can be made of.
        """
        return returns.make_response(self, request_ctx.request, rv)

    @overridable
    def finalize_request(
        self, rv: ft.ResponseReturnValue | HTTPException, from_error_handler: bool = False
    ) -> Response:
        """Make the response of what a view returned, and run the after hooks on it.

        :param from_error_handler: whether errors of the after hooks are only logged.
        """
        return self._run_here(stages.finalize, rv, from_error_handler)

    @overridable
    def process_response(self, response: Response) -> Response:
        """Run the after hooks of the current request, and save its session."""
        return self._run_here(stages.process_response, response)

    @overridable
    def handle_user_exception(self, e: Exception) -> HTTPException | ft.ResponseReturnValue:
        """Answer an exception of a view or hook by its handler, or raise it again."""
        rv: HTTPException | ft.ResponseReturnValue = self._run_here(stages.handle_user_exception, e)
        return rv

    @overridable
    def handle_http_exception(self, e: HTTPException) -> HTTPException | ft.ResponseReturnValue:
        """Answer an HTTP exception by its handler, or by itself."""
        rv: HTTPException | ft.ResponseReturnValue = self._run_here(stages.handle_http_exception, e)
        return rv

    @overridable
    def handle_exception(self, e: Exception) -> Response:
        """Answer an exception that has no handler with a 500, or raise it again."""
        return self._run_here(stages.handle_exception, e)

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

    @overridable
    def log_exception(
        self,
        exc_info: tuple[type, BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> None:
        """Log an exception that nobody handled, with the request it broke."""
        ctx = _cv_request.get(None)
        if ctx is None:
            self.logger.error("Exception in %s", self.name, exc_info=exc_info)
            return
        path, method = escaped(ctx.request.path), escaped(ctx.request.method)
        self.logger.error(f"Exception on {path} [{method}]", exc_info=exc_info)

    def _run_here(self, stage: Step[T], *args: t.Any) -> T:
        ctx = request_ctx._get_current_object()  # type: ignore[attr-defined]
        ctx.refresh_plan()
        return run_stage(ctx, lambda lane: stage(self, ctx, lane, *args))


async def _teardown_request(
    app: Flask, ctx: RequestContext, lane: Lane, exc: BaseException | None
) -> None:
    await teardown_request(ctx, lane, exc)


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1000, "reason": ""})
