"""What goes out is checked here, once, for every protocol and server.

Servers differ in what they do with a header they cannot send: one resets the connection, one
drops the header, one sends it. Here it is an error before a byte is out.
"""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from starlette.types import ASGIApp
    from starlette.types import Message
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send

    from ..wrappers import Request
    from ..wrappers import Response

# RFC 9110, section 5.1 and 5.6.2: a name is a token.
_is_token: t.Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# RFC 9110, section 5.5: visible characters, blanks between them, and Latin-1 for old times' sake.
_is_value: t.Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
_is_status: t.Final = re.compile(r"[1-9][0-9]{2}( [\t\x20-\x7e\x80-\xff]*)?").fullmatch

BODILESS: t.Final = frozenset({204, 304})
"""Final statuses of responses without a body."""

_good_statuses: set[str] = set()
_encoded: dict[tuple[str, str], tuple[bytes, bytes]] = {}
_ENCODED_LIMIT: t.Final = 1024
_REPEATED: t.Final = frozenset({"content-type", "content-length", "vary", "allow", "cache-control"})
"""Headers with few values, whose encoded form is worth keeping."""

_REWRITTEN: t.Final = frozenset({b"location", b"content-location"})
"""Headers that Werkzeug makes ASCII before they are sent."""

Headers: t.TypeAlias = list[tuple[str, str]]


class InvalidHeader(ValueError):
    """A response has a status or a header that cannot be sent."""


def check_status(status: str) -> None:
    """Refuse a status line that has anything but a code and a reason.

    :raises InvalidHeader: with the status.
    """
    if _is_status(status) is not None:
        if len(_good_statuses) < _ENCODED_LIMIT:
            _good_statuses.add(status)
    else:
        raise InvalidHeader(f"The response's status {status!r} is not a code and a reason.")


def check_header(name: str, value: str) -> None:
    """Refuse a header that would break the response apart.

    :raises InvalidHeader: with the header.
    """
    if _is_token(name) is None:
        raise InvalidHeader(
            f"The response header name {name!r} has characters that no header name may have."
        )
    if _is_value(value) is None:
        raise InvalidHeader(
            f"The response header {name!r} has a value with control characters, or with"
            f" characters outside of Latin-1: {value!r}."
        )


def encode(response: Response, request: Request) -> list[tuple[bytes, bytes]]:
    """Check a response's status and headers and give them as ASGI wants: lower case, bytes.

    :raises InvalidHeader: if one of them cannot be sent.
    """
    if response._status not in _good_statuses:
        check_status(response._status)
    status = response._status_code
    long_way = not response._plain_headers or status < 200 or status in BODILESS
    if not long_way:
        out = []
        has_length = False
        for pair in response.headers._list:
            ready = _encoded.get(pair) or encode_header(pair)
            name = ready[0]
            if name == b"content-length":
                has_length = True
            elif name in _REWRITTEN:
                long_way = True
            out.append(ready)
        if not long_way and (has_length or not response.is_sequence):
            return out
    pairs = final_headers(response, lambda: request.environ)
    return [_encoded.get(pair) or encode_header(pair) for pair in pairs]


def final_headers(response: Response, environ: t.Callable[[], t.Any]) -> Headers:
    """Give the headers a response is sent with, unchecked.

    :param environ: makes the WSGI environ, for response classes that look at it.
    """
    plain = type(response)._plain_headers
    return response.get_wsgi_headers({} if plain else environ()).to_wsgi_list()


def under_headers(response: Response, headers: list[tuple[bytes, bytes]]) -> ASGIApp:
    """Give the ASGI application behind a response, made to send what the hooks have left of it.

    :param headers: those of the response, which win over the application's own.
    """
    asgi = t.cast(t.Any, response.asgi)
    known = {name for name, _ in headers} | {name for name, _ in asgi.raw_headers}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_merged(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A FileResponse finds out about its file's length and date only now.
                late = [pair for pair in message["headers"] if pair[0] not in known]
                message = {**message, "headers": headers + late}
                if response.status_code != asgi.status_code:
                    message["status"] = response.status_code
            await send(message)

        await asgi(scope, receive, send_merged)

    return app


def has_body(method: str, status: int) -> bool:
    """Tell whether a response has a body at all (RFC 9110, section 6.4.1)."""
    return method != "HEAD" and status >= 200 and status not in BODILESS


def encode_header(pair: tuple[str, str]) -> tuple[bytes, bytes]:
    """Check one header and give it as ASGI wants it.

    :raises InvalidHeader: if it cannot be sent.
    """
    name, value = pair
    check_header(name, value)
    lower = name.lower()
    ready = (lower.encode("latin-1"), value.encode("latin-1"))
    if lower in _REPEATED and len(_encoded) < _ENCODED_LIMIT:
        _encoded[pair] = ready
    return ready
