"""Generated requests: one grammar, drawn from by a seeded ``Random`` in bulk and by Hypothesis.

Hypothesis takes the place of ``Random`` and so can shrink what it finds.
"""

from __future__ import annotations

import hashlib
import os
import typing as t
from random import Random

from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer

from . import words
from .application import SECRET
from .asked import Asked
from .asked import Header
from .words import as_target
from .words import as_value
from .words import spoiled
from .words import word

Make: t.TypeAlias = t.Callable[[Random], Asked]

_signer = URLSafeTimedSerializer(
    SECRET,
    salt="cookie-session",
    signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha1},
)
_SESSIONS = tuple(
    _signer.dumps(value)
    for value in (
        {"a": "kept"},
        {"_permanent": True, "a": 1},
        {"_flashes": [{" t": ["message", "old"]}]},
        {"a": {" b": "AAE="}},
        {},
    )
)


def _often(random: Random, share: float) -> bool:
    return random.random() < share


# -- the parts -------------------------------------------------------------------------------


def query(random: Random) -> str:
    """Give a query, or an urlencoded form."""
    kind = random.randrange(20)
    if kind == 0:
        return "&".join(f"a{number}=" for number in range(random.choice((39, 40, 41, 200))))
    if kind == 1:
        return spoiled(random, "a=1&b=2&a=3&c")
    names = ("a", "b", "c", "e", "n", "v", "s", "t", "m", "p", "d", "a[]")
    pairs = []
    for _ in range(random.randrange(5)):
        name = random.choice(names) if _often(random, 0.8) else word(random)
        pairs.append(name + ("=" + word(random) if _often(random, 0.9) else ""))
    return random.choice(("&", "&", "&", "&", ";", "&&")).join(pairs)


def path(random: Random, paths: t.Sequence[str] = words.PATHS) -> str:
    """Give a path of the application, or one near it."""
    text = random.choice(paths)
    while "{" in text:
        mark = text.index("{")
        filling = {
            "w": word,
            "n": lambda random: str(random.randrange(16)),
            "c": lambda random: random.choice(words.CODES),
            "e": lambda random: random.choice(words.ERRORS),
            "s": steps,
        }[text[mark + 1]](random)
        text = text[:mark] + filling.replace("{", "(") + text[mark + 3 :]
    return spoiled(random, text) if _often(random, 0.08) else text


def steps(random: Random) -> str:
    """Give the ways in which a view looks at the body, one after the other."""
    return "-".join(random.choice(words.STEPS) for _ in range(random.randrange(1, 4)))


def header(random: Random, name: str | None = None) -> Header:
    """Give a header with a value that means something, or nearly so."""
    name = name or random.choice(list(words.HEADERS))
    value = random.choice(words.HEADERS[name])
    if name == "Cookie" and _often(random, 0.3):
        value = "session=" + random.choice(_SESSIONS)
        if _often(random, 0.3):
            value += "; " + random.choice(words.HEADERS[name])
    if _often(random, 0.35):
        value = spoiled(random, value)
    elif _often(random, 0.1):
        value += random.choice((", ", "; ", ",", ";")) + random.choice(words.HEADERS[name])
    return name, as_value(value)


def headers(random: Random, *names: str, few: int = 4) -> tuple[Header, ...]:
    """Give headers: the host, those named, and some others; a few of them twice."""
    found: list[Header] = []
    if not _often(random, 0.02):
        found.append(("Host", random.choice(words.HOSTS) if _often(random, 0.2) else "localhost"))
    if _often(random, 0.01):
        found.append(("Host", random.choice(words.HOSTS)))
    found += [header(random, name) for name in names]
    found += [header(random) for _ in range(random.randrange(few))]
    twice = [name for name, _ in found if name != "Host"]
    if twice and _often(random, 0.15):
        found.append(header(random, random.choice(twice)))
    return tuple((name, as_value(value)) for name, value in found)


def json_body(random: Random) -> bytes:
    """Give JSON, odd JSON, or something near it, in some encoding."""
    value = random.choice(
        (
            *('{"a": 1}', "[]", "null", '"a"', "1e999", "-0", "NaN", "-Infinity"),
            '{"a": 1, "a": 2}',
            *('"\\ud800"', '"\\u0000"', "\ufeff{}", "", " ", "[1,]", "{'a': 1}", "1" * 5000),
            *("tru", '"\xe9"'),
            *("[" * 3000 + "]" * 3000, '{"a":' * 2000, "[" * 50 + "]" * 50, "1.5e-400", "[1e5]"),
            "0123",
        )
    )
    if _often(random, 0.2):
        value = spoiled(random, value)
    encoding = random.choice(
        ("utf-8", "utf-8", "utf-8", "utf-16", "utf-32-be", "utf-8-sig", "latin-1")
    )
    return value.encode(encoding, "replace")


