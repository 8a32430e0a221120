"""Files as bodies of responses: bound to their length, small ones read at once.

What Werkzeug has answered with a small file is kept, and answers for that file while it is the
same: only its bytes are read anew. Whatever could make another answer of it goes the long way.
"""

from __future__ import annotations

import io
import mimetypes
import os
import stat
import time
import typing as t

from werkzeug.http import http_date
from werkzeug.security import safe_join
from werkzeug.wsgi import FileWrapper

from .globals import _cv_app
from .globals import _cv_request
from .lanes import runs_on_loop
from .responses import OK
from .responses import respond_with
from .responses import Response

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from .app import Flask
    from .wrappers import Request

CHUNK: t.Final = 256 * 1024
"""Bytes of a file that are read at a time."""
_KNOWN_LIMIT: t.Final = 1024
_READ_ONLY: t.Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

MaxAge: t.TypeAlias = "int | Callable[[str | None], int | None] | None"


class FileBody(FileWrapper):
    """A file, read in larger pieces, and only as far as its length was announced."""

    end: int | None = None

    def __init__(self, file: t.IO[bytes], buffer_size: int = CHUNK) -> None:
        super().__init__(file, max(buffer_size, CHUNK))

    def __next__(self) -> bytes:
        size = self.buffer_size
        if self.end is not None:
            size = min(size, self.end - self.file.tell())
        data = self.file.read(size) if size > 0 else b""
        if data:
            return data
        if size > 0 and self.end is not None:
            raise EOFError(
                f"{getattr(self.file, 'name', self.file)!r} has become shorter while it was sent:"
                f" it ended at {self.file.tell()} bytes, {self.end} were announced."
            )
        raise StopIteration


