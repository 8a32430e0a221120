"""Sessions: cookies that Flask reads and writes too, ``Vary``, key rotation, own interfaces."""

from __future__ import annotations

import operator
import threading
import typing as t
import uuid
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from email.utils import parsedate_to_datetime
from unittest import mock

import flask
import pytest
from flask.sessions import SecureCookieSessionInterface as FlaskInterface
from itsdangerous import TimestampSigner
from markupsafe import Markup
from werkzeug.http import parse_cookie

from asyncflask import flash
from asyncflask import Flask
from asyncflask import get_flashed_messages
from asyncflask import inline
from asyncflask import render_template_string
from asyncflask import Response
from asyncflask import session
from asyncflask.json.tag import TaggedJSONSerializer
from asyncflask.lanes import colour_of
from asyncflask.lanes import INLINE
from asyncflask.lanes import SYNC
from asyncflask.sessions import NullSession
from asyncflask.sessions import SecureCookieSession
from asyncflask.sessions import SecureCookieSessionInterface
from asyncflask.sessions import SessionInterface
from asyncflask.sessions import SessionMixin

NOW = 1_790_000_000
VALUES: dict[str, t.Any] = {
    "id": 42,
    "name": "Grüße, 世界",
    "none": None,
    "nested": {"list": [1, [2.5, True]], " t": "not a tag"},
    "tuple": (1, ("a", b"\x00\xff")),
    "markup": Markup("<b>bold</b>"),
    "uuid": uuid.UUID(int=7),
    "when": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
    "long": "compressed " * 40,
}
COOKIE_CONFIGS: list[dict[str, t.Any]] = [
    {},
    {"SESSION_COOKIE_NAME": "s", "SESSION_COOKIE_PATH": "/p", "SESSION_COOKIE_HTTPONLY": False},
    {"APPLICATION_ROOT": "/root", "SESSION_COOKIE_SAMESITE": "Lax", "SESSION_COOKIE_SECURE": True},
    {"SESSION_COOKIE_DOMAIN": "localhost", "SESSION_COOKIE_SAMESITE": "Strict"},
    {"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SECURE": True},
]


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make signatures of the same moment."""
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: NOW)


def set_up(app: t.Any, session: t.Any, **config: t.Any) -> t.Any:
    """Give an application, ours or Flask's, the same settings and views."""
    app.secret_key = "current"
    app.config.update(config)

    @app.get("/set")
    def set_values() -> str:
        session.update(VALUES)
        return "set"

    @app.get("/name")
    def name() -> str:
        return str(session.get("name", "nobody"))

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "cleared"

    @app.get("/keep")
    def keep() -> str:
        session.permanent = True
        return "kept"

    @app.get("/other")
    def other() -> str:
        return "no session"

    return app


def make_app(**config: t.Any) -> Flask:
    return t.cast(Flask, set_up(Flask(__name__), session, **config))


def make_reference(**config: t.Any) -> flask.Flask:
    return t.cast(flask.Flask, set_up(flask.Flask(__name__), flask.session, **config))


def cookie_of(app: t.Any, path: str = "/set") -> str:
    """Request *path* and give the session cookie that comes back."""
    header = app.test_client().get(path).headers["Set-Cookie"]
    return str(parse_cookie(header.partition(";")[0])["session"])


def name_behind(app: t.Any, cookie: str) -> str:
    """Send a session cookie and tell whose session it is."""
    client = app.test_client()
    client.set_cookie("session", cookie)
    return str(client.get("/name").text)


