"""Flask-Migrate."""

from __future__ import annotations

import typing as t

import pytest
from flask import Flask
from flask_migrate import Migrate
from flask_migrate import upgrade
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import inspect

EXTENSION = "Flask-Migrate"

# Flask-Migrate's own template of env.py asks for it, to support older releases.
pytestmark = pytest.mark.filterwarnings("ignore:'get_engine' is deprecated:DeprecationWarning")


@pytest.fixture
def db() -> SQLAlchemy:
    db = SQLAlchemy()

    class Note(db.Model):  # type: ignore[name-defined]
        id = db.Column(db.Integer, primary_key=True)
        title = db.Column(db.String(80))

    return db


@pytest.fixture
def app(app: Flask, db: SQLAlchemy, tmp_path: t.Any, painted: t.Any) -> t.Iterator[Flask]:
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///notes.db"
    db.init_app(app)
    Migrate(app, db, directory=str(tmp_path / "migrations"))
    app.add_url_rule("/", "index", painted(lambda: inspect(db.engine).get_table_names()))
    app.add_url_rule("/up", "up", painted(lambda: upgrade() or "ok"))
    yield app
    with app.app_context():
        db.engine.dispose()


def run(app: Flask, *args: str) -> None:
    """Run a command of the extension."""
    result = app.test_cli_runner().invoke(args=["db", *args])
    assert result.exit_code == 0, (result.output, result.exception)


def test_commands_make_and_apply_migrations(app: Flask, client: t.Any) -> None:
    run(app, "init")
    run(app, "migrate", "-m", "notes", "--rev-id", "1")
    assert client.get("/").json == ["alembic_version"]
    run(app, "upgrade")
    assert client.get("/").json == ["alembic_version", "note"]
    run(app, "downgrade")
    assert client.get("/").json == ["alembic_version"]


def test_view_applies_migrations(app: Flask, client: t.Any) -> None:
    run(app, "init")
    run(app, "migrate", "-m", "notes", "--rev-id", "1")
    assert client.get("/up").text == "ok"
    assert client.get("/").json == ["alembic_version", "note"]
