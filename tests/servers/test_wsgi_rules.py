"""The WSGI face under the two checkers of PEP 3333, and what ``close()`` has to do."""

from __future__ import annotations

import contextlib
import itertools
import typing as t
from concurrent.futures import ThreadPoolExecutor
from wsgiref.validate import validator

import flask
import httpx
import pytest
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.test import create_environ

from asyncflask.lanes import background_loop
from tests.servers import scenario
from tests.servers.app import app
from tests.servers.app import counted

pytestmark = pytest.mark.case("A39")

CHECKERS: dict[str, t.Callable[[t.Any], t.Any]] = {"wsgiref": validator, "werkzeug": LintMiddleware}
#: What they say against answers that are right, and the same as Flask's.
UNFOUNDED = {
    "wsgiref": {"nothing": "Content-Type header found in a 204 response"},
    "werkzeug": {
        "head": "Content-Length and the number of bytes sent to the client do not match",
        "head-async": "Content-Length and the number of bytes sent to the client do not match",
        "redirect": "Absolute URLs required for location header",
        "slash": "Absolute URLs required for location header",
        "nothing": "204 responses must have an empty content length",
    },
}
each_checker = pytest.mark.parametrize("checker", CHECKERS)


def checked(checker: str, wsgi_app: t.Any) -> httpx.Client:
    """Make a client of an application that a checker watches; what it says is raised."""
    transport = httpx.WSGITransport(CHECKERS[checker](wsgi_app))
    return httpx.Client(transport=transport, base_url="http://localhost")


@each_checker
def test_the_checkers_have_nothing_to_say(checker: str) -> None:
    with checked(checker, app.wsgi_app) as client:
        for name, (method, path, options, answer) in scenario.SCENARIO.items():
            if name not in UNFOUNDED[checker]:
                assert scenario.ask(client, method, path, **options) == answer
        tagged = {"If-None-Match": scenario.ETAG}
        assert scenario.ask(client, "GET", "/tagged", headers=tagged) == scenario.UNCHANGED


@pytest.mark.parametrize(
    ("checker", "step", "text"),
    [(checker, *what) for checker, texts in UNFOUNDED.items() for what in texts.items()],
)
def test_what_they_do_say_they_say_of_flask_as_well(checker: str, step: str, text: str) -> None:
    control = flask.Flask(__name__)
    control.add_url_rule("/sync", "sync", lambda: "sync")
    control.add_url_rule("/async", "async", lambda: "async")
    control.add_url_rule("/nothing", "nothing", lambda: ("", 204))
    control.add_url_rule("/redirect", "redirect", lambda: flask.redirect("/sync"))
    control.add_url_rule("/slash", "slash", lambda: flask.redirect("/slash/", 308))
    method, path, *_ = scenario.SCENARIO[step]
    for wsgi_app in (app.wsgi_app, control.wsgi_app):
        with checked(checker, wsgi_app) as client, pytest.raises(Exception, match=text):
            client.request(method, path)


@each_checker
@pytest.mark.parametrize("count", [0, 1, 100])
@pytest.mark.parametrize("path", ["/stream-kept", "/stream-slow/0.0"])
def test_closing_a_kept_stream_tears_its_request_down(checker: str, path: str, count: int) -> None:
    before = counted["teardown"]
    body = CHECKERS[checker](app.wsgi_app)(create_environ(path), start_response)
    with contextlib.closing(body):
        chunks = list(itertools.islice(body, count))
        assert len(chunks) >= min(count, 11)
        if count < 11:
            assert counted["teardown"] == before
    assert counted["teardown"] == before + 1


def start_response(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
    assert status == "200 OK"
    return lambda data: None


def test_async_views_of_all_threads_share_the_loop_of_the_process() -> None:
    def ask(_: int) -> int:
        return int(app.test_client().get("/loop").json["loop"])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(50))) == {id(background_loop())}
