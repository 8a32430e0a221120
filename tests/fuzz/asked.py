"""A request as it is on the wire, and what a WSGI and an ASGI server make of it.

Both are made here from the bytes, by the letter of PEP 3333 and of the ASGI specification, with
nothing of asyncflask's.
"""

from __future__ import annotations

import dataclasses
import io
import re
import sys
import typing as t
from dataclasses import dataclass

Header: t.TypeAlias = tuple[str, str]

_escape = re.compile(rb"%([0-9a-fA-F]{2})")
#: What lies behind a body of known length on the connection: the next request.
_NEXT = b"GET /next HTTP/1.1\r\n\r\n"


@dataclass(frozen=True)
class Asked:
    """A request.

    :param target: path and query, percent-encoded or raw.
    :param headers: names and values in Latin-1, repeated ones too.
    :param chunks: the body, in the pieces it arrives in; ``None`` if there is none.
    :param sized: whether the body's length is announced.
    :param root: where the application is mounted, percent-encoded.
    """

    method: str = "GET"
    target: bytes = b"/"
    headers: tuple[Header, ...] = (("Host", "localhost"),)
    chunks: tuple[bytes, ...] | None = None
    sized: bool = True
    root: bytes = b""
    scheme: str = "http"

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks or ())

    @property
    def path(self) -> bytes:
        """The path without the mount, percent-decoded."""
        return unquoted(self.target.partition(b"?")[0])

    @property
    def query(self) -> bytes:
        """The query as it is."""
        return self.target.partition(b"?")[2]

    def header(self, name: str) -> str:
        """Give a header, empty if it is not there."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def all_headers(self) -> list[Header]:
        """The headers, and those that announce the body."""
        if self.chunks is None:
            return list(self.headers)
        if self.sized:
            return [*self.headers, ("Content-Length", str(len(self.body)))]
        return [*self.headers, ("Transfer-Encoding", "chunked")]


def unquoted(raw: bytes) -> bytes:
    """Decode the percent-encoding (RFC 3986, section 2.1)."""
    return _escape.sub(lambda match: bytes([int(match[1], 16)]), raw)


def environ_of(asked: Asked) -> dict[str, t.Any]:
    """Give the environ a WSGI server makes of a request (PEP 3333)."""
    raw_path = asked.target.partition(b"?")[0]
    sized = asked.chunks is not None and asked.sized
    uri = (asked.root + asked.target).decode("latin-1")
    environ: dict[str, t.Any] = {
        "REQUEST_METHOD": asked.method,
        "SCRIPT_NAME": unquoted(asked.root).decode("latin-1"),
        "PATH_INFO": unquoted(raw_path).decode("latin-1"),
        "QUERY_STRING": asked.query.decode("latin-1"),
        "REQUEST_URI": uri,
        "RAW_URI": uri,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": asked.scheme,
        "wsgi.input": io.BytesIO(asked.body + _NEXT if sized else asked.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if asked.chunks is not None and not asked.sized:
        environ["wsgi.input_terminated"] = True
    for name, value in asked.all_headers:
        if "_" in name:
            # Every careful server drops these: nobody could tell them from hyphens.
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        if key in environ:
            # RFC 9110, section 5.3; cookies: RFC 6265, section 4.2.1.
            value = ("; " if key == "HTTP_COOKIE" else ",").join((environ[key], value))
        environ[key] = value
    return environ


def scope_of(asked: Asked) -> dict[str, t.Any]:
    """Give the scope an ASGI server makes of a request."""
    raw_path = asked.root + asked.target.partition(b"?")[0]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": asked.scheme,
        "path": unquoted(raw_path).decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": asked.query,
        "root_path": unquoted(asked.root).decode("utf-8"),
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in asked.all_headers
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


def simpler(asked: Asked) -> t.Iterator[Asked]:
    """Give requests that are a little less than this one, to find the least that fails."""
    for number in reversed(range(len(asked.headers))):
        rest = asked.headers[:number] + asked.headers[number + 1 :]
        yield dataclasses.replace(asked, headers=rest)
    if asked.chunks is not None:
        yield dataclasses.replace(asked, chunks=None)
        yield dataclasses.replace(asked, chunks=(asked.body,))
    for name, simple in (("root", b""), ("scheme", "http"), ("sized", True)):
        yield dataclasses.replace(asked, **{name: simple})
    path, mark, query = asked.target.partition(b"?")
    for less in _shorter(query):
        yield dataclasses.replace(asked, target=path + mark * bool(less) + less)
    for less in _shorter(asked.body):
        yield dataclasses.replace(asked, chunks=(less,))
    for number, (name, value) in enumerate(asked.headers):
        for less in _shorter(value):
            pairs = list(asked.headers)
            pairs[number] = (name, less.strip())
            yield dataclasses.replace(asked, headers=tuple(pairs))


def _shorter(text: t.Any) -> t.Iterator[t.Any]:
    size = len(text) // 2
    while size:
        for start in range(0, len(text), size):
            yield text[:start] + text[start + size :]
        size //= 2
