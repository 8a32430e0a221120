"""Cookies as Werkzeug reads and writes them, the common ones on a shorter way."""

from __future__ import annotations

import functools
import re
import typing as t
from datetime import datetime

from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.http import dump_cookie
from werkzeug.http import http_date
from werkzeug.sansio.http import parse_cookie

if t.TYPE_CHECKING:
    from werkzeug.datastructures import MultiDict

# Cookies between which nothing has to be skipped, with values that are not quoted.
_are_plain: t.Final = re.compile(r'[^ \t=";]+=[^ \t";]*(?:; [^ \t=";]+=[^ \t";]*)*').fullmatch
# Fewer characters than Werkzeug leaves unquoted, and those of signed texts among them.
_is_unquoted: t.Final = re.compile(r"[\w!#$%&'()*+\-./:<=>?@^`{|}~]*", re.ASCII).fullmatch

_EXPIRES: t.Final = "\0"


def parse_cookies(header: str, cls: type[MultiDict[str, str]]) -> MultiDict[str, str]:
    """Parse a Cookie header.

    :param header: the values of repeated headers joined by ``"; "``.
    :param cls: the class of the result.
    """
    if not _are_plain(header):
        return parse_cookie(header, cls)
    pairs = [pair.partition("=") for pair in header.split("; ")]
    if cls is not ImmutableMultiDict:
        return cls([(name, value) for name, _, value in pairs])
    # A dict of lists, as whose values its own methods show the first of each.
    lists: dict[str, list[str]] = {}
    for name, _, value in pairs:
        lists.setdefault(name, []).append(value)
    cookies: MultiDict[str, str] = ImmutableMultiDict.__new__(ImmutableMultiDict)
    dict.update(cookies, lists)
    return cookies


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
    before, after = _attributes(*attributes)
    if expires is None:
        return f"{key}={value}{before}{after}"
    if not isinstance(expires, str):
        expires = http_date(expires)
    return f"{key}={value}{before}; Expires={expires}{after}"


@functools.lru_cache(256, typed=True)
def _attributes(
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
