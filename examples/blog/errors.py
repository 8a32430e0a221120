"""What a visitor sees when something goes wrong."""

from __future__ import annotations

from werkzeug.exceptions import HTTPException

from asyncflask import Flask
from asyncflask import g
from asyncflask import render_template
from asyncflask import request
from asyncflask.typing import ResponseReturnValue

from . import api

ADVICE = {
    404: "There is nothing at this address, or not any more.",
    413: "That was too large to be taken in.",
    500: "The fault is ours, not yours. It has been written to the log.",
}


def show_error(error: HTTPException) -> ResponseReturnValue:
    """Answer an error with a page, or with JSON below the address of the API."""
    # An unknown address belongs to no blueprint, so the API's own handler is not asked for it.
    if request.path.startswith(f"{api.bp.url_prefix}/"):
        return api.json_error(error)
    code = error.code or 500
    if code >= 500:
        g.user = None  # the page must not need what may just have failed
    headers = [(name, value) for name, value in error.get_headers() if name != "Content-Type"]
    page = render_template("error.html", error=error, advice=ADVICE.get(code, error.description))
    return page, code, headers


def init_app(app: Flask) -> None:
    """Register the handler; unexpected exceptions reach it as 500."""
    app.register_error_handler(HTTPException, show_error)
