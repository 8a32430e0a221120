"""One call of a WSGI application (PEP 3333), and what it gets in its environ."""

from __future__ import annotations

import asyncio
import io
import logging
import typing as t

import werkzeug.wsgi
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import ClientDisconnected
from werkzeug.exceptions import RequestTimeout
from werkzeug.http import is_hop_by_hop_header

from ..lanes import Production
from ..lanes import ReaderGone
from ..logging import escaped
from . import wire
from .environ import DEBUGGER
from .sending import FILE_CHUNK
from .sending import PLAIN_FILES

if t.TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

    ExcInfo: t.TypeAlias = (
        tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None
    )

IN_ONE_PIECE: t.Final = 64 * 1024
"""Bytes of a list that are joined rather than sent one after the other."""

_INPUT_CHUNK: t.Final = 64 * 1024
_logger = logging.getLogger(__name__)


class WsgiCall:
    """The application's side of a request; but for what it leaves behind, all on one thread.

    :param app: the application.
    :param environ: the request.
    """

    status = 0
    headers: wire.RawHeaders | None = None
    failure: Exception | None = None
    """What went wrong after the headers had been handed over."""

    _tally: wire.Tally
    _production: Production
    _handed_over = False
    _ended = False

    def __init__(self, app: WSGIApplication, environ: WSGIEnvironment) -> None:
        self._app = app
        self._environ = environ
        # The environ is the application's, which may change it.
        self.method: str = environ["REQUEST_METHOD"]
        self._path: str = environ["PATH_INFO"]
        self._debugged = DEBUGGER in environ

    def run(self, production: Production) -> None:
        """Call the application, put what it answers into *production*, and close the answer."""
        self._production = production
        try:
            result = self._app(self._environ, self.start_response)
            try:
                self._hand_over(result)
            except ReaderGone:
                # No part of what may go wrong in the end.
                pass
            finally:
                # What the end awaits is not cancelled with the request.
                production.closing = True
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except ReaderGone:
            pass
        except BaseException as exc:
            self._fail(exc)
        finally:
            # They hold one another.
            del self._production

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None, /
    ) -> t.Callable[[bytes], object]:
        """Take status and headers; they are sent with the first bytes of the body.

        :returns: the ``write`` of PEP 3333.
        :raises InvalidHeader: if they cannot be sent.
        :raises RuntimeError: at the second call, unless that is about an error.
        """
        if exc_info:
            try:
                if self._handed_over and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.headers is not None:
            raise RuntimeError(
                "start_response() was called a second time. Only an error may replace the"
                " response, with exc_info=sys.exc_info()."
            )
        if type(status) is not str:
            raise TypeError(f"The status of a WSGI response is a str, not {status!r}.")
        wire.check_status(status)
        code = int(status[:3])
        encoded = [ready for pair in headers if (ready := _encode(pair, code)) is not None]
        self._tally = wire.Tally([pair for pair in encoded if pair[0] == b"content-length"])
        self.status, self.headers = code, encoded
        return self.write

    def write(self, data: bytes) -> None:
        """Send a part of the body at once; waits for a client that is slow.

        :raises ReaderGone: an ``OSError``, if the client has left.
        """
        self._add(data)

    # -- the body --------------------------------------------------------------------------

    def _hand_over(self, result: t.Iterable[bytes]) -> None:
        if type(result) in (list, tuple) and not self._handed_over:
            chunks = [_as_bytes(chunk) for chunk in result]
            if len(chunks) < 2 or sum(map(len, chunks)) <= IN_ONE_PIECE:
                self._end(b"".join(chunks))
                return
        if not self._is_bodiless():
            for chunk in _iterate(result):
                self._add(chunk)
                if self._is_bodiless():
                    break
        self._end()

    def _add(self, chunk: bytes) -> None:
        if type(chunk) is not bytes:
            chunk = _as_bytes(chunk)
        if not chunk:
            if not self._ended:
                # Nothing to send, but the moment to hear that the client has left.
                self._production.put(b"")
            return
        self._check_started()
        if self._is_bodiless():
            return
        self._tally.add(chunk)
        self._handed_over = True
        self._ended = self._tally.complete
        self._production.put(chunk, self._ended)

    def _end(self, rest: bytes = b"") -> None:
        """Hand over what is left of the body, and its end."""
        headers = self._check_started()
        if self._ended:
            return
        if self._is_bodiless():
            rest = b""
        else:
            self._tally.add(rest)
            self._tally.end()
            if not (self._handed_over or self._tally.complete):
                headers.append((b"content-length", b"%d" % len(rest)))
        self._handed_over = self._ended = True
        self._production.put(rest, last=True)

    def _is_bodiless(self) -> bool:
        """Tell whether it is known that there is no body, whatever the application yields."""
        return self.headers is not None and not wire.has_body(self.method, self.status)

    def _check_started(self) -> wire.RawHeaders:
        if self.headers is None:
            raise RuntimeError(
                f"The WSGI application {self._app!r} gave a response without having called"
                " start_response()."
            )
        return self.headers

    # -- errors ----------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        """Answer an error; once there is an answer, leave the error to the server."""
        if self._production.left:
            if not _comes_of_leaving(error):
                self._log(error, " after its client had left")
        elif not (self._handed_over or self._is_shown(error)):
            self._answer(error)
        elif isinstance(error, Exception):
            self.failure = error
        else:
            # SystemExit, say: it is the application's, and would end the loop.
            self.failure = RuntimeError(
                f"The WSGI application raised {error!r} in the middle of its response."
            )
            self.failure.__cause__ = error

    def _is_shown(self, error: BaseException) -> bool:
        """Tell whether an error is a debugger's, to be shown."""
        answered = isinstance(error, (InputBroken, InputTimeout))
        return self._debugged and isinstance(error, Exception) and not answered

    def _answer(self, error: BaseException) -> None:
        if isinstance(error, (InputBroken, InputTimeout)):
            self.status, text = error.code, error.name.encode()
        else:
            self._log(error)
            self.status, text = 500, wire.ERROR
        self.headers = wire.plain_headers(text)
        self._tally = wire.Tally(self.headers)
        try:
            self._end(text)
        except ReaderGone:
            return

    def _log(self, error: BaseException, when: str = "") -> None:
        text = "Error in the WSGI application for %s %r%s"
        _logger.error(text, escaped(self.method), self._path, when, exc_info=error)


