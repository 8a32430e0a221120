"""Flask-JWT-Extended."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from flask import Flask
from flask import jsonify
from flask_jwt_extended import create_access_token
from flask_jwt_extended import create_refresh_token
from flask_jwt_extended import current_user
from flask_jwt_extended import get_jwt
from flask_jwt_extended import get_jwt_identity
from flask_jwt_extended import jwt_required
from flask_jwt_extended import JWTManager
from flask_jwt_extended import set_access_cookies
from flask_jwt_extended import unset_jwt_cookies

EXTENSION = "Flask-JWT-Extended"


@pytest.fixture
def app(app: Flask, painted: t.Any) -> Flask:
    app.config.update(
        JWT_SECRET_KEY="a key of thirty-two bytes or more",
        JWT_TOKEN_LOCATION=["headers", "cookies"],
    )
    revoked: set[str] = set()
    manager = JWTManager(app)
    manager.user_lookup_loader(lambda header, data: f"user {data['sub']}")
    manager.token_in_blocklist_loader(lambda header, data: data["jti"] in revoked)

    @app.post("/login/<name>")
    @painted
    def login(name: str) -> dict[str, str]:
        access = create_access_token(name, fresh=True, additional_claims={"colour": "green"})
        return {"access": access, "refresh": create_refresh_token(name)}

    @app.post("/refresh")
    @jwt_required(refresh=True)
    @painted
    def refresh() -> dict[str, str]:
        return {"access": create_access_token(get_jwt_identity())}

    @app.post("/logout")
    @jwt_required()
    @painted
    def logout() -> str:
        revoked.add(get_jwt()["jti"])
        return "out"

    @app.get("/old")
    @painted
    def old() -> str:
        return create_access_token("ada", expires_delta=datetime.timedelta(seconds=-1))

    add_protected(app, painted)
    add_cookies(app, painted)
    return app


def add_protected(app: Flask, painted: t.Any) -> None:
    @app.get("/me")
    @jwt_required()
    @painted
    def me() -> list[str]:
        return [get_jwt_identity(), str(current_user), get_jwt().get("colour", "")]

    @app.get("/maybe")
    @jwt_required(optional=True)
    @painted
    def maybe() -> list[str | None]:
        return [get_jwt_identity()]

    @app.get("/password")
    @jwt_required(fresh=True)
    @painted
    def password() -> str:
        return "secret"


def add_cookies(app: Flask, painted: t.Any) -> None:
    @app.post("/cookie/<name>")
    @painted
    def cookie(name: str) -> t.Any:
        answer = jsonify("in")
        set_access_cookies(answer, create_access_token(name))
        return answer

    @app.post("/change")
    @jwt_required()
    @painted
    def change() -> str:
        return "changed"

    @app.post("/forget")
    @painted
    def forget() -> t.Any:
        answer = jsonify("out")
        unset_jwt_cookies(answer)
        return answer


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_lets_its_user_pass(client: t.Any) -> None:
    tokens = client.post("/login/ada").json
    answer = client.get("/me", headers=bearer(tokens["access"]))
    assert answer.json == ["ada", "user ada", "green"]


def test_without_a_token_or_with_a_wrong_one_nobody_passes(client: t.Any) -> None:
    answer = client.get("/me")
    assert (answer.status_code, answer.json["msg"][:13]) == (401, "Missing JWT i")
    token = client.post("/login/ada").json["access"]
    assert client.get("/me", headers=bearer(f"{token}x")).status_code == 422


def test_a_token_expires(client: t.Any) -> None:
    answer = client.get("/me", headers=bearer(client.get("/old").text))
    assert (answer.status_code, answer.json) == (401, {"msg": "Token has expired"})


def test_an_optional_token_may_be_missing(client: t.Any) -> None:
    token = client.post("/login/ada").json["access"]
    assert client.get("/maybe").json == [None]
    assert client.get("/maybe", headers=bearer(token)).json == ["ada"]


def test_a_refreshed_token_is_not_fresh(client: t.Any) -> None:
    tokens = client.post("/login/ada").json
    assert client.get("/password", headers=bearer(tokens["access"])).text == "secret"
    token = client.post("/refresh", headers=bearer(tokens["refresh"])).json["access"]
    assert client.get("/me", headers=bearer(token)).json == ["ada", "user ada", ""]
    assert client.get("/password", headers=bearer(token)).status_code == 401


def test_a_revoked_token_lets_nobody_pass(client: t.Any) -> None:
    headers = bearer(client.post("/login/ada").json["access"])
    assert client.post("/logout", headers=headers).text == "out"
    answer = client.get("/me", headers=headers)
    assert (answer.status_code, answer.json) == (401, {"msg": "Token has been revoked"})


def test_cookies_take_tokens_and_changes_need_the_csrf_header(client: t.Any) -> None:
    client.post("/cookie/ada")
    assert client.get("/me").json == ["ada", "user ada", ""]
    assert client.post("/change").status_code == 401
    token = client.get_cookie("csrf_access_token").value
    assert client.post("/change", headers={"X-CSRF-TOKEN": token}).text == "changed"
    client.post("/forget")
    assert client.get("/me").status_code == 401
