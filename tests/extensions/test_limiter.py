"""Flask-Limiter."""

from __future__ import annotations

import typing as t

import pytest
from flask import Blueprint
from flask import Flask
from flask import request
from flask.views import MethodView
from flask_limiter import Limiter
from flask_limiter import RateLimitExceeded
from flask_limiter.util import get_remote_address

EXTENSION = "Flask-Limiter"


@pytest.fixture
def limiter(app: Flask) -> Limiter:
    app.config["RATELIMIT_HEADERS_ENABLED"] = True
    return Limiter(get_remote_address, app=app, storage_uri="memory://")


def statuses(client: t.Any, path: str, times: int = 3, **kwargs: t.Any) -> list[int]:
    """Make some requests."""
    return [client.get(path, **kwargs).status_code for _ in range(times)]


def test_limit_is_counted_per_view(
    app: Flask, client: t.Any, painted: t.Any, limiter: Limiter
) -> None:
    app.add_url_rule("/a", "a", limiter.limit("2/hour")(painted(lambda: "a")))
    app.add_url_rule("/b", "b", painted(lambda: "b"))
    assert statuses(client, "/a") == [200, 200, 429]
    assert statuses(client, "/b") == [200, 200, 200]


def test_headers_tell_what_is_left(
    app: Flask, client: t.Any, painted: t.Any, limiter: Limiter
) -> None:
    app.add_url_rule("/", "index", limiter.limit("2/hour")(painted(lambda: "ok")))
    headers = client.get("/").headers
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("2", "1")
    statuses(client, "/", 2)
    assert int(client.get("/").headers["Retry-After"]) > 3000


def test_default_limits_hold_and_exempt_views_do_not_count(
    app: Flask, client: t.Any, painted: t.Any
) -> None:
    limiter = Limiter(
        get_remote_address, app=app, default_limits=["1/hour"], storage_uri="memory://"
    )

    @app.get("/")
    @painted
    def index() -> str:
        return "index"

    @app.get("/free")
    @limiter.exempt
    @painted
    def free() -> str:
        return "free"

    assert statuses(client, "/", 2) == [200, 429]
    assert statuses(client, "/free", 2) == [200, 200]


def test_keys_and_conditions_are_asked_in_the_request(
    app: Flask, client: t.Any, painted: t.Any, limiter: Limiter
) -> None:
    limit = limiter.limit(
        lambda: request.args["limit"],
        key_func=lambda: request.args["user"],
        exempt_when=lambda: request.args["user"] == "admin",
    )
    app.add_url_rule("/", "index", limit(painted(lambda: "ok")))
    assert statuses(client, "/?user=ada&limit=1/hour", 2) == [200, 429]
    assert statuses(client, "/?user=eve&limit=2/hour") == [200, 200, 429]
    assert statuses(client, "/?user=admin&limit=1/hour", 2) == [200, 200]


def test_deduction_may_depend_on_the_response(
    app: Flask, client: t.Any, painted: t.Any, limiter: Limiter
) -> None:
    limit = limiter.limit("1/hour", deduct_when=lambda response: response.status_code == 401)
    app.add_url_rule("/<int:status>", "index", limit(painted(lambda status: ("", status))))
    assert [client.get(f"/{s}").status_code for s in (200, 401, 200)] == [200, 401, 429]


def test_error_handler_answers_breaches(
    app: Flask, client: t.Any, painted: t.Any, limiter: Limiter
) -> None:
    answer = painted(lambda error: (f"slower: {error.description}", 420))
    app.register_error_handler(RateLimitExceeded, answer)
    app.add_url_rule("/", "index", limiter.limit("1/hour")(painted(lambda: "ok")))
    client.get("/")
    assert client.get("/").text == "slower: 1 per 1 hour"


def test_blueprints_and_classes_have_limits(
    app: Flask, client: t.Any, painted: t.Any, limiter: Limiter
) -> None:
    class Notes(MethodView):
        decorators = [limiter.limit("2/hour")]

        @painted
        def get(self) -> str:
            return "notes"

    blueprint = Blueprint("shop", __name__)
    blueprint.add_url_rule("/shop", "shop", painted(lambda: "shop"))
    limiter.limit("1/hour")(blueprint)
    app.register_blueprint(blueprint)
    app.add_url_rule("/notes", view_func=Notes.as_view("notes"))
    assert statuses(client, "/shop") == [200, 429, 429]
    assert statuses(client, "/notes") == [200, 200, 429]


def test_limits_inside_of_views_end_them(
    app: Flask, client: t.Any, painted: t.Any, limiter: Limiter
) -> None:
    def view() -> str:
        with limiter.limit("1/hour"):
            return "ok"

    app.add_url_rule("/", "index", painted(view))
    assert statuses(client, "/") == [200, 429, 429]
