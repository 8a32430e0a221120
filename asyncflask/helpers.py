"""What user code calls about the current request: URLs, errors, flashes, files, streams."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import typing as t
from collections.abc import AsyncIterable
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from datetime import datetime

import werkzeug.utils
from werkzeug.exceptions import abort as _abort_by_code
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as BaseResponse

from .files import bind
from .files import FileBody
from .files import find
from .files import find_in
from .globals import _cv_app
from .globals import _cv_request
from .globals import current_app
from .globals import request
from .globals import request_ctx
from .globals import session
from .lanes import is_async
from .lanes import run_awaitable
from .lanes import runs_on_loop
from .signals import message_flashed

if t.TYPE_CHECKING:
    from contextvars import Token

    from blinker import Signal

    from .app import Flask
    from .ctx import AppContext
    from .ctx import RequestContext
    from .wrappers import Response

P = t.ParamSpec("P")
T = t.TypeVar("T")

_NEGATIVE: t.Final = frozenset({"0", "false", "no"})
_MAX_AGE: t.Final = {"max_age"}
_PLAIN: t.Final = {
    "mimetype": None,
    "as_attachment": False,
    "download_name": None,
    "conditional": True,
    "etag": True,
    "last_modified": None,
}
"""What ``send_file`` is asked for by default."""


def get_debug_flag() -> bool:
    """Tell whether the environment variable ``FLASK_DEBUG`` asks for debug mode."""
    value = os.environ.get("FLASK_DEBUG", "")
    return bool(value) and value.lower() not in _NEGATIVE


def get_load_dotenv(default: bool = True) -> bool:
    """Tell whether dotenv files are to be loaded, which ``FLASK_SKIP_DOTENV`` can forbid.

    :param default: the answer while the variable is not set.
    """
    value = os.environ.get("FLASK_SKIP_DOTENV")
    return value.lower() in _NEGATIVE if value else default


# -- streams -------------------------------------------------------------------------------


@t.overload
def stream_with_context(generator_or_function: Iterator[T]) -> Iterator[T]: ...
@t.overload
def stream_with_context(generator_or_function: AsyncIterable[T]) -> AsyncIterator[T]: ...
@t.overload
def stream_with_context(
    generator_or_function: Callable[P, Iterator[T]],
) -> Callable[P, Iterator[T]]: ...
@t.overload
def stream_with_context(
    generator_or_function: Callable[P, AsyncIterable[T]],
) -> Callable[P, AsyncIterator[T]]: ...
def stream_with_context(generator_or_function: t.Any) -> t.Any:
    """Keep the current request's context for a stream that is read after the view has returned.

    The teardown of the request waits until the stream has ended or was closed, and what was
    wrapped is closed with it. Works on sync and async generators, on anything iterable, and as
    a decorator on functions that return one.

    :param generator_or_function: the stream, or a function that makes it.
    :raises RuntimeError: when a stream is wrapped where no request is handled.
    """
    stream = generator_or_function
    if isinstance(stream, Iterable):
        return _KeptStream(iter(stream))
    if isinstance(stream, AsyncIterable):
        return _KeptAsyncStream(aiter(stream))
    if not callable(stream):
        raise TypeError(
            f"stream_with_context() got {stream!r}, which is neither a stream nor a function that"
            " makes one: pass a generator, an async generator or a generator function."
        )

    def make_stream(*args: t.Any, **kwargs: t.Any) -> t.Any:
        return stream_with_context(stream(*args, **kwargs))

    return functools.update_wrapper(make_stream, stream)


def release_streams(ctx: RequestContext) -> None:
    """Stop waiting for the streams made so far; for a request that failed after making some.

    The traceback keeps such a stream alive for as long as somebody keeps the error. Should one be
    read nevertheless, it still sees its request.

    :param ctx: the context of the request.
    """
    for hold in _holds_of(ctx).copy():
        if hold.let_go():
            ctx.pop(None)


def _holds_of(ctx: RequestContext) -> set[_Hold]:
    holds: set[_Hold] = vars(ctx).setdefault("_holds", set())
    return holds


class _Hold:
    """One more push of the current request context; ``with`` makes it current where it is not.

    A stream may be read in another ``contextvars.Context`` than it was made in: by a task of its
    own, by a foreign response class, or dropped by the garbage collector anywhere.
    """

    __slots__ = ("_tokens", "app_ctx", "ctx")

    def __init__(self) -> None:
        ctx = _cv_request.get(None)
        if ctx is None:
            raise RuntimeError(
                "stream_with_context() was called while no request context is active, so there is"
                " none to keep. Call it in a view, or in a test in app.test_request_context()."
            )
        ctx.push()
        self.ctx = ctx
        self.app_ctx = _cv_app.get()
        _holds_of(ctx).add(self)

    def let_go(self) -> bool:
        """Forget the push; true for who has to pop the context, so once only."""
        holds = _holds_of(self.ctx)
        held = self in holds
        holds.discard(self)
        return held

    def __enter__(self) -> None:
        self._tokens: tuple[Token[AppContext], Token[RequestContext]] | None = None
        if _cv_request.get(None) is not self.ctx:
            self._tokens = _cv_app.set(self.app_ctx), _cv_request.set(self.ctx)

    def __exit__(self, *exc_info: object) -> None:
        if self._tokens is not None:
            _cv_app.reset(self._tokens[0])
            _cv_request.reset(self._tokens[1])


class _KeptStream(Iterator[T]):
    """A stream that holds a request context from its creation, not its start, to its end."""

    def __init__(self, stream: Iterator[T]) -> None:
        self._stream = stream
        self._hold: _Hold | None = _Hold()

    def __next__(self) -> T:
        if self._hold is None:
            raise StopIteration
        try:
            with self._hold:
                return next(self._stream)
        except BaseException as exc:
            self._end(None if isinstance(exc, StopIteration) else exc)
            raise

    def close(self) -> None:
        """End the stream early; teardown functions get the ``GeneratorExit`` a generator gets."""
        self._end(GeneratorExit())

    def _end(self, exc: BaseException | None) -> None:
        hold, self._hold = self._hold, None
        if hold is None:
            return
        with hold:
            try:
                getattr(self._stream, "close", _do_nothing)()
            finally:
                if hold.let_go():
                    hold.ctx.pop(exc)

    def __del__(self) -> None:
        if getattr(self, "_hold", None) is not None:
            self.close()


class _KeptAsyncStream(AsyncIterator[T]):
    """The same for an async stream."""

    def __init__(self, stream: AsyncIterator[T]) -> None:
        self._stream = stream
        self._hold: _Hold | None = _Hold()

    async def __anext__(self) -> T:
        if self._hold is None:
            raise StopAsyncIteration
        try:
            with self._hold:
                return await anext(self._stream)
        except BaseException as exc:
            await self._end(None if isinstance(exc, StopAsyncIteration) else exc)
            raise

    async def aclose(self) -> None:
        """End the stream early; teardown functions get the ``GeneratorExit`` a generator gets."""
        await self._end(GeneratorExit())

    async def _end(self, exc: BaseException | None) -> None:
        hold, self._hold = self._hold, None
        if hold is None:
            return
        with hold:
            try:
                await getattr(self._stream, "aclose", _do_nothing_async)()
            finally:
                if hold.let_go():
                    await hold.ctx.pop_async(exc)

    def __del__(self) -> None:
        hold: _Hold | None = getattr(self, "_hold", None)
        if hold is not None and hold.let_go():
            # Nothing can be awaited here; what was wrapped is closed by its own finalizer.
            with hold:
                hold.ctx.pop(GeneratorExit())


def _do_nothing() -> None:
    return None


async def _do_nothing_async() -> None:
    return None


# -- responses and errors --------------------------------------------------------------------


def make_response(*args: t.Any) -> Response:
    """Make a response of whatever a view may return, to set headers or cookies on it.

    :param args: nothing for an empty response, one value, or the parts of a tuple. In sync code
        the value may be what calling an async view gives, which is waited for.
    """
    if not args:
        return current_app.response_class()
    if hasattr(args[0], "__await__") and not runs_on_loop():
        # Decorators that know of no async views call it with what those return.
        args = (run_awaitable(args[0]), *args[1:])
    return current_app.make_response(args[0] if len(args) == 1 else args)


def url_for(
    endpoint: str,
    *,
    _anchor: str | None = None,
    _method: str | None = None,
    _scheme: str | None = None,
    _external: bool | None = None,
    **values: t.Any,
) -> str:
    """Build the URL of an endpoint; calls the current application's ``url_for``.

    :param endpoint: the endpoint's name; a leading dot stands for the current blueprint.
    :param _anchor: appended as ``#anchor``.
    :param _method: pick the rule for this HTTP method.
    :param _scheme: scheme of an external URL.
    :param _external: whether to give scheme and host; the default is true outside of requests.
    :param values: the rule's variables; the others make the query string.
    """
    return current_app.url_for(
        endpoint,
        _anchor=_anchor,
        _method=_method,
        _scheme=_scheme,
        _external=_external,
        **values,
    )


def redirect(
    location: str, code: int = 302, Response: type[BaseResponse] | None = None
) -> BaseResponse:
    """Make a response that sends the client elsewhere; uses ``current_app.redirect`` if it can.

    :param location: the URL to go to.
    :param code: the redirect's status code.
    :param Response: the response class where no application is active.
    """
    ctx = _cv_app.get(None)
    if ctx is not None:
        return ctx.app.redirect(location, code=code)
    return werkzeug.utils.redirect(location, code=code, Response=Response)


def abort(code: int | BaseResponse, *args: t.Any, **kwargs: t.Any) -> t.NoReturn:
    """Raise the HTTP error of a status code; uses ``current_app.aborter`` if it can.

    :param code: the status code, or a response to answer with.
    :param args: passed to the error.
    :param kwargs: passed to the error.
    :raises LookupError: for a code that has no error.
    """
    ctx = _cv_app.get(None)
    if ctx is not None:
        ctx.app.aborter(code, *args, **kwargs)
    _abort_by_code(code, *args, **kwargs)


def get_template_attribute(template_name: str, attribute: str) -> t.Any:
    """Give a macro or variable that a template exports, to use it from Python.

    :param template_name: the template's name.
    :param attribute: the name in the template.
    """
    return getattr(current_app.jinja_env.get_template(template_name).module, attribute)


# -- flashed messages ------------------------------------------------------------------------


def flash(message: str, category: str = "message") -> None:
    """Keep a message in the session for the next page that calls :func:`get_flashed_messages`.

    :param message: the message.
    :param category: what kind it is; ``message``, ``error``, ``info`` and ``warning`` are usual.
    """
    flashes = session.get("_flashes", [])
    flashes.append((category, message))
    # Assigned again: a session kept elsewhere does not notice what is appended to its values.
    session["_flashes"] = flashes
    app = _cv_app.get().app
    announce(app, message_flashed, message=message, category=category)


def get_flashed_messages(
    with_categories: bool = False, category_filter: Iterable[str] = ()
) -> list[str] | list[tuple[str, str]]:
    """Take the flashed messages out of the session; the same request gets them again and again.

    :param with_categories: give pairs of category and message.
    :param category_filter: give messages of these categories only.
    """
    ctx = request_ctx
    flashes = ctx.flashes
    if flashes is None:
        flashes = ctx.flashes = session.pop("_flashes") if "_flashes" in session else []
    if category_filter:
        flashes = [pair for pair in flashes if pair[0] in category_filter]
    return flashes if with_categories else [message for _, message in flashes]


def announce(app: Flask, signal: Signal, **kwargs: t.Any) -> None:
    """Send a signal from sync code of the user's, wherever it runs.

    On the event loop nothing can wait for async receivers: the pipeline awaits them before it
    saves the session.

    :param app: the sender.
    :param signal: one whose receivers change nothing that the caller goes on with.
    :raises RuntimeError: for an async receiver on the loop where no request is handled.
    """
    if not signal.receivers or signal.is_muted:
        return
    ctx = _cv_request.get(None)
    if ctx is None or ctx.deferred is None or not runs_on_loop():
        signal.send(app, _async_wrapper=app.ensure_sync, **kwargs)
        return
    for receiver in signal.receivers_for(app):
        if is_async(receiver):
            ctx.deferred.append(functools.partial(receiver, app, **kwargs))
        else:
            receiver(app, **kwargs)


# -- files -----------------------------------------------------------------------------------


def send_file(
    path_or_file: os.PathLike[t.AnyStr] | str | t.IO[bytes],
    mimetype: str | None = None,
    as_attachment: bool = False,
    download_name: str | None = None,
    conditional: bool = True,
    etag: bool | str = True,
    last_modified: datetime | int | float | None = None,
    max_age: None | (int | Callable[[str | None], int | None]) = None,
) -> Response:
    """Send a file to the client.

    Never pass it a path that came from a client: :func:`send_from_directory` is for those.

    :param path_or_file: a path, relative to the application's root, or a binary file object
        that stands at its beginning.
    :param mimetype: its type; guessed from the name otherwise.
    :param as_attachment: ask the browser to save it.
    :param download_name: the name to save it under; that of the file otherwise.
    :param conditional: answer conditional and range requests.
    :param etag: make an ETag from a path's size and time, or the ETag to use.
    :param last_modified: when it was changed; the time of a path's file otherwise.
    :param max_age: seconds it may be cached, or a function that tells from the name;
        ``current_app.get_send_file_max_age`` otherwise.
    """
    options: dict[str, t.Any] = {
        "mimetype": mimetype,
        "as_attachment": as_attachment,
        "download_name": download_name,
        "conditional": conditional,
        "etag": etag,
        "last_modified": last_modified,
    }
    small = find(path_or_file, max_age) if options == _PLAIN else None
    known = None if small is None else small.answer()
    if known is not None:
        return known
    options.update(_current_file_options(max_age if small is None else small.max_age))
    response: t.Any = werkzeug.utils.send_file(t.cast(t.Any, path_or_file), **options)
    # A file object is the caller's, who may look at it again.
    bind(response, opened_here=isinstance(path_or_file, (str, os.PathLike)))
    if small is not None:
        small.remember(response)
    return t.cast("Response", response)


def send_from_directory(
    directory: os.PathLike[str] | str, path: os.PathLike[str] | str, **kwargs: t.Any
) -> Response:
    """Send a file from inside a directory, wherever the path that a client gave tries to lead.

    :param directory: the directory, relative to the application's root; never from a client.
        Symbolic links in it are followed.
    :param path: the file's path in the directory.
    :param kwargs: options of :func:`send_file`.
    :raises werkzeug.exceptions.NotFound: if no such file is in the directory.
    """
    max_age = kwargs.get("max_age")
    try:
        small = find_in(directory, path, max_age) if kwargs.keys() <= _MAX_AGE else None
        known = None if small is None else small.answer()
        if known is not None:
            return known
        kwargs.update(_current_file_options(max_age if small is None else small.max_age))
        response: t.Any = werkzeug.utils.send_from_directory(directory, path, **kwargs)
        bind(response, opened_here=True)
        if small is not None:
            small.remember(response)
        return t.cast("Response", response)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as exc:
        # It is not for the server to read, or has gone since it was looked for.
        raise NotFound() from exc


def _current_file_options(max_age: t.Any) -> dict[str, t.Any]:
    """Give the options of Werkzeug's file functions that the application and the request decide."""
    app = current_app
    # A server's own wrapper comes first: it may have the kernel send the file.
    environ = {"wsgi.file_wrapper": FileBody, **request.environ}
    if environ.get("HTTP_IF_RANGE", "").startswith("W/"):
        # RFC 9110, section 13.1.5: a weak tag vouches for no byte, so the whole file is sent.
        environ.pop("HTTP_RANGE", None)
    return {
        "environ": environ,
        "max_age": app.get_send_file_max_age if max_age is None else max_age,
        "use_x_sendfile": app.config["USE_X_SENDFILE"],
        "response_class": app.response_class,
        "_root_path": app.root_path,
    }


