"""Sessions: no shared cache may mix them up, no old key signs, no cookie does harm."""

from __future__ import annotations

import time
import types
import typing as t
import zlib

import flask
import pytest
from itsdangerous import BadSignature
from itsdangerous import URLSafeTimedSerializer
from itsdangerous.encoding import base64_encode
from werkzeug.http import parse_cookie

import asyncflask
from asyncflask import after_this_request
from asyncflask import Flask
from asyncflask import render_template_string
from asyncflask import Response
from asyncflask import session
from asyncflask import stream_with_context
from asyncflask.sessions import SecureCookieSessionInterface
from tests.kit.drive import Answer
from tests.kit.drive import fetch
from tests.test_sessions import LOOKS
from tests.twins import painted

pytestmark = pytest.mark.case("A32")

each_colour = pytest.mark.parametrize("colour", ["sync", "async", "inline"])


def make_app(key: str = "current", web: types.ModuleType = asyncflask, **config: t.Any) -> t.Any:
    app = web.Flask("app", static_folder=None)
    app.secret_key = key
    app.config.update(config)

    @app.get("/name")
    def name() -> str:
        return str(web.session.get("name", "nobody"))

    @app.get("/touch")
    def touch() -> str:
        web.session.modified = True
        return str(web.session.get("name", "nobody"))

    return app


def cookie(key: str, **values: t.Any) -> str:
    """Make the session cookie of an application with this key."""
    serializer = SecureCookieSessionInterface().get_signing_serializer(make_app(key))
    assert serializer is not None
    return str(serializer.dumps(values))


async def look(app: Flask, path: str = "/", **values: t.Any) -> Answer:
    """Ask with a session of these values."""
    headers = {"Cookie": f"session={cookie('current', **values)}"} if values else {}
    return await fetch(app, "GET", path, headers=headers)


def varies(answer: Answer) -> bool:
    return "Cookie" in (answer.header("vary") or "").split(", ")


# -- Vary: Cookie ---------------------------------------------------------------------------------


@each_colour
@pytest.mark.parametrize("name", LOOKS)
async def test_any_look_in_a_view_of_any_colour_varies_the_response(name: str, colour: str) -> None:
    app = make_app()

    def view() -> str:
        LOOKS[name]()
        return "looked"

    app.add_url_rule("/", "view", painted(view, colour))
    assert varies(await look(app, name="somebody"))


def peek(*args: t.Any, **kwargs: t.Any) -> t.Any:
    session.get("name")
    return args[-1] if args and isinstance(args[-1], Response) else None


PLACES: dict[str, t.Callable[[Flask, t.Any], object]] = {
    "before_request": lambda app, peek: app.before_request(peek),
    "after_request": lambda app, peek: app.after_request(peek),
    "url_value_preprocessor": lambda app, peek: app.url_value_preprocessor(peek),
    "after_this_request": lambda app, peek: app.before_request(
        lambda: after_this_request(peek) and None
    ),
    "error handler": lambda app, peek: app.register_error_handler(
        404, painted(lambda error: peek() or "not found", "sync")
    ),
}


@each_colour
@pytest.mark.parametrize("place", PLACES)
async def test_a_look_anywhere_but_in_the_view_varies_it_as_well(place: str, colour: str) -> None:
    app = make_app()
    PLACES[place](app, peek if place == "error handler" else painted(peek, colour))
    app.add_url_rule("/", "view", lambda: "no look")
    path = "/missing" if place == "error handler" else "/"
    assert varies(await look(app, path, name="somebody"))
    assert varies(await look(app, path))


@pytest.mark.parametrize("source", ["{{ session.x }}", "{{ 'x' in session }}", "{{ peek() }}"])
async def test_a_look_in_a_template_varies_it(source: str) -> None:
    app = make_app()
    app.context_processor(lambda: {"peek": peek})

    @app.get("/")
    def view() -> str:
        return render_template_string(source)

    assert varies(await look(app))


@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
@pytest.mark.parametrize("also_before", [True, False])
def test_a_look_in_a_stream_counts_as_in_flask(also_before: bool, transport: str) -> None:
    def ask(web: types.ModuleType, **options: t.Any) -> tuple[str, str | None]:
        app = make_app(web=web)

        @app.get("/")
        def view() -> t.Any:
            if also_before:
                web.session.get("name")
            return web.Response(
                web.stream_with_context(web.session.get(key, "?") for key in ("name", "x"))
            )

        client = app.test_client(**options)
        client.set_cookie("session", cookie("current", name="somebody"))
        response = client.get("/")
        return response.text, response.headers.get("Vary")

    # Without a look before, the headers may be out already.
    expected = ("somebody?", "Cookie" if also_before else None)
    assert ask(flask) == ask(asyncflask, transport=transport) == expected


async def test_an_async_stream_sees_the_session() -> None:
    app = make_app()

    @app.get("/")
    async def view() -> t.Any:
        async def chunks() -> t.AsyncIterator[str]:
            yield session["name"]

        return stream_with_context(chunks())

    assert (await look(app, name="somebody")).text == "somebody"


@pytest.mark.parametrize("path", ["/other", "/missing"])
async def test_a_permanent_session_that_nobody_looks_at_varies_as_it_is_refreshed(
    path: str,
) -> None:
    app = make_app()
    app.add_url_rule("/other", "other", lambda: "no look")
    answer = await look(app, path, _permanent=True)
    assert "Expires=" in (answer.header("set-cookie") or "") and varies(answer)
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    answer = await look(app, path, _permanent=True)
    assert (answer.header("set-cookie"), answer.header("vary")) == (None, None)


