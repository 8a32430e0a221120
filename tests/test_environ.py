"""A request made from an ASGI scope is the one a WSGI server would have made."""

from __future__ import annotations

import io
import json
import textwrap
import threading
import typing as t
from urllib.parse import unquote
from urllib.parse import unquote_to_bytes

import pytest
from werkzeug import Request as WerkzeugRequest
from werkzeug.datastructures import EnvironHeaders
from werkzeug.datastructures import Headers
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequestKeyError
from werkzeug.exceptions import ClientDisconnected
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.serving import make_server
from werkzeug.test import EnvironBuilder

from asyncflask import Flask
from asyncflask import Request
from asyncflask import request
from asyncflask.adapters.environ import CountedStream
from asyncflask.adapters.environ import environ_from_scope
from asyncflask.adapters.environ import joined_headers
from asyncflask.adapters.environ import route_path
from asyncflask.adapters.environ import ScopeHeaders
from tests.kit.drive import fetch
from tests.kit.server import Connection
from tests.kit.server import serve

Pairs = list[tuple[str, str]]


def scope_of(
    method: str = "GET",
    target: str = "/",
    headers: t.Iterable[tuple[str, str]] = (("Host", "localhost"),),
    root: str = "",
    **more: t.Any,
) -> dict[str, t.Any]:
    """Make the scope of a request as an ASGI server would.

    :param target: the request target below *root*, as it is on the wire.
    """
    raw_path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(root + raw_path),
        "raw_path": (root + raw_path).encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": unquote(root),
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 80),
        **more,
    }


def environ_of(
    method: str = "GET",
    target: str = "/",
    headers: t.Iterable[tuple[str, str]] = (("Host", "localhost"),),
    root: str = "",
    **more: t.Any,
) -> dict[str, t.Any]:
    """Make the environ of the same request with Werkzeug."""
    pairs = Headers(headers)
    host = pairs.pop("Host", "localhost")
    builder = EnvironBuilder(
        target,
        f"{more.get('scheme', 'http')}://{host}{root}",
        method=method,
        headers=pairs,
        environ_base={"REMOTE_ADDR": "127.0.0.1"},
    )
    environ = builder.get_environ()
    server = more.get("server", ("localhost", 80))
    environ.update(SERVER_NAME=server[0], SERVER_PORT=str(server[1]))
    length = dict(headers).get("Content-Length")
    if length is not None:
        # The builder goes by the body, and there is none.
        environ["CONTENT_LENGTH"] = length
    if not any(name == "Host" for name, _ in headers):
        del environ["HTTP_HOST"]
    return environ