# -- the same cookies as Flask's -------------------------------------------------------------


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("values", [{}, {"a": 1}, VALUES], ids=["empty", "small", "all types"])
@pytest.mark.parametrize("fallbacks", [None, ["old"], ["oldest", b"old"]])
def test_signed_text_equals_flasks(values: dict[str, t.Any], fallbacks: t.Any) -> None:
    app, reference = make_app(), make_reference()
    app.config["SECRET_KEY_FALLBACKS"] = reference.config["SECRET_KEY_FALLBACKS"] = fallbacks
    ours = SecureCookieSessionInterface().get_signing_serializer(app)
    theirs = FlaskInterface().get_signing_serializer(reference)
    assert ours is not None and theirs is not None
    assert ours.dumps(values) == theirs.dumps(values)
    assert ours.loads(theirs.dumps(values)) == values


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("config", COOKIE_CONFIGS)
@pytest.mark.parametrize("path", ["/set", "/name", "/other"])
def test_the_cookie_header_equals_flasks(config: dict[str, t.Any], path: str) -> None:
    ours = make_app(**config).test_client().get(path)
    theirs = make_reference(**config).test_client().get(path)
    assert ours.headers.getlist("Set-Cookie") == theirs.headers.getlist("Set-Cookie")
    assert ours.headers.getlist("Vary") == theirs.headers.getlist("Vary")


@pytest.mark.parametrize("config", COOKIE_CONFIGS)
def test_a_cleared_session_deletes_the_cookie_as_flask_does(config: dict[str, t.Any]) -> None:
    headers = []
    for app in (make_app(**config), make_reference(**config)):
        client = app.test_client()
        client.get("/set", base_url="https://localhost")
        headers.append(client.get("/clear").headers)
    assert headers[0]["Set-Cookie"] == headers[1]["Set-Cookie"]
    assert "1970" in headers[0]["Set-Cookie"]
    assert headers[0]["Vary"] == headers[1]["Vary"] == "Cookie"


@pytest.mark.parametrize("fallbacks", [None, ["old"]])
def test_each_reads_what_the_other_wrote(fallbacks: t.Any) -> None:
    app = make_app(SECRET_KEY_FALLBACKS=fallbacks)
    reference = make_reference(SECRET_KEY_FALLBACKS=fallbacks)
    assert name_behind(app, cookie_of(reference)) == VALUES["name"]
    assert name_behind(reference, cookie_of(app)) == VALUES["name"]


# -- keys ------------------------------------------------------------------------------------


@pytest.mark.case("A32")
@pytest.mark.parametrize("fallbacks", [["old"], ["oldest", "old"], ["old", b"oldest"], ("old",)])
@pytest.mark.parametrize("make", [make_app, make_reference])
def test_a_fallback_key_verifies(fallbacks: t.Any, make: t.Callable[..., t.Any]) -> None:
    old = make()
    old.secret_key = "old"
    app = make_app(SECRET_KEY_FALLBACKS=fallbacks)
    assert name_behind(app, cookie_of(old)) == VALUES["name"]


@pytest.mark.case("A32")
@pytest.mark.parametrize("fallbacks", [["old"], ["old", "oldest"]])
def test_a_fallback_key_never_signs(fallbacks: list[str]) -> None:
    old, rotating, new = make_app(), make_app(SECRET_KEY_FALLBACKS=fallbacks), make_app()
    old.secret_key = "old"
    client = rotating.test_client()
    client.set_cookie("session", cookie_of(old))
    header = client.get("/set").headers["Set-Cookie"]
    cookie = parse_cookie(header.partition(";")[0])["session"]
    assert name_behind(new, cookie) == VALUES["name"]
    assert name_behind(old, cookie) == "nobody"


def test_a_key_that_was_dropped_does_not_verify() -> None:
    old = make_app()
    old.secret_key = "old"
    assert name_behind(make_app(), cookie_of(old)) == "nobody"


def test_the_signing_serializer_is_kept() -> None:
    app = make_app(SECRET_KEY_FALLBACKS=["old"])
    interface = SecureCookieSessionInterface()
    first = interface.get_signing_serializer(app)
    assert first is not None
    assert interface.get_signing_serializer(app) is first


def test_the_signing_serializer_follows_every_setting() -> None:
    app = make_app(SECRET_KEY_FALLBACKS=[])
    interface = SecureCookieSessionInterface()
    seen = []

    def change(what: t.Callable[[], object]) -> None:
        what()
        serializer = interface.get_signing_serializer(app)
        assert serializer is not None
        seen.append((serializer, serializer.dumps("x").rpartition(".")[2]))

    change(lambda: None)
    change(lambda: app.config["SECRET_KEY_FALLBACKS"].append("old"))
    change(lambda: app.config.update(SECRET_KEY="new"))
    change(lambda: setattr(interface, "salt", "other"))
    change(lambda: setattr(interface, "key_derivation", "concat"))
    change(lambda: setattr(SecureCookieSession, "unrelated", 1))
    assert len({id(serializer) for serializer, _ in seen}) == 5
    assert seen[-1][0] is seen[-2][0]
    del SecureCookieSession.unrelated  # type: ignore[attr-defined]
    app.secret_key = None
    assert interface.get_signing_serializer(app) is None