# -- modules and names -----------------------------------------------------------------------


def get_root_path(import_name: str) -> str:
    """Find the directory of a package or module, without importing it if that can be avoided.

    :param import_name: the name to import it by.
    :returns: the current directory for a module without a file, such as an interactive session.
    :raises RuntimeError: for a package that has no single directory.
    """
    file: str | None = getattr(sys.modules.get(import_name), "__file__", None)
    if file is None:
        loader = _find_loader(import_name)
        if loader is None:
            return os.getcwd()
        if hasattr(loader, "get_filename"):
            file = loader.get_filename(import_name)
        else:
            file = getattr(importlib.import_module(import_name), "__file__", None)
    if file is None:
        raise RuntimeError(
            f"No root path can be found for {import_name!r}: it is a namespace package, or its"
            " loader knows no file names. Pass 'root_path' explicitly."
        )
    return os.path.dirname(os.path.abspath(file))


def _find_loader(import_name: str) -> t.Any:
    try:
        spec = importlib.util.find_spec(import_name)
    except (ImportError, ValueError):
        # ValueError: the name stands for a module without a spec, as "__main__" does.
        return None
    return None if spec is None else spec.loader


def _endpoint_from_view_func(view_func: Callable[..., t.Any]) -> str:
    """Give the endpoint a view gets when none is named: the name of the function."""
    if view_func is None:
        raise TypeError("Neither an endpoint nor a view function was given: pass 'endpoint'.")
    return view_func.__name__


@functools.cache
def _split_blueprint_path(name: str) -> list[str]:
    """Give the names of a nested blueprint and of those around it, innermost first."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
