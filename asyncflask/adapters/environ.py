"""A WSGI environ (PEP 3333): made from an ASGI scope, and its input read safely."""

from __future__ import annotations

import io
import re
import sys
import typing as t
from itertools import chain
from urllib.parse import quote
from urllib.parse import unquote_to_bytes

from werkzeug.datastructures import Headers
from werkzeug.datastructures.mixins import ImmutableHeadersMixin
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import BadRequestKeyError
from werkzeug.exceptions import ClientDisconnected
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import LengthRequired
from werkzeug.wsgi import LimitedStream

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.types import Scope

    from .body import Body

_surrogates: t.Final = re.compile("[\ud800-\udfff]")

BODILESS_METHODS: t.Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods whose requests have no body unless a header announces one."""
_CHUNK: t.Final = 64 * 1024

MAX_LENGTH_DIGITS: t.Final = 100
"""Digits of a Content-Length; with more it is no length of anything."""
# RFC 9110, section 8.6.
is_length: t.Final = re.compile(rf"[0-9]{{1,{MAX_LENGTH_DIGITS}}}").fullmatch

CONNECTION: t.Final = "asyncflask.connection"
"""Key of environs of ASGI requests: a :class:`Connection`, for async code on their loop."""

DEBUGGER: t.Final = "asyncflask.debugger"
"""Key of environs of requests whose errors a debugger shows, so that no bridge answers them."""

_GATEWAY_KEYS: t.Final = frozenset(
    {
        "REQUEST_METHOD",
        "SCRIPT_NAME",
        "PATH_INFO",
        "QUERY_STRING",
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
        "REMOTE_ADDR",
        "REMOTE_PORT",
    }
)
"""What servers set and the scope says better than an environ it came from."""


class Connection(t.Protocol):
    """What a request can be asked about its client."""

    async def is_disconnected(self) -> bool:
        """Tell whether the client has left, without waiting."""

    async def wait_for_disconnect(self) -> None:
        """Return when the client has left."""


def route_path(scope: Scope) -> tuple[str, str]:
    """Split a scope's path into the prefix of the mount and the path below it, as valid text.

    ASGI's ``path`` includes ``root_path``; servers that leave it out are understood as well. A
    prefix ends at a slash only.

    :returns: the prefix without a slash at its end, and the rest.
    """
    path = _valid_text(scope["path"])
    root = _valid_text(scope.get("root_path", ""))
    if not root:
        return "", path
    root = root.rstrip("/")
    if path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        path = path[len(root) :]
    return root, path


def _valid_text(text: str) -> str:
    # Some servers hand on bytes that are not UTF-8 as surrogates, which nothing can encode.
    return text if text.isascii() else _surrogates.sub("\ufffd", text)


def header_size(scope: Scope) -> int:
    """Count the bytes of the names and values of a scope's headers."""
    return sum(map(len, chain.from_iterable(scope.get("headers", ()))))


def joined_headers(scope: Scope) -> dict[str, str]:
    """Give the headers of a scope by their lower-case names, repeated ones joined as in WSGI.

    Names with an underscore are left out: in an environ they could not be told from those
    with a hyphen that a proxy sets.
    """
    joined: dict[str, list[str]] = {}
    for raw_name, raw_value in scope.get("headers", ()):
        name = raw_name.decode("latin-1").lower()
        if "_" not in name:
            joined.setdefault(name, []).append(raw_value.decode("latin-1"))
    return {
        name: values[0] if len(values) == 1 else ("; " if name == "cookie" else ",").join(values)
        for name, values in joined.items()
    }


def cookie_header(scope: Scope) -> str:
    """Give the Cookie header of a scope; repeated ones are joined (RFC 9113, section 8.2.3)."""
    found = [
        value
        for name, value in scope.get("headers", ())
        if len(name) == 6 and name.lower() == b"cookie"
    ]
    return b"; ".join(found).decode("latin-1")