class ReadFile(FileBody):
    """A small file that was read when it was opened.

    :param data: all that is in it.
    :param name: its path.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.end = len(data)
        self.buffer_size = CHUNK
        self._file: io.BytesIO | None = None

    @property
    def file(self) -> t.IO[bytes]:
        """A file object, for whoever looks at the body as at any other file."""
        if self._file is None:
            self._file = named(self.data, self.name)
        return self._file

    @file.setter
    def file(self, file: t.Any) -> None:
        self._file = file

    @property
    def untouched(self) -> bool:
        """Whether nobody has looked at it so far, so that ``data`` is what it has to give."""
        return self._file is None and self.end == len(self.data)


def named(data: bytes, name: str) -> io.BytesIO:
    """Give a file in memory that has the name of the one on disk."""
    file = io.BytesIO(data)
    file.name = name
    return file


def bind(response: t.Any, opened_here: bool) -> None:
    """Bind a file that changes while it is sent to the length its headers give.

    :param opened_here: whether the file is not the caller's, who may look at it again.
    """
    body: t.Any = getattr(response, "response", None)
    part = getattr(body, "iterable", None)
    if isinstance(body, FileBody):
        body.end = response.content_length
        if opened_here:
            read_small(body, body.end)
    elif isinstance(part, FileBody):
        part.end = body.end_byte
        if opened_here:
            read_small(part, part.end)


def read_small(body: FileBody, end: int | None) -> None:
    """Read a small file now and close it, where that needs no further trip to a thread."""
    file = body.file
    if end is None or end > CHUNK or type(file) is not io.BufferedReader or runs_on_loop():
        return
    data = file.read(end)
    if len(data) < end:
        # That is told of when it is sent.
        file.seek(0)
        return
    file.close()
    body.file = named(data, file.name)


# -- answers that were given before ----------------------------------------------------------


class _Answer(t.NamedTuple):
    headers: list[tuple[str, str]]
    dated: int
    expires: int | None


_known: dict[tuple[t.Any, ...], _Answer] = {}
_date: tuple[int, str] = (0, "")


class SmallFile:
    """A small file, as it was found for a request that asks for all of it.

    :param app: the current application.
    :param path: the file's absolute path.
    :param found: what the system says of the file.
    :param max_age: as for ``send_file``; a function is called, once.
    """

    __slots__ = ("_age", "_key", "_path", "_size")

    def __init__(self, app: Flask, path: str, found: os.stat_result, max_age: MaxAge) -> None:
        self._path = path
        self._size = found.st_size
        if max_age is None:
            max_age = app.get_send_file_max_age
        self._age = age = max_age(path) if callable(max_age) else max_age
        # Asked each time: types can be added.
        kind = mimetypes.guess_type(os.path.basename(path))
        # Other numbers may be equal and are written differently.
        plain = age is None or type(age) is int
        self._key = (path, found.st_mtime, found.st_size, kind, age) if plain else None

    def max_age(self, _: str | None) -> int | None:
        """Give the seconds for which the file may be cached, which were asked for already."""
        return self._age

    def answer(self) -> Response | None:
        """Read the file and answer as before; ``None`` if there was no before, or that fails."""
        known = None if self._key is None else _known.get(self._key)
        data = None if known is None else _read(self._path, self._size)
        if known is None or data is None:
            return None
        now = int(time.time())
        pairs = known.headers.copy()
        pairs[known.dated] = ("Date", _date_of(now))
        if known.expires is not None:
            pairs[known.expires] = ("Expires", http_date(now + t.cast(int, self._age)))
        return respond_with(ReadFile(data, self._path), pairs)

    def remember(self, response: Response) -> None:
        """Keep what the long way has answered with, if it is about the file as it was found."""
        if self._key is None or type(response) is not Response or response._status != OK:
            return
        tag = response.headers.get("ETag", "")
        names = [name for name, _ in response.headers]
        if not tag.startswith(f'"{self._key[1]}-{self._size}-') or names.count("Date") != 1:
            return
        if len(_known) >= _KNOWN_LIMIT:
            _known.clear()
        expires = names.index("Expires") if "Expires" in names else None
        _known[self._key] = _Answer(list(response.headers), names.index("Date"), expires)


def find_in(
    directory: os.PathLike[str] | str, path: os.PathLike[str] | str, max_age: MaxAge
) -> SmallFile | None:
    """Find a small file that a client has named; ``None`` if the long way must be taken."""
    directory, path = os.fspath(directory), os.fspath(path)
    if type(directory) is not str or type(path) is not str:
        return None
    joined = safe_join(directory, path)
    return None if joined is None else find(joined, max_age)


def find(path: object, max_age: MaxAge) -> SmallFile | None:
    """Find a small file that is to be sent as a whole; ``None`` if the long way must be taken."""
    app_ctx, ctx = _cv_app.get(None), _cv_request.get(None)
    if app_ctx is None or ctx is None or runs_on_loop():
        return None
    app = app_ctx.app
    path = os.fspath(path) if isinstance(path, os.PathLike) else path
    if (
        type(path) is not str
        or app.response_class is not Response
        or app.config["USE_X_SENDFILE"]
        or not _asks_for_all(ctx.request)
    ):
        return None
    path = os.path.join(app.root_path, path)
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_size > CHUNK:
        return None
    return SmallFile(app, path, found, max_age)


def _asks_for_all(request: Request) -> bool:
    """Tell whether a request has nothing by which its answer could be another one."""
    scope = request.scope
    raw = request.raw_headers
    if scope is None or raw is None or "environ" in vars(request) or not request._reads_plainly:
        environ = request.environ
        if environ["REQUEST_METHOD"] != "GET" or "wsgi.file_wrapper" in environ:
            return False
        names = " ".join(environ)
    elif scope["method"] == "GET":
        names = b" ".join(raw).decode("latin-1").replace("-", "_").upper()
    else:
        return False
    return not ("IF_" in names or "RANGE" in names)


def _read(path: str, size: int) -> bytes | None:
    try:
        file = os.open(path, _READ_ONLY)
        try:
            data = os.read(file, size)
        finally:
            os.close(file)
    except OSError:
        return None
    return data if len(data) == size else None


def _date_of(now: int) -> str:
    global _date
    second, text = _date
    if second != now:
        text = http_date(now)
        _date = now, text
    return text
