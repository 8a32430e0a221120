"""Flask-DebugToolbar."""

from __future__ import annotations

import logging
import re
import typing as t

import pytest
from flask import Flask
from flask import g
from flask import redirect
from flask import render_template_string
from flask_debugtoolbar import DebugToolbarExtension

EXTENSION = "Flask-DebugToolbar"
NOTES = """Async views, which Flask cannot serve with it, run; what they log is not in the logging \
panel, which goes by threads."""

PAGE = "<!doctype html><html><body><h1>{{ name }}</h1></body></html>"


@pytest.fixture
def app(app: Flask, painted: t.Any) -> Flask:
    app.debug = True
    DebugToolbarExtension(app)
    add_views(app, painted)
    return app


def add_views(app: Flask, painted: t.Any) -> None:
    @app.get("/page/<name>")
    @painted
    def page(name: str) -> str:
        g.note = "kept in g"
        logging.getLogger("views").warning("written to the log")
        return render_template_string(PAGE, name=name)

    @app.get("/data")
    @painted
    def data() -> dict[str, int]:
        return {"a": 1}

    @app.get("/away")
    @painted
    def away() -> t.Any:
        return redirect("/data")


def test_the_toolbar_is_in_html_pages(client: t.Any) -> None:
    answer = client.get("/page/ada")
    assert "<h1>ada</h1>" in answer.text and 'id="flDebug"' in answer.text
    assert answer.text.endswith("</body></html>")
    assert answer.content_length == len(answer.data)


def test_panels_tell_of_the_request(client: t.Any) -> None:
    text = client.get("/page/ada?colour=green").text
    for told in ("kept in g", "green", "/page/&lt;name&gt;"):
        assert told in text


def test_the_logging_panel_has_what_was_logged_on_the_thread_of_the_hooks(
    client: t.Any, way: tuple[str, str]
) -> None:
    told = "written to the log" in client.get("/page/ada").text
    assert told is (way[1] == "def")


def test_the_profiler_can_be_switched_on(client: t.Any) -> None:
    client.set_cookie("fldt_active", "flDebugProfilerPanel")
    text = client.get("/page/ada").text
    assert "<h1>ada</h1>" in text and re.search(r"View: \d+\.\d\dms", text)


def test_data_stays_as_it_is(client: t.Any) -> None:
    assert client.get("/data").json == {"a": 1}


def test_redirects_are_shown_first(client: t.Any) -> None:
    answer = client.get("/away")
    assert answer.status_code == 200 and 'href="/data"' in answer.text
    assert 'id="flDebug"' in answer.text


def test_its_files_are_served(client: t.Any) -> None:
    path = re.search(r'src="(/_debug_toolbar/static/[^"]+\.js)', client.get("/page/ada").text)
    assert path is not None
    with client.get(path[1]) as answer:
        assert answer.status_code == 200 and "javascript" in answer.mimetype


def test_without_debug_mode_there_is_none(way: tuple[str, str], painted: t.Any) -> None:
    other = Flask("other")
    DebugToolbarExtension(other)
    add_views(other, painted)
    client: t.Any = other.test_client(transport=way[0])  # type: ignore[call-arg]
    assert client.get("/page/ada").text == PAGE.replace("{{ name }}", "ada")
