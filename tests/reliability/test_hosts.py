"""Whom a request is for, and from whom: only what the socket and a single, plain Host say."""

from __future__ import annotations

import json
import typing as t

import pytest
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from asyncflask import Flask
from asyncflask import request
from asyncflask import url_for
from tests.kit.drive import fetch
from tests.kit.server import serve

pytestmark = [pytest.mark.case("A26"), pytest.mark.anyio]

TRANSPORTS = ["asgi", "wsgi"]
HOSTS = ["example.com/abc?bar=", "evil.com#", "a@evil.com", "a b", "", "[::1", "a\\b", "a_b"]
HOSTS += ["\xff.com", "a:b", "a:", "a:123456", "a:" + "9" * 5000, "a\0b", "a\tb", "%61.com", "x://y"]
# The last two are hosts, but such as Python's IDNA cannot decode.
GOOD_HOSTS = ["example.com", "EXAMPLE.com:8000", "example.com.", "[::1]", "[::1]:8000", "127.0.0.1"]
GOOD_HOSTS += ["xn--a", "xn--strae-oqa.de:8000"]


def make_app() -> Flask:
    app = Flask("app", static_folder=None)

    @app.route("/")
    @app.route("/<path:path>")
    def view(path: str = "") -> dict[str, t.Any]:
        return {
            "host": request.host,
            "path": request.path,
            "routed": f"/{path}",
            "url": request.url,
            "urls": [request.base_url, request.root_url, request.host_url],
            "scheme": request.scheme,
            "from": request.remote_addr,
            "route": list(request.access_route),
            "headers": dict(request.headers),
            "environ": sorted(key for key in request.environ if key.startswith("HTTP_")),
        }

    return app


async def ask(app: Flask, transport: str, host: str, path: str = "/x", **more: str) -> t.Any:
    """Make a request with a Host header as it is; give the status, or the JSON of a 200."""
    headers = [("host", host), *((name.replace("_", "-"), value) for name, value in more.items())]
    if transport == "asgi":
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        answer = await fetch(app, "GET", path, scope={"headers": raw})
        return answer.json if answer.status == 200 else answer.status
    environ = create_environ(path, environ_base={"REMOTE_ADDR": "127.0.0.1"})
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers}
    # Not by a client, which reads the URL itself.
    body, status, _ = run_wsgi_app(app.wsgi_app, environ, buffered=True)
    return json.loads(b"".join(body)) if status == "200 OK" else int(status[:3])


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("host", HOSTS, ids=lambda host: ascii(host)[:30])
async def test_what_is_no_host_is_none_and_never_a_part_of_the_path(
    host: str, transport: str
) -> None:
    app = make_app()
    seen = await ask(app, transport, host)
    assert (seen["host"], seen["path"], seen["routed"]) == ("", "/x", "/x")
    assert (seen["url"], seen["urls"]) == ("http:///x", ["http:///x", "http:///", "http:///"])
    app.config["TRUSTED_HOSTS"] = ["example.com", "evil.com", "a"]
    assert await ask(app, transport, host) == 400


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("host", GOOD_HOSTS)
async def test_a_host_is_taken_as_it_is_and_its_url_can_be_read(host: str, transport: str) -> None:
    seen = await ask(make_app(), transport, host)
    assert (seen["host"], seen["path"]) == (host, "/x")
    root = f"http://{host.lower()}/"
    assert (seen["url"], seen["urls"]) == (f"{root}x", [f"{root}x", root, root])


@pytest.mark.parametrize("second", ["localhost", "good.test", "evil.test", ""])
async def test_two_hosts_are_a_bad_request_even_where_one_was_good_before(second: str) -> None:
    app = make_app()
    for _ in range(2):
        # A path without variable parts, whose match is remembered.
        assert (await ask(app, "asgi", "good.test", "/"))["host"] == "good.test"
    for pair in [("good.test", second), (second, "good.test")]:
        headers = [(b"host", host.encode()) for host in pair]
        assert (await fetch(app, "GET", "/", scope={"headers": headers})).status == 400
        # As a WSGI server joins them.
        assert await ask(app, "wsgi", ",".join(pair)) == 400


TRUSTED = {
    "example.com": ["example.com", "example.com:80", "example.com:8000"],
    ".example.com": ["example.com", "www.example.com", "a.b.example.com:8000"],
}
UNTRUSTED = ["exampleXcom", "example.com.evil", "evil-example.com", "evilexample.com", "", "a,b"]
UNTRUSTED += ["example.com@evil", "evil@example.com", "example.com/evil", "example.com:x", "[::1]"]
UNTRUSTED += ["example.com\n", " example.com", "example.com, evil", ".example.com", "example.com.."]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("trusted", TRUSTED)
async def test_only_hosts_that_are_named_literally_are_trusted(
    trusted: str, transport: str
) -> None:
    app = make_app()
    app.config["TRUSTED_HOSTS"] = [trusted]
    for host in TRUSTED[trusted]:
        assert (await ask(app, transport, host))["path"] == "/x", host
    for host in [*UNTRUSTED, "sub.example.com.evil.test"]:
        seen = await ask(app, transport, host, x_forwarded_host="example.com")
        assert seen == 400, host


