"""The shapes of what applications hand over: return values, headers and callbacks.

Every callback may be a plain function, a coroutine function, or return an awaitable when it likes.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from werkzeug.datastructures import Headers
from werkzeug.sansio.response import Response

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from starlette.responses import Response as StarletteResponse

P = t.ParamSpec("P")
R = t.TypeVar("R")

# A variable, not the class: a callback may name any subclass as its argument.
ResponseClass = t.TypeVar("ResponseClass", bound=Response)

# What a view may return by itself. A mapping is listed, not a dict, for TypedDict's sake.
ResponseValue = t.Union[
    Response,
    "StarletteResponse",
    str,
    bytes,
    list[t.Any],
    t.Mapping[str, t.Any],
    t.Iterator[str],
    t.Iterator[bytes],
    cabc.AsyncIterable[str],
    cabc.AsyncIterable[bytes],
]

HeaderValue = str | list[str] | tuple[str, ...]

HeadersValue = Headers | t.Mapping[str, HeaderValue] | t.Sequence[tuple[str, HeaderValue]]

# What a view may return: a value alone, or with a status, headers or both.
ResponseReturnValue = t.Union[
    ResponseValue,
    tuple[ResponseValue, HeadersValue],
    tuple[ResponseValue, int],
    tuple[ResponseValue, int, HeadersValue],
    "WSGIApplication",
]

# The name of a blueprint; None stands for the application.
AppOrBlueprintKey = str | None

SyncOrAsync = t.Callable[P, R | t.Awaitable[R]]

AfterRequestCallable = SyncOrAsync[[ResponseClass], ResponseClass]
BeforeFirstRequestCallable = SyncOrAsync[[], None]
BeforeRequestCallable = SyncOrAsync[[], ResponseReturnValue | None]
# Any, not Exception: a handler may name the very class it is registered for.
ErrorHandlerCallable = SyncOrAsync[[t.Any], ResponseReturnValue]
RouteCallable = SyncOrAsync[..., ResponseReturnValue]
ShellContextProcessorCallable = SyncOrAsync[[], dict[str, t.Any]]
TeardownCallable = SyncOrAsync[[BaseException | None], None]
TemplateContextProcessorCallable = SyncOrAsync[[], dict[str, t.Any]]
TemplateFilterCallable = t.Callable[..., t.Any]
TemplateGlobalCallable = t.Callable[..., t.Any]
TemplateTestCallable = SyncOrAsync[..., bool]
URLDefaultCallable = SyncOrAsync[[str, dict[str, t.Any]], None]
URLValuePreprocessorCallable = SyncOrAsync[[str | None, dict[str, t.Any] | None], None]
