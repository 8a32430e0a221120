"""What requests are made of: well-formed seeds and hostile pieces, and the means to spoil them."""

from __future__ import annotations

from random import Random

from .application import CHANGED
from .application import ETAG

WORDS = (
    *("", "a", "b", "c", "a b", "0", "1", "-1", "+1", "007", "42", "3.5", "-0.0", "1e400", "NaN"),
    *("9" * 30, "1" * 400, "0x10", "1_000", "\xb2", "\xb9\xb3", "true", "None", "inf", "*", "*/*"),
    *("/", "//", "..", "../..", ".", "\\", "~", "%", "%%", "%2", "%zz", "%00", "%2f", "%5c", "%25"),
    *("%c3%a9", "%C3", "%ff%fe", "%ed%a0%80", "%f0%9f%90%8d", "%e2%80%a8", "%0d%0a", "%20", "%09"),
    *("\xe9", "\xff", "\xc3\xa9", "\xa0", "\x85", "\xad", "\xed\xa0\x80", "&", "=", "&&", "=="),
    ";",
    *(",", ":", "?", "??", "#", "+", "@", "!", "$", "'", '"', '""', '"a', 'a"', '"a\\"b"', "\\'"),
    *("(a)", "[a]", "[]", "{}", "<a>", "<script>", "|", "^", "`", "a=b", "a=b=c", "a;b", "a,b"),
    *("http://example.com", "//example.com", "https:a", "javascript:a"),
    "\u202e".encode().decode("latin-1"),
    *("utf-8", "UTF-7", "utf-16", "latin-1", "idna", "rot13", "punycode", "undefined"),
    "zlib_codec",
)

_DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
_DATES = (
    *(_DATE, "Tue, 14 Nov 2023 22:13:21 GMT", "Tue, 14 Nov 2023 22:13:19 GMT"),
    *("Tuesday, 14-Nov-23 22:13:20 GMT", "Tue Nov 14 22:13:20 2023", "14 Nov 2023 22:13 +0100"),
    *("Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "0", str(CHANGED)),
    *("Tue, 14 Nov 2023 22:13:20", "Tue, 99 Nov 2023 22:13:20 GMT", "1 Jan 0001 00:00:00 +2359"),
    "Tue, 14 Nov 2023 22:13:20 -9999",
)
_TAGS = (
    *(f'"{ETAG}"', f'W/"{ETAG}"', ETAG, "*", f'"x", "{ETAG}"', f'w/"{ETAG}"', '"', "W/"),
    '"a" "b"',
)

#: Headers by name, each with values to start from.
HEADERS: dict[str, tuple[str, ...]] = {
    "Accept": (
        *("text/html", "*/*", "text/*;q=0.5", "text/html;level=1;q=0.4, */*;q=0.1", "a", "a/b/c"),
        *("application/json;q=1.5", "text/html;q=-1", "text/html;q=NaN", "text/html;q", ";q=1"),
        *('text/html;a="b,c";q=0.3', "image/*;q=0,image/png", "*/html", "text/html;q=0.0001"),
    ),
    "Accept-Language": (
        *("de", "en-GB,en;q=0.8,*;q=0.1", "fr_CH", "en;q=1e1", "de-", "-", "zh-Hans-CN"),
    ),
    "Accept-Encoding": ("gzip", "gzip, br;q=0.5, *;q=0", "identity;q=0", "", "gzip;q=\xb2"),
    "Accept-Charset": ("utf-8", "latin-1, utf8;q=0.7", "*", "rot13, iso8859_1;q=0.3", "undefined"),
    "Cache-Control": (
        *("no-cache", "max-age=0", "max-age=x", "max-age", 'private="a, b"'),
        "max-age=-1, no-store",
        *("max-age=" + "9" * 400, "min-fresh=1,max-stale", "a=b; c", "max-age=\xb2", 'max-age="5"'),
    ),
    "If-Match": _TAGS,
    "If-None-Match": _TAGS,
    "If-Modified-Since": _DATES,
    "If-Unmodified-Since": _DATES,
    "If-Range": (*_TAGS, *_DATES),
    "Date": _DATES,
    "Range": (
        *("bytes=0-9", "bytes=90-", "bytes=-5", "bytes=0-0,5-6", "bytes=99-100", "bytes=100-200"),
        *("bytes=-0", "bytes=5-1", "bytes=", "bytes", "items=0-1", "bytes=--1", "bytes=a-b"),
        "=0-1",
        *("bytes = 0 - 5", "bytes=0-9,", "bytes=" + "1" * 400 + "-", "bytes=\xb2-\xb3"),
        "bytes=0-+5",
        *("bytes=0-1,1-2,2-3", "bytes=-1000", "BYTES=0-1", "bytes=1_0-2_0", "bytes=0-99999999999"),
    ),
    "Authorization": (
        *("Basic YTpi", "Basic YTpiOmM=", "Basic", "Basic x", "Basic /////w==", "basic YTpi"),
        "Basic Og==",
        *("Bearer abc", "Bearer a=b", "Bearer ===="),
        'Digest username="a", realm="b", nonce="c", uri="/"',
        *('Digest a="b\\"c"', "Digest a*=utf-8''%c3%a9", "Custom a=b, c", "a", "Token  x y"),
        "Basic w6k6w6k=",
        "Basic \xe9",
    ),
    "Cookie": (
        *("a=1", "a=1; b=2; a=3", 'a="x y"; b="\\303\\251"; c=', "a", "=a", ";;", "a=b;c=d"),
        "a=\xc3\xa9",
        *("a=\xff", 'a="\\"', 'a="\\999"', "session=", "session=a.b.c", "$Version=1; a=b"),
        "a = b ; c",
        *("; ".join(f"a{number}={number}" for number in range(60)), 'a="b;c"', "a=b,c=d", "a[]=1"),
    ),
    "Content-Type": (
        *("application/json", "application/json; charset=utf-16", "application/problem+json"),
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=latin-1",
        *("multipart/form-data; boundary=b", 'multipart/form-data; boundary="b"'),
        "multipart/form-data",
        *("application/x-url-encoded", "multipart/mixed; boundary=b", "APPLICATION/JSON"),
        "a/b;c=d;c=e",
        *("text/html; a*=utf-8''%e9; b*0=x; b*1=y", "text/html; charset=undefined", "; charset=x"),
        "/",
        *('text/html; a="b; c', 'text/html;a="\\"";b', "text/html; a*0*=UTF-8''%c3; a*1=b"),
        *("a/b; =c", "+json"),
    ),
    "Content-Encoding": ("gzip", "identity"),
    "Content-MD5": ("Q2hlY2sgSW50ZWdyaXR5IQ==",),
    "Max-Forwards": ("5", "-5", "x", "\xb2", "9" * 5000, "1_0", "+1", "1.0"),
    "Referer": ("http://example.com/", "http://ex\xe4mple/%ff", "//[", "/"),
    "Origin": ("null", "http://example.com"),
    "Pragma": ("no-cache", "a=b, c"),
    "User-Agent": ("Mozilla/5.0 (X11)", "curl/8", "\xff"),
    "Access-Control-Request-Headers": ("X-Odd, Content-Type", 'a, "b,c"'),
    "Access-Control-Request-Method": ("PUT",),
    "X-Forwarded-For": ("10.0.0.1, 10.0.0.2", "x"),
    "X-Forwarded-Host": ("evil.example",),
    "X-Forwarded-Proto": ("https",),
    "X-Forwarded-Prefix": ("/prefix",),
    "X-Odd": ("a", "\xe9", "", "a\tb"),
    "x-oDD": ("c",),
    "X_Under": ("spoofed",),
    "Content_Type": ("text/spoofed",),
    "X_Odd": ("spoofed",),
    "Expect": ("100-continue", "x"),
    "Connection": ("keep-alive", "Upgrade", "upgrade, close"),
    "Upgrade": ("websocket", "h2c"),
    "X-HTTP-Method-Override": ("DELETE",),
    "TE": ("trailers",),
    "!#$%&'*+.^`|~": ("odd name",),
    "Proxy": ("evil",),
    "X-Requested-With": ("XMLHttpRequest",),
}

HOSTS = (
    *("localhost", "example.com", "a.example.com", "EXAMPLE.com", "localhost:80", "localhost:8000"),
    *("localhost:443", "[::1]", "[::1]:80", "127.0.0.1:5000", "", "a b", "a/b", "a@b", "a,b"),
    "\xe9.com",
    *("xn--caf-dma.com", "xn--", "a..b", ".example.com", "localhost.", "[", "[::1", "a:b:c"),
    "a:99999",
    *("<script>", "a" * 70 + ".com", "a" * 300, "localhost:", ":80", "a%41", "..", "evil.com#"),
    "a_b.c",
    *("\xad.com", "\u3002".encode().decode("latin-1"), "example.com:80:80", "a\\b", "a?b"),
)

#: Paths of the application; what stands in braces is filled in.
PATHS = (
    *("", "/sub/", "/sub"),
    *("/", "/url", "/url/{w}", "/url/{w}/{w}", "/int/{w}", "/int/signed/{w}", "/int/fixed/{w}"),
    *("/int/5", "/int/signed/-5", "/int/fixed/007", "/float/{w}", "/float/-1.5", "/any/a"),
    "/any/b%20c",
    *("/any/caf%C3%A9", "/any/{w}", "/uuid/{w}", "/uuid/12345678-1234-5678-1234-567812345678"),
    *("/string/abc/de", "/string/{w}/{w}", "/two/{w}-{w}.{w}", "/two/a-b-c.d.e", "/slash"),
    "/slash/",
    *("/slash/{w}", "/slash/{w}/", "/noslash/{w}/", "/caf%C3%A9/{w}", "/caf%c3%a9/a/", "/loose"),
    "/loose/",
    *("/only-post", "/post-slash", "/alias", "/aliased", "/moved/{w}", "/moved/a/", "/default"),
    "/default/",
    *("/default/1", "/default/2", "/own-options", "//url", "/url//a", "/slash//", "//", "/./url"),
    "/../url",
    *("", "/{w}", "/{w}/{w}", "url", "*", "http://example.com/url", "/a;b/c", "/part/nothing"),
    "/part",
)
HEADER_PATHS = (
    *("/headers", "/made", "/made", "/file", "/static/a.txt", "/static/a.txt", "/field/headers"),
)
FILE_PATHS = (
    *("/static/a.txt", "/static/empty", "/static/page.html", "/static/sub/b.css"),
    "/static/caf%C3%A9.txt",
    *("/static/{w}", "/static/../a.txt", "/static/sub/", "/static/sub"),
    "/static/%2e%2e/application.py",
    *("/static/sub/../a.txt", "/static//a.txt", "/static/a.txt/", "/static/a.txt%00"),
    "/from/a.txt",
    *("/from/{w}", "/from/sub/b.css", "/from/sub/..%2fa.txt", "/file", "/made", "/static/"),
    "/static",
    "/static/C:%5ca.txt",
)
STEPS = (
    *("form", "files", "values", "data", "raw", "text", "uncached", "parsed", "json", "silent"),
    *("force", "stream", "pieces", "lines"),
)
ANSWER_PATHS = (
    *("/respond", "/respond", "/returned/{n}", "/cookie", "/session/set", "/session/get"),
    "/session/clear",
    *("/session/flash", "/session/untouched", "/go", "/url-for", "/template", "/stream", "/typed"),
    *("/abort/{n}", "/abort/{c}", "/part/abort/{c}", "/error/{e}", "/part/error/{e}"),
    "/field/args",
    *("/field/cookies", "/headers", "/session/set"),
)
CODES = (
    *("200", "204", "302", "304", "400", "401", "404", "405", "413", "416", "418", "429", "451"),
    *("500", "503", "600", "100"),
)
ERRORS = ("key", "value", "unicode", "other")
METHODS = (
    *("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "PROPFIND", "CONNECT", "get"),
    *("post", "PoSt", "M-SEARCH", "!"),
)

_RAW = "".join(chr(code) for code in range(0x21, 0x100) if chr(code) not in "#?\x7f")
_VALUE = "\t" + "".join(chr(code) for code in range(0x20, 0x100) if code != 0x7F)


def word(random: Random) -> str:
    """Give a word, or something of the kind."""
    if random.random() < 0.8:
        return random.choice(WORDS)
    return "".join(random.choice(_VALUE) for _ in range(random.randrange(1, 9)))


def spoiled(random: Random, text: str, by: str = _VALUE) -> str:
    """Give a text with something taken away, doubled, put in or changed."""
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(text) + 1)
        kind = random.randrange(5)
        end = min(len(text), at + random.randrange(1, 5))
        if kind == 0:
            text = text[:at] + text[end:]
        elif kind == 1:
            text = text[:end] + text[at:]
        elif kind == 2:
            text = text[:at] + random.choice(by) + text[at:]
        elif kind == 3:
            text = text[:at] + random.choice(WORDS) + text[at:]
        else:
            text = text[:at] + random.choice(by) + text[at + 1 :]
    return text


def as_value(text: str) -> str:
    """Give a text as a header value a server lets through."""
    return text.replace("\r", "").replace("\n", "").replace("\0", "").strip(" \t")


def as_target(text: str) -> bytes:
    """Give a text as part of a request target a server lets through: no blanks, no ``#``."""
    return "".join(one if one in _RAW or one == "?" else "" for one in text).encode("latin-1")
