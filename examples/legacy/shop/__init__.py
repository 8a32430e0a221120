"""The shop, a Flask application from before there was any async code here.

``flask --app shop run`` serves it alone.
"""

from __future__ import annotations

import kept
from flask import Flask

from . import catalogue


def create_app(secret_key: str | None = None) -> Flask:
    """Build the application."""
    app = Flask(__name__)
    app.secret_key = secret_key or kept.secret("shop_key")
    app.register_blueprint(catalogue.bp)
    return app
