"""Flask's API on ASGI: ``from asyncflask import Flask``."""

from __future__ import annotations

import importlib
import sys
import types
import typing as t

from . import json as json
from .app import Flask as Flask
from .blueprints import Blueprint as Blueprint
from .config import Config as Config
from .ctx import after_this_request as after_this_request
from .ctx import copy_current_request_context as copy_current_request_context
from .ctx import has_app_context as has_app_context
from .ctx import has_request_context as has_request_context
from .flask_alias import install_as_flask as install_as_flask
from .globals import current_app as current_app
from .globals import g as g
from .globals import request as request
from .globals import session as session
from .helpers import abort as abort
from .helpers import flash as flash
from .helpers import get_flashed_messages as get_flashed_messages
from .helpers import get_template_attribute as get_template_attribute
from .helpers import make_response as make_response
from .helpers import redirect as redirect
from .helpers import send_file as send_file
from .helpers import send_from_directory as send_from_directory
from .helpers import stream_with_context as stream_with_context
from .helpers import url_for as url_for
from .json import jsonify as jsonify
from .lanes import inline as inline
from .signals import appcontext_popped as appcontext_popped
from .signals import appcontext_pushed as appcontext_pushed
from .signals import appcontext_tearing_down as appcontext_tearing_down
from .signals import before_render_template as before_render_template
from .signals import got_request_exception as got_request_exception
from .signals import message_flashed as message_flashed
from .signals import request_finished as request_finished
from .signals import request_started as request_started
from .signals import request_tearing_down as request_tearing_down
from .signals import template_rendered as template_rendered
from .wrappers import Request as Request
from .wrappers import Response as Response

if t.TYPE_CHECKING:
    from .templating import render_template as render_template
    from .templating import render_template_async as render_template_async
    from .templating import render_template_string as render_template_string
    from .templating import render_template_string_async as render_template_string_async
    from .templating import stream_template as stream_template
    from .templating import stream_template_async as stream_template_async
    from .templating import stream_template_string as stream_template_string
    from .templating import stream_template_string_async as stream_template_string_async

FLASK_API: t.Final = "3.1.3"
"""The version of Flask whose API this is."""


# Modules that Flask's package has as attributes, and names of it that are in one of them.
_LOADED_WHEN_USED: t.Final = frozenset({"cli", "debughelpers", "templating", "testing", "views"})
_TEMPLATING: t.Final = frozenset(
    f"{what}_template{source}{colour}"
    for what in ("render", "stream")
    for source in ("", "_string")
    for colour in ("", "_async")
)


def __getattr__(name: str) -> t.Any:
    if name == "__version__":
        # What extensions compare is the version of Flask.
        return FLASK_API
    if name in _LOADED_WHEN_USED:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _TEMPLATING:
        return getattr(importlib.import_module(f"{__name__}.templating"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*vars(sys.modules[__name__]), *_LOADED_WHEN_USED, *_TEMPLATING})


# For "from asyncflask import *", which would not find what is loaded when used.
__all__ = ["json", *_TEMPLATING]
__all__ += [
    name
    for name, value in vars().copy().items()
    if not name.startswith("_") and not isinstance(value, types.ModuleType)
]
