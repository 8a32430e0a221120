"""Matching a request against the rules: the compiled tree, and Werkzeug's map for every doubt."""

from __future__ import annotations

import typing as t

import werkzeug.routing
from werkzeug.exceptions import BadHost
from werkzeug.routing import Rule
from werkzeug.routing import RuleFactory
from werkzeug.sansio.utils import get_host

from .matching import Tree

if t.TYPE_CHECKING:
    from .ctx import RequestContext
    from .wrappers import Request

_KNOWN_HOSTS: t.Final = 256
"""Hosts whose check is remembered; any client can name any host."""
NOT_MADE: t.Final[t.Any] = object()
"""What stands for the URL adapter of a context before it is made."""


class Map(werkzeug.routing.Map):
    """Werkzeug's map, whose rules are compiled at the first request after each change."""

    tree: Tree
    """The rules as they are now."""

    def add(self, rulefactory: RuleFactory) -> None:
        """Add a rule, or the rules of a factory."""
        try:
            super().add(rulefactory)
        finally:
            # Also if one of several failed.
            self.tree = Tree(self)

    def __setattr__(self, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        # Werkzeug says by _remap that it has put the rules in order, or somebody that it is to.
        if name != "tree" and not (name == "_remap" and value is False):
            # Another one: a thread may be filling the present one with what was.
            self.tree = Tree(self)


def read_host(request: Request) -> str:
    """Give the host that a request is for, the empty string if what it says is none.

    :raises HTTPException: if there are several, or if it is not trusted.
    """
    host = request.headers.get("host")
    if host is not None and "," in host:
        # RFC 9112, section 3.2. Repeated headers are joined by commas, and no host has one.
        raise BadHost("The request has more than one Host header.")
    return get_host(request.scheme, host, request.server, request.trusted_hosts)


def match(ctx: RequestContext) -> tuple[Rule | None, dict[str, t.Any] | None]:
    """Give the rule that matches a request, and the values of its variable parts.

    Where nothing but path and method decides, it is looked up in the tree of the map; everything
    else, and every doubt, is for Werkzeug.

    :raises HTTPException: if there is none, or a redirect is the answer.
    """
    app, request = ctx.app, ctx.request
    url_map, config, raw, path = app.url_map, app.config, request.raw_headers, request.path
    scope, scheme = request.scope, request.scheme
    host: bytes | str | None
    if raw is None:
        host = _host_of_environ(request)
    elif b"upgrade" in raw or (raw and len(raw) != len(scope["headers"])):  # type: ignore[index]
        # It may be a websocket; or some header is there twice, which may be the host.
        host = None
    else:
        host = raw.get(b"host", b"")
    if (
        # A map of another class may match as it likes.
        type(url_map) is Map
        and app._hosts.get(host, ctx) is config["SERVER_NAME"]
        and config["TRUSTED_HOSTS"] is None
        and request.trusted_hosts is None
        and ctx._url_adapter is NOT_MADE
        and not app.subdomain_matching
        and not (app._overrides and "create_url_adapter" in app._overrides)
        and (scheme == "http" or scheme == "https")
        and (path != "/" or scope is not None and scope["path"] == "/" or _has_slash(request))
    ):
        rules = url_map.tree.static.get(path)
        if rules is not None and (rule := rules.get(request.method)) is not None:
            return rule, {}
        found = url_map.tree.match(path, request.method)
        if found is not None:
            return found
    return _ask_werkzeug(ctx, host)


def _ask_werkzeug(
    ctx: RequestContext, host: bytes | str | None
) -> tuple[Rule | None, dict[str, t.Any] | None]:
    request = ctx.request
    made = ctx._url_adapter is NOT_MADE and "create_url_adapter" not in ctx.app._overrides
    adapter = ctx.url_adapter
    if adapter is None:
        if request.routing_exception is not None:
            raise request.routing_exception
        return None, None
    if made and host is not None:
        # Binding has accepted the host, and IDNA can encode it.
        hosts = ctx.app._hosts
        if len(hosts) >= _KNOWN_HOSTS:
            hosts.clear()
        hosts[host] = ctx.app.config["SERVER_NAME"]
    return adapter.match(return_rule=True)  # type: ignore[return-value]


def _host_of_environ(request: Request) -> str | None:
    """Give the host of a request under WSGI whose other headers have no say in where it goes."""
    environ = request.environ
    if request.scope is not None or "HTTP_UPGRADE" in environ:
        return None
    return environ.get("HTTP_HOST")


def _has_slash(request: Request) -> bool:
    """Whether the root of the application was asked for as such, and needs no redirect."""
    scope = request.scope
    path = request.environ.get("PATH_INFO", "") if scope is None else scope["path"]
    return str(path).endswith("/")
