"""Flask-Login."""

from __future__ import annotations

import typing as t

import pytest
from flask import Flask
from flask_login import current_user
from flask_login import fresh_login_required
from flask_login import login_required
from flask_login import login_user
from flask_login import LoginManager
from flask_login import logout_user
from flask_login import UserMixin

EXTENSION = "Flask-Login"


class User(UserMixin):
    def __init__(self, id: str) -> None:
        self.id = id


@pytest.fixture
def app(app: Flask, painted: t.Any) -> Flask:
    manager = LoginManager(app)
    manager.login_view = "login"
    manager.user_loader(User)

    @app.post("/login/<name>")
    @app.get("/login", defaults={"name": ""})
    @painted
    def login(name: str) -> str:
        return f"{login_user(User(name), remember=True)}"

    @app.post("/logout")
    @login_required
    @painted
    def logout() -> str:
        return f"{logout_user()}"

    @app.get("/me")
    @login_required
    @painted
    def me() -> str:
        return current_user.id

    @app.get("/password")
    @fresh_login_required
    @painted
    def password() -> str:
        return "secret"

    return app


def test_login_required_sends_strangers_to_the_login(client: t.Any) -> None:
    answer = client.get("/me")
    assert answer.status_code == 302
    assert answer.location == "/login?next=%2Fme"


def test_login_required_lets_users_pass(client: t.Any) -> None:
    assert client.post("/login/ada").text == "True"
    assert client.get("/me").text == "ada"


def test_logout_ends_the_session(client: t.Any) -> None:
    client.post("/login/ada")
    assert client.post("/logout").text == "True"
    assert client.get("/me").status_code == 302
