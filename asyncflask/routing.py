"""Matching a request against the rules: Werkzeug's map, and a table of static rules before it."""

from __future__ import annotations

import typing as t

import werkzeug.routing
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule
from werkzeug.routing import RuleFactory

if t.TYPE_CHECKING:
    from .ctx import RequestContext

_KNOWN_HOSTS: t.Final = 256
"""Hosts whose check is remembered; any client can name any host."""


class Map(werkzeug.routing.Map):
    """Werkzeug's map, which also counts its changes."""

    revision = 0
    """Goes up with every rule that is added."""

    def add(self, rulefactory: RuleFactory) -> None:
        """Add a rule, or the rules of a factory."""
        super().add(rulefactory)
        self.revision += 1


class Router:
    """Finds the rule for a request.

    A path that is the text of a rule without variable parts is looked up in a table; everything
    else, and every doubt, is for Werkzeug's map.
    """

    def __init__(self) -> None:
        self._map: werkzeug.routing.Map | None = None
        self._revision = -1
        self._static: dict[str, dict[str, Rule]] = {}
        self._hosts: dict[bytes | None, bool] = {}

    def match(self, ctx: RequestContext) -> tuple[Rule | None, dict[str, t.Any] | None]:
        """Give the rule that matches the request, and the values of its variable parts.

        :raises HTTPException: if there is none, or a redirect is the answer.
        """
        url_map = ctx.app.url_map
        if url_map is not self._map or getattr(url_map, "revision", None) != self._revision:
            self._compile(url_map)
        request = ctx.request
        rules = self._static.get(request.path)
        if rules is not None:
            rule = rules.get(request.method)
            if rule is not None and self._is_plain(ctx):
                return rule, {}
        adapter = ctx.url_adapter
        if adapter is not None:
            return adapter.match(return_rule=True)  # type: ignore[return-value]
        if request.routing_exception is not None:
            raise request.routing_exception
        return None, None

    def _is_plain(self, ctx: RequestContext) -> bool:
        """Whether nothing but path and method decides on this request."""
        app = ctx.app
        request = ctx.request
        raw = request.raw_headers
        if raw is None or b"upgrade" in raw or app.config["TRUSTED_HOSTS"] is not None:
            return False
        if (
            app.subdomain_matching
            or app.url_map.host_matching
            or "create_url_adapter" in app._overrides
        ):
            return False
        host = raw.get(b"host")
        known = self._hosts.get(host)
        if known is None:
            known = self._check_host(ctx)
            if len(self._hosts) < _KNOWN_HOSTS:
                self._hosts[host] = known
        return known

    def _check_host(self, ctx: RequestContext) -> bool:
        # Binding refuses hosts that IDNA cannot encode.
        try:
            return ctx.url_adapter is not None
        except HTTPException:
            return False

    def _compile(self, url_map: werkzeug.routing.Map) -> None:
        static: dict[str, dict[str, Rule]] = {}
        doubtful: set[tuple[str, str]] = set()
        # A map of another class does not tell when it changes.
        revision = getattr(url_map, "revision", None)
        rules = url_map.iter_rules() if revision is not None else iter(())
        for rule in rules:
            if _is_static(rule, url_map):
                methods = static.setdefault(rule.rule, {})
                for method in rule.methods or ():
                    if method in methods:
                        doubtful.add((rule.rule, method))
                    methods[method] = rule
        for path, method in doubtful:
            del static[path][method]
        self._static = static
        self._map, self._revision = url_map, revision  # type: ignore[assignment]


def _is_static(rule: Rule, url_map: werkzeug.routing.Map) -> bool:
    return not (
        rule.arguments
        or rule.defaults
        or rule.build_only
        or rule.websocket
        or rule.alias
        or rule.redirect_to is not None
        or rule.subdomain != url_map.default_subdomain
        or rule.host
        or "//" in rule.rule
        or any(character in rule.rule for character in "|<>")
    )
