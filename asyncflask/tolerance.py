"""A request on which nothing a client puts into its headers is an error to whoever looks at it.

Dates that are none count as not sent (RFC 9110, section 13.1.3). Werkzeug's parser of dates
raises ``OverflowError`` for numbers that are too large.
"""

from __future__ import annotations

import re
import typing as t
from urllib.parse import unquote
from urllib.parse import unquote_to_bytes

from werkzeug.datastructures import Authorization
from werkzeug.datastructures import IfRange
from werkzeug.http import parse_date
from werkzeug.http import parse_if_range_header
from werkzeug.sansio.utils import get_current_url
from werkzeug.utils import cached_property
from werkzeug.wrappers import Request as RequestBase

if t.TYPE_CHECKING:
    from datetime import datetime

    from _typeshed.wsgi import WSGIEnvironment

# What the error handler "surrogateescape" makes of bytes that are not UTF-8.
_escaped_bytes: t.Final = re.compile("[\udc80-\udcff]+")


def read_date(value: str | None) -> datetime | None:
    """Parse a date out of a header, ``None`` if it is none."""
    try:
        return parse_date(value)
    except OverflowError:
        return None


def with_valid_dates(environ: WSGIEnvironment) -> WSGIEnvironment:
    """Give an environ whose conditions Werkzeug can evaluate, a copy if need be.

    A range whose condition is none of those is not asked for: the client gets everything.
    """
    dropped: list[str] = []
    if not _is_readable(environ.get("HTTP_IF_MODIFIED_SINCE")):
        dropped.append("HTTP_IF_MODIFIED_SINCE")
    if not _is_readable(environ.get("HTTP_IF_RANGE")):
        dropped += ["HTTP_IF_RANGE", "HTTP_RANGE"]
    if not dropped:
        return environ
    return {key: value for key, value in environ.items() if key not in dropped}


def _is_readable(date: str | None) -> bool:
    try:
        parse_date(date)
    except OverflowError:
        return False
    return True


def decode_query(query: bytes) -> str:
    """Decode a query; bytes that are not UTF-8 get percent-encoded.

    Werkzeug's ``errors="werkzeug.url_quote"`` means the same, and calls a function for each byte.
    """
    return _requoted(query.decode("utf-8", "surrogateescape"))


def parse_query(query: str) -> list[tuple[str, str]]:
    """Parse a query or a urlencoded form; what stands for other bytes than UTF-8 stays encoded."""
    # What parse_qsl() does, without a look at every option of its for every field.
    fields = [field.partition("=") for field in query.replace("+", " ").split("&") if field]
    if query.isascii():
        if "%" not in query:
            return [(name, value) for name, _, value in fields]
        return [
            (_unquoted(name) if "%" in name else name, _unquoted(value) if "%" in value else value)
            for name, _, value in fields
        ]
    return [(_unquoted(name), _unquoted(value)) for name, _, value in fields]


def _unquoted(text: str) -> str:
    if not text.isascii():
        return _requoted(unquote(text, errors="surrogateescape"))
    if "%" not in text:
        return text
    return _requoted(unquote_to_bytes(text).decode("utf-8", "surrogateescape"))


def _requoted(text: str) -> str:
    return text if text.isascii() else _escaped_bytes.sub(_quote, text)


def _quote(found: re.Match[str]) -> str:
    return "%" + found[0].encode("utf-8", "surrogateescape").hex("%").upper()


class TolerantRequest(RequestBase):
    """Werkzeug's request, without the exceptions that its client could cause.

    Hosts that Python's IDNA cannot decode stay in Punycode; there are real ones among them,
    since browsers know a newer IDNA.
    """

    @cached_property
    def authorization(self) -> Authorization | None:
        """The parsed Authorization header, ``None`` if it is missing or malformed."""
        try:
            return Authorization.from_header(self.headers.get("Authorization"))
        except ValueError:
            return None

    @property
    def date(self) -> datetime | None:  # type: ignore[override]
        """The parsed Date header, ``None`` if it is missing or malformed."""
        return read_date(self.headers.get("Date"))

    @cached_property
    def if_modified_since(self) -> datetime | None:
        """The parsed If-Modified-Since header, ``None`` if it is missing or malformed."""
        return read_date(self.headers.get("If-Modified-Since"))

    @cached_property
    def if_unmodified_since(self) -> datetime | None:
        """The parsed If-Unmodified-Since header, ``None`` if it is missing or malformed."""
        return read_date(self.headers.get("If-Unmodified-Since"))

    @cached_property
    def if_range(self) -> IfRange:
        """The parsed If-Range header; what is no date is taken for an ETag."""
        value = self.headers.get("If-Range")
        return parse_if_range_header(value) if _is_readable(value) else IfRange(value)

    @cached_property
    def url(self) -> str:
        """The whole URL: scheme, host, root path, path and query."""
        return self._url_of(self.root_path, self.path, self.query_string)

    @cached_property
    def base_url(self) -> str:
        """The URL without its query."""
        return self._url_of(self.root_path, self.path)

    @cached_property
    def root_url(self) -> str:
        """The URL where the application is mounted."""
        return self._url_of(self.root_path)

    @cached_property
    def host_url(self) -> str:
        """Scheme and host, with a slash at the end."""
        return self._url_of()

    def _url_of(self, *parts: t.Any) -> str:
        try:
            return get_current_url(self.scheme, self.host, *parts)
        except UnicodeError:
            scheme, colon, rest = get_current_url(self.scheme, "", *parts).partition("://")
            return f"{scheme}{colon}{self.host.lower()}{rest}"
