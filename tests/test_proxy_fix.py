"""``ProxyFix`` believes what Werkzeug's believes, and makes the same of it."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from werkzeug.middleware.proxy_fix import ProxyFix as WsgiProxyFix

from asyncflask import Flask
from asyncflask import request
from asyncflask import url_for
from asyncflask.middleware import ORIGINAL
from asyncflask.middleware import ProxyFix
from tests.kit.drive import fetch

pytestmark = pytest.mark.anyio

KINDS = ("x_for", "x_proto", "x_host", "x_port", "x_prefix")


def build() -> Flask:
    """Make an application that tells where it believes to be."""
    app = Flask(__name__, static_folder=None)

    @app.get("/see/<word>")
    def see(word: str) -> dict[str, t.Any]:
        environ = request.environ
        return {
            "url": request.url,
            "root_url": request.root_url,
            "host_url": request.host_url,
            "host": request.host,
            "scheme": request.scheme,
            "secure": request.is_secure,
            "addr": request.remote_addr,
            "route": request.access_route,
            "root": request.root_path,
            "path": request.path,
            "links": [url_for("see", word=word, _external=external) for external in (0, 1)],
            "server": [environ["SERVER_NAME"], environ["SERVER_PORT"]],
            "client": environ["REMOTE_ADDR"],
            "uri": environ["RAW_URI"],
            "original": environ.get("werkzeug.proxy_fix.orig"),
        }

    return app


def answers(
    headers: dict[str, str], base_url: str = "http://localhost", **trusted: int
) -> list[t.Any]:
    """Ask the application behind Werkzeug's middleware, and behind ours in both ways."""
    wsgi, added, wrapped = build(), build(), build()
    wsgi.wsgi_app = WsgiProxyFix(wsgi.wsgi_app, **trusted)  # type: ignore[method-assign]
    added.add_middleware(ProxyFix, **trusted)
    wrapped.asgi_app = ProxyFix(wrapped.asgi_app, **trusted)  # type: ignore[method-assign]
    asked = [(wsgi, "wsgi"), (added, "asgi"), (wrapped, "asgi")]
    got = []
    for app, transport in asked:
        client = app.test_client(transport=transport)
        answer = client.get("/see/w\u00f6rd?q=1", base_url=base_url, headers=headers)
        got.append(answer.json if answer.status_code == 200 else answer.status)
    return got


ONE_OF_EACH = {
    "X-Forwarded-For": "10.0.0.1, 10.0.0.2",
    "X-Forwarded-Proto": "ftp, https",
    "X-Forwarded-Host": "a.example, b.example:8443",
    "X-Forwarded-Port": "81, 82",
    "X-Forwarded-Prefix": "/one, /two",
}


@pytest.mark.parametrize("counts", list(itertools.product((0, 1, 2), repeat=5)), ids=str)
def test_any_numbers_of_proxies(counts: tuple[int, ...]) -> None:
    theirs, *ours = answers(ONE_OF_EACH, **dict(zip(KINDS, counts, strict=True)))
    assert theirs["path"] == "/see/w\u00f6rd"
    assert ours == [theirs, theirs]


