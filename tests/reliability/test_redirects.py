"""No path and no Host leads a redirect of ours away from where the client already is."""

from __future__ import annotations

import time
import typing as t
from urllib.parse import quote
from urllib.parse import urljoin
from urllib.parse import urlsplit

import pytest

from asyncflask import Flask
from asyncflask import redirect
from asyncflask import request
from tests.kit.cases import Figure
from tests.kit.drive import fetch
from tests.kit.server import serve

pytestmark = [pytest.mark.case("A33"), pytest.mark.anyio]

EVIL = ["//evil.com/", "//evil.com", "/\\evil.com", "/\\/evil.com", "/%5cevil.com", "////x"]
EVIL += ["/%2f%2fevil.com", "/\t/evil.com", "/\r\n/evil.com", "/ /evil.com", "\\\\evil.com"]
EVIL += ["/%09/evil", "http://evil.com", "///evil.com//x", "/.//evil.com", "/..//evil.com"]
EVIL += ["/;//evil.com", "/\u2028//evil.com", "/\udcff//evil.com", "/\x00//evil.com", "@evil.com"]
EVIL += [":80//evil.com", "/@evil"]
PREFIXES = ["", "/mount", "//evil.com", "/\\evil.com"]
HOSTS = ["localhost", "evil.com", "evil.com:80", "EVIL.com", "a@evil.com", "evil.com/x?", ""]


def make_app() -> Flask:
    """Make an application whose rules redirect in every way the router knows."""
    app = Flask("app", static_folder=None)
    app.add_url_rule("/<path:path>/", "slash", lambda path: "here")
    app.add_url_rule("/page/", "page", lambda number: "here", defaults={"number": 1})
    app.add_url_rule("/page/<int:number>", "page")
    app.add_url_rule("/merged/<a>/<b>", "merged", lambda a, b: "here")

    @app.get("/to/<how>")
    def to(how: str) -> t.Any:
        return redirect(request.args["url"])

    return app


def as_browser(location: str) -> str:
    """Give where a browser goes: it drops tabs and line ends, and turns backslashes around."""
    cleaned = location.strip(" \0").translate({9: None, 10: None, 13: None})
    return urljoin("https://origin.test:444/a/b", cleaned.replace("\\", "/"))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("evil", EVIL, ids=ascii)
async def test_redirects_of_the_router_stay_on_the_origin(evil: str, prefix: str) -> None:
    app = make_app()
    redirected = 0
    for host in HOSTS:
        for path in [evil, f"/merged/{evil}", f"/page/1/{evil}", f"/{evil}/{evil}", "/page/1"]:
            scope = {
                "path": prefix + path,
                "root_path": prefix,
                "raw_path": None,
                "query_string": b"next=//evil.com",
                "headers": [(b"host", host.encode())],
            }
            answer = await fetch(app, "GET", "/", scope=scope)
            assert answer.status in (200, 308, 404)
            if answer.status == 308:
                redirected += 1
                location = answer.header("location") or ""
                assert location[0] == "/" and location[1] not in "/\\", location
                assert location.isascii() and location.isprintable()
                assert urlsplit(as_browser(location)).netloc == "origin.test:444", location
    assert redirected >= len(HOSTS)


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_on_a_server_they_stay_there_too(parser: str) -> None:
    source = "from tests.reliability.test_redirects import make_app\n\napp = make_app()"
    redirected = 0
    with serve(source, http=parser) as server:
        for evil in EVIL:
            target = quote(evil, safe="/\\%:@;", errors="surrogateescape")
            for line in (target, f"/x{target}", f"/merged/{target}"):
                with server.connect() as connection:
                    connection.send(f"GET {line} HTTP/1.1\r\nHost: evil.com\r\n\r\n".encode())
                    response = connection.response()
                    location = response.getheader("Location") or "/"
                    assert response.status < 500
                redirected += response.status == 308
                assert location.startswith("/"), location
                assert urlsplit(as_browser(location)).netloc == "origin.test:444", location
        assert "Traceback" not in server.output
    assert redirected > len(EVIL)


MARKUP = ['/"><script>alert(1)</script>', "/'><img src=x onerror=alert(1)>", "/&lt;<b>", "/\0<b>"]


@pytest.mark.parametrize("url", MARKUP, ids=ascii)
async def test_markup_in_a_url_is_none_in_the_page(url: str) -> None:
    answer = await fetch(make_app(), "GET", f"/to/page?url={quote(url)}")
    assert answer.status == 302
    rest = answer.text
    for tag in "!doctype html,html lang=en,title,/title,h1,/h1,p,/a".split(","):
        rest = rest.replace(f"<{tag}>", "")
    assert rest.count("<") == 1 and rest.count('"') == 2, answer.text
    location = answer.header("location") or ""
    assert not set('<>"\0 ') & set(location)


@pytest.mark.bare
@pytest.mark.parametrize("text", ["\ufdfa", "%ff", "/%ff", "//", "\\", "<", "\u0130"], ids=ascii)
def test_a_redirect_takes_linear_time(text: str, figure: Figure) -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "view", lambda: redirect("/" + text * size))

    def seconds() -> float:
        taken = []
        for _ in range(5):
            began = time.thread_time()
            with app.test_request_context():
                app.full_dispatch_request().get_wsgi_headers({})
            taken.append(time.thread_time() - began)
        return min(taken)

    size = 25_000
    short = seconds()
    size = 200_000
    long = seconds()
    assert long <= 12 * short
    figure(f"{ascii(text)} x 200,000: {long * 1000:.0f} ms")
