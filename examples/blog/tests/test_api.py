from __future__ import annotations

import re

import pytest

from asyncflask import Flask

from .conftest import Browser

POST = {"title": "From a program", "body": "Hello."}


def bearer(browser: Browser) -> dict[str, str]:
    """Make an API token on the account page."""
    found = re.search(r'class="token">([^<]+)<', browser.submit("/account").text)
    assert found is not None
    return {"Authorization": f"Bearer {found[1]}"}


def test_list_and_detail(visitor: Browser) -> None:
    listed = visitor.get("/api/posts").json
    assert listed is not None
    assert (listed["page"], listed["pages"], listed["total"], listed["next"]) == (1, 1, 3, None)
    newest = listed["posts"][0]
    assert newest == visitor.get(f"/api/posts/{newest['id']}").json
    assert newest["author"] == "inkwell"
    assert newest["image"] == "/images/lanes.png"


def test_the_list_names_its_next_page(app: Flask, visitor: Browser) -> None:
    app.config["POSTS_PER_PAGE"] = 2
    first = visitor.get("/api/posts").json
    assert first is not None
    second = visitor.get(first["next"]).json
    assert second is not None
    assert (len(first["posts"]), len(second["posts"]), second["next"]) == (2, 1, None)


def test_create_with_a_token(visitor: Browser, ada: Browser) -> None:
    response = visitor.client.post("/api/posts", json=POST, headers=bearer(ada))
    assert response.status_code == 201
    assert visitor.get(str(response.location)).json == response.json
    assert response.json is not None
    assert response.json["author"] == "ada"
    assert "From a program" in visitor.get(response.json["url"]).text


def test_a_new_token_replaces_the_old_one(visitor: Browser, ada: Browser) -> None:
    old, new = bearer(ada), bearer(ada)
    assert visitor.client.post("/api/posts", json=POST, headers=old).status_code == 401
    assert visitor.client.post("/api/posts", json=POST, headers=new).status_code == 201


def test_create_with_the_session(ada: Browser) -> None:
    headers = {"X-CSRF-Token": ada.token("/")}
    assert ada.client.post("/api/posts", json=POST, headers=headers).status_code == 201
    assert ada.client.post("/api/posts", json=POST).status_code == 400


def test_a_wrong_token_does_not_fall_back_to_the_session(ada: Browser) -> None:
    response = ada.client.post("/api/posts", json=POST, headers={"Authorization": "Bearer no"})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].lower() == "bearer"
    assert response.json == {"error": "Unauthorized", "message": "Send an API token."}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"title": "x"}', 400),
        (b'{"title": "x", "body": 1}', 400),
        (b'{"title": " ", "body": "y"}', 400),
        (b"[]", 400),
        (b"{", 400),
        (b'"' + bytes(100_000) + b'"', 413),
    ],
)
def test_bad_json_is_refused_in_json(ada: Browser, content: bytes, status: int) -> None:
    response = ada.client.post(
        "/api/posts", data=content, content_type="application/json", headers=bearer(ada)
    )
    assert response.status_code == status
    assert response.json is not None
    assert set(response.json) == {"error", "message"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/posts/99", 404), ("GET", "/api/nothing", 404), ("PUT", "/api/posts", 400)],
)
def test_errors_are_json(visitor: Browser, method: str, path: str, status: int) -> None:
    response = visitor.client.open(path, method=method)
    assert response.status_code == status
    assert response.json is not None


def test_a_wrong_method_names_the_right_ones(visitor: Browser) -> None:
    response = visitor.client.put("/api/posts", headers={"Authorization": "Bearer any"})
    assert response.status_code == 405
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))
    assert response.json is not None
