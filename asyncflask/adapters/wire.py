"""What goes out is checked here, once, for every protocol and server.

Servers differ in what they do with a header they cannot send: one resets the connection, one
drops the header, one sends it. Here it is an error before a byte is out.
"""

from __future__ import annotations

import re
import typing as t

from ..logging import escaped
from .environ import is_length

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
# RFC 9110, section 15.2: those below 200 are followed by the real answer, so they are none.
_is_status: t.Final = re.compile(r"[2-9][0-9]{2}( [\t\x20-\x7e\x80-\xff]*)?").fullmatch
# RFC 6265, section 4.1.1: what a cookie begins with.
_is_cookie: t.Final = re.compile(r"[^=;]*[^=;\s][^=;]*=.*").fullmatch
# What clean_header() would leave as it is.
_is_plain_cookie: t.Final = re.compile(r"[\w.\-]+=[ -~]*[!-~]", re.ASCII).fullmatch

_LENGTH_DIGITS: t.Final = 19
"""What the length of a response may have: more than that is no file's."""

BODILESS: t.Final = frozenset({204, 304})
"""Final statuses of responses without a body."""

_good_statuses: set[str] = set()
encoded: t.Final[dict[tuple[str, str], tuple[bytes, bytes]]] = {}
"""What :func:`encode_header` has made lately, but for cookies: most headers come again."""
_names: dict[str, bytes] = {}
"""Names of other headers as they are sent, but for that of cookies, whose values are looked at."""
lengths: t.Final[dict[int, tuple[bytes, bytes]]] = {}
"""What :func:`length_header` has made before."""
_ENCODED_LIMIT: t.Final = 1024
_ENCODED_LENGTH: t.Final = 128
"""Characters of a value above which its encoded form is not kept."""

_REWRITTEN: t.Final = frozenset({"location", "content-location"})
"""Headers that Werkzeug makes ASCII before they are sent."""
_FLEETING: t.Final = frozenset({b"date", b"expires"})
"""Headers that are other ones each second, so that keeping them would only fill the place."""
_NOT_KEPT: t.Final = _REWRITTEN | {"set-cookie"}
"""Headers whose encoded form is not kept: cookies are secrets, and hardly ever the same."""

ERROR: t.Final = b"Internal Server Error"
"""What is sent in place of a response that cannot be sent."""
TOO_LARGE: t.Final = b"Request Header Fields Too Large"
"""What is sent to a client whose headers are not looked at."""

Headers: t.TypeAlias = list[tuple[str, str]]
RawHeaders: t.TypeAlias = list[tuple[bytes, bytes]]
Pairs: t.TypeAlias = t.Iterable[tuple[str | bytes, str | bytes]]


def plain_headers(body: bytes) -> RawHeaders:
    """Give the headers of a body that is plain text."""
    length = str(len(body)).encode()
    return [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length)]


def length_header(length: int) -> tuple[bytes, bytes]:
    """Give the header that announces the length of a body."""
    pair = (b"content-length", b"%d" % length)
    if len(lengths) < _ENCODED_LIMIT:
        lengths[length] = pair
    return pair


class InvalidHeader(ValueError):
    """A response has a status or a header that cannot be sent."""


class WrongLength(ValueError):
    """A body that is sent in pieces is not as long as its Content-Length says."""


def check_status(status: str) -> None:
    """Refuse a status that no answer can have, or that has more than a code and a reason.

    :raises InvalidHeader: with the status.
    """
    if _is_status(status) is None:
        raise InvalidHeader(
            f"The response's status {status!r} is not a code from 200 to 999 and a reason."
        )
    if len(_good_statuses) < _ENCODED_LIMIT:
        _good_statuses.add(status)


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
    if name.lower() == "set-cookie" and _is_cookie(value) is None:
        raise InvalidHeader(
            f"The response sets a cookie that has no name, or one with ';' in it: {value!r}."
        )


def name_request(error: InvalidHeader, request: Request) -> None:
    """Note on an error which request it belongs to, whose context has been popped."""
    error.add_note(f"The request was {escaped(request.method)} {request.path!r}.")