# -- what proxies say ----------------------------------------------------------------------------

SPOOFED = {
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "evil.test",
    "x-forwarded-port": "666",
    "x-forwarded-prefix": "/evil",
    "x-real-ip": "6.6.6.6",
    "forwarded": "for=6.6.6.6;host=evil.test;proto=https",
    "remote-user": "admin",
}
NAMES = ["X_Forwarded_For", "Content_Length", "X_Real_IP", "Remote_User", "X-Forwarded_For"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_nobody_s_forwarding_headers_are_believed(transport: str) -> None:
    seen = await ask(make_app(), transport, "localhost", **SPOOFED)
    assert (seen["host"], seen["scheme"], seen["from"]) == ("localhost", "http", "127.0.0.1")
    assert (seen["path"], seen["url"]) == ("/x", "http://localhost/x")


@pytest.mark.parametrize("name", NAMES)
async def test_names_with_an_underscore_enter_neither_headers_nor_environ(name: str) -> None:
    seen = (await fetch(make_app(), "GET", "/", headers={name: "6"})).json
    assert (seen["headers"], seen["environ"]) == ({"Host": "localhost"}, ["HTTP_HOST"])
    assert (seen["from"], seen["route"]) == ("127.0.0.1", ["127.0.0.1"])


async def test_repeated_forwarding_headers_are_joined_in_their_order() -> None:
    pairs = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2, 3.3.3.3")]
    seen = (await fetch(make_app(), "GET", "/", headers=pairs)).json
    assert seen["headers"]["X-Forwarded-For"] == "1.1.1.1,2.2.2.2, 3.3.3.3"
    assert seen["from"] == "127.0.0.1"


PATHS = ["@google.com", "//g.com", "\\\\g.com", "/a?b", "/a#b", "*", "http://evil.com/x", ""]


@pytest.mark.parametrize("raw", [True, False], ids=["raw path", "no raw path"])
@pytest.mark.parametrize("path", PATHS)
async def test_no_path_moves_the_host(path: str, raw: bool) -> None:
    scope = {"path": path, "raw_path": path.encode() if raw else None}
    seen = (await fetch(make_app(), "GET", "/", scope=scope)).json
    assert (seen["host"], seen["path"]) == ("localhost", seen["routed"])
    assert seen["path"] == "/" + path.lstrip("/")
    assert seen["url"].startswith("http://localhost/")


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_on_a_server_the_socket_and_one_host_decide(parser: str) -> None:
    source = "from tests.reliability.test_hosts import make_app\n\napp = make_app()"
    spoofed = "".join(f"{name}: {value}\r\n" for name, value in SPOOFED.items())
    spoofed += "".join(f"{name}: 6\r\n" for name in NAMES)
    with serve(source, "--no-proxy-headers", http=parser) as server:
        for target in ["/x", "@google.com", "//g.com/x", "http://evil.com/x", "\\\\g.com"]:
            with server.connect() as connection:
                head = f"GET {target} HTTP/1.1\r\nHost: good.test\r\n{spoofed}\r\n"
                connection.send(head.encode())
                response = connection.response()
                if response.status == 400 and target != "/x":
                    # The server's own word.
                    continue
                seen = json.loads(response.read())
                assert (seen["host"], seen["from"]) == ("good.test", "127.0.0.1")
                assert seen["path"] == seen["routed"]
                assert seen["url"].startswith("http://good.test/")
                assert not [name for name in seen["headers"] if "_" in name]
        with server.connect() as connection:
            connection.send(b"GET /x HTTP/1.1\r\nHost: good.test\r\nHost: evil.test\r\n\r\n")
            assert connection.response().status == 400


@pytest.mark.parametrize("transport", ["asgi", "wsgi"])
def test_the_page_for_a_refused_host_may_have_links(transport: str) -> None:
    app = Flask("app", static_folder=None)
    app.config["TRUSTED_HOSTS"] = ["example.com"]
    app.add_url_rule("/home", "home", lambda: "home")
    app.register_error_handler(400, lambda error: (url_for("home"), 400))
    answer = app.test_client(transport=transport).get("/home", headers={"Host": "evil.com"})
    assert (answer.status_code, answer.text) == (400, "/home")
