"""What a view returned becomes a ``Response``. Plain functions: nothing here waits."""

from __future__ import annotations

import collections.abc as cabc
import sys
import typing as t
from copy import copy
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect
from werkzeug.utils import redirect
from werkzeug.wrappers import Response as BaseResponse

if t.TYPE_CHECKING:
    from starlette.responses import Response as StarletteResponse

    from ..dispatcher import Dispatcher
    from ..wrappers import Request
    from ..wrappers import Response

_ALLOWED: t.Final = (
    "The return type must be a string, dict, list, tuple with headers or status, Response"
    " instance, iterator, async iterable, Starlette response, or WSGI callable"
)


def make_response(app: Dispatcher, request: Request, rv: t.Any) -> Response:
    """Convert what a view returned.

    :raises TypeError: if it is nothing a response can be made of.
    """
    kind = app.response_class
    # What most views return; the long way below comes to the same.
    if type(rv) is str:
        return kind(rv)
    if type(rv) is dict:
        return app.json.response(rv)  # type: ignore[return-value]
    status: t.Any = None
    headers: t.Any = None
    if isinstance(rv, tuple):
        rv, status, headers = _unpack(rv, request)
    if rv is None:
        raise TypeError(
            f"The view function for {request.endpoint!r} did not return a valid response. It"
            " returned None or ended without a return statement: return a response from every"
            " path through it."
        )
    if isinstance(rv, (str, bytes, bytearray, cabc.Iterator)) or hasattr(rv, "__aiter__"):
        return kind(rv, status=status, headers=headers)
    response = rv if isinstance(rv, kind) else _from_other(app, request, rv)
    if status is not None:
        if isinstance(status, (str, bytes, bytearray)):
            response.status = status if isinstance(status, str) else status.decode("latin-1")
        else:
            response.status_code = status
    if headers:
        response.headers.update(headers)
    return response


def runs_user_code(rv: t.Any) -> bool:
    """Tell whether converting *rv* calls a WSGI application, which belongs on a thread."""
    if type(rv) is dict:
        return False
    if isinstance(rv, tuple) and rv:
        rv = rv[0]
    if not callable(rv) or isinstance(rv, (BaseResponse, HTTPException)):
        return False
    return not _is_starlette(rv)


def _is_starlette(rv: t.Any) -> t.TypeGuard[StarletteResponse]:
    """Whether it is a response of Starlette's, which then has been loaded by whoever made it."""
    module = sys.modules.get("starlette.responses")
    return module is not None and isinstance(rv, module.Response)


def _unpack(rv: tuple[t.Any, ...], request: Request) -> tuple[t.Any, t.Any, t.Any]:
    if len(rv) == 3:
        return rv
    if len(rv) == 2:
        if isinstance(rv[1], (Headers, dict, tuple, list)):
            return rv[0], None, rv[1]
        return rv[0], rv[1], None
    raise TypeError(
        f"The view function for {request.endpoint!r} did not return a valid response tuple: it has"
        f" {len(rv)} items. The tuple must have the form (body, status, headers), (body, status),"
        " or (body, headers)."
    )


def _from_other(app: Dispatcher, request: Request, rv: t.Any) -> Response:
    kind = app.response_class
    if isinstance(rv, (dict, list)):
        return t.cast("Response", app.json.response(rv))
    if isinstance(rv, RequestRedirect):
        return t.cast("Response", redirect(_relative(rv.new_url, request), rv.code, kind))
    if isinstance(rv, HTTPException):
        return _from_error(kind, request, rv)
    if _is_starlette(rv):
        return _from_starlette(kind, rv)
    if isinstance(rv, BaseResponse) or callable(rv):
        return _from_wsgi(kind, request, rv)
    raise TypeError(
        f"The view function for {request.endpoint!r} did not return a valid response."
        f" {_ALLOWED}, but it was a {type(rv).__name__}."
    )


def _relative(url: str, request: Request) -> str:
    """Leave scheme and host out of a redirect of the router that stays on them.

    They come from the request's Host header, which whoever sent it has chosen.
    """
    parts = urlsplit(url)
    if parts.scheme != request.scheme or parts.netloc != _as_bound(request.host):
        return url
    # Browsers take a backslash for a slash, and two of them for the start of a host.
    path = "/" + parts.path.lstrip("/\\")
    return f"{path}?{parts.query}" if parts.query else path


def _as_bound(host: str) -> str:
    """Give a host in the form in which the router puts it into URLs."""
    name, colon, port = host.lower().partition(":")
    return (name if name.isascii() else name.encode("idna").decode()) + colon + port


def _from_error(kind: type[Response], request: Request, error: HTTPException) -> Response:
    response = error.get_response(request.environ)
    if response is error.response:
        # It may be answered with more than once, and hooks change what they get.
        response = copy(response)
        response.headers = Headers(response.headers)
    return _forced(kind, response, request)


def _forced(kind: type[Response], other: t.Any, request: Request) -> Response:
    return t.cast("Response", kind.force_type(other, request.environ))


def _from_wsgi(kind: type[Response], request: Request, rv: t.Any) -> Response:
    try:
        return _forced(kind, rv, request)
    except TypeError as exc:
        raise TypeError(
            f"{exc}\nThe view function for {request.endpoint!r} did not return a valid response."
            f" {_ALLOWED}, but it was a {type(rv).__name__}."
        ) from exc


def _from_starlette(kind: type[Response], rv: StarletteResponse) -> Response:
    from starlette.responses import Response as StarletteResponse
    from starlette.responses import StreamingResponse

    headers = Headers((k.decode("latin-1"), v.decode("latin-1")) for k, v in rv.raw_headers)
    has_type = "Content-Type" in headers
    call = type(rv).__call__
    sends_itself = False
    body: t.Any
    if call is StarletteResponse.__call__:
        body = bytes(rv.body)
    elif call is StreamingResponse.__call__:
        body = t.cast(StreamingResponse, rv).body_iterator
    else:
        # No sequence, whose length would be known.
        sends_itself, body = True, iter(())
    response = kind(body, status=rv.status_code, headers=headers)
    if not has_type:
        # The default of our class would be a guess.
        response.headers.pop("Content-Type", None)
    if sends_itself:
        response.asgi = rv
    else:
        response.background = rv.background
    return response
