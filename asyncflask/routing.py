"""Matching a request against the rules: Werkzeug's map, and a memory of what it has answered."""

from __future__ import annotations

import typing as t

import werkzeug.routing
from werkzeug.exceptions import BadHost
from werkzeug.routing import Rule
from werkzeug.routing import RuleFactory
from werkzeug.sansio.utils import get_host

if t.TYPE_CHECKING:
    from .ctx import RequestContext
    from .wrappers import Request

_KNOWN_HOSTS: t.Final = 256
"""Hosts whose check is remembered; any client can name any host."""


class Map(werkzeug.routing.Map):
    """Werkzeug's map, which also keeps what it has answered till a rule is added."""

    # Shared while it has no rule, so nothing to keep either.
    known: dict[tuple[str, str], Rule] = {}
    """Rules without variable parts by method and path."""

    def add(self, rulefactory: RuleFactory) -> None:
        """Add a rule, or the rules of a factory."""
        super().add(rulefactory)
        self.known = {}


def read_host(request: Request) -> str:
    """Give the host that a request is for, the empty string if what it says is none.

    :raises HTTPException: if there are several, or if it is not trusted.
    """
    host = request.headers.get("host")
    if host is not None and "," in host:
        # RFC 9112, section 3.2. Repeated headers are joined by commas, and no host has one.
        raise BadHost("The request has more than one Host header.")
    return get_host(request.scheme, host, request.server, request.trusted_hosts)


class Router:
    """Finds the rule for a request.

    A path without variable parts that was matched before is looked up; everything else, and
    every doubt, is for Werkzeug's map.
    """

    def __init__(self) -> None:
        self._hosts: dict[bytes | str, bool] = {}

    def match(self, ctx: RequestContext) -> tuple[Rule | None, dict[str, t.Any] | None]:
        """Give the rule that matches the request, and the values of its variable parts.

        :raises HTTPException: if there is none, or a redirect is the answer.
        """
        request = ctx.request
        url_map = ctx.app.url_map
        # A map of another class may match as it likes.
        known = url_map.known if type(url_map) is Map else None
        if known is not None:
            rule = known.get((request.method, request.path))
            if rule is not None and self._is_plain(ctx):
                return rule, {}
        adapter = ctx.url_adapter
        if adapter is None:
            if request.routing_exception is not None:
                raise request.routing_exception
            return None, None
        rule, values = adapter.match(return_rule=True)
        if known is not None and not values and self._is_plain(ctx):
            # Of other methods, for a rule that takes any, there might be no end.
            if request.method in (rule.methods or ()):
                # A rule that is added meanwhile replaces the dict, not what is in it.
                known[request.method, request.path] = rule
        return rule, values  # type: ignore[return-value]

    def _is_plain(self, ctx: RequestContext) -> bool:
        """Whether nothing but path and method decides on this request."""
        app = ctx.app
        request = ctx.request
        if (
            request.trusted_hosts is not None
            or app.subdomain_matching
            or app.url_map.host_matching
            or app.config["TRUSTED_HOSTS"] is not None
            or "create_url_adapter" in app._overrides
        ):
            return False
        if request.path == "/" and (request.root_path or request.scope is None):
            if not _ends_with_slash(request):
                return False
        host = _plain_host(request)
        if host is None:
            return False
        known = self._hosts.get(host)
        return self._check_host(ctx, host) if known is None else known

    def _check_host(self, ctx: RequestContext, host: bytes | str) -> bool:
        """Whether binding accepts the host, and does not refuse what IDNA cannot encode."""
        if len(self._hosts) >= _KNOWN_HOSTS:
            self._hosts.clear()
        self._hosts[host] = good = ctx.url_adapter is not None
        return good


def _plain_host(request: Request) -> bytes | str | None:
    """Give the host of a request whose other headers have no say in where it goes."""
    raw, scope = request.raw_headers, request.scope
    if scope is None:
        return None if "HTTP_UPGRADE" in request.environ else request.environ.get("HTTP_HOST")
    if raw is None or b"upgrade" in raw or len(raw) != len(scope.get("headers", ())):
        # Some header is there twice; it may be the host.
        return None
    return raw.get(b"host", b"")


def _ends_with_slash(request: Request) -> bool:
    """Whether the root of the application was asked for as such, and needs no redirect."""
    scope = request.scope
    path = request.environ.get("PATH_INFO", "") if scope is None else scope["path"]
    return str(path).endswith("/")
