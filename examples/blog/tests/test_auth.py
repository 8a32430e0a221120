from __future__ import annotations

import pytest

from .conftest import Browser


def test_registration_logs_in_and_greets(visitor: Browser) -> None:
    visitor.register("grace")
    page = visitor.get("/").text
    assert "Welcome, grace!" in page
    assert "Log out" in page
    assert "Welcome, grace!" not in visitor.get("/").text


def test_log_out_and_in_again(ada: Browser) -> None:
    ada.submit("/", action="/logout")
    assert "Log in" in ada.get("/").text
    assert ada.submit("/login", name="ada", password="wrong one").status_code == 400
    response = ada.submit("/login", name="ADA", password="long enough")
    assert response.location == "/"
    assert "Good to see you, ada." in ada.get("/").text


def test_log_in_leads_to_the_page_that_asked_for_it(visitor: Browser, ada: Browser) -> None:
    assert visitor.get("/posts/new").location == "/login"
    response = visitor.submit("/login", name="ada", password="long enough")
    assert response.location == "/posts/new"


@pytest.mark.parametrize(
    ("name", "password", "message"),
    [
        ("x", "long enough", "3 to 30 letters"),
        ("a b", "long enough", "3 to 30 letters"),
        ("grace", "short", "at least 8 characters"),
        ("Ada", "long enough", "is taken"),
    ],
)
def test_bad_registration_is_refused(
    visitor: Browser, ada: Browser, name: str, password: str, message: str
) -> None:
    response = visitor.submit("/register", name=name, password=password)
    assert response.status_code == 400
    assert message in response.text
    assert "Log out" not in response.text


def test_nobody_can_log_in_as_the_welcome_author(visitor: Browser) -> None:
    assert visitor.submit("/login", name="inkwell", password="none").status_code == 400


def test_the_session_starts_afresh_at_log_in(visitor: Browser) -> None:
    before = visitor.token("/register")
    visitor.register("grace")
    assert visitor.token("/") != before