BOUNDARIES = (
    *("b", "-", "--", "a b", "'()+_,-./:=?", "b" * 70, "b" * 300, "\xe9", "a;b", "", "a\\"),
    "()[]*",
)


def multipart(random: Random) -> tuple[str, bytes]:
    """Give a multipart form, whole or broken: its Content-Type and its body."""
    boundary = random.choice(BOUNDARIES) if _often(random, 0.4) else "b"
    line = (
        random.choice(("\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r"))
        if _often(random, 0.3)
        else "\r\n"
    )
    text = random.choice(("", "", "", line, "preamble" + line, "--"))
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 13))):
        text += f"--{boundary}" + random.choice(("", "", "", "", " ", "\t")) + line
        text += _part_headers(random, line) + line
        text += _part_content(random, boundary, line) + line
    text += random.choice(
        (f"--{boundary}--{line}", f"--{boundary}--", f"--{boundary}", "", "--", "-")
    )
    text += random.choice(("", "", "", "epilogue", line * 3))
    if _often(random, 0.2):
        text = spoiled(random, text)
    quoted = '"' + boundary.replace("\\", "\\\\") + '"'
    bare = random.choice((boundary, quoted)) if boundary.isalnum() else quoted
    content_type = f"multipart/form-data; boundary={bare}"
    if _often(random, 0.1):
        content_type += random.choice(
            ("; charset=latin-1", "; charset=utf-16", "; boundary=x", ";")
        )
    if _often(random, 0.05):
        content_type = spoiled(random, content_type)
    return as_value(content_type), text.encode("latin-1")


def _part_headers(random: Random, line: str) -> str:
    name = random.choice(("a", "b", "", "a b", '\\"', "\xc3\xa9", "\xff", "a;b", "_charset_"))
    disposition = random.choice(
        ("form-data", "form-data", "form-data", "form-data", "attachment", "FORM-DATA", "")
    )
    text = f'Content-Disposition: {disposition}; name="{name}"'
    if _often(random, 0.4):
        text += "; filename=" + random.choice(
            (
                *('"a.txt"', '""', '"C:\\dir\\a.txt"', '"\xc3\xa9"', '"a\\"b"', '"a', "a b"),
                '"%22"',
                *("\"x\"; filename*=utf-8''%c3%a9", '"../a"', '"a";', '"\xff\x00"', "*"),
                '"a"; name="c"',
                "\"a\"; name*=utf-8''c",
            )
        )
    if _often(random, 0.1):
        text = spoiled(random, text)
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        text += line + random.choice(
            (
                *("Content-Type: text/plain", "Content-Type: text/plain; charset=utf-16"),
                "no colon",
                *("Content-Transfer-Encoding: base64", "Content-Length: 5", "Content-Length: x"),
                " folded",
                *("Content-Type: text/html; charset=zlib_codec", "X: \xff", ": a"),
                *("Content-Type: a/b; charset=iso-8859-1", "Content-Type: a/b; charset=ascii"),
                "X-" + "y" * 300 + ": z",
                *("content-disposition: form-data; name=other", "Content-Type: ;;;"),
                "Content-Type: a; charset=idna",
                "X: " + "y" * 9000,
            )
        )
    return text + (line if not _often(random, 0.03) else "")


def _part_content(random: Random, boundary: str, line: str) -> str:
    return random.choice(
        (
            *("", "a", "1", "\xff\xfe", "\xc3\xa9", line, f"{line}--", f"--{boundary}"),
            f"{line}--{boundary}x",
            *("\0" * 20, "\r", "\n", "\r\r\n", "x" * 1990, "x" * 2500, f"{line}-", "+ACY-"),
            *("a&b=c", "\r\n" * 9),
        )
    )


def chunked(random: Random, body: bytes) -> tuple[bytes, ...]:
    """Cut a body into the pieces it arrives in."""
    kind = random.randrange(10)
    if kind < 5 or not body:
        return (body,) if kind else (body, b"")
    if kind < 7 and len(body) < 300:
        return tuple(body[at : at + 1] for at in range(len(body)))
    cuts = sorted(random.randrange(len(body) + 1) for _ in range(random.randrange(1, 5)))
    return tuple(body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True))


# -- whole requests ----------------------------------------------------------------------------


