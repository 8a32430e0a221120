"""Flask-SQLAlchemy."""

from __future__ import annotations

import asyncio
import typing as t

import pytest
from flask import Flask
from flask import request
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.record_queries import get_recorded_queries
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

EXTENSION = "Flask-SQLAlchemy"
NOTES = "in `async def` views queries block the event loop, save in `await asyncio.to_thread(…)`"


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Note(db.Model):  # type: ignore[name-defined]
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(unique=True)


@pytest.fixture
def app(app: Flask, painted: t.Any) -> Flask:
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///notes.db"
    app.config["SQLALCHEMY_RECORD_QUERIES"] = True
    db.init_app(app)
    with app.app_context():
        db.create_all()

    @app.post("/notes")
    @painted
    def add() -> t.Any:
        note = Note(title=request.form["title"])
        db.session.add(note)
        db.session.commit()
        return {"id": note.id}, 201

    @app.get("/notes/<int:id>")
    @painted
    def show(id: int) -> str:
        return db.get_or_404(Note, id).title

    @app.get("/notes")
    @painted
    def notes() -> t.Any:
        page = db.paginate(db.select(Note).order_by(Note.title), per_page=2)
        return {"titles": [note.title for note in page], "pages": page.pages, "next": page.has_next}

    return app


@pytest.fixture(autouse=True)
def _engines_closed(app: Flask) -> t.Iterator[None]:
    yield
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


def test_rows_are_written_and_read_again(client: t.Any) -> None:
    answer = client.post("/notes", data={"title": "milk"})
    assert (answer.status_code, answer.json) == (201, {"id": 1})
    assert client.get("/notes/1").text == "milk"


def test_get_or_404_answers_404(client: t.Any) -> None:
    assert client.get("/notes/7").status_code == 404


def test_paginate_takes_its_page_from_the_request(client: t.Any) -> None:
    for title in "cab":
        client.post("/notes", data={"title": title})
    assert client.get("/notes").json == {"titles": ["a", "b"], "pages": 2, "next": True}
    assert client.get("/notes?page=2").json == {"titles": ["c"], "pages": 2, "next": False}
    assert client.get("/notes?page=3").status_code == 404


def test_session_is_removed_after_each_request(app: Flask, client: t.Any, painted: t.Any) -> None:
    seen = []

    def unsaved() -> t.Any:
        seen.append(db.session())
        db.session.add(Note(title="unsaved"))
        db.session.flush()
        return f"{db.session.query(Note).count()}"

    app.add_url_rule("/unsaved", "unsaved", painted(unsaved))
    assert [client.get("/unsaved").text for _ in range(3)] == ["1", "1", "1"]
    assert len(set(map(id, seen))) == 3
    assert not any(session.in_transaction() for session in seen)
    assert client.get("/notes").json["titles"] == []


def test_all_callbacks_of_a_request_share_a_session(
    app: Flask, client: t.Any, painted: t.Any
) -> None:
    seen: list[t.Any] = []
    app.before_request(painted(lambda: seen.append(db.session())))
    app.after_request(painted(lambda response: seen.append(db.session()) or response))
    app.teardown_request(lambda error: seen.append(db.session()))
    app.add_url_rule("/", "index", painted(lambda: seen.append(db.session()) or "ok"))
    assert client.get("/").text == "ok"
    assert len(seen) == 4
    assert len(set(map(id, seen))) == 1


def test_other_threads_of_a_request_have_its_session(
    app: Flask, client: t.Any, way: tuple[str, str]
) -> None:
    seen: list[t.Any] = []

    def query() -> str:
        seen.append(db.session())
        return f"{db.session.query(Note).count()}"

    async def view() -> str:
        seen.append(db.session())
        return await asyncio.to_thread(query)

    app.before_request(lambda: seen.append(db.session()))
    app.add_url_rule("/", "index", query if way[1] == "def" else view)
    assert client.get("/").text == "0"
    assert len(seen) > 1 and len(set(map(id, seen))) == 1


def test_error_rolls_back(app: Flask, client: t.Any) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert client.post("/notes", data={"title": "milk"}).status_code == 201
    assert client.post("/notes", data={"title": "milk"}).status_code == 500
    assert client.post("/notes", data={"title": "eggs"}).status_code == 201
    assert client.get("/notes").json["titles"] == ["eggs", "milk"]


def test_queries_are_recorded_per_request(app: Flask, client: t.Any, painted: t.Any) -> None:
    def count() -> str:
        db.session.execute(db.select(Note)).all()
        return f"{len(get_recorded_queries())}"

    app.add_url_rule("/count", "count", painted(count))
    assert [client.get("/count").text for _ in range(2)] == ["1", "1"]