HOST = ("Host", "localhost")
REQUESTS: dict[str, dict[str, t.Any]] = {
    "plain": {},
    "post": {"method": "POST"},
    "unknown method": {"method": "BREW"},
    "path": {"target": "/a/b.c"},
    "trailing slash": {"target": "/a/"},
    "UTF-8": {"target": "/caf%C3%A9/%E2%82%AC"},
    "encoded slash": {"target": "/a%2Fb"},
    "encoded percent": {"target": "/100%25"},
    "encoded question mark": {"target": "/a%3Fb?c=%3F"},
    "encoded space": {"target": "/a%20b+c"},
    "reserved": {"target": "/a;b=c,d@e:f!$&'()*~"},
    "query": {"target": "/?a=1&b=2&a=3&empty=&flag"},
    "query in UTF-8": {"target": "/?n%C3%A4me=v%C3%A4lue&plus=a+b"},
    "query of bytes": {"target": "/?a=%FF%FE"},
    "query of questions": {"target": "/?a?b=c?d"},
    "empty query": {"target": "/?"},
    "mounted": {"target": "/a?b", "root": "/mount"},
    "mounted, at its root": {"target": "/", "root": "/mount"},
    "mounted deep": {"target": "/x", "root": "/a/b"},
    "mounted, in UTF-8": {"target": "/%C3%A9", "root": "/caf%C3%A9"},
    "host with port": {"headers": [("Host", "example.com:8080")]},
    "host with the default port": {"headers": [("Host", "example.com:80")]},
    "https": {"scheme": "https", "headers": [("Host", "example.com:443")], "server": ("x", 443)},
    "IPv6 host": {"headers": [("Host", "[::1]:8000")]},
    "no host": {"headers": [], "server": ("10.0.0.1", 8000)},
    "bad host": {"headers": [("Host", "a b")]},
    "cookies": {"headers": [HOST, ("Cookie", 'a=1; b="x y"; c=%C3%A9; a=2; =no')]},
    "content type": {
        "method": "POST",
        "headers": [HOST, ("Content-Type", 'text/html; charset="utf-8"'), ("Content-Length", "0")],
    },
    "bad length": {"method": "POST", "headers": [HOST, ("Content-Length", "x")]},
    "chunked": {"method": "POST", "headers": [HOST, ("Transfer-Encoding", "chunked")]},
    "negotiation": {
        "headers": [
            HOST,
            ("Accept", "text/html, application/json;q=0.5"),
            ("Accept-Language", "de, en;q=0.5"),
            ("Accept-Encoding", "gzip"),
            ("Accept-Charset", "utf-8"),
            ("User-Agent", "test/1.0 (ü)"),
            ("Referer", "http://example.com/"),
        ]
    },
    "conditions": {
        "headers": [
            HOST,
            ("If-None-Match", '"a", W/"b"'),
            ("If-Modified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ("If-Range", '"a"'),
            ("Range", "bytes=0-1,5-"),
            ("Cache-Control", "no-cache, max-age=0"),
            ("Date", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ]
    },
    "authorization": {"headers": [HOST, ("Authorization", "Basic dXNlcjpwYXNz")]},
    "forwarded": {"headers": [HOST, ("X-Forwarded-For", "1.2.3.4, 5.6.7.8")]},
    "latin-1": {"headers": [HOST, ("X-Name", "é")]},
    "own header": {"headers": [HOST, ("X-2FA-Token", "1"), ("x-lower", " padded ")]},
}

ATTRIBUTES = """
    accept_charsets accept_encodings accept_languages accept_mimetypes access_route args
    authorization base_url cache_control content_encoding content_length content_md5 content_type
    cookies data date endpoint files form full_path host host_url if_match if_modified_since
    if_none_match if_range if_unmodified_since is_json is_secure max_forwards method mimetype
    mimetype_params origin path pragma query_string range referrer remote_addr remote_user root_path
    root_url scheme script_root server url url_root user_agent values view_args
""".split()


def comparable(value: t.Any) -> t.Any:
    """Give a value that equal requests have equal, for classes that compare by identity too."""
    if isinstance(value, MultiDict):
        return list(value.lists())
    return value.to_header() if hasattr(value, "to_header") else value


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_from_a_scope_is_the_one_from_an_environ(name: str) -> None:
    spec = REQUESTS[name]
    ours = Request.from_scope(scope_of(**spec))
    wsgi = Request(environ_of(**spec))
    werkzeug = WerkzeugRequest(environ_of(**spec))
    for attribute in ATTRIBUTES:
        value = comparable(getattr(ours, attribute))
        assert value == comparable(getattr(wsgi, attribute)), attribute
        if hasattr(werkzeug, attribute) and attribute != "args":
            assert value == comparable(getattr(werkzeug, attribute)), attribute
    assert sorted(ours.headers) == sorted(wsgi.headers)
    assert repr(ours) == repr(wsgi)


KEYS = """
    REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING REQUEST_URI RAW_URI SERVER_NAME SERVER_PORT
    SERVER_PROTOCOL REMOTE_ADDR CONTENT_TYPE CONTENT_LENGTH wsgi.url_scheme wsgi.version
""".split()


def shown(environ: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Give what a request says, without what is a server's own."""
    return {key: environ[key] for key in environ if key in KEYS or key.startswith("HTTP_")}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_environ_is_the_one_werkzeug_makes(name: str) -> None:
    spec = REQUESTS[name]
    environ = shown(environ_from_scope(scope_of(**spec), None))
    expected = shown(environ_of(**spec))
    # The builder leaves the mount's prefix out of what the client has sent.
    uri = expected["REQUEST_URI"]
    expected["REQUEST_URI"] = expected["RAW_URI"] = spec.get("root", "") + uri
    if name == "empty query":
        expected["REQUEST_URI"] = expected["RAW_URI"] = "/"
    assert environ == expected


def test_the_environ_is_a_full_one() -> None:
    scope = scope_of(server=("/run/app.sock", None), client=None, raw_path=None)
    scope["path"] = "/a b"
    environ = environ_from_scope(scope, None)
    assert environ["wsgi.input"].read() == b"" and environ["wsgi.errors"].writable()
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("/run/app.sock", "")
    assert "REMOTE_ADDR" not in environ and "REMOTE_PORT" not in environ
    assert environ["REQUEST_URI"] == "/a%20b"
    assert Request.from_scope(scope).server == Request(environ).server == ("/run/app.sock", None)
    assert Request.from_scope(scope).remote_addr is None
    # Some servers know an address, but no port.
    environ = environ_from_scope(scope_of(client=("10.0.0.1", None)), None)
    assert environ["REMOTE_ADDR"] == "10.0.0.1" and "REMOTE_PORT" not in environ


@pytest.mark.parametrize(
    "target, root", [("/%FF", ""), ("/%FF/a", "/mount"), ("/%C3%A9%FF", "/caf%C3%A9")]
)
def test_bytes_of_a_path_that_are_not_utf_8_are_in_the_environ(target: str, root: str) -> None:
    environ = environ_from_scope(scope_of(target=target, root=root), None)
    assert environ["PATH_INFO"].encode("latin-1") == unquote_to_bytes(target)
    assert Request(environ).path == Request.from_scope(scope_of(target=target, root=root)).path


SENT = "\ufffd".encode().decode("latin-1")
# The path of the scope, its root_path, what came over the wire, and what the environ has.
REPLACED: dict[str, tuple[str, str, bytes | None, str]] = {
    "a byte": ("/\ufffd", "", b"/%FF", "/\xff"),
    "bytes that are not escaped": ("/\ufffd", "", b"/\xff", "/\xff"),
    "the character itself": ("/\ufffd", "", b"/%EF%BF%BD", f"/{SENT}"),
    "both": ("/\ufffd\ufffd", "", b"/%EF%BF%BD%FF", f"/{SENT}\xff"),
    "a query": ("/\ufffd", "", b"/%FF?a=%FE", "/\xff"),
    "a mount": ("/mount/\ufffd", "/mount", b"/mount/%FF", "/\xff"),
    "a mount that the target lacks": ("/mount/\ufffd", "/mount", b"/%FF", "/\xff"),
    "a mount of which the target lacks a part": ("/a/b/\ufffd", "/a/b", b"/b/%FF", "/\xff"),
    "a mount that the path lacks": ("/\ufffd", "/mount", b"/%FF", "/\xff"),
    "a mount with letters": ("/\xe9/\ufffd", "/\xe9", b"/%C3%A9/%FF", "/\xff"),
    "what begins like the mount": ("/m\ufffd", "/m", b"/m%FF", "/m\xff"),
    "a mount twice": ("/m/m/\ufffd", "/m", b"/m/m/%FF", "/m/\xff"),
    "no target": ("/\ufffd", "", None, f"/{SENT}"),
    "another target": ("/\ufffd/b", "", b"/%FF/a", f"/{SENT}/b"),
    "a target that was rewritten": ("/new/\ufffd", "", b"/old/%FF", f"/new/{SENT}"),
    "no such byte": ("/a", "", b"/%FF", "/a"),
}


@pytest.mark.parametrize("kind", REPLACED)
def test_a_replaced_byte_is_in_the_environ_if_the_target_has_it(kind: str) -> None:
    path, root, raw_path, expected = REPLACED[kind]
    scope = scope_of() | {"path": path, "root_path": root, "raw_path": raw_path}
    environ = environ_from_scope(scope, None)
    assert environ["PATH_INFO"] == expected
    # A router sees the same path in both.
    assert Request(environ).path == Request.from_scope(scope).path


@pytest.mark.parametrize("method", ["get", "Post"])
def test_a_method_in_lower_case_is_the_same_method(method: str) -> None:
    assert Request.from_scope(scope_of(method)).method == method.upper()


@pytest.mark.parametrize(
    "root_path, path, expected",
    [
        ("", "/a", ("", "/a")),
        ("/", "/a", ("", "/a")),
        ("/m", "/m/a", ("/m", "/a")),
        ("/m/", "/m/a", ("/m", "/a")),
        ("/m", "/m", ("/m", "")),
        ("/m", "/m/", ("/m", "/")),
        ("/m", "/mount", ("/m", "/mount")),
        ("/m", "/a", ("/m", "/a")),
        ("/m", "/m/m/a", ("/m", "/m/a")),
    ],
)
def test_a_mount_s_prefix_ends_at_a_slash(
    root_path: str, path: str, expected: tuple[str, str]
) -> None:
    scope = {"root_path": root_path, "path": path}
    assert route_path(scope) == expected
    full = {**scope_of(), **scope}
    assert Request.from_scope(full).path == (expected[1] or "/")
    assert environ_from_scope(full, None)["SCRIPT_NAME"] == expected[0]


# -- headers -----------------------------------------------------------------------------------


def test_repeated_headers_are_joined_as_by_a_wsgi_server() -> None:
    pairs = [("Cookie", "a=1"), ("X-A", "1"), ("cookie", "b=2"), ("x-a", "2"), ("x-a", "")]
    scope = scope_of(headers=pairs)
    assert joined_headers(scope) == {"cookie": "a=1; b=2", "x-a": "1,2,"}
    assert Request.from_scope(scope).cookies.to_dict() == {"a": "1", "b": "2"}
    environ = environ_from_scope(scope, None)
    assert (environ["HTTP_COOKIE"], environ["HTTP_X_A"]) == ("a=1; b=2", "1,2,")


@pytest.mark.case("A26")
async def test_headers_with_an_underscore_are_nobody_s_word() -> None:
    app = Flask(__name__)

    @app.post("/")
    async def view() -> dict[str, t.Any]:
        return {
            "environ": [key for key in request.environ if "FORWARDED" in key or "USER" in key],
            "headers": [name for name, _ in request.headers],
            "lookup": request.headers.get("X_Forwarded_For"),
            "length": request.content_length,
        }

    spoofed = {"X_Forwarded_For": "1.2.3.4", "Remote_User": "admin", "Content_Length": "0"}
    answer = await fetch(app, "POST", body=b"abc", headers=spoofed)
    assert answer.json == {
        "environ": [],
        "headers": ["Host", "Content-Length"],
        "lookup": None,
        "length": 3,
    }


HEADERS: Pairs = [
    HOST,
    ("Content-Type", "text/a"),
    ("X-Api-Key", "k"),
    ("X-Empty", ""),
    ("Accept", "*/*"),
]

LOOKUPS: dict[str, t.Callable[[t.Any], t.Any]] = {
    "get": lambda h: h.get("x-api-key"),
    "get, underscored": lambda h: h.get("X_API_KEY"),
    "get, missing": lambda h: h.get("x-none", "default"),
    "get, typed": lambda h: h.get("x-api-key", 1, int),
    "item": lambda h: h["Content-Type"],
    "in": lambda h: ["HOST" in h, "x_api_key" in h, "x-none" in h, 1 in h],
    "getlist": lambda h: [h.getlist("accept"), h.get_all("x-none")],
    "keys": lambda h: sorted(h.keys()),
    "values": lambda h: sorted(h.values()),
    "items": lambda h: sorted(h.items(lower=True)),
    "len": len,
    "bool": bool,
    "list": lambda h: sorted(h.to_wsgi_list()),
    "copied": lambda h: sorted(Headers(h)),
    "str": lambda h: sorted(str(h).split("\r\n")),
}


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_headers_answer_as_those_of_an_environ(lookup: str) -> None:
    look = LOOKUPS[lookup]
    assert look(ScopeHeaders(scope_of(headers=HEADERS))) == look(
        EnvironHeaders(environ_of(headers=HEADERS))
    )


def test_an_empty_content_type_is_none() -> None:
    scope = scope_of(headers=[HOST, ("Content-Type", "")])
    headers = ScopeHeaders(scope)
    assert list(headers) == list(EnvironHeaders(environ_from_scope(scope, None)))
    assert len(headers) == 1 and headers["content-type"] == ""


def test_headers_of_a_request_are_read_only() -> None:
    headers = ScopeHeaders(scope_of(headers=HEADERS))
    changes: list[t.Callable[[], t.Any]] = [
        lambda: headers.set("X-A", "1"),
        lambda: headers.add("X-A", "1"),
        lambda: headers.pop("Host"),
        lambda: headers.update({"X-A": "1"}),
        lambda: headers.setdefault("X-A", "1"),
        lambda: headers.copy(),
        lambda: headers | {"X-A": "1"},
    ]
    for change in changes:
        with pytest.raises(TypeError):
            change()
    with pytest.raises(KeyError):
        headers["X-None"]
    with pytest.raises(BadRequestKeyError):
        headers[1]  # type: ignore[call-overload]
    assert headers == ScopeHeaders(scope_of(headers=HEADERS))
    assert headers != ScopeHeaders(scope_of()) and headers != dict(HEADERS)


# -- the environ of a request ------------------------------------------------------------------


async def test_the_environ_is_made_once_and_knows_its_request() -> None:
    app = Flask(__name__)

    @app.post("/")
    def view() -> str:
        environ = request.environ
        assert environ is request.environ
        assert environ["werkzeug.request"] is request._get_current_object()  # type: ignore[attr-defined]
        assert environ["wsgi.input"] is request.input_stream is request.stream
        return environ["wsgi.input"].read(2).decode() + request.stream.read().decode()

    answer = await fetch(app, "POST", body=[b"on", b"etwo"], headers={"Content-Type": "text/plain"})
    assert answer.text == "onetwo"


def test_keys_of_an_outer_environ_are_kept_unless_the_scope_knows_better() -> None:
    outer = {
        "REMOTE_USER": "admin",
        "custom.key": 1,
        "wsgi.errors": io.StringIO(),
        "REQUEST_METHOD": "PUT",
        "HTTP_X_A": "outer",
        "wsgi.url_scheme": "https",
        "REMOTE_ADDR": "10.0.0.9",
        "REMOTE_PORT": "9",
    }
    environ = environ_from_scope(scope_of(wsgi_environ=outer, client=("10.0.0.1", 1)), None)
    for key in ("REMOTE_USER", "custom.key", "wsgi.errors"):
        assert environ[key] is outer[key]
    assert environ["REQUEST_METHOD"] == "GET" and environ["wsgi.url_scheme"] == "http"
    assert "HTTP_X_A" not in environ
    assert environ["REMOTE_ADDR"] == "10.0.0.1" and environ["REMOTE_PORT"] == "1"


# -- the input of a WSGI server ------------------------------------------------------------------


@pytest.mark.parametrize("size", [-1, 3, 100])
def test_counted_input_ends_with_an_error_beyond_its_limit(size: int) -> None:
    def read(data: bytes, length: int | None, limit: int | None) -> bytes:
        stream = CountedStream(io.BytesIO(data), length, limit)
        parts = [stream.read(size)]
        while size >= 0 and parts[-1]:
            parts.append(stream.read(size))
        return b"".join(parts)

    assert read(b"12345", None, None) == b"12345"
    assert read(b"12345", 5, 5) == b"12345"
    # A filter before the application, which unpacks say, leaves the length as it was.
    assert read(b"12345", 3, 5) == b"12345"
    with pytest.raises(RequestEntityTooLarge):
        read(b"123456", None, 5)
    with pytest.raises(ClientDisconnected):
        read(b"1234", 5, None)


# -- real servers --------------------------------------------------------------------------------

DUMP = """
    from asyncflask import Flask, request
    app = Flask("served")

    def dump(path=""):
        kept = ("wsgi.url_scheme", "CONTENT_TYPE", "CONTENT_LENGTH")
        environ = {
            key: value for key, value in request.environ.items()
            if (key.isupper() and isinstance(value, str)) or key in kept
        }
        return {
            "environ": environ, "path": request.path, "args": list(request.args.items(multi=True)),
            "url": request.url, "full_path": request.full_path, "headers": sorted(request.headers),
            "cookies": list(request.cookies.items(multi=True)), "method": request.method,
            "body": request.get_data(as_text=True),
        }

    for rule in ("/", "/<path:path>"):
        app.add_url_rule(rule, "dump", dump, methods=["GET", "POST", "PUT"])
"""

WIRE = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /caf%C3%A9/a%2Fb?n=%C3%A4&m=1+2 HTTP/1.1\r\nHost: example.com:81\r\n\r\n",
    b"GET /a//b/?a=%FF HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\nX_B: 2\r\nx-c:   padded  \r\nX-A: 3\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nCookie: a=1; b=2\r\nX-Name: \xe9\r\n\r\n",
    b"GET /x HTTP/1.0\r\nHost: old\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Type: a/b\r\n\r\nabc",
    b"PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
]

#: What servers tell of themselves, and of the connection.
OWN = {"SERVER_SOFTWARE", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "REMOTE_PORT"}


def ask(host: str, port: int, wire: bytes) -> dict[str, t.Any]:
    connection = Connection(host, port)
    try:
        connection.send(wire)
        answer = json.loads(connection.response().read())
    finally:
        connection.close()
    answer["environ"] = {k: v for k, v in answer["environ"].items() if k not in OWN}
    return t.cast("dict[str, t.Any]", answer)


@pytest.mark.slow
def test_a_view_sees_the_same_on_an_asgi_and_a_wsgi_server() -> None:
    namespace: dict[str, t.Any] = {}
    exec(textwrap.dedent(DUMP), namespace)
    wsgi = make_server("127.0.0.1", 0, namespace["app"].wsgi_app, threaded=True)
    thread = threading.Thread(target=wsgi.serve_forever, daemon=True)
    thread.start()
    try:
        with serve(DUMP, http="httptools") as asgi:
            for wire in WIRE:
                expected = ask("127.0.0.1", wsgi.server_port, wire)
                assert ask(asgi.host, asgi.port, wire) == expected, wire
    finally:
        wsgi.shutdown()
        wsgi.server_close()
        thread.join(10)


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ("", "/"),
        ("/", "/"),
        ("a", "/a"),
        ("/a", "/a"),
        ("//", "/"),
        ("//a", "/a"),
        ("///a//", "/a//"),
    ],
)
def test_a_path_begins_with_one_slash_as_in_werkzeug(sent: str, path: str) -> None:
    scope: t.Any = {"type": "http", "method": "GET", "path": sent, "headers": []}
    environ = EnvironBuilder().get_environ()
    environ["PATH_INFO"] = sent
    assert Request.from_scope(scope).path == Request(environ).path == path
    assert WerkzeugRequest(environ).path == path
