from __future__ import annotations

import pytest

from .conftest import Browser


def test_a_first_start_shows_the_welcome_posts(visitor: Browser) -> None:
    page = visitor.get("/").text
    assert page.count("<article") == 3
    assert page.index("Welcome to Inkwell") < page.index("An API beside the pages")


def test_write_read_edit_delete(ada: Browser) -> None:
    address = ada.publish("First", "One.\n\nTwo <b>.")
    page = ada.get(address).text
    assert "Your post is published." in page
    assert "<p>One.</p>\n<p>Two &lt;b&gt;.</p>" in page

    ada.submit(f"{address}/edit", title="Second", body="Three.")
    page = ada.get(address).text
    assert "Second" in page
    assert "edited" in page
    assert "First" not in page

    ada.submit(address, action=f"{address}/delete")
    assert "“Second” is deleted." in ada.get("/").text
    assert ada.get(address).status_code == 404


@pytest.mark.parametrize(
    ("title", "body", "message"),
    [
        ("", "text", "needs a title"),
        ("title", "  ", "and a text"),
        ("t" * 121, "text", "121 characters, 120 are allowed"),
        ("title", "b" * 20_001, "20000 are allowed"),
    ],
)
def test_an_incomplete_post_is_shown_again(
    ada: Browser, title: str, body: str, message: str
) -> None:
    response = ada.submit("/posts/new", title=title, body=body)
    assert response.status_code == 400
    assert message in response.text
    assert ada.get("/").text.count("<article") == 3


def test_others_cannot_change_a_post(ada: Browser, bob: Browser) -> None:
    address = ada.publish()
    assert bob.get(f"{address}/edit").status_code == 403
    for action in ("edit", "delete"):
        response = bob.submit("/posts/new", action=f"{address}/{action}", title="x", body="y")
        assert response.status_code == 403
    assert "/delete" not in bob.get(address).text
    assert "A title" in ada.get(address).text


def test_visitors_cannot_write(visitor: Browser, ada: Browser) -> None:
    address = ada.publish()
    for action in ("/posts/new", f"{address}/edit", f"{address}/delete"):
        response = visitor.submit("/login", action=action, title="x", body="y")
        assert response.location == "/login"
    assert "A title" in visitor.get(address).text


def test_pages_of_seven(ada: Browser) -> None:
    for number in range(6):
        ada.publish(f"Number {number}")
    first, second = ada.get("/").text, ada.get("/?page=2").text
    assert first.count("<article") == 7
    assert second.count("<article") == 2
    assert 'href="/?page=2"' in first
    assert 'href="/?page=1"' in second


@pytest.mark.parametrize("path", ["/?page=2", "/?page=0", "/posts/99", f"/posts/{2**70}"])
def test_what_is_not_there_is_404(visitor: Browser, path: str) -> None:
    assert visitor.get(path).status_code == 404
