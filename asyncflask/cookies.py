"""Cookies as Werkzeug reads and writes them, the common ones on a shorter way."""

from __future__ import annotations

import functools
import re
import typing as t
from datetime import datetime
from datetime import UTC

from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.http import dump_cookie
from werkzeug.http import http_date
from werkzeug.sansio.http import parse_cookie

if t.TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

# Fewer characters than Werkzeug leaves unquoted, and those of signed texts among them.
_is_unquoted: t.Final = re.compile(r"[\w!#$%&'()*+\-./:<=>?@^`{|}~]*", re.ASCII).fullmatch

_EXPIRES: t.Final = "\0"


def parse_cookies(header: str, cls: type[MultiDict[str, str]]) -> MultiDict[str, str]:
    """Parse a Cookie header.

    :param header: the values of repeated headers joined by ``"; "``.
    :param cls: the class of the result.
    """
    lists = _split(header) if cls is ImmutableMultiDict else None
    if lists is None:
        return parse_cookie(header, cls)
    cookies: MultiDict[str, str] = ImmutableMultiDict.__new__(ImmutableMultiDict)
    # It is a dict of lists, whose own methods show the first item of each.
    dict.update(cookies, lists)
    return cookies


def _split(header: str) -> dict[str, list[str]] | None:
    """Give the cookies by their names; ``None`` if anything is quoted, or has to be skipped."""
    parts = header.split("; ")
    gaps = len(parts) - 1
    if header.count(" ") != gaps or header.count(";") != gaps or '"' in header or "\t" in header:
        return None
    lists: dict[str, list[str]] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not name or not equals:
            return None
        lists.setdefault(name, []).append(value)
    return lists


def plain_cookie(
    key: str, value: str, expires: str | datetime | float | None, *attributes: t.Any
) -> str | None:
    """Give a Set-Cookie header as Werkzeug does; ``None`` if something in it must be encoded.

    :param attributes: path, domain, secure, httponly, samesite and partitioned.
    """
    if type(key) is not str or type(value) is not str:
        return None
    if not key.isascii() or not _is_unquoted(value):
        return None
    before, after = around_date(*attributes)
    return f"{key}={value}{before}{expiry(expires)}{after}"


def expiry(expires: str | datetime | float | None) -> str:
    """Give what a header says about the end of a cookie; nothing if that is the browser's."""
    if expires is None:
        return ""
    if isinstance(expires, datetime) and expires.tzinfo is UTC:
        expires = _http_date(expires.replace(microsecond=0))
    elif not isinstance(expires, str):
        expires = http_date(expires)
    return f"; Expires={expires}"


# Those of permanent sessions are the same for a second. Only in UTC are equal ones the same.
_http_date: t.Final = functools.lru_cache(16)(http_date)


@functools.lru_cache(256, typed=True)
def around_date(
    path: str | None,
    domain: str | None,
    secure: bool,
    httponly: bool,
    samesite: str | None,
    partitioned: bool,
) -> tuple[str, str]:
    """Give what stands in a header before and after the date."""
    text = dump_cookie(
        "",
        expires=_EXPIRES,
        path=path,
        domain=domain,
        secure=secure,
        httponly=httponly,
        samesite=samesite,
        partitioned=partitioned,
        max_size=0,
    )
    before, after = text[1:].rsplit(f"; Expires={_EXPIRES}", 1)
    return before, after