def environ_from_scope(scope: Scope, body: Body | None) -> WSGIEnvironment:
    """Make the environ of an HTTP request.

    :param scope: its ASGI scope. Keys of an environ under ``wsgi_environ`` that the scope does
        not cover are taken over.
    :param body: what ``wsgi.input`` reads; ``None`` for an empty body.
    """
    root, path = route_path(scope)
    host, port = scope.get("server") or ("localhost", None)
    query = scope.get("query_string", b"").decode("latin-1")
    raw_path = _raw_path(scope)
    target = f"{raw_path}?{query}" if query else raw_path
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": as_latin1(root),
        "PATH_INFO": _path_info(path, root, raw_path),
        "QUERY_STRING": query,
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SERVER_NAME": host,
        "SERVER_PORT": "" if port is None else str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO() if body is None else body.open(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    client = scope.get("client")
    if client:
        environ["REMOTE_ADDR"] = client[0]
        if client[1] is not None:
            environ["REMOTE_PORT"] = str(client[1])
    for name, value in joined_headers(scope).items():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = value
    for key, value in scope.get("wsgi_environ", {}).items():
        gateway = key in _GATEWAY_KEYS or key.startswith(("HTTP_", "wsgi."))
        if not gateway or key == "wsgi.errors":
            environ[key] = value
    return environ


def as_latin1(path: str) -> str:
    """Give a path as an environ has it: its bytes, each as one character (PEP 3333)."""
    return path.encode("utf-8", "surrogateescape").decode("latin-1")


def _raw_path(scope: Scope) -> str:
    """Give the path as it was sent, percent-encoded; not every server tells."""
    raw: bytes | None = scope.get("raw_path")
    if not raw:
        return quote(_valid_text(scope["path"]), safe="/!$&'()*+,;=:@~")
    return raw.partition(b"?")[0].decode("latin-1")


def _path_info(path: str, root: str, raw_path: str) -> str:
    if "\ufffd" in path:
        # Stands for bytes that are not UTF-8, which a scope cannot hold and an environ can.
        sent = unquote_to_bytes(raw_path.encode("latin-1"))
        # A proxy may have stripped the beginning of the root, or all of it.
        ends = [root[i:].encode() for i, character in enumerate(root) if character == "/"]
        for prefix in (*ends, b""):
            rest = sent.removeprefix(prefix)
            if rest.decode("utf-8", "replace") == path:
                return rest.decode("latin-1")
    return as_latin1(path)


class ScopeHeaders(ImmutableHeadersMixin, Headers):  # type: ignore[misc]
    """The headers of an ASGI scope, read-only, repeated ones joined as a WSGI server does."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self._joined = joined_headers(scope)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScopeHeaders):
            return NotImplemented
        return self._joined == other._joined

    __hash__ = None

    def __getitem__(self, key: str) -> str:  # type: ignore[override]
        return self._get_key(key)

    def _get_key(self, key: str) -> str:
        if not isinstance(key, str):
            raise BadRequestKeyError(key)
        # As in an environ, where an underscore stands for the hyphen.
        return self._joined[key.lower().replace("_", "-")]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> t.Iterator[tuple[str, str]]:
        for name, value in self._joined.items():
            if value or name not in ("content-type", "content-length"):
                yield name.title(), value

    def copy(self) -> t.NoReturn:
        raise TypeError(
            "The headers of a request are read-only: Headers(request.headers) copies them."
        )


def check_length(value: str | None) -> BadRequest | None:
    """Tell what is wrong with a Content-Length, if anything is.

    What one reader takes for no body another takes for one: that is how requests are smuggled.

    :param value: the header, the values of repeated ones joined.
    """
    if value is None or is_length(value):
        return None
    return BadRequest("The Content-Length of the request is no number.")


def check_framing(environ: WSGIEnvironment) -> HTTPException | None:
    """Tell what is wrong with how a WSGI request says where its body ends, if anything is."""
    # PEP 3333 has an empty length stand for none.
    length = environ.get("CONTENT_LENGTH") or None
    if length is not None:
        return check_length(length)
    if "HTTP_TRANSFER_ENCODING" in environ and not environ.get("wsgi.input_terminated"):
        return LengthRequired("This server does not read bodies of unknown length.")
    return None


def has_input(environ: WSGIEnvironment, length: int | None) -> bool:
    """Tell whether a WSGI request has a body.

    :param length: the declared one.
    """
    if length is not None or not environ.get("wsgi.input_terminated"):
        return bool(length)
    return environ["REQUEST_METHOD"] not in BODILESS_METHODS or "HTTP_TRANSFER_ENCODING" in environ


def open_input(environ: WSGIEnvironment, length: int | None, limit: int | None) -> t.IO[bytes]:
    """Give the body of a WSGI request as a stream that never reads past its end.

    :param length: the declared one.
    :param limit: bytes it may have.
    """
    source = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated") and length != 0:
        return t.cast("t.IO[bytes]", CountedStream(source, length, limit))
    if not length:
        return io.BytesIO()
    return t.cast("t.IO[bytes]", LimitedStream(source, length))


class CountedStream(LimitedStream):
    """A WSGI server's input that ends by itself, an error if it is over a limit or too short.

    Werkzeug's own ends at the limit as if the body were complete.

    :param stream: the input.
    :param length: the declared bytes, if any; filters before the application may give more.
    :param limit: bytes it may have.
    """

    def __init__(self, stream: t.IO[bytes], length: int | None, limit: int | None) -> None:
        super().__init__(stream, 0, is_max=True)
        self._length = length or 0
        self.set_limit(limit)

    def set_limit(self, limit: int | None) -> None:
        """Change the limit, also for what has been read already."""
        # One byte more than it may have tells a body that is over it.
        self.limit = sys.maxsize if limit is None else limit + 1

    def readinto(self, b: t.Any) -> int | None:
        count = super().readinto(b)
        if self.is_exhausted:
            self.on_exhausted()
        return count

    def on_disconnect(self, error: Exception | None = None) -> None:
        if error is not None or self.tell() < self._length:
            raise ClientDisconnected()


class LoopStream:
    """A WSGI server's input for async code, read on a thread.

    :param stream: the input, which ends where the body ends.
    :param off_loop: calls a function on a thread, and is to be awaited.
    """

    def __init__(
        self, stream: t.IO[bytes], off_loop: t.Callable[..., t.Awaitable[t.Any]]
    ) -> None:
        self._stream = stream
        self._off_loop = off_loop

    async def read(self, size: int | None = -1, /) -> bytes:
        """Read *size* bytes, fewer only at the end.

        :param size: negative, or ``None``, for all the rest.
        """
        return t.cast(bytes, await self._off_loop(self._read, -1 if size is None else size))

    def __aiter__(self) -> t.Self:
        return self

    async def __anext__(self) -> bytes:
        chunk: bytes = await self._off_loop(self._stream.read, _CHUNK)
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def _read(self, size: int) -> bytes:
        if size < 0:
            return self._stream.read()
        parts = []
        while size and (part := self._stream.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