def test_one_interface_serves_two_applications() -> None:
    interface = SecureCookieSessionInterface()
    one, other = make_app(), make_app()
    one.session_interface = other.session_interface = interface
    other.secret_key = "other"
    cookie = cookie_of(one)
    assert name_behind(other, cookie) == "nobody"
    assert name_behind(one, cookie) == VALUES["name"]


@pytest.mark.case("A32")
@pytest.mark.parametrize(
    "cookie",
    ["", "junk", ".", "..", "...", "a.b.c", ".eJw.x.y", "\xff\x00", "e30.aaaaaa.", "=" * 3000],
)
def test_junk_is_an_empty_session(cookie: str) -> None:
    assert name_behind(make_app(), cookie) == "nobody"


def test_a_cookie_older_than_the_lifetime_is_an_empty_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_app(PERMANENT_SESSION_LIFETIME=timedelta(seconds=60))
    cookie = cookie_of(app)
    now = TimestampSigner("key").get_timestamp()
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: now + 58)
    assert name_behind(app, cookie) == VALUES["name"]
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: now + 62)
    assert name_behind(app, cookie) == "nobody"


# -- permanent sessions ----------------------------------------------------------------------


def test_a_permanent_session_expires_after_its_lifetime() -> None:
    app = make_app(PERMANENT_SESSION_LIFETIME=3600)
    client = app.test_client()
    before = datetime.now(UTC)
    client.get("/keep")
    cookie = client.get_cookie("session")
    assert cookie is not None and cookie.expires is not None
    assert abs(cookie.expires - before - timedelta(hours=1)) < timedelta(seconds=10)
    assert "Expires" not in app.test_client().get("/set").headers["Set-Cookie"]


@pytest.mark.case("A32")
def test_a_permanent_session_is_refreshed_by_every_request() -> None:
    client = make_app().test_client()
    client.get("/keep")
    response = client.get("/other")
    expires = response.headers["Set-Cookie"].partition("Expires=")[2].partition(";")[0]
    assert parsedate_to_datetime(expires) > datetime.now(UTC) + timedelta(days=30)
    assert response.headers["Vary"] == "Cookie"


def test_refreshing_can_be_turned_off() -> None:
    client = make_app(SESSION_REFRESH_EACH_REQUEST=False).test_client()
    client.get("/keep")
    response = client.get("/other")
    assert "Set-Cookie" not in response.headers
    assert "Vary" not in response.headers


class LongWay(SecureCookieSessionInterface):
    """The default interface, which opens every session that may have to be sent again."""

    def _may_refresh(self, app: Flask, request: t.Any) -> bool:
        return True


def writing(text: str) -> t.Any:
    """Give a serializer that writes a session in this way."""
    return type("Serializer", (), {"dumps": lambda self, value: text, "loads": lambda self, x: x})()


def signed(text: str) -> str:
    """Sign some JSON as a session."""
    interface = SecureCookieSessionInterface()
    interface.serializer = writing(text)
    serializer = interface.get_signing_serializer(make_app())
    assert serializer is not None
    return serializer.dumps(None)


@pytest.mark.parametrize("refresh", [True, False])
@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "junk",
        "..",
        signed('{"a":1}'),
        signed('{"a":1}')[:-2],
        signed('{"_permanent":true}'),
        signed('{"_permanent":true}')[:-2],
        signed('{"_permanent":false,"a":1}'),
        signed('{"\\u005fpermanent":true}'),
        signed('{"_permanent":true,"a":"' + "long" * 40 + '"}'),
        signed('{"a":"' + "long" * 40 + '"}'),
        signed('{"_permanent__":1,"_permanent":{" t":[]}}'),
    ],
)
def test_a_session_nobody_looks_at_is_sent_again_or_not_as_if_it_was_opened(
    cookie: str, refresh: bool
) -> None:
    results = []
    for interface in (SecureCookieSessionInterface(), LongWay()):
        app = make_app(SESSION_REFRESH_EACH_REQUEST=refresh)
        app.session_interface = interface
        client = app.test_client()
        client.set_cookie("session", cookie)
        headers = client.get("/other").headers
        results.append(("Set-Cookie" in headers, headers.get("Vary")))
    assert results[0] == results[1]


