"""Flask-Login."""

from __future__ import annotations

import typing as t

import pytest
from flask import Flask
from flask import render_template_string
from flask.views import MethodView
from flask_login import current_user
from flask_login import FlaskLoginClient
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
    manager.login_view = manager.refresh_view = "login"
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


def test_remember_cookie_logs_in_but_not_freshly(client: t.Any) -> None:
    client.post("/login/ada")
    assert client.get("/password").text == "secret"
    client.delete_cookie("session")
    assert client.get("/me").text == "ada"
    assert client.get("/password").status_code == 302


def test_request_loader_takes_tokens(app: Flask, client: t.Any) -> None:
    manager = t.cast(t.Any, app).login_manager
    manager.request_loader(lambda request: User(request.args["token"]))
    assert client.get("/me?token=eve").text == "eve"


def test_login_required_decorates_class_based_views(
    app: Flask, client: t.Any, painted: t.Any
) -> None:
    class Notes(MethodView):
        decorators = [login_required]

        @painted
        def get(self) -> str:
            return current_user.id

    app.add_url_rule("/notes", view_func=Notes.as_view("notes"))
    assert client.get("/notes").status_code == 302
    client.post("/login/ada")
    assert client.get("/notes").text == "ada"


def test_client_of_the_extension_is_logged_in(app: Flask, way: tuple[str, str]) -> None:
    app.test_client_class = FlaskLoginClient
    client = app.test_client(user=User("ada"), transport=way[0])
    assert client.get("/me").text == "ada"


def test_current_user_is_known_to_templates(app: Flask, client: t.Any, painted: t.Any) -> None:
    template = "{{ current_user.id if current_user.is_authenticated else 'nobody' }}"
    app.add_url_rule("/name", "name", painted(lambda: render_template_string(template)))
    assert client.get("/name").text == "nobody"
    client.post("/login/ada")
    assert client.get("/name").text == "ada"
