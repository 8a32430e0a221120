"""Forms that other sites cannot send: each carries a token that only the session knows."""

from __future__ import annotations

import hmac
import secrets

from asyncflask import abort
from asyncflask import Flask
from asyncflask import request
from asyncflask import session

SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}


def csrf_token() -> str:
    """The token of the current session, made when first asked for; templates put it into forms."""
    if "csrf_token" not in session:
        session["csrf_token"] = secrets.token_urlsafe(24)
    token: str = session["csrf_token"]
    return token


def check_token() -> None:
    """Refuse a request that changes something and does not carry the token."""
    # A browser never adds an Authorization: Bearer header on another site's behalf.
    if request.method in SAFE_METHODS or has_bearer_token():
        return
    expected = session.get("csrf_token", "")
    sent = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    if not expected or not hmac.compare_digest(expected.encode(), sent.encode()):
        abort(400, "The form is out of date. Please go back, reload the page and try again.")


def has_bearer_token() -> bool:
    """Whether the request shows an API token instead of relying on the session."""
    return request.authorization is not None and request.authorization.type == "bearer"


def init_app(app: Flask) -> None:
    """Check every request and offer ``csrf_token()`` to the templates."""
    app.before_request(check_token)
    app.add_template_global(csrf_token)