def test_a_session_that_cannot_be_permanent_is_not_opened_to_be_sent_again() -> None:
    client = make_app().test_client()
    client.set_cookie("session", signed('{"a":1}'))
    with mock.patch.object(TaggedJSONSerializer, "loads", return_value={}) as loads:
        client.get("/other")
        assert not loads.called
        client.get("/name")
        assert loads.called


@pytest.mark.parametrize(
    "change",
    [
        lambda interface: setattr(interface, "serializer", writing("x")),
        lambda interface: setattr(interface, "should_set_cookie", lambda app, session: True),
        lambda interface: setattr(interface, "session_class", dict),
    ],
)
def test_an_interface_that_was_changed_is_asked(change: t.Callable[..., None]) -> None:
    app = make_app()
    interface: t.Any = SecureCookieSessionInterface()
    app.session_interface = interface
    cookie = signed('{"a":1}')
    with app.test_request_context("/", headers={"Cookie": f"session={cookie}"}) as ctx:
        assert not interface._may_refresh(app, ctx.request)
        change(interface)
        assert interface._may_refresh(app, ctx.request)


def test_an_inline_interface_may_give_something_to_await() -> None:
    saved = []

    class Interface(SecureCookieSessionInterface):
        @inline
        def save_session(self, app: Flask, session: t.Any, response: t.Any) -> t.Any:
            async def save() -> None:
                saved.append(dict(session))

            return save()

    for hooked in (False, True):
        app = make_app()
        app.session_interface = Interface()
        if hooked:
            app.after_request(lambda response: response)
        app.test_client().get("/keep")
    assert saved == [{"_permanent": True}] * 2


# -- Vary ------------------------------------------------------------------------------------

LOOKS: dict[str, t.Callable[[], object]] = {
    "get": lambda: session.get("x"),
    "item": lambda: session["name"],
    "in": lambda: "x" in session,
    "len": lambda: len(session),
    "bool": lambda: bool(session),
    "iter": lambda: list(session),
    "dict": lambda: dict(session),
    "repr": lambda: repr(session),
    "equal": lambda: session == {},
    "pop": lambda: session.pop("x", None),
    "popitem": lambda: session.popitem(),
    "merge": lambda: operator.ior(session, {"x": 1}),
    "delete": lambda: operator.delitem(session, "name"),
    "items": lambda: list(session.items()),
    "setdefault": lambda: session.setdefault("name", "x"),
    "permanent": lambda: session.permanent,
    "template": lambda: render_template_string("{{ session.x }}"),
    "flashes": lambda: get_flashed_messages(),
    "flash": lambda: flash("hello"),
}


@pytest.mark.case("A32")
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_any_look_at_the_session_varies_the_response(look: t.Callable[[], object]) -> None:
    app = make_app()

    @app.get("/look")
    def view() -> str:
        look()
        return "looked"

    @app.get("/look-async")
    async def async_view() -> str:
        look()
        return "looked"

    client = app.test_client()
    client.get("/set")
    assert client.get("/look").headers["Vary"] == "Cookie"
    assert client.get("/look-async").headers["Vary"] == "Cookie"


@pytest.mark.case("A32")
@pytest.mark.parametrize("hook", ["before_request", "after_request"])
def test_a_look_in_a_hook_varies_the_response(hook: str) -> None:
    app = make_app()

    @getattr(app, hook)  # type: ignore[untyped-decorator]
    def look(response: t.Any = None) -> t.Any:
        session.get("x")
        return response

    assert app.test_client().get("/other").headers["Vary"] == "Cookie"


@pytest.mark.case("A32")
def test_a_response_without_a_look_does_not_vary() -> None:
    client = make_app().test_client()
    client.get("/set")
    response = client.get("/other")
    assert "Vary" not in response.headers
    assert "Set-Cookie" not in response.headers


