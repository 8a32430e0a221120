"""``Dispatcher``: an application's URLs, and the stages of a request as methods of it."""

from __future__ import annotations

import typing as t
from urllib.parse import quote

from werkzeug.routing import BuildError
from werkzeug.routing import MapAdapter

from . import typing as ft
from .application import App
from .globals import _cv_app
from .globals import _cv_request
from .globals import request_ctx
from .lanes import async_to_sync
from .lanes import ensure_sync
from .logging import escaped
from .pipeline import returns
from .pipeline import stages
from .pipeline.plan import overridable
from .routing import read_host
from .teardown import run_stage
from .template_context import update_context

if t.TYPE_CHECKING:
    from types import TracebackType

    from werkzeug.exceptions import HTTPException

    from .wrappers import Request
    from .wrappers import Response

T = t.TypeVar("T")
Step: t.TypeAlias = t.Callable[..., t.Coroutine[t.Any, t.Any, T]]

_ANCHOR_SAFE: t.Final = "%!#$&'()*+,/:;=?@"


class Dispatcher(App):
    """What requests do with an application: match and build URLs, and go through its stages.

    Requests run the functions of ``pipeline/``, and pass by the methods here unless they are
    overridden.
    """

    response_class: type[Response]

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
