"""Other applications below a path or under a host, of either protocol, for requests of either."""

from __future__ import annotations

import functools
import typing as t

from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import NotFound

from .bridges import AsgiToWsgi
from .environ import as_latin1
from .environ import joined_headers
from .environ import route_path
from .lifespan_runner import LifespanRunner
from .protocols import ASGI
from .protocols import BOTH
from .protocols import protocol_of
from .protocols import WSGI
from .wsgi_to_asgi import WsgiToAsgi

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.types import ASGIApp
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send
    from werkzeug.routing import MapAdapter

    from ..app import Flask
    from ..wrappers import Request



class Mount:
    """An application that answers what is below a path.

    :param outer: the application it is mounted on, whose threads run it if it is a WSGI one.
    :param path: where it is; empty for all that *outer* has no route for.
    :param app: it.
    :param host: the only host it answers for; ``None`` for any.
    :param protocol: ``"asgi"``, ``"wsgi"`` or ``"both"``; found out by default.
    """

    def __init__(
        self, outer: Flask, path: str, app: t.Any, host: str | None, protocol: str | None
    ) -> None:
        if not path.startswith("/"):
            raise ValueError(f"mount({path!r}): the path has to begin with a slash.")
        if protocol not in (None, ASGI, WSGI, BOTH):
            raise ValueError(f"mount(): there is no protocol {protocol!r}, use 'asgi' or 'wsgi'.")
        self.path = path.rstrip("/")
        self.host = None if host is None else host.lower()
        self.app = app
        self.protocol = protocol or protocol_of(app)
        self._outer = outer
        self._wsgi_path = as_latin1(self.path)
        self.lifespan = None if self.protocol == WSGI else self._find_lifespan()

    def _find_lifespan(self) -> LifespanRunner:
        for other in self._outer._mounts:
            if other.app is self.app and other.lifespan is not None:
                return other.lifespan
        return LifespanRunner(self.app, required=False)

    @property
    def is_fallback(self) -> bool:
        """Whether it answers only what the outer application has no route for."""
        return not self.path and self.host is None

    def call_asgi(self, scope: Scope, receive: Receive, send: Send) -> t.Awaitable[None]:
        """Pass an HTTP request or a websocket on, as ASGI.

        ``path`` keeps the prefix, ``root_path`` gets it (ASGI HTTP spec 2.4).
        """
        root, path = route_path(scope)
        prefix = root + self.path
        scope = {**scope, "root_path": prefix, "path": root + path}
        return self._asgi_app(scope, receive, send)

    def call_wsgi(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        """Pass an HTTP request on, as WSGI: the prefix moves to ``SCRIPT_NAME`` (PEP 3333)."""
        environ = {
            **environ,
            "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + self._wsgi_path,
            "PATH_INFO": environ.get("PATH_INFO", "")[len(self._wsgi_path) :],
        }
        return self._wsgi_app(environ, start_response)

    @functools.cached_property
    def _asgi_app(self) -> ASGIApp:
        if self.protocol != WSGI:
            return self._with_state
        timeout = self._outer.config["BODY_TIMEOUT"]
        return WsgiToAsgi(self.app, workers=self._outer._workers, body_timeout=timeout)

    @functools.cached_property
    def _wsgi_app(self) -> t.Callable[..., t.Iterable[bytes]]:
        return AsgiToWsgi(self._with_state) if self.protocol == ASGI else self.app

    async def _with_state(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call an ASGI application with the state that its own lifespan has left."""
        lifespan = t.cast(LifespanRunner, self.lifespan)
        scope["state"] = lifespan.state.copy()
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Its lifespan ends with the outer one's, which waits for requests.
        under_way, request = self._outer._under_way, object()
        under_way.add(request)
        try:
            await self.app(scope, receive, send)
        finally:
            under_way.discard(request)


def is_below(path: str, prefix: str) -> bool:
    """Tell whether a path is a prefix, or below it; it ends at a slash only."""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/")


def mount_for_scope(app: Flask, scope: Scope) -> Mount | None:
    """Find the mounted application that an HTTP request or a websocket is for."""
    mount = _find(app._mounts, route_path(scope)[1], lambda: _host_of(joined_headers(scope)))
    if mount is not None and mount.is_fallback and scope["type"] == "http":
        return None if _has_route(app, app.request_class.from_scope(scope)) else mount
    return mount


def mount_for_environ(app: Flask, environ: WSGIEnvironment) -> Mount | None:
    """Find the mounted application that an HTTP request is for."""
    path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
    mount = _find(app._mounts, path, lambda: _host_of({"host": environ.get("HTTP_HOST", "")}))
    if mount is not None and mount.is_fallback:
        # In a copy: the environ is the other application's, and gets no request of this one.
        request = app.request_class({**environ})
        has_route = _has_route(app, request)
        request.forget_environ()
        return None if has_route else mount
    return mount


def _find(mounts: list[Mount], path: str, host: t.Callable[[], str]) -> Mount | None:
    for mount in mounts:
        if is_below(path, mount.path) and (mount.host is None or mount.host == host()):
            return mount
    return None


def _host_of(headers: t.Mapping[str, str]) -> str:
    host = headers.get("host", "").rpartition("@")[2].lower()
    if host.startswith("["):
        # The colons of an IPv6 address begin no port.
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _has_route(app: Flask, request: Request) -> bool:
    try:
        adapter = type(app).create_url_adapter(app, request)
        t.cast("MapAdapter", adapter).match()
    except NotFound:
        return False
    except HTTPException:
        # A wrong method, a redirect, a host that is not trusted.
        return True
    return True


def precedence(mount: Mount) -> tuple[bool, int]:
    """Give the key by which mounts are looked at: those of a host first, then longer paths."""
    return mount.host is None, -len(mount.path)
