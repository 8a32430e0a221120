"""Flask-Session."""

from __future__ import annotations

import typing as t

import pytest
from cachelib import FileSystemCache
from flask import Flask
from flask import session
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy

EXTENSION = "Flask-Session"

pytestmark = pytest.mark.filterwarnings(
    # The extension says so itself of its older back end.
    "ignore:FileSystemSessionInterface is deprecated:DeprecationWarning",
    "ignore:'SESSION_FILE_DIR' is deprecated:DeprecationWarning",
)


def use_cachelib(app: Flask, folder: str) -> None:
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(folder))


def use_filesystem(app: Flask, folder: str) -> None:
    app.config.update(SESSION_TYPE="filesystem", SESSION_FILE_DIR=folder)


def use_sqlalchemy(app: Flask, folder: str) -> None:
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///sessions.db"
    app.config.update(SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=SQLAlchemy(app))


@pytest.fixture(params=[use_cachelib, use_filesystem, use_sqlalchemy])
def app(
    app: Flask, painted: t.Any, request: pytest.FixtureRequest, tmp_path: t.Any
) -> t.Iterator[Flask]:
    request.param(app, str(tmp_path / "sessions"))
    Session(app)

    @app.post("/<name>")
    @painted
    def put(name: str) -> str:
        session["names"] = [*session.get("names", []), name]
        return session.sid

    @app.get("/")
    @painted
    def names() -> t.Any:
        return session.get("names", [])

    @app.delete("/")
    @painted
    def clear() -> str:
        session.clear()
        return "cleared"

    yield app
    if database := app.extensions.get("sqlalchemy"):
        with app.app_context():
            database.engine.dispose()


def test_session_stays_on_the_server(client: t.Any) -> None:
    sid = client.post("/ada").text
    assert client.post("/eve").text == sid
    assert client.get_cookie("session").value == sid
    assert client.get("/").json == ["ada", "eve"]


def test_clients_have_sessions_of_their_own(app: Flask, client: t.Any) -> None:
    client.post("/ada")
    assert app.test_client(transport=client.transport).get("/").json == []
    assert client.get("/").json == ["ada"]


def test_cleared_session_is_deleted(client: t.Any) -> None:
    sid = client.post("/ada").text
    client.delete("/")
    assert client.get_cookie("session") is None
    client.set_cookie("session", sid)
    assert client.get("/").json == []


def test_id_is_renewed(app: Flask, client: t.Any, painted: t.Any) -> None:
    def renew() -> str:
        t.cast(t.Any, app.session_interface).regenerate(session)
        return session.sid

    app.add_url_rule("/renew", "renew", painted(renew))
    old = client.post("/ada").text
    assert client.get("/renew").text != old
    assert client.get("/").json == ["ada"]


def test_tests_can_change_the_session(client: t.Any) -> None:
    with client.session_transaction() as stored:
        stored["names"] = ["eve"]
    assert client.get("/").json == ["eve"]
