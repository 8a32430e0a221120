"""Whatever stands in a request line, nothing breaks: no 5xx, no exception, no line in the log."""

from __future__ import annotations

import logging
import typing as t
from urllib.parse import unquote
from urllib.parse import unquote_to_bytes

import pytest
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from asyncflask import Flask
from asyncflask import request
from asyncflask.views import MethodView
from tests.kit.drive import fetch
from tests.kit.server import serve

pytestmark = [pytest.mark.case("A27"), pytest.mark.anyio]


class Item(MethodView):
    def get(self) -> str:
        return "got"

    def helper(self) -> str:
        return "reached"

    def _secret(self) -> str:
        return "reached"


def make_app() -> Flask:
    app = Flask("app")
    app.secret_key = "for the tests"
    eleven = "-".join(f"<{letter}>" for letter in "abcdefghijk")
    app.add_url_rule("/item", view_func=Item.as_view("item"))
    app.add_url_rule("/int/<int:number>", "int", lambda number: str(number))
    app.add_url_rule("/float/<float:number>", "float", lambda number: str(number))
    app.add_url_rule("/uuid/<uuid:key>", "uuid", lambda key: str(key))
    app.add_url_rule(f"/many/{eleven}", "many", lambda **values: "".join(values.values()))
    app.add_url_rule("/admin", "admin", lambda: "reached")
    app.add_url_rule("/admin/secret", "secret", lambda: "reached")

    @app.route("/")
    @app.route("/tell/<path:path>")
    def tell(path: str = "") -> dict[str, t.Any]:
        """Look at all that comes from the target."""
        keys = ["PATH_INFO", "QUERY_STRING", "REQUEST_URI", "RAW_URI"]
        return {
            "urls": [request.url, request.base_url, request.full_path, request.path, path],
            "args": request.args.to_dict(flat=False),
            "environ": {key: request.environ.get(key) for key in keys},
        }

    return app


DIGITS = "9" * 5000
TARGETS = ["", "*", "/%00", "/\0", "/%ff", "/\xff", "/?a=%ff", "/?a=\xff&\xff=%00", "/?%"]
TARGETS += ["http://evil.com/x", "http:///x", "http://[::1", "@google.com", "//g.com/a", "///"]
TARGETS += ["\\x", "?x", "/x y", "/..", "/../../etc/passwd", "/%", "/%2", "/%zz", "/%u0041"]
TARGETS += [f"/{'a' * 20_000}", "/%ff" * 10_000, "/" * 20_000, "/a" * 10_000, f"/?{'&' * 20_000}"]
TARGETS += ["/tell/%ff", "/tell/%ed%a0%80", "/tell/%00%0a%1b", "/tell/\x80", "/tell/%f4%90%80%80"]
TARGETS += ["/tell" + "/%ff" * 10_000, "/tell/%E2%80%A8", "/admin;x", "/admin%3b", "/static/%00"]
TARGETS += [f"/int/{DIGITS}", "/int/-1", "/int/%D9%A3", "/int/1_0", "/int/+1", f"/float/{DIGITS}.0"]
TARGETS += ["/float/nan", "/float/1e5", "/uuid/%ff", "/uuid/" + "0" * 36, f"/?a={DIGITS}", "/#?"]
TARGETS += ["/?=&&;a", "/%%41"]
#: What might be mistaken for a path that is guarded.
NEAR_MISSES = ["/admin%0a", "/admin%0d", "/admin%20", "/admin%00", "/admin%5Csecret", "/ADMIN"]
NEAR_MISSES += ["/admin\\secret", "/admin%2e", "/admin%3bx", "/admin%c0%afsecret", "/./admin"]
NEAR_MISSES += ["/x/../admin"]
METHODS = ["DISPATCH_REQUEST", "__INIT__", "HELPER", "helper", "_secret", "_SECRET", "as_view"]
METHODS += ["G\0T"]
PATHS = ["/tell/\udcff", "/tell/\ud800", "/\udc80", "/\udfff/\ud800", "/tell/\0"]


async def ask_asgi(app: Flask, method: str, target: str, **scope: t.Any) -> tuple[int, str]:
    """Ask as a server does that decodes like Python."""
    path, _, query = target.partition("?")
    scope = {
        "path": unquote(path, "utf-8", "replace"),
        "raw_path": path.encode("latin-1", "replace"),
        "query_string": query.encode("latin-1"),
        **scope,
    }
    answer = await fetch(app, method, "/", scope=scope)
    return answer.status, answer.text


def ask_wsgi(app: Flask, method: str, target: str) -> tuple[int, str]:
    path, _, query = target.partition("?")
    environ = create_environ("/", method=method)
    environ["PATH_INFO"] = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    environ["QUERY_STRING"] = query
    environ["REQUEST_URI"] = environ["RAW_URI"] = target
    body, status, _ = run_wsgi_app(app.wsgi_app, environ, buffered=True)
    return int(status[:3]), b"".join(body).decode()


def short(value: str) -> str:
    return ascii(value)[:30]


@pytest.mark.parametrize("target", TARGETS, ids=short)
async def test_no_target_is_an_error(target: str, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    assert (await ask_asgi(app, "GET", target))[0] < 500
    assert ask_wsgi(app, "GET", target)[0] < 500
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("root", ["", "/mount", "/\udcff"], ids=ascii)
@pytest.mark.parametrize("path", PATHS, ids=ascii)
async def test_surrogates_of_a_server_are_bytes_that_could_not_be_decoded(
    path: str, root: str
) -> None:
    for raw in (b"/tell/%ff", None):
        scope = {"path": root + path, "root_path": root, "raw_path": raw}
        status, text = await ask_asgi(make_app(), "GET", "/", **scope)
        assert status == (200 if path.startswith("/tell") else 404)
        if "\0" not in path and status == 200:
            assert "/tell/\\ufffd" in text


@pytest.mark.parametrize("target", NEAR_MISSES)
async def test_what_only_looks_like_a_path_is_not_it(target: str) -> None:
    app = make_app()
    assert (await ask_asgi(app, "GET", target))[0] == 404
    assert ask_wsgi(app, "GET", target)[0] == 404


@pytest.mark.parametrize("method", METHODS, ids=short)
async def test_no_method_reaches_more_than_a_class_offers(method: str) -> None:
    app = make_app()
    assert (await ask_asgi(app, method, "/item"))[0] == 405
    assert ask_wsgi(app, method, "/item")[0] == 405


async def test_eleven_values_of_one_segment_keep_their_order() -> None:
    numbers = [str(number) for number in range(11)]
    answer = await ask_asgi(make_app(), "GET", f"/many/{'-'.join(numbers)}")
    assert answer == (200, "".join(numbers))


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_on_a_server_nothing_breaks_either(parser: str) -> None:
    source = "from tests.reliability.test_targets import make_app\n\napp = make_app()"
    lines = [f"GET {target}" for target in [*TARGETS, *NEAR_MISSES]]
    lines += [f"{method} /item" for method in [*METHODS, "head", "get", "options", "TRACE"]]
    lines += ["CONNECT /item", "HEAD /", "head /", "options *", "OPTIONS *", "HEAD *"]
    lines += ["G" * 5000 + " /"]
    with serve(source, http=parser) as server:
        for line in lines:
            with server.connect() as connection:
                head = f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                connection.send(head.encode("latin-1"))
                answer = connection.raw()
            assert answer[:10] in (b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4"), (line[:60], answer)
            assert b"reached" not in answer or line.split()[-1] == "/admin"
        assert server.get("/admin") == "reached"
        assert "Traceback" not in server.output and "ERROR" not in server.output