@pytest.mark.parametrize(
    "header",
    [
        ("For", "10.0.0.1"),
        ("For", "2001:db8::1"),
        ("For", "10.0.0.1:5000"),
        ("For", "unknown"),
        ("For", ""),
        ("For", ","),
        ("For", "a,,b"),
        ("For", '"a, b"'),
        ("Proto", "https"),
        ("Proto", "HTTPS"),
        ("Proto", " https , http "),
        ("Host", "a.example"),
        ("Host", "a.example:443"),
        ("Host", "a.example:80"),
        ("Host", "[2001:db8::1]"),
        ("Host", "[2001:db8::1]:8000"),
        ("Host", "a.example:"),
        ("Host", "a.example/x"),
        ("Host", "b\u00fccher.example"),
        ("Port", "443"),
        ("Port", "80"),
        ("Prefix", "/"),
        ("Prefix", "/one/"),
        ("Prefix", "one"),
        ("Prefix", "/one/two"),
        ("Prefix", "/a%20b"),
        ("Prefix", "/caf\u00c3\u00a9"),
        ("Prefix", "/caf\u00e9"),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "base_url", ["http://localhost", "https://c.example:8000/front", "http://[::1]:81/"]
)
def test_all_kinds_of_values(header: tuple[str, str], count: int, base_url: str) -> None:
    name, value = header
    headers = {f"X-Forwarded-{name}": value}
    trusted = dict.fromkeys(KINDS, count)
    theirs, *ours = answers(headers, base_url, **trusted)
    assert ours == [theirs, theirs]


def test_the_defaults_are_werkzeugs() -> None:
    theirs, *ours = answers(ONE_OF_EACH)
    assert (theirs["addr"], theirs["scheme"], theirs["host"]) == ("10.0.0.2", "https", "localhost")
    assert ours == [theirs, theirs]


# -- what only ASGI has -------------------------------------------------------------------------


async def seen(**scope: t.Any) -> t.Any:
    """Pass a request through the middleware and give the scope that comes out."""
    scopes: list[t.Any] = []

    async def note(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        scopes.append(scope)

    headers = [(b"host", b"localhost"), *scope.pop("headers", ())]
    scope = {"type": "http", "path": "/", "root_path": "", "scheme": "http"} | scope
    fix = ProxyFix(note, x_for=1, x_proto=1, x_host=1, x_port=1, x_prefix=1)
    before = {**scope, "headers": headers}
    given = {**before, "headers": [*headers]}
    await fix(given, None, None)  # type: ignore[arg-type]
    assert given == before, "the server's own scope is changed"
    return scopes[0]


async def test_a_header_in_several_lines_is_one_list() -> None:
    app = build()
    app.add_middleware(ProxyFix, x_for=2)
    lines = [("X-Forwarded-For", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2")]
    assert (await fetch(app, "GET", "/see/x", headers=lines)).json["addr"] == "10.0.0.1"


async def test_a_header_with_an_underscore_is_not_a_proxys() -> None:
    app = build()
    app.add_middleware(ProxyFix)
    answer = await fetch(app, "GET", "/see/x", headers=[("X_Forwarded_For", "10.0.0.1")])
    assert answer.json["addr"] == "127.0.0.1"


async def test_a_prefix_takes_the_place_of_the_servers() -> None:
    prefix = [(b"x-forwarded-prefix", b"/new/")]
    for path in ("/old/x", "/x"):
        scope = await seen(path=path, root_path="/old", headers=prefix, raw_path=b"/old/x")
        assert (scope["root_path"], scope["path"]) == ("/new", "/new/x")
        assert scope["raw_path"] == b"/old/x"
    scope = await seen(path="/older", root_path="/old", headers=prefix)
    assert scope["path"] == "/new/older"


async def test_there_is_one_host_header() -> None:
    headers = [(b"x-forwarded-host", b"a.example"), (b"Host", b"b.example"), (b"a", b"1")]
    scope = await seen(headers=headers)
    hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
    assert hosts == [b"a.example"]
    assert (b"a", b"1") in scope["headers"]


@pytest.mark.parametrize(
    ("server", "headers", "fixed"),
    [
        (("::1", 80), {"host": "a.example:81"}, ("a.example", 81)),
        (("::1", 80), {"host": "a.example"}, ("a.example", 80)),
        (("::1", 80), {"host": "a.example:http"}, ("a.example", None)),
        (("::1", 80), {"port": "\u00b2"}, ("::1", None)),
        (None, {"port": "81"}, ("localhost", 81)),
        (("/run/socket", None), {"host": "a.example"}, ("a.example", None)),
        (("/run/socket", None), {}, ("/run/socket", None)),
    ],
)
async def test_the_servers_port_is_a_number(
    server: t.Any, headers: dict[str, str], fixed: t.Any
) -> None:
    pairs = [
        (f"x-forwarded-{name}".encode(), value.encode("latin-1")) for name, value in headers.items()
    ]
    assert (await seen(server=server, headers=pairs))["server"] == fixed


async def test_a_client_that_the_server_does_not_know_has_no_port() -> None:
    address = [(b"x-forwarded-for", b"10.0.0.1")]
    assert (await seen(headers=address, client=None))["client"] == ("10.0.0.1", 0)
    assert (await seen(headers=address, client=("::1", 9)))["client"] == ("10.0.0.1", 9)


async def test_the_original_values_are_kept() -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in ONE_OF_EACH.items()]
    scope = await seen(client=("::1", 9), server=("::1", 80), headers=headers)
    assert scope[ORIGINAL] == {
        "client": ("::1", 9),
        "scheme": "http",
        "server": ("::1", 80),
        "root_path": "",
        "host": "localhost",
    }


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [("https", "wss"), ("http", "ws"), ("wss", "wss"), ("", "ws")],
)
async def test_a_websockets_scheme(proto: str, scheme: str) -> None:
    headers = [(b"x-forwarded-proto", proto.encode())]
    assert (await seen(type="websocket", scheme="ws", headers=headers))["scheme"] == scheme


async def test_a_mounted_applications_websocket_sees_what_the_proxy_says() -> None:
    async def tell(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(str(socket.url))
        await socket.close()

    app = Flask(__name__)
    app.mount("/chat", Starlette(routes=[WebSocketRoute("/room", tell)]))
    app.add_middleware(ProxyFix, x_host=1, x_prefix=1)
    sent: list[t.Any] = []

    async def receive() -> t.Any:
        return {"type": "websocket.connect"}

    async def send(message: t.Any) -> None:
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in ONE_OF_EACH.items()]
    scope = {"type": "websocket", "scheme": "ws", "path": "/chat/room", "root_path": ""}
    scope |= {"headers": headers, "query_string": b"", "subprotocols": [], "server": ("::1", 80)}
    await app(scope, receive, send)
    assert sent[1]["text"] == "wss://b.example:8443/two/chat/room"


async def test_other_scopes_pass_as_they_are() -> None:
    scope = await seen(type="lifespan", headers=[(b"x-forwarded-for", b"10.0.0.1")])
    assert "client" not in scope and ORIGINAL not in scope
