"""``Request`` and ``Response``: Werkzeug's, made from a scope or an environ, lazy in what costs."""

from __future__ import annotations

import contextvars
import io
import tempfile
import typing as t
from urllib.parse import parse_qsl

from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.utils import cached_property
from werkzeug.utils import get_content_type
from werkzeug.wrappers import Request as RequestBase
from werkzeug.wrappers import Response as ResponseBase

from . import json
from .adapters.body import Body
from .adapters.environ import environ_from_scope
from .adapters.environ import route_path
from .adapters.environ import ScopeHeaders
from .adapters.forms import FormParser
from .globals import current_app
from .lanes import current_task
from .lanes import iterate_async
from .lanes import runs_on_loop

if t.TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping
    from http import HTTPStatus

    from _typeshed.wsgi import WSGIEnvironment
    from starlette.background import BackgroundTask
    from starlette.types import ASGIApp
    from starlette.types import Receive
    from starlette.types import Scope
    from werkzeug.routing import Rule

    from .lanes.workers import Workers

_IN_MEMORY: t.Final = 1024 * 1024


class Request(RequestBase):
    """An HTTP request, the same in sync and async code.

    Made from a WSGI environ by calling the class, from an ASGI scope by :meth:`from_scope`.

    :param environ: the WSGI environ.
    :param populate_request: whether to store the request in the environ.
    :param shallow: whether reading the body is to be an error.
    """

    json_module: t.Any = json
    form_data_parser_class = FormParser

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
    workers: Workers
    """The pool for what blocks."""
    raw_headers: dict[bytes, bytes] | None = None
    """The headers of an ASGI request as they came, for a quick look: the last of each name."""

    _closes = False
    _spool: t.IO[bytes] | None = None

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)
        # A subclass that closes something of its own is closed with every request.
        cls._closes = cls.close is not Request.close

    _max_content_length: int | None = None
    _max_form_memory_size: int | None = None
    _max_form_parts: int | None = None

    @classmethod
    def from_gateway(cls, source: t.Any, body: Body | None = None) -> t.Self:
        """Make a request from whatever a server gives.

        :param source: an ASGI HTTP scope or a WSGI environ.
        :param body: the body of an ASGI request, if it has one.
        """
        return cls.from_scope(source, body) if "type" in source else cls(source)

    @classmethod
    def from_scope(cls, scope: Scope, body: Body | None = None) -> t.Self:
        """Make a request from an ASGI HTTP scope (ASGI HTTP spec, "HTTP Connection Scope").

        :param body: where its body comes from; ``None`` if it has none.
        """
        if cls.__init__ is not Request.__init__:
            # A subclass expects to be called as Flask calls it.
            request = cls(environ_from_scope(scope, body))
            request.scope, request.body = scope, body
            return request
        request = cls.__new__(cls)
        request.scope = scope
        request.body = body
        request.shallow = False
        request.raw_headers = dict(scope["headers"])
        request.method = scope["method"]
        request.scheme = scope.get("scheme", "http")
        request.query_string = scope.get("query_string", b"")
        path = scope["path"]
        if scope.get("root_path"):
            request.root_path, path = route_path(scope)
        else:
            request.root_path = ""
        request.path = path if path[:1] == "/" and path[:2] != "//" else "/" + path.lstrip("/")
        return request

    @cached_property
    def headers(self) -> Headers:
        """The request's headers, read-only."""
        return ScopeHeaders(t.cast("Scope", self.scope))

    @cached_property
    def environ(self) -> WSGIEnvironment:
        """The WSGI environ; under ASGI made when it is first asked for."""
        environ = environ_from_scope(t.cast("Scope", self.scope), self.body)
        environ["werkzeug.request"] = self
        return environ

    @cached_property
    def server(self) -> tuple[str, int | None] | None:
        """The server's address: host and port, or path and ``None`` for a Unix socket."""
        server = t.cast("Scope", self.scope).get("server")
        return None if server is None else (server[0], server[1])

    @cached_property
    def remote_addr(self) -> str | None:
        """The address of whoever is connected to the server."""
        scope = t.cast("Scope", self.scope)
        client = scope.get("client")
        return t.cast("str", client[0]) if client else None

    @cached_property
    def args(self) -> t.Any:
        """The parsed query string; bytes that are not UTF-8 stay percent-encoded."""
        query = self.query_string.decode("utf-8", "werkzeug.url_quote")
        items = parse_qsl(query, keep_blank_values=True, errors="werkzeug.url_quote")
        return self.parameter_storage_class(items)

    # -- limits --------------------------------------------------------------------------

    @property
    def max_content_length(self) -> int | None:
        """Bytes the body may have; ``MAX_CONTENT_LENGTH`` unless set for this request."""
        return self._limit("_max_content_length", "MAX_CONTENT_LENGTH")

    @max_content_length.setter
    def max_content_length(self, value: int | None) -> None:
        self._max_content_length = value
        if self.body is not None:
            self.body.limit = value

    @property
    def max_form_memory_size(self) -> int | None:
        """Bytes a form field that is not a file may have; ``MAX_FORM_MEMORY_SIZE`` by default."""
        return self._limit("_max_form_memory_size", "MAX_FORM_MEMORY_SIZE")

    @max_form_memory_size.setter
    def max_form_memory_size(self, value: int | None) -> None:
        self._max_form_memory_size = value

    @property  # type: ignore[override]
    def max_form_parts(self) -> int | None:
        """Parts a multipart form may have; ``MAX_FORM_PARTS`` unless set for this request."""
        return self._limit("_max_form_parts", "MAX_FORM_PARTS")

    @max_form_parts.setter
    def max_form_parts(self, value: int | None) -> None:
        self._max_form_parts = value

    def _limit(self, attribute: str, key: str) -> int | None:
        own: int | None = getattr(self, attribute)
        if own is not None:
            return own
        if not current_app:
            return t.cast("int | None", getattr(RequestBase, attribute[1:]))
        return t.cast("int | None", current_app.config[key])

    # -- routing -------------------------------------------------------------------------

    def has_header(self, name: bytes) -> bool:
        """Tell whether a header is there, without building anything.

        :param name: the header's name in lower case.
        """
        if self.raw_headers is not None:
            return name in self.raw_headers
        return f"HTTP_{name.decode().upper().replace('-', '_')}" in self.environ

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

    # -- body ----------------------------------------------------------------------------

    @cached_property
    def stream(self) -> t.IO[bytes]:
        """The body as a file; in a view with ``stream_body=True`` also for ``async for``."""
        if self.scope is None:
            own = t.cast(t.Any, RequestBase.stream)
            return t.cast("t.IO[bytes]", own.__get__(self))
        if self.shallow:
            raise RuntimeError(
                "This request was made with 'shallow=True': its body is not to be read."
            )
        if self.body is None:
            return io.BytesIO()
        self._check_declared_length(self.max_content_length)
        self.body.limit = self.max_content_length
        return self.body.open()

    async def load_body(self) -> None:
        """Take in the whole body, so that ``form``, ``data``, ``json`` and ``files`` are there.

        Happens by itself before an async view, unless its route has ``stream_body=True``; async
        hooks call it when they want the body.

        :raises RequestEntityTooLarge: if it is over ``max_content_length``, or without that
            over ``MAX_BUFFERED_BODY``.
        :raises ClientDisconnected: if it ends early.
        """
        if self.scope is None:
            self.load_body_here()
        elif self.body is not None and not self.body.loaded:
            limit = self._load_limit()
            self._check_declared_length(limit)
            self.__dict__["stream"] = await self.body.load(limit)

    async def keep_body(self) -> None:
        """Take in what nobody has read, for a test that looks at the request after its end."""
        body = t.cast("Body", self.body)
        if "stream" not in self.__dict__ and not body.streaming:
            self.__dict__["stream"] = io.BytesIO((await body.load(None)).read())

    def load_body_here(self) -> None:
        """Take in the whole body of a WSGI request; blocks."""
        stream = self.stream
        if isinstance(stream, io.BytesIO) or "form" in self.__dict__:
            return
        limit = self._load_limit()
        self._check_declared_length(limit)
        spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        size = 0
        while chunk := stream.read(64 * 1024):
            size += len(chunk)
            if limit is not None and size > limit:
                spool.close()
                raise RequestEntityTooLarge()
            spool.write(chunk)
        spool.seek(0)
        self.__dict__["stream"] = self._spool = spool
        self._closes = True

    def new_body(self, timeout: float | None = None, empty: bool = False) -> Body:
        """Make the body that reads from the connection.

        :param timeout: seconds without a byte after which the client gets a 408.
        :param empty: whether none is expected, only the client's leaving.
        """
        receive = t.cast("Receive", self.receive)
        length = None if empty else self.content_length
        return Body(
            receive,
            length,
            timeout,
            self.workers,
            self.server_context,
            None if empty else current_task(),
            empty,
        )

    async def is_disconnected(self) -> bool:
        """Tell whether the client has left; under WSGI nobody knows, so it has not."""
        if self.receive is None:
            return False
        if self.body is None:
            self.body = self.new_body(empty=True)
        return await self.body.is_disconnected()

    async def client_left(self) -> None:
        """Return when the client has left; what it still sends of its body is dropped."""
        if self.body is None:
            self.body = self.new_body(empty=True)
        await self.body.wait_for_disconnect()

    def get_data(  # type: ignore[override]
        self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False
    ) -> bytes | str:
        """Give the body.

        :param cache: whether it is kept, to be given again.
        :param as_text: whether it is decoded as UTF-8.
        :param parse_form_data: whether a form is parsed, which leaves nothing for the result.
        :raises RuntimeError: in an async hook, if the body has not been loaded.
        """
        if getattr(self, "_cached_data", None) is None:
            self._check_readable_here()
        data: bytes | str = super().get_data(cache, as_text, parse_form_data)  # type: ignore[call-overload]
        return data

    def close(self) -> None:
        """Close the files of the form, and what the body was loaded into."""
        super().close()
        if self._spool is not None:
            self._spool.close()

    @property
    def want_form_data_parsed(self) -> bool:
        """Whether the request says what its body is."""
        return bool(self.headers.get("Content-Type"))

    def make_form_data_parser(self) -> FormDataParser:
        """Make the parser for this request's form, with its limits."""
        parser = super().make_form_data_parser()
        if current_app and isinstance(parser, FormParser):
            parser.max_form_fields = current_app.config["MAX_FORM_FIELDS"]
        return parser

    def _load_form_data(self) -> None:
        if "form" in self.__dict__:
            return
        if getattr(self, "_cached_data", None) is None:
            self._check_readable_here()
        super()._load_form_data()
        app = current_app
        if app and app.debug and self.mimetype != "multipart/form-data" and not self.files:
            from .debughelpers import attach_enctype_error_multidict

            attach_enctype_error_multidict(self)

    def on_json_loading_failed(self, e: ValueError | None) -> t.Any:
        """Answer a body that is not JSON: a 400 or 415, with the reason only in debug mode."""
        try:
            return super().on_json_loading_failed(e)
        except BadRequest as error:
            if current_app and current_app.debug:
                raise
            raise BadRequest() from error

    def _load_limit(self) -> int | None:
        limit = self.max_content_length
        if limit is None and current_app:
            limit = current_app.config["MAX_BUFFERED_BODY"]
        return limit

    def _check_declared_length(self, limit: int | None) -> None:
        if limit is not None and (self.content_length or 0) > limit:
            raise RequestEntityTooLarge()

    def _check_readable_here(self) -> None:
        body = self.body
        if body is None or body.loaded or not runs_on_loop():
            return
        raise RuntimeError(
            "The body of this request has not been loaded, and reading it here would block the"
            " event loop: call 'await request.load_body()' first. (Before an async view it is"
            " loaded already, unless its route has stream_body=True.)"
        )


