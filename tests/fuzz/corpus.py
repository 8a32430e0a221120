"""Requests that once were answered in another way, and one for each difference that is meant."""

from __future__ import annotations

from .asked import Asked

_HOST = ("Host", "localhost")
_FORM = ("Content-Type", "application/x-www-form-urlencoded")
_JSON = ("Content-Type", "application/json")

#: Requests that asyncflask, or this comparison, once got wrong.
CORPUS: dict[str, Asked] = {
    "no path below a mount": Asked(target=b"", root=b"/mnt"),
    "a path without a slash": Asked(target=b"url"),
    "an absolute target": Asked(target=b"http://example.com/url"),
    "raw bytes in the path": Asked(target=b"/url/\xe9\xff%c3"),
    "raw UTF-8 in the query": Asked(target=b"/url?a=\xc3\xa9"),
    "raw bytes in the query, percent signs and all": Asked(target=b"/url?%\xff%zz=%ff&\xe9"),
    "raw bytes in the query, a refused view": Asked(target=b"/abort/10?\xbc"),
    "two slashes": Asked(target=b"//url//a"),
    "form, then pieces": Asked("POST", b"/body/form-pieces-text", (_HOST,), (b"me=*\r\n\r\n\xc3",)),
    "digits that are none": Asked(target=b"/int/%c2%b2", headers=(_HOST, ("Range", "bytes=\xb2-"))),
    "nested JSON in an async view": Asked(
        "POST", b"/body/json-silent", (_HOST, _JSON), (b"[" * 3000 + b"]" * 3000,)
    ),
    "an Upgrade": Asked(
        target=b"/url", headers=(_HOST, ("Connection", "Upgrade"), ("Upgrade", "websocket"))
    ),
}

#: For each rule a request that shows its difference.
KNOWN: dict[str, Asked] = {
    "relative Location": Asked(target=b"/slash?a=1&b=%e9"),
    "raw bytes in the query": Asked(target=b"/url?\xff"),
    "no path at all": Asked(target=b"?a=1"),
    "body too large to be loaded": Asked("POST", b"/limited/raw", (_HOST,), (b"x" * 31,)),
    "body read twice": Asked(
        "POST", b"/body/silent-lines", (_HOST, _JSON), (b"[" + b" " * 300_000,)
    ),
    "chunked body over the limit": Asked("POST", b"/limited/raw", (_HOST,), (b"x" * 31,), False),
    "limits of urlencoded forms": Asked("POST", b"/body/form", (_HOST, _FORM), (b"a=&" * 41,)),
    "long headers of a part": Asked(
        "POST",
        b"/body/form",
        (("Host", "example.com"), ("Content-Type", "multipart/form-data; boundary=b")),
        (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\nX: '
            + b"x" * 9000
            + b"\r\n\r\n\r\n--b--",
        ),
    ),
    "two hosts": Asked(target=b"/url", headers=(_HOST, ("Host", "example.com"))),
    "JSON nested too deep": Asked("POST", b"/raise/json", (_HOST, _JSON), (b"[" * 3000,)),
    "host that cannot be decoded": Asked(target=b"/url", headers=(("Host", "xn--"),)),
    "credentials that are not ASCII": Asked(
        target=b"/headers", headers=(_HOST, ("Authorization", "Basic \xe9"))
    ),
    "date of too large numbers": Asked(
        target=b"/file", headers=(_HOST, ("If-Modified-Since", "1 Jan 99999999999 00:00:00 GMT"))
    ),
    "response that cannot be sent": Asked(target=b"/respond?n=a%20b"),
    "Content-Length of another body": Asked(target=b"/respond?n=Content-Length&v=99"),
    "two names of a part": Asked(
        "POST",
        b"/body/form",
        (_HOST, ("Content-Type", "multipart/form-data; boundary=b")),
        (b"--b\r\nContent-Disposition: form-data; name=a; name*=utf-8''c\r\n\r\n\r\n--b--",),
    ),
    "If-Range with a weak tag": Asked(
        target=b"/file", headers=(_HOST, ("Range", "bytes=0-9"), ("If-Range", 'W/"abc"'))
    ),
}