def clean_header(pair: tuple[str, str]) -> tuple[str, str]:
    """Check one header, and take blanks around its value away, which some servers refuse.

    :raises InvalidHeader: if it cannot be sent.
    """
    name, value = pair
    check_header(name, value)
    return name, value.strip(" \t")


def declared_length(headers: Pairs) -> int | None:
    """Give the length that a response announces for its body, ``None`` if it leaves that open.

    :raises InvalidHeader: for a length that is no number, and for more than one.
    """
    found = [_text(value) for name, value in headers if _text(name).lower() == "content-length"]
    if not found:
        return None
    if len(found) > 1 or not is_length(found[0]) or len(found[0]) > _LENGTH_DIGITS:
        raise InvalidHeader(
            f"The response has the Content-Length {', '.join(found)!r}: leave that header out to"
            " have the right one set."
        )
    return int(found[0])


def check_length(headers: Pairs, body: bytes) -> None:
    """Refuse a body that is there in one piece, but not as long as its Content-Length says.

    :raises InvalidHeader: with both lengths.
    """
    declared = declared_length(headers)
    if declared is not None and declared != len(body):
        raise InvalidHeader(
            f"The response has a Content-Length of {declared} and a body of {len(body)} bytes:"
            " leave that header out to have the right one set."
        )


class Tally:
    """Counts the pieces of a body against the length that was announced for it.

    Where it raises, the connection must be aborted: brought to a clean end, a body of another
    length would be taken for the whole, or the next response for a part of it.

    :param headers: those of the response.
    :raises InvalidHeader: if they announce nonsense.
    """

    def __init__(self, headers: Pairs = ()) -> None:
        self._declared = declared_length(headers)
        self._sent = 0

    @property
    def complete(self) -> bool:
        """Whether all that was announced has been counted; not if nothing was."""
        return self._sent == self._declared

    @property
    def announced(self) -> bool:
        """Whether there is a length to compare with."""
        return self._declared is not None

    def add(self, chunk: bytes) -> None:
        """Count a piece that is about to be sent.

        :raises WrongLength: if it is too much.
        """
        self._sent += len(chunk)
        if self._declared is not None and self._sent > self._declared:
            raise WrongLength(
                f"The body of the response has {self._sent} bytes and goes on; its Content-Length"
                f" is {self._declared}."
            )

    def end(self) -> None:
        """Take note of the end.

        :raises WrongLength: if something is missing.
        """
        if self._declared is not None and self._sent < self._declared:
            raise WrongLength(
                f"The body of the response ended after {self._sent} bytes; its Content-Length is"
                f" {self._declared}."
            )


def encode(response: Response, request: Request) -> RawHeaders:
    """Check a response's status and headers and give them as ASGI wants: lower case, bytes.

    :raises InvalidHeader: if one of them cannot be sent.
    """
    quick = _encode_as_they_are(response)
    if quick is not None:
        return quick
    return [encoded.get(pair) or encode_header(pair) for pair in _clean(response, request)]


def checked(response: Response, request: Request) -> Headers:
    """Check a response's status and headers and give them as WSGI wants: as text.

    :raises InvalidHeader: if one of them cannot be sent.
    """
    if _encode_as_they_are(response) is not None:
        return [(name, value.strip(" \t")) for name, value in response.headers._list]
    return _clean(response, request)


def _encode_as_they_are(response: Response) -> RawHeaders | None:
    """Check and encode, unless Werkzeug has something to change in the headers, or to add."""
    if response._status not in _good_statuses:
        check_status(response._status)
    if not response._plain_headers or response._status_code in BODILESS:
        return None
    out = []
    has_length = False
    for pair in response.headers._list:
        ready = encoded.get(pair)
        if ready is None:
            if pair[0].lower() in _REWRITTEN:
                return None
            ready = encode_header(pair)
        if ready[0] == b"content-length":
            if has_length:
                return None
            has_length = True
        out.append(ready)
    return out if has_length or not response.is_sequence else None


def _clean(response: Response, request: Request) -> Headers:
    pairs = [clean_header(pair) for pair in final_headers(response, lambda: request.environ)]
    declared_length(pairs)
    return pairs


