from __future__ import annotations

from pathlib import Path

import pytest

from asyncflask import Flask

from .. import create_app
from .. import store
from ..filters import paragraphs
from .conftest import Browser


@pytest.mark.parametrize("action", ["/login", "/register", "/logout"])
@pytest.mark.parametrize("token", [None, "", "guessed", "ключ"])
def test_a_form_without_its_token_is_refused(
    visitor: Browser, action: str, token: str | None
) -> None:
    data = {"name": "grace", "password": "long enough"}
    if token is not None:
        data["csrf_token"] = token
    assert visitor.client.post(action, data=data).status_code == 400
    visitor.token("/login")
    response = visitor.client.post(action, data=data)
    assert response.status_code == 400
    assert "out of date" in response.text


def test_the_token_of_another_session_is_refused(ada: Browser, bob: Browser) -> None:
    data = {"title": "x", "body": "y", "csrf_token": bob.token("/")}
    assert ada.client.post("/posts/new", data=data).status_code == 400


def test_every_response_has_the_headers(visitor: Browser) -> None:
    for path in ("/", "/api/posts", "/nowhere", "/static/style.css"):
        with visitor.get(path) as response:
            assert response.headers["Server-Timing"].startswith("app;dur=")
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]


def test_pages_obey_their_own_content_policy(ada: Browser) -> None:
    for path in ("/", "/posts/1", "/posts/new", "/account", "/login"):
        page = ada.get(path).text
        assert "<style" not in page
        assert " style=" not in page
        assert "<script>" not in page
        assert " onclick=" not in page


def test_error_pages(visitor: Browser) -> None:
    response = visitor.get("/nowhere")
    assert response.status_code == 404
    assert "There is nothing at this address" in response.text
    assert visitor.get("/logout").status_code == 405


def test_an_unexpected_error_is_a_500_page(
    app: Flask, ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError("the disk is gone")

    app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setattr(store, "list_posts", broken)
    monkeypatch.setattr(store, "find_user", broken)
    response = ada.get("/")
    assert response.status_code == 500
    assert "The fault is ours" in response.text
    assert "disk" not in response.text
    response = ada.get("/api/posts")
    assert response.status_code == 500
    assert response.json is not None
    assert response.json["error"] == "Internal Server Error"


def test_a_second_start_finds_data_and_key_again(tmp_path: Path) -> None:
    first = create_app({"DATA": tmp_path / "new" / "folder"})
    second = create_app({"DATA": tmp_path / "new" / "folder"})
    assert first.secret_key == second.secret_key
    assert (tmp_path / "new/folder/secret_key").stat().st_mode & 0o077 == 0
    with second.test_request_context():
        page = store.list_posts(1)
    assert page is not None
    assert page.total == 3


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOG_DATA", str(tmp_path / "elsewhere"))
    assert create_app().config["DATA"] == tmp_path / "elsewhere"
    assert (tmp_path / "elsewhere" / "blog.sqlite").exists()


def test_paragraphs() -> None:
    text = "  One\r\ntwo.\r\n\r\n\r\nThree `<code>` & `open\n"
    first, second = paragraphs(text).split("\n")
    assert first == "<p>One<br>two.</p>"
    assert second == "<p>Three <code>&lt;code&gt;</code> &amp; `open</p>"
