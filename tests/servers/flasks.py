"""The same application on Flask itself, for WSGI servers, and mounted for ASGI ones."""

from __future__ import annotations

import flask

import asyncflask
from asyncflask.adapters import WsgiToAsgi
from tests.servers.shared import build

app: flask.Flask = build(flask)
#: Behind nothing but the adapter.
adapted = WsgiToAsgi(app)
outer = asyncflask.Flask("outer", static_folder=None)
outer.mount("/", app)
outer.mount("/legacy", app)
