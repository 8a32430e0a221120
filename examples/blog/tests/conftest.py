from __future__ import annotations

import re
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from werkzeug.test import Client
from werkzeug.test import TestResponse

from asyncflask import Flask

from .. import create_app


class Browser:
    """A visitor: a test client that sends forms with the token from the page they are on."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def get(self, path: str, **options: t.Any) -> TestResponse:
        return self.client.get(path, **options)

    def token(self, page: str) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(page).text)
        assert found is not None, f"{page} has no form"
        return found[1]

    def submit(self, page: str, action: str | None = None, **fields: t.Any) -> TestResponse:
        """Open a page and send its form, to the page itself or to ``action``."""
        data = {"csrf_token": self.token(page)} | fields
        return self.client.post(action or page, data=data)

    def register(self, name: str, password: str = "long enough") -> Browser:
        assert self.submit("/register", name=name, password=password).status_code == 302
        return self

    def publish(self, title: str = "A title", body: str = "A text.", **fields: t.Any) -> str:
        """Write a post and give its address."""
        response = self.submit("/posts/new", title=title, body=body, **fields)
        assert response.status_code == 302, response.text
        return str(response.location)


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return create_app(
        {
            "TESTING": True,
            "DATA": tmp_path,
            "MAX_CONTENT_LENGTH": 64 * 1024,
            "PASSWORD_METHOD": "pbkdf2:sha256:1",
            "FEED_SECONDS": 0.2,
        }
    )


@pytest.fixture(params=["wsgi", "asgi"])
def new_browser(app: Flask, request: pytest.FixtureRequest) -> Callable[[], Browser]:
    """Opens browsers, each with cookies of its own; every test runs on both transports."""
    return lambda: Browser(app.test_client(transport=request.param))


@pytest.fixture
def visitor(new_browser: Callable[[], Browser]) -> Browser:
    """Somebody who is not logged in."""
    return new_browser()


@pytest.fixture
def ada(new_browser: Callable[[], Browser]) -> Browser:
    """A user who is logged in."""
    return new_browser().register("ada")


@pytest.fixture
def bob(new_browser: Callable[[], Browser]) -> Browser:
    """Another user who is logged in."""
    return new_browser().register("bob")
