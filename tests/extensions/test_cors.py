"""Flask-CORS."""

from __future__ import annotations

import typing as t

import pytest
from flask import abort
from flask import Blueprint
from flask import Flask
from flask_cors import CORS
from flask_cors import cross_origin

EXTENSION = "Flask-CORS"
NOTES = "`@cross_origin` above an `async def` view works, which it does not in Flask"

ORIGIN = {"Origin": "https://shop.example"}


def allowed(answer: t.Any) -> str | None:
    """Read which origin may see an answer."""
    return t.cast("str | None", answer.headers.get("Access-Control-Allow-Origin"))


@pytest.fixture
def guarded(app: Flask, painted: t.Any) -> Flask:
    CORS(app, resources={r"/api/*": {"origins": ORIGIN["Origin"], "supports_credentials": True}})
    app.add_url_rule("/api/notes", "notes", painted(lambda: ["milk"]), methods=["GET", "PUT"])
    app.add_url_rule("/api/gone", "gone", painted(lambda: abort(410)))
    app.add_url_rule("/api/broken", "broken", painted(lambda: 1 / 0))
    app.add_url_rule("/page", "page", painted(lambda: "page"))
    return app


def test_resources_are_open_to_their_origins(guarded: Flask, client: t.Any) -> None:
    answer = client.get("/api/notes", headers=ORIGIN)
    assert allowed(answer) == ORIGIN["Origin"]
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.json == ["milk"]
    assert allowed(client.get("/api/notes", headers={"Origin": "https://evil.example"})) is None
    assert allowed(client.get("/page", headers=ORIGIN)) is None


def test_preflight_is_answered(guarded: Flask, client: t.Any) -> None:
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "X-Note"}
    answer = client.options("/api/notes", headers={**ORIGIN, **asked})
    assert answer.status_code == 200
    assert allowed(answer) == ORIGIN["Origin"]
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "X-Note"


@pytest.mark.parametrize(
    ("path", "status"), [("/api/gone", 410), ("/api/broken", 500), ("/api/nothing", 404)]
)
def test_errors_carry_the_headers_too(
    guarded: Flask, client: t.Any, path: str, status: int
) -> None:
    guarded.config["PROPAGATE_EXCEPTIONS"] = False
    answer = client.get(path, headers=ORIGIN)
    assert (answer.status_code, allowed(answer)) == (status, ORIGIN["Origin"])


def test_cross_origin_decorates_a_view(app: Flask, client: t.Any, painted: t.Any) -> None:
    @app.route("/open", methods=["GET", "POST"])
    @cross_origin(methods=["POST"], max_age=60)
    @painted
    def open() -> t.Any:
        return "open", 201

    answer = client.post("/open", headers=ORIGIN)
    assert (answer.status_code, answer.text, allowed(answer)) == (201, "open", ORIGIN["Origin"])
    answer = client.options("/open", headers={**ORIGIN, "Access-Control-Request-Method": "POST"})
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    assert answer.headers["Access-Control-Max-Age"] == "60"


def test_blueprint_is_open_alone(app: Flask, client: t.Any, painted: t.Any) -> None:
    blueprint = Blueprint("shop", __name__, url_prefix="/shop")
    CORS(blueprint)
    blueprint.add_url_rule("/", "index", painted(lambda: "shop"))
    app.register_blueprint(blueprint)
    app.add_url_rule("/", "index", painted(lambda: "index"))
    assert allowed(client.get("/shop/", headers=ORIGIN)) == ORIGIN["Origin"]
    assert allowed(client.get("/", headers=ORIGIN)) is None
