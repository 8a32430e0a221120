"""What is measured: requests, and the answer that every framework has to give to them.

A workload is defined here once. The applications that answer it are in ``apps``, a method of the
workload's ``app`` name in each framework's class.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from functools import partial

from .apps.content import CHUNK
from .apps.content import CHUNKS
from .apps.content import LARGE
from .apps.content import pattern
from .apps.content import ROWS
from .apps.content import SMALL

#: What the hooks of an application add to its answer.
HOOKED = {"x-first": "1", "x-second": "2"}
FORM_TYPE = "application/x-www-form-urlencoded"
FORM = b"name=Ada+Lovelace&email=ada%40example.org&age=36&city=London&note=likes+%26+engines"
UPLOAD = 100_000
BOUNDARY = "----benchmark"
ITEMS = 8_000


def multipart() -> bytes:
    """Encode a form with one field and one file."""
    field_head = 'Content-Disposition: form-data; name="title"'
    file_head = 'Content-Disposition: form-data; name="file"; filename="upload.bin"'
    head = f"--{BOUNDARY}\r\n{field_head}\r\n\r\nreport\r\n--{BOUNDARY}\r\n{file_head}\r\n"
    head += "Content-Type: application/octet-stream\r\n\r\n"
    return head.encode() + pattern(UPLOAD) + f"\r\n--{BOUNDARY}--\r\n".encode()


def large_json() -> bytes:
    """Encode about a megabyte, made of many small objects as lists of an API are."""
    items = [
        {"id": number, "name": f"item {number}", "tags": ["a", "b"], "price": number / 4}
        for number in range(ITEMS)
    ]
    padding = "x" * 50
    return json.dumps({"items": [{**item, "text": padding} for item in items]}).encode()


def table() -> bytes:
    """Write what the template shows."""
    rows = "\n".join(f"<li>{name}: {price}</li>" for name, price in ROWS)
    return f"<h1>Prices</h1>\n<ul>\n{rows}\n</ul>".encode()


@dataclass(frozen=True)
class Workload:
    """One kind of request.

    :param app: the name of the method that makes the application.
    :param answer: the body, or what makes it; parsed JSON if it is neither.
    :param sends: the body of the request, or what makes it: a large one is to take memory only
        where it is sent.
    :param answer_headers: what the answer's headers have to have among them.
    :param concurrent: how many requests are made at the same time in process.
    :param connections: how many clients ask over HTTP.
    :param session: whether a first answer gives the cookie for those that are measured.
    :param threads: whether a framework may use threads, where function calls are not counted.
    :param inside: whether it is measured in process.
    :param under_wsgi: whether it is measured in process under WSGI, where what it asks about lanes
        has no meaning.
    """

    name: str
    title: str
    app: str
    answer: t.Any
    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    sends: bytes | Callable[[], bytes] = b""
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    concurrent: int = 1
    connections: int = 64
    session: bool = False
    threads: bool = False
    inside: bool = True
    under_wsgi: bool = True

    @cached_property
    def expected(self) -> t.Any:
        """The body that is expected."""
        return self.answer() if callable(self.answer) else self.answer

    @cached_property
    def body(self) -> bytes:
        """The body of the request."""
        return self.sends() if callable(self.sends) else self.sends


HELLO = b"Hello, World!"
ITEM = {"id": 42, "name": "item"}

WORKLOADS = (
    Workload("hello", "hello", "hello", HELLO),
    Workload("json", "JSON with a converter", "json", ITEM, path="/items/42"),
    Workload(
        "routes-200", "190th of 200 dynamic routes", "routes_200", b"42", path="/things190/42"
    ),
    Workload("routes-2000", "1,900th of 2,000 routes", "routes_2000", b"42", path="/things1900/42"),
    Workload("hooks", "two before, two after, one teardown", "hooks", HELLO, answer_headers=HOOKED),
    Workload("session", "session read and written", "session", b"2", session=True),
    Workload("template", "template", "template", table()),
    Workload(
        "form",
        "urlencoded form",
        "form",
        b"Ada Lovelace, ada@example.org, 36, London, likes & engines",
        "POST",
        headers={"Content-Type": FORM_TYPE},
        sends=FORM,
    ),
    Workload(
        "upload",
        "multipart with a 100 kB file",
        "upload",
        b"report, upload.bin, 100000",
        "POST",
        headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        sends=multipart,
    ),
    Workload(
        "sync-1",
        "sync view, one at a time",
        "sync_view",
        HELLO,
        connections=1,
        threads=True,
        under_wsgi=False,
    ),
    Workload(
        "sync-64",
        "sync view, 64 concurrent",
        "sync_view",
        HELLO,
        concurrent=64,
        threads=True,
        under_wsgi=False,
    ),
    Workload(
        "sync-hooks",
        "sync view with sync hooks",
        "sync_hooks",
        HELLO,
        answer_headers=HOOKED,
        concurrent=64,
        threads=True,
        under_wsgi=False,
    ),
    Workload(
        "mixed-hooks",
        "async view with sync hooks",
        "mixed_hooks",
        HELLO,
        answer_headers=HOOKED,
        concurrent=64,
        threads=True,
        under_wsgi=False,
    ),
    Workload(
        "static-10k",
        "static file of 10 kB",
        "static",
        partial(pattern, SMALL),
        path="/static/small.bin",
        threads=True,
    ),
    Workload(
        "static-10m",
        "static file of 10 MB",
        "static",
        partial(pattern, LARGE),
        path="/static/large.bin",
        connections=4,
        threads=True,
    ),
    Workload("stream", "stream of 1,000 chunks", "stream", CHUNK * CHUNKS, connections=8),
    Workload(
        "body-1m",
        "JSON body of 1 MB",
        "body",
        str(ITEMS).encode(),
        "POST",
        headers={"Content-Type": "application/json"},
        sends=large_json,
        connections=8,
    ),
    Workload("mounted", "Flask application mounted on /", "mounted", HELLO, inside=False),
    Workload(
        "mounted-legacy",
        "Flask application mounted on /legacy",
        "mounted_legacy",
        HELLO,
        path="/legacy/",
        inside=False,
    ),
)

BY_NAME = {workload.name: workload for workload in WORKLOADS}
