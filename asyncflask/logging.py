"""The logger of an application and where it writes when nobody has configured logging."""

from __future__ import annotations

import logging
import sys
import typing as t

from werkzeug.local import LocalProxy

from .globals import _cv_request

if t.TYPE_CHECKING:
    from .application import App


def _find_errors_stream() -> t.TextIO:
    context = _cv_request.get(None)
    if context is None:
        return sys.stderr
    return t.cast(t.TextIO, context.request.environ.get("wsgi.errors", sys.stderr))


#: The error stream of the active request, or ``sys.stderr`` where there is none. A logging
#: configuration in a file names it ``ext://asyncflask.logging.wsgi_errors_stream``.
wsgi_errors_stream: t.TextIO = LocalProxy(_find_errors_stream)  # type: ignore[assignment]

#: The handler that :func:`create_logger` adds; it writes to :data:`wsgi_errors_stream`.
default_handler = logging.StreamHandler(wsgi_errors_stream)
default_handler.setFormatter(
    logging.Formatter("[%(asctime)s] %(levelname)s in %(module)s: %(message)s")
)


def escaped(text: str) -> str:
    """Give text of a client as ASCII without control characters, which could forge log lines."""
    return text.encode("unicode_escape").decode("ascii")


def has_level_handler(logger: logging.Logger) -> bool:
    """Tell whether a record of the logger's own level would reach any handler.

    :param logger: asked together with its ancestors, as far as it propagates to them.
    """
    level = logger.getEffectiveLevel()
    current: logging.Logger | None = logger
    while current is not None:
        if any(handler.level <= level for handler in current.handlers):
            return True
        current = current.parent if current.propagate else None
    return False


def create_logger(app: App) -> logging.Logger:
    """Get the logger that has the application's name, ready for use.

    Its level becomes ``DEBUG`` in debug mode if it has none, and :data:`default_handler` is
    added if no handler would take a record of its level.

    :param app: the application.
    """
    logger = logging.getLogger(app.name)
    if app.debug and not logger.level:
        logger.setLevel(logging.DEBUG)
    if not has_level_handler(logger):
        logger.addHandler(default_handler)
    return logger