class Response(ResponseBase):
    """An HTTP response: Werkzeug's, with HTML as the default type and async bodies besides.

    :param response: the body: text, bytes, or an iterable or async iterable of either.
    :param status: a code, or a code and a reason.
    :param headers: header names and values.
    :param mimetype: the media type without parameters.
    :param content_type: the whole Content-Type header instead.
    :param direct_passthrough: whether the body is to be passed to the server as it is.
    """

    default_mimetype: str | None = "text/html"
    json_module = json
    autocorrect_location_header = False

    asgi: ASGIApp | None = None
    """An ASGI application that sends the body: a Starlette response that a view returned."""
    background: BackgroundTask | None = None
    """Awaited after the body was sent."""

    _quick = True
    _plain_headers = True

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {name for base in cls.__mro__[: cls.__mro__.index(Response)] for name in vars(base)}
        cls._quick = not own & _SET_BY_INIT
        cls._plain_headers = not own & _READ_BY_HEADERS

    def __init__(
        self,
        response: t.Any = None,
        status: int | str | HTTPStatus | None = None,
        headers: Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]] | None = None,
        mimetype: str | None = None,
        content_type: str | None = None,
        direct_passthrough: bool = False,
    ) -> None:
        body = response.encode() if type(response) is str else response
        if (
            type(body) is not bytes
            or headers is not None
            or status is not None
            or content_type is not None
            or not self._quick
        ):
            super().__init__(response, status, headers, mimetype, content_type, direct_passthrough)
            return
        self._status, self._status_code = "200 OK", 200
        pairs = [("Content-Length", str(len(body)))]
        mimetype = mimetype or self.default_mimetype
        if mimetype is not None:
            full = _content_types.get(mimetype) or _content_type_of(mimetype)
            pairs.insert(0, ("Content-Type", full))
        # Headers() would walk through what is known to be two pairs.
        self.headers = headers = Headers.__new__(Headers)
        headers._list = pairs
        self.response = [body]
        self.direct_passthrough = direct_passthrough
        self._on_close = []

    @property
    def max_cookie_size(self) -> int:  # type: ignore[override]
        """Bytes of a cookie above which a warning is shown; ``MAX_COOKIE_SIZE``."""
        if current_app:
            return t.cast(int, current_app.config["MAX_COOKIE_SIZE"])
        return super().max_cookie_size

    @property
    def is_async(self) -> bool:
        """Whether the body is an async iterable."""
        return hasattr(self.response, "__aiter__") and not isinstance(self.response, (list, tuple))

    def iter_encoded(self) -> t.Iterator[bytes]:
        """Iterate over the body as bytes; an async body is fetched from the loop, blocking."""
        if self.is_async:
            return iterate_async(self.aiter_encoded())
        return super().iter_encoded()

    def aiter_encoded(self) -> EncodedBody:
        """Iterate over an async body as bytes."""
        return EncodedBody(t.cast("t.AsyncIterable[str | bytes]", self.response))


