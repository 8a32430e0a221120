"""Flask-HTTPAuth."""

from __future__ import annotations

import hashlib
import re
import typing as t

import pytest
from flask import Flask
from flask_httpauth import HTTPBasicAuth
from flask_httpauth import HTTPDigestAuth
from flask_httpauth import HTTPTokenAuth
from flask_httpauth import MultiAuth
from werkzeug.datastructures import Authorization

EXTENSION = "Flask-HTTPAuth"

PASSWORDS = {"ada": "engine", "bob": "builder"}


@pytest.fixture
def basic(painted: t.Any) -> HTTPBasicAuth:
    auth = HTTPBasicAuth(realm="the mill")

    @auth.verify_password
    @painted
    def verify(name: str, password: str) -> str | None:
        return name if name and PASSWORDS.get(name) == password else None

    @auth.get_user_roles
    @painted
    def roles(name: str) -> list[str]:
        return ["admin"] if name == "ada" else []

    @auth.error_handler
    @painted
    def refuse(status: int) -> tuple[str, int]:
        return f"refused with {status}", status

    return auth


@pytest.fixture
def bearer(painted: t.Any) -> HTTPTokenAuth:
    auth = HTTPTokenAuth()
    auth.verify_token(painted({"t-1": "eve"}.get))
    return auth


@pytest.fixture
def app(app: Flask, painted: t.Any, basic: HTTPBasicAuth, bearer: HTTPTokenAuth) -> Flask:
    either = MultiAuth(basic, bearer)

    @app.get("/me")
    @basic.login_required
    @painted
    def me() -> str:
        return basic.current_user()

    @app.get("/admin")
    @basic.login_required(role="admin")
    @painted
    def admin() -> str:
        return "for admins"

    @app.get("/maybe")
    @basic.login_required(optional=True)
    @painted
    def maybe() -> str:
        return str(basic.current_user())

    @app.get("/either")
    @either.login_required
    @painted
    def by_either() -> str:
        return either.current_user()

    return app


def test_login_required_lets_a_user_pass_with_the_right_password(client: t.Any) -> None:
    assert client.get("/me", auth=("ada", "engine")).text == "ada"


@pytest.mark.parametrize("auth", [None, ("ada", "wrong"), ("carl", "engine")])
def test_others_get_the_answer_of_the_error_handler(client: t.Any, auth: t.Any) -> None:
    answer = client.get("/me", auth=auth)
    assert (answer.status_code, answer.text) == (401, "refused with 401")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="the mill"'


def test_roles_are_asked_for(client: t.Any) -> None:
    assert client.get("/admin", auth=("ada", "engine")).text == "for admins"
    answer = client.get("/admin", auth=("bob", "builder"))
    assert (answer.status_code, answer.text) == (403, "refused with 403")


def test_an_optional_login_is_none_for_strangers(client: t.Any) -> None:
    assert client.get("/maybe").text == "None"
    assert client.get("/maybe", auth=("bob", "builder")).text == "bob"


def test_tokens_and_passwords_may_both_be_taken(client: t.Any) -> None:
    assert client.get("/either", auth=("bob", "builder")).text == "bob"
    assert client.get("/either", headers={"Authorization": "Bearer t-1"}).text == "eve"
    assert client.get("/either", headers={"Authorization": "Bearer t-2"}).status_code == 401


def test_digests_are_checked_against_the_nonce_in_the_session(
    app: Flask, client: t.Any, painted: t.Any
) -> None:
    auth = HTTPDigestAuth()
    auth.get_password(painted(PASSWORDS.get))
    view = painted(lambda: auth.username())
    app.add_url_rule("/digest", "digest", auth.login_required(view))
    challenge = client.get("/digest").headers["WWW-Authenticate"]
    parts = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    good = digest("engine", parts)
    assert client.get("/digest", auth=good).text == "ada"
    assert client.get("/digest", auth=digest("wrong", parts)).status_code == 401


def digest(password: str, parts: dict[str, str]) -> Authorization:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    realm, nonce = parts["realm"], parts["nonce"]
    user, request = md5(f"ada:{realm}:{password}"), md5("GET:/digest")
    response = md5(f"{user}:{nonce}:00000001:c:auth:{request}")
    fields = {"username": "ada", "realm": realm, "nonce": nonce, "uri": "/digest"}
    fields |= {"response": response, "opaque": parts["opaque"], "qop": "auth"}
    return Authorization("digest", {**fields, "nc": "00000001", "cnonce": "c"})