def _make(
    random: Random,
    method: str,
    path: str,
    headers: tuple[Header, ...] = (),
    body: bytes | None = None,
    query_share: float = 0.4,
) -> Asked:
    target = as_target(path)
    if _often(random, query_share):
        target += b"?" + as_target(query(random))
    if _often(random, 0.05):
        method = random.choice(words.METHODS)
    mounted = target[:1] in (b"/", b"", b"?") and _often(random, 0.06)
    return Asked(
        method=method,
        target=target,
        headers=headers,
        chunks=None if body is None else chunked(random, body),
        sized=not _often(random, 0.25),
        root=random.choice((b"/mnt", b"/a/b", b"/caf%C3%A9", b"/url")) if mounted else b"",
        scheme="https" if _often(random, 0.1) else "http",
    )


def url_request(random: Random) -> Asked:
    """Give a request whose path and query matter."""
    method = random.choice(("GET", "GET", "GET", "HEAD", "POST", "OPTIONS"))
    return _make(random, method, path(random), headers(random, few=2))


def query_request(random: Random) -> Asked:
    """Give a request whose query matters."""
    return _make(
        random, "GET", path(random, words.ANSWER_PATHS), headers(random, few=2), query_share=0.95
    )


def header_request(random: Random) -> Asked:
    """Give a request whose headers matter."""
    method = random.choice(("GET", "GET", "GET", "HEAD", "POST"))
    return _make(
        random, method, path(random, words.HEADER_PATHS), headers(random, few=7), None, 0.2
    )


def cookie_request(random: Random) -> Asked:
    """Give a request whose cookies matter."""
    where = random.choice(
        ("/headers", "/session/get", "/session/set", "/session/flash", "/field/cookies")
    )
    return _make(random, "GET", where, headers(random, "Cookie", few=3), None)


def file_request(random: Random) -> Asked:
    """Give a request for a file, with conditions."""
    method = random.choice(("GET", "GET", "HEAD", "POST"))
    names = (
        *("Range", "If-Range", "If-None-Match", "If-Match", "If-Modified-Since"),
        "If-Unmodified-Since",
    )
    chosen = [random.choice(names) for _ in range(random.randrange(4))]
    return _make(random, method, path(random, words.FILE_PATHS), headers(random, *chosen, few=2))


def multipart_request(random: Random) -> Asked:
    """Give a request with a multipart form."""
    return _body_request(random, *multipart(random))


def form_request(random: Random) -> Asked:
    """Give a request with an urlencoded form."""
    return _body_request(
        random, "application/x-www-form-urlencoded", query(random).encode("latin-1")
    )


def json_request(random: Random) -> Asked:
    """Give a request with JSON."""
    return _body_request(random, "application/json", json_body(random))


def other_request(random: Random) -> Asked:
    """Give a request with a body of no kind."""
    body = word(random).encode("latin-1") * random.choice((1, 1, 500))
    return _body_request(random, "text/plain", body)


def _body_request(random: Random, content_type: str, body: bytes) -> Asked:
    if _often(random, 0.15):
        content_type = header(random, "Content-Type")[1]
    found = headers(random, few=2)
    if not _often(random, 0.05):
        found += (("Content-Type", content_type),)
    where = random.choice(("/body/{s}", "/body/{s}", "/body/{s}", "/raise/{s}", "/limited/{s}"))
    if _often(random, 0.15):
        where = random.choice(
            ("/field/form", "/field/json", "/field/files", "/slash", "/typed", "/go")
        )
    method = random.choice(("POST", "POST", "POST", "PUT", "GET", "DELETE"))
    return _make(random, method, path(random, (where,)), found, body)


MAKERS: tuple[Make, ...] = (
    *(url_request, url_request, query_request, query_request, header_request, header_request),
    *(cookie_request, file_request, file_request, multipart_request, multipart_request),
    *(form_request, json_request, other_request),
)


def any_request(random: Random) -> Asked:
    """Give a request of any kind."""
    asked = random.choice(MAKERS)(random)
    if asked.chunks is None and asked.method in ("POST", "PUT", "BREW") and _often(random, 0.5):
        return Asked(**{**vars(asked), "chunks": (b"",)})
    return asked


#: How many requests are made in bulk, and which ones: see "make fuzz".
REQUESTS = int(os.environ.get("FUZZ", 5000))
SEED = int(os.environ.get("FUZZ_SEED", 0))
#: Few examples: Hypothesis makes them slowly, and the bulk is made without it.
few = settings(
    max_examples=min(100, max(15, REQUESTS // 500)),
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def batches(make: Make) -> st.SearchStrategy[list[Asked]]:
    """Give Hypothesis a strategy for lists of requests."""
    one = st.randoms(use_true_random=False).map(make)
    return st.lists(one, min_size=1, max_size=10)