_SET_BY_INIT: t.Final = frozenset(
    {
        "__init__",
        "automatically_set_content_length",
        "data",
        "default_status",
        "headers",
        "set_data",
        "status",
        "status_code",
    }
)
"""Names whose override in a subclass calls for Werkzeug's own, longer way to make a response."""

_READ_BY_HEADERS: t.Final = frozenset(
    {"autocorrect_location_header", "automatically_set_content_length", "get_wsgi_headers"}
)
"""Names whose override in a subclass has a say in the headers that are sent."""

_content_types: dict[str, str] = {}


def _content_type_of(mimetype: str) -> str:
    content_type = _content_types.get(mimetype)
    if content_type is None:
        content_type = get_content_type(mimetype, "utf-8")
        if len(_content_types) < 256:
            _content_types[mimetype] = content_type
    return content_type


class EncodedBody:
    """An async body as bytes, which can be closed even if it was never started.

    :param body: an async iterable of text or bytes.
    """

    def __init__(self, body: t.AsyncIterable[str | bytes]) -> None:
        self._iterator = aiter(body)

    def __aiter__(self) -> t.Self:
        return self

    async def __anext__(self) -> bytes:
        item = await anext(self._iterator)
        return item.encode() if isinstance(item, str) else item

    async def aclose(self) -> None:
        """Close what the body is read from, if it can be closed."""
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()
