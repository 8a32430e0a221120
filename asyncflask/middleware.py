"""ASGI middleware that comes with the framework."""

from __future__ import annotations

import typing as t

from werkzeug.http import parse_list_header

from .adapters.environ import as_latin1
from .adapters.environ import joined_headers
from .adapters.environ import route_path

if t.TYPE_CHECKING:
    from starlette.types import ASGIApp
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send

ORIGINAL: t.Final = "asyncflask.proxy_fix.orig"
"""Key of a scope: what :class:`ProxyFix` has found in it."""

_WEBSOCKETS: t.Final = {"http": "ws", "https": "wss"}
"""What a websocket's scheme is called where a proxy tells that of the handshake."""


class ProxyFix:
    """Believe the ``X-Forwarded-*`` headers that the proxies in front have set.

    What Werkzeug's middleware of this name does for WSGI, for HTTP requests and websockets. Of
    each header the value counted from the right is taken; one with fewer values counts as not
    sent. Trust no more proxies than there are: whatever is left of their values, the client wrote.

    ``app.add_middleware(ProxyFix, x_for=1)`` puts it around an application.

    :param app: the ASGI application.
    :param x_for: how many proxies add to ``X-Forwarded-For``, the client's address.
    :param x_proto: the same for ``X-Forwarded-Proto``, the scheme.
    :param x_host: for ``X-Forwarded-Host``, which may have a port.
    :param x_port: for ``X-Forwarded-Port``, which wins over that.
    :param x_prefix: for ``X-Forwarded-Prefix``, which becomes the ``root_path``.
    """

    def __init__(
        self,
        app: ASGIApp,
        x_for: int = 1,
        x_proto: int = 1,
        x_host: int = 0,
        x_port: int = 0,
        x_prefix: int = 0,
    ) -> None:
        self.app = app
        self.x_for = x_for
        self.x_proto = x_proto
        self.x_host = x_host
        self.x_port = x_port
        self.x_prefix = x_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a scope that says what the proxies say."""
        if scope["type"] in ("http", "websocket"):
            scope = self._fixed(scope)
        await self.app(scope, receive, send)

    def _fixed(self, scope: Scope) -> Scope:
        headers = joined_headers(scope)
        fixed = {**scope, **_note_original(scope, headers.get("host"))}
        if address := _trusted(headers, "for", self.x_for):
            # The port stays the proxy's, as in Werkzeug: nothing tells the client's.
            fixed["client"] = (address, (scope.get("client") or ("", 0))[1])
        if scheme := _trusted(headers, "proto", self.x_proto):
            websocket = scope["type"] == "websocket"
            fixed["scheme"] = _WEBSOCKETS.get(scheme, scheme) if websocket else scheme
        host = _trusted(headers, "host", self.x_host)
        if host:
            _set_host(fixed, host)
            name, port = _split_host(host)
            _set_server(fixed, name, port)
        if port := _trusted(headers, "port", self.x_port):
            if known := host or headers.get("host"):
                _set_host(fixed, f"{_split_host(known)[0]}:{port}")
            _set_server(fixed, None, port)
        if prefix := _trusted(headers, "prefix", self.x_prefix):
            root = prefix.encode("latin-1").decode("utf-8", "replace").rstrip("/")
            fixed["root_path"] = root
            fixed["path"] = root + route_path(scope)[1]
        return fixed


def _trusted(headers: t.Mapping[str, str], name: str, proxies: int) -> str | None:
    header = headers.get(f"x-forwarded-{name}")
    if not (proxies and header):
        return None
    values = parse_list_header(header)
    return values[-proxies] if len(values) >= proxies else None


def _note_original(scope: Scope, host: str | None) -> dict[str, t.Any]:
    """Keep what is about to change, for who knows ASGI and for who knows Werkzeug's key."""
    original = {key: scope.get(key) for key in ("client", "scheme", "server", "root_path")}
    name, port = scope.get("server") or ("localhost", None)
    environ = {
        "REMOTE_ADDR": (scope.get("client") or (None,))[0],
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "HTTP_HOST": host,
        "SERVER_NAME": name,
        "SERVER_PORT": "" if port is None else str(port),
        "SCRIPT_NAME": as_latin1(route_path(scope)[0]),
    }
    return {
        ORIGINAL: {**original, "host": host},
        "wsgi_environ": {**scope.get("wsgi_environ", {}), "werkzeug.proxy_fix.orig": environ},
    }


def _split_host(host: str) -> tuple[str, str | None]:
    """Split the port off; a colon inside of brackets is an IPv6 address's."""
    if ":" in host and not host.endswith("]"):
        name, _, port = host.rpartition(":")
        return name, port
    return host, None


def _set_host(scope: Scope, host: str) -> None:
    others = [pair for pair in scope.get("headers", ()) if pair[0].lower() != b"host"]
    scope["headers"] = [(b"host", host.encode("latin-1")), *others]


def _set_server(scope: Scope, name: str | None, port: str | None) -> None:
    """Change one part of the server's address or both; ASGI has numbers for ports only."""
    known_name, number = scope.get("server") or ("localhost", None)
    if port is not None:
        number = int(port) if port.isascii() and port.isdecimal() else None
    scope["server"] = (name or known_name, number)