def final_headers(response: Response, environ: t.Callable[[], t.Any]) -> Headers:
    """Give the headers a response is sent with, unchecked.

    :param environ: makes the WSGI environ, for response classes that look at it.
    :raises InvalidHeader: if the Location is no URL.
    """
    plain = type(response)._plain_headers
    try:
        return response.get_wsgi_headers({} if plain else environ()).to_wsgi_list()
    except ValueError as exc:
        location = response.headers.get("Location")
        raise InvalidHeader(
            f"The headers of the response, with the Location {location!r}, cannot be made: {exc}"
        ) from exc


def under_headers(response: Response, headers: RawHeaders) -> ASGIApp:
    """Give the ASGI application behind a response, made to send what the hooks have left of it.

    :param headers: those of the response, which win over the application's own.
    """
    asgi = t.cast(t.Any, response.asgi)
    merge = _Merge(headers, list(asgi.raw_headers))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tally: Tally | None = None

        async def send_merged(message: Message) -> None:
            nonlocal tally
            if message["type"] == "http.response.start":
                status = message["status"]
                if response.status_code != asgi.status_code:
                    status = response.status_code
                merged = merge.with_late(message["headers"], status)
                message = {**message, "status": status, "headers": merged}
                tally = Tally(merged) if has_body(scope["method"], status) else None
            elif message["type"] == "http.response.body":
                if tally is None:
                    message = {**message, "body": b""}
                else:
                    _count(message, tally)
            await send(message)

        await asgi(scope, receive, send_merged)

    return app


class _Merge:
    """The headers of a response, and what its application finds out when it is sent.

    A FileResponse learns its length and date only then, and for a part of the file others.
    """

    def __init__(self, headers: RawHeaders, before: RawHeaders) -> None:
        self._headers = headers
        self._before = before
        self._own = {name for name, _ in before}
        self._by_hooks = {name for name, _ in headers} - self._own

    def with_late(self, late: RawHeaders, status: int) -> RawHeaders:
        """Give the headers to send.

        :param late: those the application sends.
        """
        changed = [pair for pair in late if pair not in self._before]
        changed = [pair for pair in changed if pair[0] not in self._by_hooks]
        if status in BODILESS:
            changed = [pair for pair in changed if pair[0] != b"content-length"]
        names = {name for name, _ in changed}
        return [pair for pair in self._headers if pair[0] not in names] + changed


def has_body(method: str, status: int) -> bool:
    """Tell whether a response has a body at all (RFC 9110, section 6.4.1)."""
    return method != "HEAD" and status not in BODILESS


def _count(message: Message, tally: Tally) -> None:
    tally.add(message.get("body", b""))
    if not message.get("more_body", False):
        tally.end()


def as_bytes(chunk: t.Any) -> bytes:
    """Give a chunk of a body as the bytes it is.

    :raises TypeError: if it is nothing of that kind.
    """
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise TypeError(f"The response has {chunk!r} in its body, which may have text and bytes only.")


def encode_header(pair: tuple[str, str]) -> tuple[bytes, bytes]:
    """Check one header and give it as ASGI wants it.

    :raises InvalidHeader: if it cannot be sent.
    """
    name, value = pair
    if name == "Set-Cookie" and _is_plain_cookie(value):
        return b"set-cookie", value.encode("ascii")
    known = _names.get(name)
    # Of what is printable in ASCII every character may be in a header.
    if known is None or not (value.isascii() and value.isprintable()) or value != value.strip(" "):
        name, value = clean_header(pair)
        lower = name.lower()
        known = lower.encode("latin-1")
        if lower in _NOT_KEPT:
            return known, value.encode("latin-1")
        if len(_names) < _ENCODED_LIMIT:
            _names[name] = known
    ready = (known, value.encode("latin-1"))
    if len(value) <= _ENCODED_LENGTH and known not in _FLEETING:
        if len(encoded) >= _ENCODED_LIMIT:
            encoded.clear()
        encoded[pair] = ready
    return ready


def _text(raw: str | bytes) -> str:
    return raw if isinstance(raw, str) else raw.decode("latin-1")
