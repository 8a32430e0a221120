"""What the tests of extensions have.

A file ``test_x.py`` here is for one extension. It names the distribution that is tested,
``EXTENSION = "Flask-X"``, and may have ``NOTES``, what a user of it must know; it imports ``flask``
and the extension as any application does. The distribution stands in the group ``extensions`` of
``pyproject.toml``.

Its tests are plain functions named after what must hold, since the names are what
``docs/extensions.md`` tells of them. Each is run four times, views being ``@painted``: over WSGI
and ASGI, with ``def`` and ``async def``.
"""

from __future__ import annotations

import sys
import typing as t

import pytest

import asyncflask
from tests.colours import Paint
from tests.colours import painter
from tests.kit.extensions import ExtensionFile
from tests.kit.extensions import id_of
from tests.kit.extensions import WAYS

if t.TYPE_CHECKING:
    from pathlib import Path

    from asyncflask import Flask
    from asyncflask.testing import FlaskClient


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> t.Any:
    """Have files run apart, save in the process that is for one of them."""
    if sys.modules.get("flask") is asyncflask:
        return None
    return ExtensionFile.from_parent(parent, path=module_path)


@pytest.fixture(autouse=True, params=WAYS, ids=lambda way: id_of(*way))
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    """How a test is run: transport and colour."""
    return t.cast("tuple[str, str]", request.param)


@pytest.fixture
def painted(way: tuple[str, str]) -> Paint:
    """Make a function a sync or an async one."""
    return painter(way[1])


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """Give an application of a folder of its own."""
    app = asyncflask.Flask("extended", root_path=str(tmp_path), instance_path=str(tmp_path))
    app.config.update(TESTING=True, SECRET_KEY="for the tests")
    return app


@pytest.fixture
def client(app: Flask, way: tuple[str, str]) -> FlaskClient:
    """Give a client of the application whose requests go the way of the test."""
    return app.test_client(transport=way[0])
