"""``Response``: Werkzeug's, with HTML as the default type and async bodies besides."""

from __future__ import annotations

import typing as t

from werkzeug.utils import get_content_type
from werkzeug.wrappers import Response as ResponseBase

from . import json
from .cookies import plain_cookie
from .globals import _cv_app
from .lanes import iterate_async
from .lanes import runs_on_loop
from .response_headers import Headers
from .tolerance import with_valid_dates

if t.TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping
    from datetime import datetime
    from datetime import timedelta
    from http import HTTPStatus

    import werkzeug.datastructures
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.background import BackgroundTask
    from starlette.types import ASGIApp
    from werkzeug.wrappers import Request as RequestBase

OK: t.Final = "200 OK"


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

    _untouched: tuple[tuple[str, str], int] | None = None
    """The content type and the length of a response whose headers nobody has looked at."""
    _headers: werkzeug.datastructures.Headers | None = None

    _quick = True
    _plain_headers = True
    _closes = False
    """Whether a subclass has something to close of its own."""

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {name for base in cls.__mro__ if base not in Response.__mro__ for name in vars(base)}
        cls._plain_headers = not own & _READ_BY_HEADERS
        cls._closes = "close" in own
        cls._quick = cls._plain_headers and not (cls._closes or own & _SET_BY_INIT)

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
        kind = self.default_mimetype if mimetype is None else mimetype
        if (
            headers is None
            and status is None
            and content_type is None
            and type(body) is bytes
            and kind
            and self._quick
        ):
            self._status = OK
            self._status_code = 200
            self._untouched = _content_types.get(kind) or _content_type_of(kind), len(body)
            self.response = [body]
            self.direct_passthrough = direct_passthrough
            self._on_close = []
            # Asked for at each response, and looked for in the class in vain otherwise.
            self.background = None
        else:
            super().__init__(response, status, headers, mimetype, content_type, direct_passthrough)

    @property
    def headers(self) -> werkzeug.datastructures.Headers:
        """The headers, made when somebody looks at them."""
        headers = self._headers
        if headers is None:
            if self._untouched is None:
                # Made by Werkzeug's class, of which force_type() has made this one.
                headers = vars(self).pop("headers")
            else:
                content_type, length = self._untouched
                headers = Headers.of_checked([content_type, ("Content-Length", str(length))])
            self._headers = headers
            self._untouched = None
        return headers

    @headers.setter
    def headers(self, value: werkzeug.datastructures.Headers) -> None:
        self._headers = value
        self._untouched = None

    @property
    def max_cookie_size(self) -> int:  # type: ignore[override]
        """Bytes of a cookie above which a warning is shown; ``MAX_COOKIE_SIZE``."""
        context = _cv_app.get(None)
        if context is not None:
            return context.app.config["MAX_COOKIE_SIZE"]  # type: ignore[no-any-return]
        return super().max_cookie_size

    def set_cookie(
        self,
        key: str,
        value: str = "",
        max_age: timedelta | int | None = None,
        expires: str | datetime | int | float | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: str | None = None,
        partitioned: bool = False,
    ) -> None:
        """Set a cookie, with a warning if it is larger than :attr:`max_cookie_size`.

        :param max_age: seconds it is kept; with neither this nor *expires* the browser drops it
            when it is closed.
        :param path: where below the host it is sent to.
        :param domain: whose subdomains get it too; by default only the very host that set it.
        :param samesite: ``Strict``, ``Lax`` or ``None``, as text.
        """
        attributes = (path, domain, secure, httponly, samesite, partitioned)
        text = plain_cookie(key, value, expires, *attributes) if max_age is None else None
        limit = self.max_cookie_size
        if text is None or (limit and len(text) > limit):
            super().set_cookie(key, value, max_age, expires, *attributes)
        else:
            self.headers.add("Set-Cookie", text)

    def make_conditional(
        self,
        request_or_environ: WSGIEnvironment | RequestBase,
        accept_ranges: bool | str = False,
        complete_length: int | None = None,
    ) -> t.Self:
        """Answer by what a request already has: with a 304 or 412, or with a part of the body.

        :param request_or_environ: the request, or its environ.
        :param accept_ranges: whether ranges are served, or the unit of them.
        :param complete_length: bytes of the whole body; without it no range is served.
        :raises RequestedRangeNotSatisfiable: (416) if the range is none of the body's.
        """
        environ = t.cast(t.Any, getattr(request_or_environ, "environ", None) or request_or_environ)
        super().make_conditional(with_valid_dates(environ), accept_ranges, complete_length)
        return self

    @property
    def is_async(self) -> bool:
        """Whether the body is an async iterable."""
        return hasattr(self.response, "__aiter__") and not isinstance(self.response, (list, tuple))

    def iter_encoded(self) -> t.Iterator[bytes]:
        """Iterate over the body as bytes; an async body is fetched from the loop, blocking.

        :raises RuntimeError: for an async body in async code, which would block the loop.
        """
        if not self.is_async:
            return super().iter_encoded()
        if runs_on_loop():
            raise RuntimeError(
                f"The body of the response is async ({self.response!r}) and cannot be read at once"
                " on the event loop: 'await response.make_sequence_async()' first."
            )
        return iterate_async(self.aiter_encoded())

    async def make_sequence_async(self) -> None:
        """Take in the whole body, as ``make_sequence()``, of a response whose body is async."""
        if not self.is_async:
            self.make_sequence()
            return
        source = self.aiter_encoded()
        try:
            self.response = [chunk async for chunk in source]
        finally:
            await source.aclose()

    def aiter_encoded(self) -> EncodedBody:
        """Iterate over an async body as bytes."""
        return EncodedBody(t.cast("t.AsyncIterable[str | bytes]", self.response))


_SET_BY_INIT: t.Final = frozenset(
    {
        "__init__",
        "automatically_set_content_length",
        "background",
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

_content_types: dict[str, tuple[str, str]] = {}


def _content_type_of(mimetype: str) -> tuple[str, str]:
    content_type = "Content-Type", get_content_type(mimetype, "utf-8")
    # Refuses what no header may have.
    Headers().set(*content_type)
    if len(_content_types) < 256:
        _content_types[mimetype] = content_type
    return content_type


def respond_with(body: t.Iterable[bytes], pairs: list[tuple[str, str]]) -> Response:
    """Make the response, with status 200, that has a body to be passed to the server as it is.

    :param pairs: all its headers, checked before; they become the response's.
    """
    response = Response.__new__(Response)
    response._status = OK
    response._status_code = 200
    response.response = body
    response.direct_passthrough = True
    response._on_close = []
    headers = Headers()
    headers._list = pairs
    response.headers = headers
    return response


class EncodedBody:
    """An async body as bytes, which can be closed even if it was never started.

    :param body: an async iterable of text or bytes.
    """

    def __init__(self, body: t.AsyncIterable[str | bytes]) -> None:
        self.iterator = aiter(body)

    def __aiter__(self) -> t.Self:
        return self

    async def __anext__(self) -> bytes:
        item = await anext(self.iterator)
        return item.encode() if isinstance(item, str) else item

    async def aclose(self) -> None:
        """Close what the body is read from, if it can be closed."""
        close = getattr(self.iterator, "aclose", None)
        if close is not None:
            await close()
