"""Flask-WTF."""

from __future__ import annotations

import io
import re
import typing as t

import pytest
from flask import Flask
from flask import render_template_string
from flask import request
from flask_wtf import CSRFProtect
from flask_wtf import FlaskForm
from flask_wtf.csrf import CSRFError
from flask_wtf.file import FileAllowed
from flask_wtf.file import FileField
from flask_wtf.file import FileRequired
from flask_wtf.file import MultipleFileField
from wtforms import StringField
from wtforms.validators import DataRequired

EXTENSION = "Flask-WTF"

PAGE = "<form method=post>{{ form.hidden_tag() }}{{ form.title() }}</form>{{ form.errors|tojson }}"


class NoteForm(FlaskForm):
    title = StringField(validators=[DataRequired("no title")])


class PhotoForm(FlaskForm):
    photo = FileField(validators=[FileRequired("no file"), FileAllowed(["jpg"], "no jpg")])
    more = MultipleFileField()


def token_in(page: str) -> str:
    """Read the token out of a page."""
    found = re.search(r'name="csrf_token" type="hidden" value="([^"]+)"', page)
    assert found
    return found.group(1)


@pytest.fixture
def app(app: Flask, painted: t.Any) -> Flask:
    CSRFProtect(app)

    @app.route("/note", methods=["GET", "POST"])
    @painted
    def note() -> str:
        form = NoteForm()
        if form.validate_on_submit():
            return f"saved {form.title.data}"
        return render_template_string(PAGE, form=form)

    @app.route("/photo", methods=["GET", "POST"])
    @painted
    def photo() -> t.Any:
        form = PhotoForm()
        if form.validate_on_submit():
            more = [f"{file.filename}={file.read().decode()}" for file in form.more.data]
            return {form.photo.data.filename: len(form.photo.data.read()), "more": more}
        return form.errors

    @app.post("/api")
    @painted
    def api() -> t.Any:
        return request.get_json()

    return app


def test_form_with_its_token_is_valid(client: t.Any) -> None:
    token = token_in(client.get("/note").text)
    answer = client.post("/note", data={"csrf_token": token, "title": "milk"})
    assert answer.text == "saved milk"


def test_form_without_a_token_is_refused(client: t.Any) -> None:
    answer = client.post("/note", data={"title": "milk"})
    assert answer.status_code == 400
    assert "The CSRF token is missing." in answer.text


def test_token_of_another_session_is_refused(app: Flask, client: t.Any) -> None:
    token = token_in(client.get("/note").text)
    client.delete_cookie("session")
    answer = client.post("/note", data={"csrf_token": token, "title": "milk"})
    assert (answer.status_code, "session token is missing" in answer.text) == (400, True)


def test_header_carries_the_token_beside_json(client: t.Any) -> None:
    token = token_in(client.get("/note").text)
    assert client.post("/api", json=[1]).status_code == 400
    assert client.post("/api", json=[1], headers={"X-CSRFToken": token}).json == [1]


def test_error_handler_answers_csrf_errors(app: Flask, client: t.Any, painted: t.Any) -> None:
    app.register_error_handler(CSRFError, painted(lambda error: (error.description, 418)))
    answer = client.post("/api", json=[1])
    assert (answer.status_code, answer.text) == (418, "The CSRF token is missing.")


def test_exempt_views_need_no_token(app: Flask, client: t.Any, painted: t.Any) -> None:
    hook = painted(lambda: request.get_data())
    app.extensions["csrf"].exempt(hook)
    app.add_url_rule("/hook", "hook", hook, methods=["POST"])
    assert client.post("/hook", data=b"raw").data == b"raw"


def test_errors_of_fields_are_shown(client: t.Any) -> None:
    token = token_in(client.get("/note").text)
    answer = client.post("/note", data={"csrf_token": token, "title": ""})
    assert "no title" in answer.text


@pytest.mark.parametrize(
    ("name", "errors"), [("x.jpg", None), ("x.png", ["no jpg"]), ("", ["no file"])]
)
def test_file_fields_are_validated(client: t.Any, name: str, errors: t.Any) -> None:
    data = {
        "csrf_token": token_in(client.get("/note").text),
        "photo": (io.BytesIO(b"pixels" * 50_000), name),
        "more": [(io.BytesIO(b"one"), "1.txt"), (io.BytesIO(b"two"), "2.txt")],
    }
    answer = client.post("/photo", data=data)
    good = {"x.jpg": 300_000, "more": ["1.txt=one", "2.txt=two"]}
    assert answer.json == ({"photo": errors} if errors else good)