def _encode(pair: tuple[str, str], status: int) -> tuple[bytes, bytes] | None:
    """Check a header and give it as ASGI wants it, ``None`` for one that is not to be sent."""
    try:
        name, value = pair
        if not (isinstance(name, str) and isinstance(value, str)):
            raise ValueError
    except (TypeError, ValueError):
        raise TypeError(
            f"A header of a WSGI response is a tuple of two str, not {pair!r}."
        ) from None
    # PEP 3333 forbids what is between a server and its client; some applications set it.
    if is_hop_by_hop_header(name):
        return None
    ready = wire.encode_header((name, value))
    if status == 204 and ready[0] == b"content-length":
        return None
    return ready


def _iterate(result: t.Any) -> t.Iterator[t.Any]:
    try:
        return iter(result)
    except TypeError:
        raise TypeError(
            f"The WSGI application returned {result!r}, which is no iterable of bytes."
        ) from None


def _as_bytes(chunk: t.Any) -> bytes:
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise TypeError(f"The body of a WSGI response is made of bytes, not of {chunk!r}.")


def _comes_of_leaving(error: BaseException) -> bool:
    """Tell whether an application failed for no other reason than that nobody waits for it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (ReaderGone, InputBroken, asyncio.CancelledError)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


# -- in the environ ----------------------------------------------------------------------------


class InputBroken(ClientDisconnected, ConnectionResetError):
    """The body of the request did not come to its end.

    An ``OSError``, which WSGI servers raise there, and Werkzeug's 400 in one.
    """


class InputTimeout(RequestTimeout):
    """The client has sent nothing of its body for too long."""


class WsgiInput(io.RawIOBase):
    """The body of a request, with the errors a WSGI application expects.

    :param stream: where it comes from.
    """

    def __init__(self, stream: t.Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        try:
            count: int = self._stream.readinto(buffer)
        except RequestTimeout as exc:
            raise InputTimeout(exc.description) from None
        except BadRequest as exc:
            raise InputBroken(exc.description) from None
        except asyncio.CancelledError:
            raise InputBroken("The request was cancelled.") from None
        return count

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(_INPUT_CHUNK) or b"", b""))


def open_buffered(stream: t.Any) -> io.BufferedReader:
    """Give the body of a request as ``wsgi.input``.

    Buffered, so that short reads and lines do not each go to the event loop.
    """
    return io.BufferedReader(WsgiInput(stream), _INPUT_CHUNK)


class FileWrapper(werkzeug.wsgi.FileWrapper):
    """The ``wsgi.file_wrapper``: iterates over a file, in large pieces if it is a plain one.

    :param file: a file open for reading bytes.
    :param buffer_size: bytes to read at a time from a file that may be slow to give them.
    """

    def __init__(self, file: t.IO[bytes], buffer_size: int = 8192) -> None:
        if type(file) in PLAIN_FILES:
            buffer_size = max(buffer_size, FILE_CHUNK)
        super().__init__(file, buffer_size)
