"""A view with nothing around it is served on a shorter way, which ends where the long one does."""

from __future__ import annotations

import gc
import typing as t
import weakref

import pytest
import starlette.responses as starlette
from blinker import Signal
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from asyncflask import abort
from asyncflask import after_this_request
from asyncflask import Flask
from asyncflask import g
from asyncflask import redirect
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import signals
from asyncflask import stream_with_context
from asyncflask.lanes import QueueFull
from asyncflask.sessions import SecureCookieSessionInterface
from asyncflask.signals import appcontext_popped
from asyncflask.signals import appcontext_pushed
from asyncflask.signals import appcontext_tearing_down
from asyncflask.signals import request_finished
from asyncflask.signals import request_started
from asyncflask.signals import request_tearing_down
from tests.kit.drive import fetch

pytestmark = pytest.mark.anyio


async def text() -> t.Any:
    return "text"


async def mapping() -> t.Any:
    return {"b": 1, "a": [2]}


async def parts() -> t.Any:
    return "made", 201, {"X-A": "1"}


async def response() -> t.Any:
    return Response("own", 202, content_type="text/plain")


async def nothing() -> t.Any:
    return None


async def wrong() -> t.Any:
    return 7


async def generator() -> t.Any:
    async def chunks() -> t.AsyncIterator[str]:
        yield "one"
        yield "two"

    return chunks()


async def from_starlette() -> t.Any:
    return starlette.PlainTextResponse("starlette", 203)


