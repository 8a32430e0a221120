"""``RequestHead``: a request made from a scope or an environ, with what can be told at once."""

from __future__ import annotations

import contextvars
import functools
import re
import typing as t

from werkzeug.datastructures import EnvironHeaders
from werkzeug.datastructures import Headers
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_options_header
from werkzeug.utils import cached_property

from .adapters.environ import cookie_header
from .adapters.environ import environ_from_scope
from .adapters.environ import route_path
from .adapters.environ import ScopeHeaders
from .cookies import parse_cookies
from .tolerance import decode_query
from .tolerance import parse_query
from .tolerance import TolerantRequest

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.types import Receive
    from starlette.types import Scope
    from werkzeug.routing import Rule

    from .adapters.body import Body


class RequestHead(TolerantRequest):
    """A request without what it makes of its body, which :class:`~asyncflask.Request` adds.

    Made from a WSGI environ by calling the class, from an ASGI scope by :meth:`from_scope`.

    :param environ: the WSGI environ.
    :param populate_request: whether to store the request in the environ.
    :param shallow: whether reading the body is to be an error.
    """

    url_rule: Rule | None = None
    """The rule that matched, ``None`` if none did."""
    view_args: dict[str, t.Any] | None = None
    """The values of the rule's variable parts, ``None`` if no rule matched."""
    routing_exception: HTTPException | None = None
    """Why no rule matched; raised when the request is dispatched."""
    scope: Scope | None = None
    """The ASGI scope, ``None`` under WSGI."""
    body: Body | None = None
    """Where an ASGI request's body comes from, ``None`` if it has none, and under WSGI."""

    receive: Receive | None = None
    """The server's ``receive``, ``None`` under WSGI."""
    server_context: contextvars.Context
    """The Context the server called the application in."""
    raw_headers: dict[bytes, bytes] | None = None
    """The headers of an ASGI request as they came, for a quick look: the last of each name."""

    shallow = False

    _single_headers: dict[bytes, bytes] | None = None
    _parsed_content_type: tuple[str, dict[str, str]] | None = None  # type: ignore[assignment]
    _headers: Headers | None = None
    _cookies: ImmutableMultiDict[str, str] | None = None
    _closes = False
    """Whether there is anything to close."""

    @classmethod
    def from_gateway(cls, source: t.Any, body: Body | None = None) -> t.Self:
        """Make a request from whatever a server gives.

        :param source: an ASGI HTTP scope or a WSGI environ; that of an ASGI request makes
            another request with the same body.
        :param body: the body of an ASGI request, if it has one.
        """
        if "type" in source:
            return cls.from_scope(source, body)
        origin = source.get("werkzeug.request")
        if not (isinstance(origin, RequestHead) and origin.scope is not None):
            return cls.from_environ(source)
        request = cls(source)
        for name in ("scope", "body", "receive", "server_context"):
            if hasattr(origin, name):
                setattr(request, name, getattr(origin, name))
        return request

    @classmethod
    def from_scope(
        cls, scope: Scope, body: Body | None = None, raw_headers: dict[bytes, bytes] | None = None
    ) -> t.Self:
        """Make a request from an ASGI HTTP scope (ASGI HTTP spec, "HTTP Connection Scope").

        :param body: where its body comes from; ``None`` if it has none.
        :param raw_headers: the scope's headers as a dict, if there is one already.
        """
        if cls.__init__ is not RequestHead.__init__:
            # A subclass expects to be called as Flask calls it.
            request = cls(environ_from_scope(scope, body))
            request.scope, request.body = scope, body
            return request
        request = cls.__new__(cls)
        if raw_headers is None:
            raw_headers = dict(scope.get("headers", ()))
        if b"transfer-encoding" in raw_headers:
            # Some servers add the trailers of the body, which are no headers, to the same list.
            scope = {**scope, "headers": list(scope["headers"])}
        request.raw_headers = raw_headers
        request.scope = scope
        request.body = body
        request.has_cookies = b"cookie" in raw_headers
        request.url_rule = request.routing_exception = None
        request.scheme = scope.get("scheme", "http")
        request.method = scope["method"].upper()
        path = scope["path"]
        if scope.get("root_path") or not path.isascii():
            request.root_path, path = route_path(scope)
        else:
            request.root_path = ""
        if path == "/" or (path and path[0] == "/" and path[1] != "/"):
            request.path = path
        else:
            request.path = "/" + path.lstrip("/")
        return request

    @classmethod
    def from_environ(cls, environ: WSGIEnvironment) -> t.Self:
        """Make a request from a WSGI environ (PEP 3333), as calling the class does.

        :param environ: gets the request under ``werkzeug.request``.
        """
        if cls.__init__ is not RequestHead.__init__:
            return cls(environ)
        request = cls.__new__(cls)
        own = request.__dict__
        own["environ"] = environ
        own["has_cookies"] = "HTTP_COOKIE" in environ
        own["method"] = environ.get("REQUEST_METHOD", "GET").upper()
        own["scheme"] = environ.get("wsgi.url_scheme", "http")
        own["query_string"] = environ.get("QUERY_STRING", "").encode("latin-1")
        own["root_path"] = _text_of(environ.get("SCRIPT_NAME") or "").rstrip("/")
        path = _text_of(environ.get("PATH_INFO") or "")
        own["path"] = path if path[:1] == "/" and path[:2] != "//" else "/" + path.lstrip("/")
        environ["werkzeug.request"] = request
        return request

    # Attributes of their own, since looking at __dict__ slows down all that comes after it.

    @property
    def headers(self) -> Headers:
        """The request's headers, read-only."""
        headers = self._headers
        if headers is None:
            scope = self.scope
            headers = EnvironHeaders(self.environ) if scope is None else ScopeHeaders(scope)
            self._headers = headers
        return headers

    @headers.setter
    def headers(self, value: Headers) -> None:
        self._headers = value
        self._single_headers = None

    @property
    def cookies(self) -> ImmutableMultiDict[str, str]:
        """The cookies that came with the request."""
        cookies = self._cookies
        if cookies is None:
            scope = self.scope
            if scope is None or self._headers is not None or type(self).headers is not _headers:
                header = ";".join(self.headers.getlist("Cookie"))
            else:
                header = cookie_header(scope)
            cookies = parse_cookies(header, self.dict_storage_class)  # type: ignore[assignment]
            self._cookies = cookies
        return cookies  # type: ignore[return-value]

    @cookies.setter
    def cookies(self, value: ImmutableMultiDict[str, str]) -> None:
        self._cookies = value

    # What Werkzeug sets at once is for most requests made for nothing.

    @functools.cached_property
    def has_cookies(self) -> bool:
        """Whether cookies came with the request."""
        return self.has_header(b"cookie")

    @functools.cached_property
    def query_string(self) -> bytes:  # type: ignore[override]
        """The part of the URL after the question mark, as it came."""
        return t.cast(bytes, t.cast("Scope", self.scope).get("query_string", b""))

    @cached_property
    def environ(self) -> WSGIEnvironment:
        """The WSGI environ; under ASGI made when it is first asked for."""
        environ = environ_from_scope(t.cast("Scope", self.scope), self.body)
        environ["werkzeug.request"] = self
        self._closes = True
        return environ

    def forget_environ(self) -> None:
        """Break the circle with the environ, which would wait for the garbage collector."""
        # Looking at __dict__ costs, so only requests that have closed something come here.
        environ = self.__dict__.get("environ")
        if environ is not None:
            environ["werkzeug.request"] = None

    @cached_property
    def server(self) -> tuple[str, int | None] | None:
        """The server's address: host and port, or path and ``None`` for a Unix socket."""
        if self.scope is None:
            return _server_of(self.environ)
        server = self.scope.get("server")
        return None if server is None else (server[0], server[1])

    @cached_property
    def remote_addr(self) -> str | None:
        """The address of whoever is connected to the server."""
        if self.scope is None:
            return self.environ.get("REMOTE_ADDR")
        client = self.scope.get("client")
        return t.cast("str", client[0]) if client else None

    @cached_property
    def args(self) -> t.Any:
        """The parsed query string; bytes that are not UTF-8 stay percent-encoded."""
        return self.parameter_storage_class(parse_query(decode_query(self.query_string)))

    @cached_property
    def full_path(self) -> str:
        """Path and query; bytes of the query that are not UTF-8 are percent-encoded."""
        return f"{self.path}?{decode_query(self.query_string)}"

    def _parse_content_type(self) -> None:
        if self._parsed_content_type is None:
            sent = self.header(b"content-type") or ""
            found = _multipart(sent)
            self._parsed_content_type = (
                ("multipart/form-data", {"boundary": found[1]})
                if found
                else parse_options_header(sent)
            )

    def header(self, name: bytes) -> str | None:
        """Give what :attr:`headers` has, without building them for a single one if possible.

        :param name: the header's name in lower case.
        """
        single = self._single_headers
        if single is None:
            return self.headers.get(name.decode())
        value = single.get(name)
        return None if value is None else value.decode("latin-1")

    def note_single_headers(self) -> None:
        """See whether the headers may be looked at as they came, as more than one will be.

        None was sent twice then, and every name is in lower case, as a server should give it.
        """
        raw, scope = self.raw_headers, self.scope
        if raw is None or scope is None or type(self).headers is not _headers:
            return
        if len(scope.get("headers", ())) == len(raw) and all(map(bytes.islower, raw)):
            self._single_headers = raw

    def has_header(self, name: bytes) -> bool:
        """Tell whether a header is there, without building anything.

        :param name: the header's name in lower case.
        """
        if self.raw_headers is not None:
            return name in self.raw_headers
        return f"HTTP_{name.decode().upper().replace('-', '_')}" in self.environ

    # -- routing -------------------------------------------------------------------------

    @property
    def endpoint(self) -> str | None:
        """The endpoint that matched, ``None`` if none did."""
        rule = self.url_rule
        return None if rule is None else t.cast(str, rule.endpoint)

    @property
    def blueprint(self) -> str | None:
        """The registered name of the blueprint of the matched endpoint."""
        endpoint = self.endpoint
        if endpoint is None or "." not in endpoint:
            return None
        return endpoint.rpartition(".")[0]

    @property
    def blueprints(self) -> list[str]:
        """The names of that blueprint and of those it is nested in, the innermost first."""
        name = self.blueprint
        names = []
        while name:
            names.append(name)
            name = name.rpartition(".")[0]
        return names


_headers: t.Final = RequestHead.headers
# Without the characters that may stand for others.
_multipart: t.Final = re.compile(
    r"multipart/form-data; boundary=([\w!#$&'+\-.^`|~]+)", re.ASCII
).fullmatch


def _text_of(path: str) -> str:
    # PEP 3333: the bytes of the path, each as one character.
    return path if path.isascii() else path.encode("latin-1").decode("utf-8", "replace")


def _server_of(environ: WSGIEnvironment) -> tuple[str, int | None] | None:
    name = environ.get("SERVER_NAME")
    if name is None:
        return None
    try:
        return name, int(environ.get("SERVER_PORT"))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        # A Unix socket.
        return name, None
