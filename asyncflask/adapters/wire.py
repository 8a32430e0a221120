"""What goes out is checked here, once, for every protocol and server.

Servers differ in what they do with a header they cannot send: one resets the connection, one
drops the header, one sends it. Here it is an error before a byte is out.
"""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from ..wrappers import Response

# RFC 9110, section 5.1 and 5.6.2: a name is a token.
_is_token: t.Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# RFC 9110, section 5.5: visible characters, blanks between them, and Latin-1 for old times' sake.
_is_value: t.Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
_is_status: t.Final = re.compile(r"[1-9][0-9]{2}( [\t\x20-\x7e\x80-\xff]*)?").fullmatch

_encoded: dict[tuple[str, str], tuple[bytes, bytes]] = {}
_ENCODED_LIMIT: t.Final = 1024
_REPEATED: t.Final = frozenset({"content-type", "content-length", "vary", "allow", "cache-control"})
"""Headers with few values, whose encoded form is worth keeping."""

_REWRITTEN: t.Final = frozenset({"location", "content-location"})
"""Headers that Werkzeug makes ASCII before they are sent."""

Headers: t.TypeAlias = list[tuple[str, str]]


class InvalidHeader(ValueError):
    """A response has a status or a header that cannot be sent."""


def check_status(status: str) -> None:
    """Refuse a status line that has anything but a code and a reason.

    :raises InvalidHeader: with the status.
    """
    if _is_status(status) is None:
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


def encode(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Give the headers as ASGI wants them: lower-case names, bytes.

    :raises InvalidHeader: if one of them cannot be sent.
    """
    out = []
    for pair in headers:
        ready = _encoded.get(pair)
        if ready is None:
            name, value = pair
            check_header(name, value)
            lower = name.lower()
            ready = (lower.encode("latin-1"), value.encode("latin-1"))
            if lower in _REPEATED and len(_encoded) < _ENCODED_LIMIT:
                _encoded[pair] = ready
        out.append(ready)
    return out


def final_headers(response: Response, environ: t.Callable[[], t.Any]) -> Headers:
    """Give the headers a response is sent with.

    :param environ: makes the WSGI environ, for response classes that look at it.
    """
    if type(response)._plain_headers:
        pairs = response.headers._list
        status = response._status_code
        if status >= 200 and status not in (204, 304):
            names = {name.lower() for name, _ in pairs}
            if names.isdisjoint(_REWRITTEN) and (
                "content-length" in names or not response.is_sequence
            ):
                return pairs
        return response.get_wsgi_headers({}).to_wsgi_list()
    return response.get_wsgi_headers(environ()).to_wsgi_list()


def has_body(method: str, status: int) -> bool:
    """Tell whether a response has a body at all (RFC 9110, section 6.4.1)."""
    return method != "HEAD" and status >= 200 and status not in (204, 304)
