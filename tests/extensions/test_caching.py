"""Flask-Caching."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from flask import Flask
from flask import render_template_string
from flask import request
from flask_caching import Cache

EXTENSION = "Flask-Caching"


@pytest.fixture(params=["SimpleCache", "FileSystemCache"])
def cache(app: Flask, request: pytest.FixtureRequest, tmp_path: t.Any) -> Cache:
    return Cache(app, config={"CACHE_TYPE": request.param, "CACHE_DIR": str(tmp_path / "cache")})


@pytest.fixture
def count() -> t.Callable[[], str]:
    counter = itertools.count(1)
    return lambda: f"{next(counter)}"


def test_cached_views_run_once(
    app: Flask, client: t.Any, painted: t.Any, cache: Cache, count: t.Any
) -> None:
    app.add_url_rule("/", "index", cache.cached(timeout=60)(painted(count)))
    assert [client.get("/").text for _ in range(3)] == ["1", "1", "1"]
    cache.clear()
    assert client.get("/").text == "2"


def test_cached_responses_keep_status_and_headers(
    app: Flask, client: t.Any, painted: t.Any, cache: Cache
) -> None:
    def view() -> t.Any:
        return {"a": 1}, 201, {"X-Note": "milk"}

    app.add_url_rule("/", "index", cache.cached(timeout=60)(painted(view)))
    for _ in range(2):
        answer = client.get("/")
        assert (answer.status_code, answer.json, answer.headers["X-Note"]) == (
            201,
            {"a": 1},
            "milk",
        )


def test_query_string_is_a_part_of_the_key(
    app: Flask, client: t.Any, painted: t.Any, cache: Cache, count: t.Any
) -> None:
    view = painted(lambda: request.args["q"] + count())
    app.add_url_rule("/", "index", cache.cached(timeout=60, query_string=True)(view))
    assert [client.get(f"/?q={q}").text for q in "abab"] == ["a1", "b2", "a1", "b2"]


def test_memoize_keys_by_arguments(
    app: Flask, client: t.Any, painted: t.Any, cache: Cache, count: t.Any
) -> None:
    @app.get("/<name>")
    @cache.memoize(60)
    @painted
    def hello(name: str) -> str:
        return name + count()

    assert [client.get(f"/{name}").text for name in "abab"] == ["a1", "b2", "a1", "b2"]
    with app.app_context():
        cache.delete_memoized(hello, name="a")
    assert [client.get(f"/{name}").text for name in "ab"] == ["a3", "b2"]


def test_memoized_functions_serve_views(
    app: Flask, client: t.Any, painted: t.Any, cache: Cache, count: t.Any
) -> None:
    cached = cache.memoize(60)(lambda name: name + count())
    app.add_url_rule("/<name>", "hello", painted(lambda name: cached(name)))
    assert [client.get(f"/{name}").text for name in "aba"] == ["a1", "b2", "a1"]


def test_unless_is_asked_in_the_request(
    app: Flask, client: t.Any, painted: t.Any, cache: Cache, count: t.Any
) -> None:
    cached = cache.cached(unless=lambda: "fresh" in request.args)
    app.add_url_rule("/", "index", cached(painted(count)))
    assert [client.get(path).text for path in ("/", "/?fresh", "/")] == ["1", "2", "1"]


def test_templates_have_cached_blocks(
    app: Flask, client: t.Any, painted: t.Any, cache: Cache, count: t.Any
) -> None:
    template = "{% cache 60, 'block' %}{{ count() }}{% endcache %}"
    view = painted(lambda: render_template_string(template, count=count))
    app.add_url_rule("/", "index", view)
    assert [client.get("/").text for _ in range(2)] == ["1", "1"]