async def wsgi() -> t.Any:
    def application(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
        return [b"wsgi"]

    return application


async def not_found() -> t.Any:
    abort(404)


async def handled() -> t.Any:
    raise KeyError("handled")


async def unhandled() -> t.Any:
    raise ZeroDivisionError


async def redirected() -> t.Any:
    return redirect("/elsewhere")


async def later() -> t.Any:
    @after_this_request
    async def add(answer: t.Any) -> t.Any:
        answer.headers["X-Later"] = g.later
        return answer

    g.later = "yes"
    return "later"


async def remembered() -> t.Any:
    session["seen"] = session.get("seen", 0) + 1
    return str(session["seen"])


async def looked_at() -> t.Any:
    return request.headers.get("X-Given", "none") + request.args.get("q", "")


VIEWS = {
    view.__name__: view
    for view in (
        *(text, mapping, parts, response, nothing, wrong, generator, from_starlette, wsgi),
        *(not_found, handled, unhandled, redirected, later, remembered, looked_at),
    )
}


async def before() -> None:
    """Do nothing."""


async def after(answer: t.Any) -> t.Any:
    return answer


async def torn(error: BaseException | None) -> None:
    """Do nothing."""


class Overriding(Flask):
    def preprocess_request(self) -> t.Any:
        return super().preprocess_request()


def make(view: t.Any, kind: type[Flask] = Flask) -> Flask:
    app = kind(__name__)
    app.secret_key = "secret"
    app.add_url_rule("/", "view", view, methods=["GET", "POST", "OPTIONS"])
    app.register_error_handler(KeyError, lambda error: (f"{error!r} is handled", 400))
    return app


LONGER: dict[str, t.Callable[[Flask], t.Any]] = {
    "before hook": lambda app: app.before_request(before),
    "after hook": lambda app: app.after_request(after),
    "teardown": lambda app: app.teardown_request(torn),
    "teardown of the context": lambda app: app.teardown_appcontext(torn),
    "override": lambda app: app,
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("way", LONGER)
@pytest.mark.parametrize("name", VIEWS)
async def test_the_short_way_comes_to_what_the_long_one_does(
    name: str, way: str, method: str
) -> None:
    short = make(VIEWS[name])
    long = make(VIEWS[name], Overriding if way == "override" else Flask)
    LONGER[way](long)
    one, other = [await fetch(app, method, "/?q=1") for app in (short, long)]
    assert (one.status, one.body) == (other.status, other.body)
    # The time in the signature of a cookie may have gone on.
    cookies = [answer.header("set-cookie") for answer in (one, other)]
    assert (cookies[0] is None) == (cookies[1] is None)
    headers = [
        [pair for pair in answer.headers if pair[0] != "set-cookie"] for answer in (one, other)
    ]
    assert headers[0] == headers[1]


@pytest.mark.parametrize("path", ["/given", "/"])
async def test_what_a_view_allows_is_told_for_it(path: str) -> None:
    app = make(text)
    app.get("/given")(text)
    answer = await fetch(app, "OPTIONS", path)
    allowed = set((answer.header("allow") or "").split(", "))
    if path == "/given":
        assert (answer.body, allowed) == (b"", {"GET", "HEAD", "OPTIONS"})
    else:
        # It answers that itself.
        assert (answer.body, allowed) == (b"text", {""})


SIGNALS = (
    request_started,
    request_finished,
    request_tearing_down,
    appcontext_pushed,
    appcontext_tearing_down,
    appcontext_popped,
)


@pytest.fixture
def nothing_heard() -> t.Iterator[None]:
    """As in a process in which no signal ever had a receiver."""
    before = signals.heard.copy()
    signals.heard.clear()
    yield
    signals.heard.update(before)


@pytest.mark.usefixtures("nothing_heard")
@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
async def test_who_listens_hears_of_a_view_with_nothing_around_it(signal: t.Any) -> None:
    app = make(text)
    assert (await fetch(app)).body == b"text"
    senders: list[object] = []

    def listen(sender: Flask, **kwargs: t.Any) -> None:
        senders.append(sender)

    with signal.connected_to(listen, app):
        assert (await fetch(app)).body == b"text"
    assert senders == [app]


@pytest.mark.usefixtures("nothing_heard")
async def test_who_begins_to_listen_in_a_view_hears_of_its_end() -> None:
    senders: list[object] = []

    def listen(sender: Flask, **kwargs: t.Any) -> None:
        senders.append(sender)

    async def view() -> str:
        # As whoever puts something of his own around connect() calls it.
        Signal.connect(request_finished, listen, app)
        return "text"

    app = make(view)
    assert (await fetch(app)).body == b"text"
    assert senders == [app]


async def test_a_hook_that_comes_later_ends_the_short_way() -> None:
    app = make(text)
    assert (await fetch(app)).body == b"text"
    app.before_request_funcs.setdefault(None, []).append(lambda: "hook")
    assert (await fetch(app)).body == b"hook"
    app.before_request_funcs[None].clear()
    assert (await fetch(app)).body == b"text"


async def test_after_the_first_request_nothing_is_set_up_any_more() -> None:
    app = make(text)
    assert not app._got_first_request
    assert (await fetch(app)).body == b"text"
    with pytest.raises(AssertionError, match="first request"):
        app.before_request(before)


class OpensOnTheLoop(SecureCookieSessionInterface):
    async def open_session(self, app: t.Any, request: t.Any) -> t.Any:
        return super().open_session(app, request)


async def heard_on_the_loop(sender: Flask, **kwargs: t.Any) -> None:
    """Do nothing."""


@pytest.mark.parametrize("by", ["session", "signal"])
def test_behind_wsgi_a_body_is_loaded_though_the_request_has_been_on_the_loop(by: str) -> None:
    async def read() -> str:
        return request.form["a"]

    app = make(read)
    environ = create_environ("/", method="POST", data={"a": "1"})
    if by == "session":
        app.session_interface = OpensOnTheLoop()
        body, status, _ = run_wsgi_app(app.wsgi_app, environ)
    else:
        with appcontext_pushed.connected_to(heard_on_the_loop, app):
            body, status, _ = run_wsgi_app(app.wsgi_app, environ)
    assert (status, b"".join(body)) == ("200 OK", b"1")


async def full() -> t.Any:
    raise QueueFull("full")


@pytest.mark.parametrize("view", [not_found, handled, redirected, full, text])
@pytest.mark.parametrize("hooked", [False, True])
async def test_a_request_that_is_over_is_freed_at_once(view: t.Any, hooked: bool) -> None:
    app = make(view)
    seen: list[weakref.ref[t.Any]] = []

    @app.teardown_request
    async def note(error: BaseException | None) -> None:
        seen.append(weakref.ref(request._get_current_object()))  # type: ignore[attr-defined]

    if hooked:
        app.before_request(before)
    gc.collect()
    gc.disable()
    try:
        await fetch(app)
        assert [ref() for ref in seen] == [None]
    finally:
        gc.enable()


async def test_a_request_whose_view_failed_does_not_wait_for_its_stream() -> None:
    made: list[t.Any] = []
    seen: list[str] = []

    async def fail() -> t.Any:
        @stream_with_context
        async def stream() -> t.AsyncIterator[str]:
            yield ""

        made.append(stream())
        raise KeyError("no stream")

    app = make(fail)

    @app.teardown_request
    async def note(error: BaseException | None) -> None:
        seen.append("torn down")

    assert (await fetch(app)).status == 400
    assert seen == ["torn down"]
    await made[0].aclose()


@pytest.mark.parametrize("transport", ["asgi", "wsgi"])
def test_the_configuration_may_be_a_plain_dict(transport: str) -> None:
    app = make(text)
    app.config = dict(app.config)  # type: ignore[assignment]
    client = app.test_client(transport=transport)
    assert [client.get("/").text for _ in range(2)] == ["text"] * 2
