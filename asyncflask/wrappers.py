"""``Request``: Werkzeug's, with a body that is read once, within limits and off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tempfile
import typing as t

import anyio
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.utils import get_content_length

from . import json
from .adapters.body import Body
from .adapters.body import IN_MEMORY
from .adapters.body import SMALL
from .adapters.environ import check_length
from .adapters.environ import CONNECTION
from .adapters.environ import Connection
from .adapters.environ import CountedStream
from .adapters.environ import has_input
from .adapters.environ import LoopStream
from .adapters.environ import MAX_LENGTH_DIGITS
from .adapters.environ import open_input
from .globals import _cv_app
from .globals import current_app
from .lanes import adds_code
from .lanes import call_on_thread
from .lanes import current_task
from .lanes import io_workers
from .lanes import portal
from .lanes import run_sync
from .lanes import runs_on_loop
from .request_form import RequestForm
from .responses import Response as Response

PARSE_OFF_LOOP: t.Final = SMALL
"""Bytes above which a loaded body is parsed on a thread."""


class Request(RequestForm):
    """An HTTP request, the same in sync and async code.

    Made from a WSGI environ by calling the class, from an ASGI scope by :meth:`from_scope`.

    :param environ: the WSGI environ.
    :param populate_request: whether to store the request in the environ.
    :param shallow: whether reading the body is to be an error.
    """

    json_module: t.Any = json

    _loaded = False
    _loading: anyio.Lock | None = None
    _stream_replaced = False
    _spool: t.IO[bytes] | None = None
    _form_ahead = False
    _form_error: Exception | None = None
    _json_error: Exception | None = None

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)
        # A subclass that closes something of its own is closed with every request.
        cls._closes = cls.close is not Request.close
        cls._reads_plainly = not adds_code(cls, Request)

    # -- body ----------------------------------------------------------------------------

    @property
    def stream(self) -> t.Any:
        """The body as a file; in an async view with ``stream_body=True`` it is to be awaited.

        There it has ``async for chunk in request.stream`` and ``await request.stream.read(n)``.
        """
        own = self.__dict__
        stream = own.get("stream")
        if stream is None:
            if self.shallow and not self._loaded:
                raise RuntimeError(
                    "This request was made with 'shallow=True': its body is not to be read."
                )
            stream = own["stream"] = self._open_input() if self.scope is None else self._open_body()
        if self._loaded:
            return stream
        if self._blocks_loop():
            return LoopStream(stream, self._off_loop)
        return LoopStream(stream, _at_once) if self._streams_nothing() else stream

    @stream.setter
    def stream(self, value: t.Any) -> None:
        if self.body is not None:
            # From here on it is not what a look at the data finds.
            self.body.open()
            self._stream_replaced = True
        self.__dict__["stream"] = value

    async def prefetch_body(self) -> None:
        """Wait for the first bytes of the body, as is due before the request takes a thread.

        Not if it is refused already, or hooks may refuse it before the client goes on.
        """
        body = self.body
        if body is None or self.routing_exception is not None or self.has_header(b"expect"):
            return
        limit = self.max_content_length
        if limit is None or (self.content_length or 0) <= limit:
            await body.prefetch()

    async def load_body(self) -> None:
        """Take in the whole body, so that ``form``, ``data``, ``json`` and ``files`` are there.

        Happens by itself before an async view, unless its route has ``stream_body=True``; async
        hooks call it when they want the body. What a stream has read is not in it.

        :raises RequestEntityTooLarge: if it is over ``max_content_length``, or without that
            over ``MAX_BUFFERED_BODY``.
        :raises ClientDisconnected: if it ends early.
        """
        if self._loaded:
            return
        if self.scope is not None and self.body is None:
            self._loaded = True
            return
        body = self.body
        if body is not None:
            stream = io.BytesIO() if body.exhausted else await body.load(self._load_limit())
            if self._stream_replaced:
                # By a hook, which may have put something around the body, to decompress it say.
                self._loaded = True
                return
            self.__dict__["stream"] = stream
            kept = self._cached_data
            if body.size <= PARSE_OFF_LOOP and (not kept or len(kept) <= PARSE_OFF_LOOP):
                self._loaded = True
                return
        elif not self._blocks_loop():
            self.load_body_here()
            return
        # Several tasks may ask for it at once.
        self._loading = self._loading or anyio.Lock()
        async with self._loading:
            if body is None:
                await self._off_loop(self.load_body_here)
            elif self._parses_itself():
                await self._off_loop(self._parse_ahead)
            elif body.in_own_task:
                await call_on_thread(self._parse_ahead)
            else:
                await run_sync(current_app._workers, self._parse_ahead)

    def load_at_once(self) -> t.Awaitable[bool] | None:
        """Give what to await to have a small body loaded; ``None`` if it is not so simple.

        It is to be awaited outside of the request's Context, by who drives the request, and tells
        whether the body is loaded; if it is not, :meth:`load_body` does it.
        """
        body = self.body
        if body is None or self._loaded or not self._reads_plainly:
            return None
        return body.load_at_once(self._load_limit())

    async def keep_body(self) -> None:
        """Take in what nobody has read, for a test that looks at the request after its end."""
        # A body that was an error to who read it stays one.
        with contextlib.suppress(HTTPException):
            file = await t.cast("Body", self.body).load(None)
            self.stream = io.BytesIO(file.read())

    def load_body_here(self) -> None:
        """Take in the whole body of a WSGI request; blocks."""
        if self._loaded:
            return
        if not has_input(self.environ, self.content_length):
            self._loaded = True
            return
        if self._is_read():
            # By a sync hook.
            self.stream = io.BytesIO()
            if self._kept_size() > PARSE_OFF_LOOP:
                self._parse_ahead()
            self._loaded = True
            return
        limit = self._load_limit()
        _check_length(self.content_length, limit)
        stream = self.__dict__.get("stream") or self._open_input()
        if isinstance(stream, CountedStream):
            stream.set_limit(limit)
        spool = self._spool = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        self._closes = True
        self.stream = stream
        while chunk := stream.read(64 * 1024):
            spool.write(chunk)
        size = spool.tell()
        spool.seek(0)
        self.stream = spool
        if size > PARSE_OFF_LOOP:
            self._parse_ahead()
        self._loaded = True

    def new_body(self, timeout: float | None = None, empty: bool = False) -> Body:
        """Make the body that reads from the connection.

        :param timeout: seconds without a byte after which the client gets a 408.
        :param empty: whether none is expected, only the client's leaving.
        """
        receive: t.Any = self.receive
        if empty:
            body = Body(receive, None, timeout, self.server_context, None, empty)
        else:
            self.note_single_headers()
            length = self._declared_length()
            body = Body(receive, length, timeout, self.server_context, current_task())
        if (empty or self.raw_headers is None) and "environ" in self.__dict__:
            # Made before there was a body, for a subclass that wants to be called with it.
            self.environ["wsgi.input"] = body.open()
        return body

    def _declared_length(self) -> int | None:
        """Give the declared length of the body, and note what is wrong with it."""
        single = self._single_headers
        if single is not None and b"transfer-encoding" not in single:
            sent = single.get(b"content-length", b"")
            if sent.isdigit() and len(sent) <= MAX_LENGTH_DIGITS:
                return int(sent)
        declared, coding = self.header(b"content-length"), self.header(b"transfer-encoding")
        self.routing_exception = check_length(declared)
        return get_content_length(declared, coding)

    async def is_disconnected(self) -> bool:
        """Tell whether the client has left; under WSGI nobody knows, so it has not."""
        connection = self._connection
        return connection is not None and await connection.is_disconnected()

    async def client_left(self) -> None:
        """Return when the client has left; what it still sends is kept, up to a bound.

        Only if :attr:`watches_client` is true.
        """
        await t.cast("Connection", self._connection).wait_for_disconnect()

    @property
    def watches_client(self) -> bool:
        """Whether the leaving of the client would be known."""
        return CONNECTION in self.environ if self.scope is None else self.receive is not None

    @property
    def _connection(self) -> Connection | None:
        if self.scope is None:
            # Behind WSGI middleware there may be an ASGI server nevertheless.
            return self.environ.get(CONNECTION)
        if self.body is None and self.receive is not None:
            self.body = self.new_body(empty=True)
        return self.body

    def get_data(  # type: ignore[override]
        self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False
    ) -> bytes | str:
        """Give the body.

        :param cache: whether it is kept, to be given again.
        :param as_text: whether it is decoded as UTF-8.
        :param parse_form_data: whether a form is parsed, which leaves nothing for the result.
        :raises RuntimeError: in an async hook, if the body has not been loaded.
        """
        if self._cached_data is None:
            whole = None if parse_form_data else self._rest_of_body()
            if whole is not None:
                if cache:
                    self._cached_data = whole
                return whole.decode(errors="replace") if as_text else whole
            self._check_readable_here()
            if parse_form_data and self._form_ahead:
                # Who asks for data does not want that of a form.
                self.stream.seek(0, io.SEEK_END)
        data: bytes | str = super().get_data(cache, as_text, parse_form_data)  # type: ignore[call-overload]
        return data

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> t.Any:
        """Give the body as JSON.

        A body over 256 KiB whose content type says that it is JSON has been read on a thread
        before an async view; any other one is read here and now.

        :param force: whether the content type does not matter.
        :param silent: whether the result is ``None`` where it is no JSON, instead of an error.
        :param cache: whether the result is kept, to be given again.
        :raises BadRequest: (400) if it is no JSON.
        :raises UnsupportedMediaType: (415) if the content type is not that of JSON.
        """
        if self._json_error is None:
            if cache and self._cached_json[silent] is Ellipsis:
                whole = self._rest_of_json()
                if whole is not None:
                    return self._read_json(whole, silent)
            return super().get_json(force, silent, cache)
        if not isinstance(self._json_error, ValueError):
            # Not by a local name: its traceback, which has this frame, would hold the error itself.
            raise self._json_error
        return None if silent else self.on_json_loading_failed(self._json_error)

    def _rest_of_json(self) -> bytes | None:
        """Give a body that says it is JSON and came as a whole, if nobody has looked at it."""
        single, body = self._single_headers, self.body
        if body is None or single is None or not self._reads_plainly:
            return None
        return body.take_rest() if single.get(b"content-type") == b"application/json" else None

    def _read_json(self, data: bytes, silent: bool) -> t.Any:
        """Read a body that says it is JSON, and keep it and what it says."""
        self._cached_data = data
        try:
            value = self.json_module.loads(data)
        except ValueError as error:
            kept = self._cached_json
            value = None if silent else self.on_json_loading_failed(error)
            self._cached_json = (kept[0], value) if silent else (value, kept[1])
        else:
            self._cached_json = (value, value)
        return value

    def close(self) -> None:
        """Close the files of the form, and what the body was loaded into."""
        super().close()
        # Once they have been raised their tracebacks hold the request.
        self._form_error = self._json_error = None
        spool = self._spool
        if spool is not None:
            # Tests and WSGI middleware may look at the request yet, at what is no file at least.
            kept = spool.name is None or "werkzeug.debug.preserve_context" in self.environ
            if kept and not spool.closed:
                self.stream = io.BytesIO(spool.read())
            spool.close()

    def _load_form_data(self) -> None:
        if "form" in self.__dict__:
            return
        if self._form_error is not None:
            raise self._form_error
        if self._cached_data is None and not self._loaded:
            self._check_readable_here()
        if not self.load_plain_form():
            super()._load_form_data()
        # A class of the user's may have put anything there.
        if self.__dict__["files"]:
            self._closes = True
        context = _cv_app.get(None)
        if context is None or not context.app.debug:
            return
        if self.mimetype != "multipart/form-data" and not self.files:
            from .debughelpers import attach_enctype_error_multidict

            attach_enctype_error_multidict(self)

    def on_json_loading_failed(self, e: ValueError | None) -> t.Any:
        """Answer a body that is not JSON: a 400 or 415, with the reason only in debug mode."""
        try:
            return super().on_json_loading_failed(e)
        except BadRequest as error:
            if current_app and current_app.debug:
                raise
            raise BadRequest() from error

    def _load_limit(self) -> int | None:
        context = _cv_app.get(None)
        if context is None:
            return self.max_content_length
        config = context.app.config
        if type(self).max_content_length is _max_content_length:
            # What it would give, without the calls.
            limit = self._max_content_length
            limit = config["MAX_CONTENT_LENGTH"] if limit is None else limit
        else:
            limit = self.max_content_length
        return config["MAX_BUFFERED_BODY"] if limit is None else limit

    # -- where the body is -----------------------------------------------------------------

    def _open_body(self) -> t.IO[bytes]:
        """Give the stream of an ASGI request, under the limit of now."""
        if self.body is None:
            return io.BytesIO()
        if self._loaded:
            return self.body.open()
        limit = self.body.limit = self.max_content_length
        _check_length(self.content_length, limit)
        return self.body.open()

    def _open_input(self) -> t.IO[bytes]:
        """Give the stream of a WSGI request, under the limit of now."""
        limit = self.max_content_length
        _check_length(self.content_length, limit)
        return open_input(self.environ, self.content_length, limit)

    def _blocks_loop(self) -> bool:
        """Tell whether reading a WSGI body here would hold up the loop of all such requests."""
        loop = None if self.scope is not None else asyncio._get_running_loop()
        if loop is None or loop is not portal._background:
            return False
        return not self._loaded and has_input(self.environ, self.content_length)

    def _streams_nothing(self) -> bool:
        """Tell whether this is an async view that streams, of a request without a body."""
        if self._loaded or self.body is not None or not runs_on_loop():
            return False
        if self.scope is None and has_input(self.environ, self.content_length):
            return False
        return bool(current_app.endpoint_options.get(self.endpoint or "", {}).get("stream_body"))

    def _check_readable_here(self) -> None:
        if self._loaded:
            return
        body = self.body
        if body is None:
            if not self._blocks_loop():
                return
        elif body.loaded or not runs_on_loop():
            return
        elif body.exhausted:
            # A sync hook has read it.
            self._cached_data = b""
            return
        raise RuntimeError(
            "The body of this request has not been loaded, and reading it here would block the"
            " event loop: call 'await request.load_body()' first. (Before an async view it is"
            " loaded already, unless its route has stream_body=True.)"
        )

    def _parse_ahead(self) -> None:
        """Parse a large body on this thread, and leave it as if nobody had looked at it."""
        if self._loaded:
            return
        stream = self.stream
        if self.is_json:
            self._read_json_ahead()
        else:
            try:
                self._load_form_data()
            except Exception as exc:
                self._form_error = exc.with_traceback(None)
                self._closes = True
            self._form_ahead = stream.tell() > 0
        # Not as a hook does it, which others who load the body would take notice of.
        self.__dict__["stream"] = stream
        stream.seek(0)
        self._loaded = True

    def _read_json_ahead(self) -> None:
        if self._cached_json[False] is not Ellipsis:
            return
        try:
            value = self.json_module.loads(self.get_data())
        except Exception as exc:
            # It shows when somebody asks for the data; its traceback holds this frame.
            self._json_error = exc.with_traceback(None)
            self._closes = True
        else:
            self._cached_json = (value, value)

    def _is_read(self) -> bool:
        """Tell whether a WSGI body has been read as data, or parsed as a form."""
        if self._cached_data is not None:
            return True
        # Who asks for a form where there is none leaves the body where it was.
        return "form" in self.__dict__ and bool(self.__dict__["stream"].tell())

    def _kept_size(self) -> int:
        """Count the bytes that a sync hook has read, which may still be parsed."""
        return len(self._cached_data or b"")

    def _parses_itself(self) -> bool:
        """Tell whether none of the user's functions takes part in parsing the body."""
        return not (adds_code(type(self), Request) or (self.is_json and json._is_replaced()))

    async def _off_loop(self, func: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
        # Under WSGI it is the client that is waited for, not a file.
        workers = current_app._workers if self.scope is None else io_workers()
        return await run_sync(workers, func, *args)


_max_content_length: t.Final = Request.max_content_length


async def _at_once(func: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
    return func(*args)


def _check_length(length: int | None, limit: int | None) -> None:
    if length is not None and limit is not None and length > limit:
        raise RequestEntityTooLarge()
