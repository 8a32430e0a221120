"""What a client asks of ``tests/servers/app.py``, and the one answer that every server gives."""

from __future__ import annotations

import hashlib
import typing as t

import httpx

JSON = "application/json"
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
#: Headers of the application's own; the others are the server's business.
COMPARED = ("content-type", "location", "vary", "etag", "x-seen", "allow")

MIB = bytes(range(256)) * 4096
DIGESTED = {"bytes": len(MIB), "sha256": hashlib.sha256(MIB).hexdigest()}
FORM = {"data": {"title": "Tïtle"}, "files": {"file": ("a.bin", b"\0\xff" * 50_000)}}
UPLOADED = {"title": "Tïtle", "name": "a.bin", "bytes": 100_000}
LINES = "".join(f"line {number}\n" for number in range(100))
KEPT = "".join(f"/stream-kept {number}\n" for number in range(100))
DIGITS = "".join(f"line {number}\n" for number in range(10)) + "end\n"


class Answer(t.NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: t.Any


class Step(t.NamedTuple):
    """A request, what httpx needs for it, and its answer."""

    method: str
    path: str
    options: dict[str, t.Any]
    answer: Answer


def step(
    request: str,
    body: t.Any,
    kind: str = HTML,
    status: int = 200,
    headers: t.Mapping[str, str] | None = None,
    **options: t.Any,
) -> Step:
    """Make a step; every answer has the header that the after hook adds."""
    method, path = request.split()
    seen = path.partition("?")[0]
    expected = {"content-type": kind, "x-seen": seen, **(headers or {})}
    return Step(method, path, options, Answer(status, expected, body))


def page(title: str, text: str) -> str:
    """Give one of Werkzeug's error pages."""
    head = f"<!doctype html>\n<html lang=en>\n<title>{title}</title>\n<h1>{title[4:]}</h1>\n"
    return f"{head}{text}\n"


ERROR = page(
    "500 Internal Server Error",
    "<p>The server encountered an internal error and was unable to complete your request. Either"
    " the server is overloaded or there is an error in the application.</p>",
)
REFUSED = page(
    "403 Forbidden",
    "<p>You don&#39;t have the permission to access the requested resource. It is either"
    " read-protected or not readable by the server.</p>",
)
MOVED = (
    "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n"
    "<p>You should be redirected automatically to the target URL: "
    '<a href="{0}">{0}</a>. If not, click the link.\n'
)
VISITED = {"vary": "Cookie"}
ETAG = '"one"'

SCENARIO = {
    "async": step("GET /async?q=a%20%C3%A4", {"variable": "/async", "query": "a ä"}, JSON),
    "sync": step("GET /sync", {"variable": "/sync", "same thread": True}, JSON),
    "head": step("HEAD /sync", "", JSON),
    "head-async": step("HEAD /async", "", JSON),
    "form": step("POST /form", UPLOADED, JSON, **FORM),
    "form-async": step("POST /form-async", UPLOADED, JSON, **FORM),
    "json": step("POST /json", {"sum": 6}, JSON, json={"numbers": [1, 2, 3]}),
    "body": step("POST /body", DIGESTED, JSON, content=MIB),
    "body-async": step("POST /body-async", DIGESTED, JSON, content=MIB),
    "body-streamed": step("POST /body-streamed", DIGESTED, JSON, content=MIB),
    "first-visit": step("GET /visits", "1", headers=VISITED),
    "second-visit": step("GET /visits", "2", headers=VISITED),
    "stream": step("GET /stream", LINES),
    "stream-async": step("GET /stream-async", LINES, TEXT),
    "stream-kept": step("GET /stream-kept", KEPT),
    "stream-slow": step("GET /stream-slow/0.1", DIGITS),
    "fails": step("GET /fails", ERROR, status=500),
    "refused": step("GET /refused", REFUSED, status=403),
    "missing": step("GET /missing", {"missing": "/missing"}, JSON, 404),
    "redirect": step("GET /redirect", MOVED.format("/sync"), HTML, 302, {"location": "/sync"}),
    "slash": step("GET /slash", MOVED.format("/slash/"), HTML, 308, {"location": "/slash/"}),
    "options": step("OPTIONS /sync", "", headers={"allow": "GET, HEAD, OPTIONS"}),
    "nothing": step("GET /nothing", "", status=204),
    "tagged": step("GET /tagged", "tagged", headers={"etag": ETAG}),
}
UNCHANGED = Answer(304, {"etag": ETAG, "x-seen": "/tagged"}, "")
#: The same bodies without a length, so that they are sent in chunks.
CHUNKED = {name: SCENARIO[name] for name in ("body", "body-async", "body-streamed")}


def in_chunks() -> t.Iterator[bytes]:
    """Give the body of a megabyte in pieces."""
    for start in range(0, len(MIB), 20_000):
        yield MIB[start : start + 20_000]


def ask(client: httpx.Client, method: str, path: str, **options: t.Any) -> Answer:
    """Make a request, and keep of the answer what can be compared."""
    response = client.request(method, path, **options)
    headers = {name: response.headers[name] for name in COMPARED if name in response.headers}
    if "allow" in headers:
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
    is_json = headers.get("content-type") == JSON and response.content
    return Answer(response.status_code, headers, response.json() if is_json else response.text)


def play(client: httpx.Client) -> dict[str, Answer]:
    """Go through the scenario."""
    return {
        name: ask(client, method, path, **options)
        for name, (method, path, options, _) in SCENARIO.items()
    }