@pytest.mark.parametrize("given", ["Accept-Encoding", "cookie", "Accept, Origin", "*", "", "a,b"])
async def test_what_a_response_varies_by_already_is_kept_as_in_flask(given: str) -> None:
    apps = [make_app(), make_app(web=flask)]
    for app in apps:

        @app.after_request
        def vary(response: t.Any) -> t.Any:
            response.headers["Vary"] = given
            return response

    expected = apps[1].test_client().get("/name").headers["Vary"]
    assert (await fetch(apps[0], "GET", "/name")).header("vary") == expected
    assert "cookie" in expected.lower()


# -- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fallbacks", [[], ["old"], ["old", "oldest"], ["oldest", "old"]])
@pytest.mark.parametrize("signed_by", ["current", "old", "oldest", "another"])
async def test_old_keys_are_accepted_and_never_sign(signed_by: str, fallbacks: list[str]) -> None:
    app = make_app(SECRET_KEY_FALLBACKS=fallbacks)
    accepted = signed_by in ("current", *fallbacks)
    name = "somebody" if accepted else "nobody"
    headers = {"Cookie": f"session={cookie(signed_by, name='somebody')}"}
    answer = await fetch(app, "GET", "/name", headers=headers)
    assert (answer.text, answer.header("set-cookie")) == (name, None)
    answer = await fetch(app, "GET", "/touch", headers=headers)
    assert answer.text == name
    if accepted:
        signed = parse_cookie((answer.header("set-cookie") or "").partition(";")[0])["session"]
        headers = {"Cookie": f"session={signed}"}
        for key in ("current", "old", "oldest"):
            again = await fetch(make_app(key), "GET", "/name", headers=headers)
            assert again.text == ("somebody" if key == "current" else "nobody")


@pytest.mark.parametrize(
    ("key", "salt"),
    [
        ("current", "other"),
        ("current", ""),
        ("currentcookie", "-session"),
        ("cur", "rentcookie-session"),
    ],
)
async def test_what_was_signed_for_another_purpose_is_no_session(key: str, salt: str) -> None:
    app = make_app()
    interface = app.session_interface
    # As an application would sign a link, down to the settings of the session's own serializer.
    other = URLSafeTimedSerializer(
        key,
        salt=salt,
        serializer=interface.serializer,
        signer_kwargs={
            "key_derivation": interface.key_derivation,
            "digest_method": interface.digest_method,
        },
    )
    headers = {"Cookie": f"session={other.dumps({'name': 'somebody'})}"}
    assert (await fetch(app, "GET", "/name", headers=headers)).text == "nobody"
    with pytest.raises(BadSignature):
        other.loads(cookie("current", name="somebody"))


# -- cookies that do harm -------------------------------------------------------------------------

BOMB = "." + base64_encode(zlib.compress(b"[" + b"0," * 2**22 + b"0]")).decode()
JUNK = {
    "nothing": "",
    "dots": "." * 60_000,
    "equals signs": "=" * 60_000,
    "letters": "a" * 60_000,
    "a valid one and more": cookie("current", name="somebody") + "x",
    "a valid one, cut off": cookie("current", name="somebody")[:-1],
    "without a signature": cookie("current", name="somebody").partition(".")[0],
    "a bomb": BOMB,
    "a bomb with a signature": f"{BOMB}.aaaaaa.bbbbbb",
    "other bytes": "\xff\xfe\x80" * 1000,
    "an escape": '"\\054\\377\\000"',
    "escapes": '"' + "\\054" * 10_000 + '"',
    "open quotes": '"' * 30_000,
    "separators": ";" * 60_000,
    "empty cookies": "a=;" * 20_000,
    "nameless cookies": "=;" * 20_000,
    "the future": "e30.zzzzzz.xxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "itself": "session=session=session=",
}


@pytest.mark.parametrize("name", JUNK)
async def test_junk_is_an_empty_session_and_cheap(name: str, figure: t.Callable[..., None]) -> None:
    app = make_app()
    headers = {"Cookie": f"session={JUNK[name]}"}
    await fetch(app, "GET", "/name")
    began = time.process_time()
    answer = await fetch(app, "GET", "/name", headers=headers)
    took = time.process_time() - began
    assert (answer.status, answer.text, answer.header("set-cookie")) == (200, "nobody", None)
    assert took < 0.25
    # What is set next replaces it.
    assert (await fetch(app, "GET", "/touch", headers=headers)).status == 200
    figure(f"{len(JUNK)} junk cookies of up to 60 kB: empty sessions")


@pytest.mark.parametrize("first", [True, False])
async def test_two_cookie_headers_are_one(first: bool) -> None:
    app = make_app()
    headers = [("Cookie", f"session={cookie('current', name='somebody')}"), ("Cookie", "b=2; c=3")]
    answer = await fetch(app, "GET", "/name", headers=headers if first else headers[::-1])
    assert answer.text == "somebody"


@pytest.mark.parametrize("separator", ["; ", None])
@pytest.mark.parametrize("junk_first", [True, False])
async def test_of_two_session_cookies_the_first_counts_as_in_flask(
    junk_first: bool, separator: str | None
) -> None:
    pair = ["session=junk", f"session={cookie('current', name='somebody')}"]
    pair = pair if junk_first else pair[::-1]
    client = make_app(web=flask).test_client(use_cookies=False)
    expected = client.get("/name", headers={"Cookie": "; ".join(pair)}).text
    sent = [separator.join(pair)] if separator else pair
    headers = [("Cookie", value) for value in sent]
    assert (await fetch(make_app(), "GET", "/name", headers=headers)).text == expected
    assert expected == ("nobody" if junk_first else "somebody")