@pytest.mark.case("A32")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Accept-Encoding", "Accept-Encoding, Cookie"),
        ("cookie", "cookie"),
        ("Accept, Origin", "Accept, Origin, Cookie"),
    ],
)
def test_what_the_response_varies_by_is_kept(given: str, expected: str) -> None:
    app = make_app()

    @app.get("/vary")
    def vary() -> Response:
        session["x"] = 1
        return Response("varied", headers={"Vary": given})

    assert app.test_client().get("/vary").headers["Vary"] == expected


# -- the session object ----------------------------------------------------------------------

CHANGES: dict[str, t.Callable[[SecureCookieSession], object]] = {
    "set": lambda s: s.__setitem__("b", 1),
    "put": lambda s: s.put("b", 1),
    "delete": lambda s: s.__delitem__("a"),
    "pop": lambda s: s.pop("a"),
    "popitem": lambda s: s.popitem(),
    "clear": lambda s: s.clear(),
    "update": lambda s: s.update(b=1),
    "merge": lambda s: s.__ior__({"b": 1}),
    "setdefault": lambda s: s.setdefault("b", 1),
    "permanent": lambda s: setattr(s, "permanent", True),
}
LOOKUPS: dict[str, t.Callable[[SecureCookieSession], object]] = {
    "get": lambda s: s.get("a"),
    "pop of nothing": lambda s: s.pop("b", None),
    "setdefault of something": lambda s: s.setdefault("a", 2),
    "permanent": lambda s: s.permanent,
    "inside a value": lambda s: s["a"].append(2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_session_notices_changes(change: t.Callable[[SecureCookieSession], object]) -> None:
    changed = SecureCookieSession({"a": [1]})
    assert not changed.modified
    change(changed)
    assert changed.modified


@pytest.mark.parametrize("lookup", LOOKUPS.values(), ids=LOOKUPS)
def test_a_session_is_not_modified_by_lookups(
    lookup: t.Callable[[SecureCookieSession], object],
) -> None:
    looked_at = SecureCookieSession({"a": [1]})
    lookup(looked_at)
    assert not looked_at.modified


def test_put_stores_and_pop_takes_out() -> None:
    app = make_app()

    @app.get("/put")
    def put() -> str:
        session.put("user", "ada")
        return "put"

    @app.get("/take")
    def take() -> str:
        return str(session.pop("user", None))

    client = app.test_client()
    client.get("/put")
    assert [client.get("/take").text, client.get("/take").text] == ["ada", "None"]


def test_a_mapping_with_the_mixin_is_a_session() -> None:
    class Plain(dict[str, t.Any], SessionMixin):
        pass

    plain = Plain(a=1)
    assert (plain.new, plain.modified, plain.accessed, plain.permanent) == (
        False,
        True,
        False,
        False,
    )
    plain.permanent = True
    plain.put("b", 2)
    assert plain == {"a": 1, "b": 2, "_permanent": True}


def test_changes_inside_a_value_are_saved_when_marked() -> None:
    app = make_app()

    @app.get("/append/<int:mark>")
    def append(mark: int) -> str:
        session["nested"]["list"].append("new")
        session.modified = session.modified or bool(mark)
        return str("new" in session["nested"]["list"])

    @app.get("/appended")
    def appended() -> str:
        return str("new" in session["nested"]["list"])

    client = app.test_client()
    client.get("/set")
    client.get("/append/0")
    assert client.get("/appended").text == "False"
    client.get("/append/1")
    assert client.get("/appended").text == "True"


# -- without a secret key --------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_null_session_refuses_changes(change: t.Callable[[SecureCookieSession], object]) -> None:
    null = NullSession()
    with pytest.raises(RuntimeError, match="session is unavailable.*SECRET_KEY"):
        change(null)
    assert null == {} and not null.modified


def test_without_a_key_the_session_can_be_read() -> None:
    app = make_app()
    app.secret_key = None
    response = app.test_client().get("/name")
    assert response.text == "nobody"
    assert "Set-Cookie" not in response.headers


# -- own interfaces --------------------------------------------------------------------------


class Stored(dict[str, t.Any], SessionMixin):
    pass


class StoreInterface(SessionInterface):
    """Keeps every session in a dict, and tells on which thread it was asked."""

    def __init__(self) -> None:
        self.store: dict[str, dict[str, t.Any]] = {}
        self.threads: list[int] = []

    def open_session(self, app: t.Any, request: t.Any) -> t.Any:
        self.threads.append(threading.get_ident())
        return Stored(self.store.get(request.cookies.get("sid", ""), {}))

    def save_session(self, app: t.Any, session: SessionMixin, response: t.Any) -> t.Any:
        self.threads.append(threading.get_ident())
        self.store["1"] = dict(session)
        response.set_cookie("sid", "1")


class AsyncStoreInterface(StoreInterface):
    async def open_session(self, app: t.Any, request: t.Any) -> t.Any:
        return super().open_session(app, request)

    async def save_session(self, app: t.Any, session: SessionMixin, response: t.Any) -> None:
        super().save_session(app, session, response)


@pytest.mark.parametrize("kind", [StoreInterface, AsyncStoreInterface])
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_an_interface_may_be_sync_or_async(kind: type[StoreInterface], transport: str) -> None:
    app = make_app()
    app.session_interface = kind()

    @app.get("/name-async")
    async def name_async() -> str:
        return str(session["name"])

    client = app.test_client(transport=transport)
    client.get("/set")
    assert client.get("/name").text == VALUES["name"]
    assert client.get("/name-async").text == VALUES["name"]


def test_a_session_that_cannot_be_opened_is_null_and_not_saved() -> None:
    class Unavailable(SessionInterface):
        saved = 0

        def open_session(self, app: t.Any, request: t.Any) -> None:
            return None

        def save_session(self, app: t.Any, session: t.Any, response: t.Any) -> None:
            type(self).saved += 1

    app = make_app()
    app.session_interface = Unavailable()
    assert app.test_client().get("/name").text == "nobody"
    assert Unavailable.saved == 0
    assert app.session_interface.is_null_session(NullSession())
    assert not app.session_interface.is_null_session(SecureCookieSession())


def test_the_base_interface_says_what_is_missing() -> None:
    class Empty(SessionInterface):
        pass

    with pytest.raises(NotImplementedError, match="'Empty' must define 'open_session'"):
        Empty().open_session(Flask(__name__), t.cast(t.Any, None))
    with pytest.raises(NotImplementedError, match="'Empty' must define 'save_session'"):
        Empty().save_session(Flask(__name__), SecureCookieSession(), Response())


def test_the_default_interface_runs_anywhere() -> None:
    class Renamed(SecureCookieSessionInterface):
        salt = "renamed"

    for kind in (SecureCookieSessionInterface, Renamed):
        assert colour_of(kind().open_session) == colour_of(kind().save_session) == INLINE


def test_an_interface_with_code_of_its_own_belongs_on_a_thread() -> None:
    class Mixed:
        def get_cookie_name(self, app: t.Any) -> str:
            return "mixed"

    class ByMixin(Mixed, SecureCookieSessionInterface):
        pass

    class Opening(SecureCookieSessionInterface):
        def open_session(self, app: t.Any, request: t.Any) -> t.Any:
            return super().open_session(app, request)

    class Declared(SecureCookieSessionInterface):
        @inline
        def get_cookie_name(self, app: t.Any) -> str:
            return "declared"

    for kind in (ByMixin, Opening):
        assert colour_of(kind().open_session) == colour_of(kind().save_session) == SYNC
    assert colour_of(Declared().open_session) == INLINE
    app = make_app()
    app.session_interface = ByMixin()
    assert app.test_client().get("/set").headers["Set-Cookie"].startswith("mixed=")


def test_a_sync_interface_stays_off_the_event_loop() -> None:
    app = make_app()
    interface = app.session_interface = StoreInterface()
    loop_threads = []

    @app.get("/loop")
    async def loop_view() -> str:
        loop_threads.append(threading.get_ident())
        return "loop"

    app.test_client(transport="asgi").get("/loop")
    assert len(interface.threads) == 2
    assert loop_threads[0] not in interface.threads
