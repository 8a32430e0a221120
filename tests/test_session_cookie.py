"""What is kept of the session's cookie gives what Flask gives, whatever changes meanwhile."""

from __future__ import annotations

import functools
import hashlib
import operator
import pickle
import typing as t
import warnings
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from types import SimpleNamespace

import flask
import pytest
from flask.sessions import SecureCookieSessionInterface as FlaskInterface
from itsdangerous import TimestampSigner
from werkzeug.local import LocalProxy

import asyncflask
from asyncflask.session_cookie import SessionCookie
from asyncflask.sessions import SecureCookieSession
from asyncflask.sessions import SecureCookieSessionInterface

NOW = 1_790_000_000
EXPIRES = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)

OURS = SimpleNamespace(module=asyncflask, interface=SecureCookieSessionInterface)
FLASKS = SimpleNamespace(module=flask, interface=FlaskInterface)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make signatures of the same moment."""
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: NOW)


def make(side: SimpleNamespace, app_class: type | None = None) -> t.Any:
    """Give an application of ours or of Flask's, whose view counts in the session."""
    app: t.Any = (app_class or side.module.Flask)(__name__)
    app.secret_key = "current"
    # That of the class is one for all applications.
    app.session_interface = side.interface()
    session = side.module.session

    @app.get("/")
    def count() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    @app.get("/keep")
    def keep() -> str:
        session.permanent = True
        return "kept"

    return app


def visit(app: t.Any, path: str = "/", cookie: str | None = None) -> tuple[t.Any, ...]:
    """Give what a visit comes to, and the cookies it sets."""
    headers = {} if cookie is None else {"Cookie": cookie}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        response = app.test_client(use_cookies=False).get(path, headers=headers)
    shown = [str(warning.message) for warning in caught]
    cookies, varies = response.headers.getlist("Set-Cookie"), response.headers.get("Vary")
    return response.status, response.text, cookies, varies, shown


def header(visited: tuple[t.Any, ...]) -> str:
    """Give the Cookie header that a browser sends after a visit."""
    return "; ".join(cookie.partition(";")[0] for cookie in visited[2])


# -- changes between two requests ------------------------------------------------------------

CONFIGS: list[dict[str, t.Any]] = [
    {"SECRET_KEY": "other"},
    {"SECRET_KEY": b"bytes"},
    {"SECRET_KEY_FALLBACKS": ["old"]},
    {"SECRET_KEY_FALLBACKS": ("old", b"older")},
    {"SESSION_COOKIE_NAME": "other"},
    {"SESSION_COOKIE_NAME": "sp ace"},
    {"SESSION_COOKIE_DOMAIN": "example.org"},
    {"SESSION_COOKIE_DOMAIN": "d\xf6main.example"},
    {"SESSION_COOKIE_PATH": "/p\xe4th"},
    {"APPLICATION_ROOT": "/root"},
    {"SESSION_COOKIE_SECURE": True},
    {"SESSION_COOKIE_HTTPONLY": False},
    {"SESSION_COOKIE_SAMESITE": "Lax"},
    {"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SECURE": True},
    {"MAX_COOKIE_SIZE": 20},
    {"MAX_COOKIE_SIZE": 0},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("path", ["/", "/keep"])
def test_a_setting_counts_at_the_next_request(config: dict[str, t.Any], path: str) -> None:
    results = []
    for side in (OURS, FLASKS):
        app = make(side)
        app.session_interface.get_expiration_time = lambda app, session: EXPIRES
        first = visit(app, path)
        app.config.update(config)
        second = visit(app, path, header(first))
        results.append((first, second, visit(app, path, header(second))))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.pop("SESSION_COOKIE_DOMAIN"),
        lambda config: config.__delitem__("SESSION_COOKIE_DOMAIN"),
        lambda config: config.clear(),
    ],
)
def test_a_setting_that_is_gone_is_missed_as_in_flask(change: t.Callable[[t.Any], object]) -> None:
    for side in (OURS, FLASKS):
        app = make(side)
        visit(app)
        app.testing = True
        with app.test_request_context("/"):
            side.module.session["n"] = 1
            change(app.config)
            with pytest.raises(KeyError):
                app.process_response(app.response_class())


def test_fallback_keys_that_are_changed_in_place_count() -> None:
    old = make(OURS)
    old.secret_key = "old"
    cookie = header(visit(old))
    for side in (OURS, FLASKS):
        app = make(side)
        keys = app.config["SECRET_KEY_FALLBACKS"] = ["oldest"]
        assert visit(app, "/", cookie)[1] == "1"
        keys.append("old")
        assert visit(app, "/", cookie)[1] == "2"
        keys.clear()
        assert visit(app, "/", cookie)[1] == "1"


def test_a_lifetime_that_gets_shorter_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for side in (OURS, FLASKS):
        app = make(side)
        cookie = header(visit(app))
        monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: NOW + 60)
        assert visit(app, "/", cookie)[1] == "2"
        app.permanent_session_lifetime = timedelta(seconds=59)
        assert visit(app, "/", cookie)[1] == "1"
        app.config["PERMANENT_SESSION_LIFETIME"] = 60
        assert visit(app, "/", cookie)[1] == "2"
        monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: NOW)


def test_settings_that_cannot_be_used_are_errors_where_flask_has_them() -> None:
    for side in (OURS, FLASKS):
        app = make(side)
        app.config["PERMANENT_SESSION_LIFETIME"] = None
        cookie = header(visit(app))
        app.config["PROPAGATE_EXCEPTIONS"] = True
        with pytest.raises(AttributeError, match="total_seconds"):
            visit(app, "/", cookie)
        app.config["SESSION_COOKIE_SAMESITE"] = "Sometimes"
        with pytest.raises(ValueError, match="SameSite"):
            visit(app)


# -- others' code ----------------------------------------------------------------------------

ATTRIBUTES: list[tuple[str, t.Any]] = [
    ("salt", "other"),
    ("salt", b"other"),
    ("key_derivation", "concat"),
    ("digest_method", staticmethod(hashlib.sha256)),
    ("get_cookie_name", lambda *args: "other"),
    ("get_cookie_domain", lambda *args: "example.org"),
    ("get_cookie_path", lambda *args: "/path"),
    ("get_cookie_secure", lambda *args: True),
    ("get_cookie_httponly", lambda *args: False),
    ("get_cookie_samesite", lambda *args: "Strict"),
    ("get_cookie_partitioned", lambda *args: True),
    ("get_expiration_time", lambda *args: EXPIRES),
    ("should_set_cookie", lambda *args: False),
    ("serializer", SimpleNamespace(dumps=repr, loads=lambda text: {"n": len(text)})),
    ("get_signing_serializer", lambda *args: SimpleNamespace(dumps=repr, loads=None)),
    ("get_signing_serializer", lambda *args: None),
    ("session_class", type("Own", (SecureCookieSession,), {"modified": True})),
]


def compare(change: t.Callable[[SimpleNamespace, t.Any], object]) -> None:
    """Make the same change to both between two requests, and compare what comes of them."""
    results = []
    for side in (OURS, FLASKS):
        app = make(side)
        app.config["SESSION_REFRESH_EACH_REQUEST"] = True
        first = visit(app)
        change(side, app)
        results.append((first, visit(app), visit(app, "/", f"{header(first)}x")))
    assert results[0] == results[1]


@pytest.mark.parametrize(("name", "value"), ATTRIBUTES, ids=str)
def test_an_attribute_of_the_interface_counts(name: str, value: t.Any) -> None:
    own = value.__func__ if isinstance(value, staticmethod) else value
    compare(lambda side, app: setattr(app.session_interface, name, own))


@pytest.mark.parametrize(("name", "value"), ATTRIBUTES, ids=str)
def test_an_attribute_of_its_class_counts(
    name: str, value: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(lambda side, app: monkeypatch.setattr(side.interface, name, value))


@pytest.mark.parametrize(("name", "value"), ATTRIBUTES, ids=str)
def test_an_attribute_of_a_subclass_counts(name: str, value: t.Any) -> None:
    def change(side: SimpleNamespace, app: t.Any) -> None:
        app.session_interface = type("Own", (side.interface,), {name: value})()

    compare(change)


def test_an_attribute_that_is_deleted_counts() -> None:
    app = make(OURS)
    first = visit(app)
    app.session_interface.salt = "other"
    second = visit(app)
    del app.session_interface.salt
    assert visit(app) == first != second


def test_a_salt_may_be_another_one_each_time() -> None:
    def cookies(side: SimpleNamespace) -> list[t.Any]:
        salts = iter("abcdef")
        own = {"salt": property(lambda self: next(salts))}
        app = make(side)
        app.session_interface = type("Own", (side.interface,), own)()
        return [visit(app), visit(app)]

    ours = cookies(OURS)
    assert ours == cookies(FLASKS)
    assert ours[0] != ours[1]


class PerTenant:
    """An attribute that is looked up anew each time, and shows its class itself."""

    def __init__(self, values: t.Iterator[t.Any]) -> None:
        self._values = values

    def __get__(self, owner: object, cls: type) -> t.Any:
        return self if owner is None else next(self._values)


@pytest.mark.parametrize(
    ("name", "values"),
    [("salt", "abcdef"), ("digest_method", [*[hashlib.sha1] * 2, *[hashlib.sha256] * 2])],
)
def test_an_attribute_may_be_computed_each_time(name: str, values: t.Iterable[t.Any]) -> None:
    results = []
    for side in (OURS, FLASKS):
        app = make(side)
        own = {name: PerTenant(iter(values))}
        app.session_interface = type("Own", (side.interface,), own)()
        results.append([visit(app), visit(app)])
    assert results[0] == results[1]
    assert results[0][0] != results[0][1]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("SECRET_KEY", ("one", "two")),
        ("SECRET_KEY", (b"one", b"two")),
        ("SESSION_COOKIE_NAME", ("one", "two")),
        ("SESSION_COOKIE_DOMAIN", ("one.example", "two.example")),
        ("SESSION_COOKIE_PATH", ("/one", "/two")),
        ("SESSION_COOKIE_SECURE", (False, True)),
        ("SESSION_COOKIE_SAMESITE", ("Lax", "Strict")),
    ],
)
def test_a_setting_may_be_a_proxy(key: str, values: tuple[t.Any, t.Any]) -> None:
    results = []
    for side in (OURS, FLASKS):
        current = [values[0]]
        app = make(side)
        app.config[key] = LocalProxy(functools.partial(operator.getitem, current, 0))
        first = visit(app)
        current[0] = values[1]
        results.append([first, visit(app)])
    assert results[0] == results[1]
    assert results[0][0] != results[0][1]


def test_a_salt_may_be_a_proxy() -> None:
    current = ["one"]
    app = make(OURS)
    app.session_interface.salt = LocalProxy(lambda: current[0])
    first = visit(app)
    current[0] = "two"
    assert visit(app) != first


def test_a_key_may_come_from_elsewhere() -> None:
    results = []
    for side in (OURS, FLASKS):
        own = {"secret_key": property(lambda self: self.name, lambda *args: None)}
        app = make(side, type("Own", (side.module.Flask,), own))
        app.name = "one"
        first = visit(app)
        app.name = "two"
        results.append([first, visit(app)])
    assert results[0] == results[1]


def test_applications_that_share_a_config_may_have_other_keys() -> None:
    results = []
    for side in (OURS, FLASKS):
        own = {"secret_key": property(lambda self: "other", lambda *args: None)}
        one, other = make(side), make(side, type("Own", (side.module.Flask,), own))
        other.config, other.session_interface = one.config, one.session_interface
        results.append([visit(one), visit(other), visit(one)])
    assert results[0] == results[1]
    assert results[0][0] != results[0][1]


def test_a_config_class_of_ones_own_is_asked() -> None:
    results = []
    for side in (OURS, FLASKS):
        names = iter("abcdefghijkl")

        class Own(side.module.Config):  # type: ignore[misc,name-defined]
            def __getitem__(self, key: str) -> t.Any:
                if key == "SESSION_COOKIE_PATH":
                    return "/" + next(names)  # noqa: B023
                return super().__getitem__(key)

        app = make(side, type("Own", (side.module.Flask,), {"config_class": Own}))
        results.append([visit(app), visit(app)])
    assert results[0] == results[1]
    assert results[0][0] != results[0][1]


@pytest.mark.parametrize(
    "own",
    [
        {"set_cookie": lambda self, key, value="", **options: self.headers.set("X-Set", value)},
        {"max_cookie_size": 30},
    ],
    ids=["method", "limit"],
)
def test_a_response_class_of_ones_own_sets_cookies(own: dict[str, t.Any]) -> None:
    results = []
    for side in (OURS, FLASKS):
        app = make(side)
        visit(app)
        app.response_class = type("Own", (side.module.Response,), own)
        response = app.test_client().get
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            headers = response("/").headers
        results.append((headers.getlist("Set-Cookie"), headers.get("X-Set"), len(caught)))
    assert results[0] == results[1]


def test_a_method_of_one_response_is_called() -> None:
    app = make(OURS)
    called: list[str] = []

    @app.after_request
    def replace(response: t.Any) -> t.Any:
        response.set_cookie = lambda name, *args, **options: called.append(name)
        return response

    assert "Set-Cookie" not in app.test_client().get("/").headers
    assert called == ["session"]


# -- the short way and the long one ----------------------------------------------------------


class LongWay(SecureCookieSessionInterface):
    """The default interface, with nothing kept."""

    def _cookie(self, app: t.Any) -> None:
        return None


COOKIES = [
    None,
    "",
    "session",
    "session=",
    "session=junk",
    'session="quoted"',
    "session=\xe9.\xe9.\xe9",
    "session=a; session=b",
    "other=1; session={good}",
    "session={good}; session=junk",
    "session=junk; session={good}",
    "session={good}x",
    "Session={good}",
]


@pytest.mark.parametrize("cookie", COOKIES, ids=str)
@pytest.mark.parametrize("text", ['{"n":1}', "[1]", "1", '{" t":[1]}', "{}", '{"n":', '{"n":null}'])
def test_any_cookie_comes_to_the_same(cookie: str | None, text: str) -> None:
    results = []
    for interface in (SecureCookieSessionInterface(), LongWay()):
        app = make(OURS)
        app.session_interface = interface
        signer: t.Any = SecureCookieSessionInterface()
        signer.serializer = SimpleNamespace(dumps=lambda value: text, loads=None)
        sent = cookie and cookie.format(good=signer.get_signing_serializer(app).dumps(None))
        ctx = app.test_request_context("/", headers={"Cookie": sent} if sent else {})
        with app.app_context():
            try:
                results.append(repr(interface.open_session(app, ctx.request)))
            except Exception as error:
                results.append(f"{type(error)} {error}")
    assert results[0] == results[1]


VALUES: list[dict[str, t.Any]] = [
    {"a": 1},
    {" t": 1},
    {"_permanent": True},
    {"a": "\xe9\N{SNOWMAN}", "b": None, "c": 1.5},
    {"a": (1, 2), "b": [b"x"], "c": {"d": datetime(2026, 1, 1, tzinfo=UTC)}},
    {"long": "compressed " * 40},
    {"too long": "".join(map(chr, range(0x4000, 0x5000)))},
    {1: "a key that is no text"},  # type: ignore[dict-item]
]


@pytest.mark.parametrize("values", VALUES, ids=lambda values: str(values)[:40])
def test_any_session_is_written_alike(values: dict[str, t.Any]) -> None:
    results = []
    for interface in (SecureCookieSessionInterface(), LongWay()):
        app, response = make(OURS), asyncflask.Response()
        interface.get_expiration_time = lambda app, session: EXPIRES  # type: ignore[method-assign]
        session = SecureCookieSession(values)
        session.modified = session.accessed = True
        with app.app_context(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            interface.save_session(app, session, response)
        results.append((list(response.headers), [str(warning.message) for warning in caught]))
    assert results[0] == results[1]


def test_what_cannot_be_serialized_is_the_same_error() -> None:
    for interface in (SecureCookieSessionInterface(), LongWay()):
        session = SecureCookieSession({"a": object()})
        session.modified = True
        with pytest.raises(TypeError, match="object is not JSON serializable"):
            interface.save_session(make(OURS), session, asyncflask.Response())


def test_the_short_way_is_taken_where_nothing_is_out_of_the_ordinary() -> None:
    class Own(SecureCookieSessionInterface):
        salt = "own"
        session_class = type("Session", (SecureCookieSession,), {})

    for interface in (SecureCookieSessionInterface(), Own()):
        app = make(OURS)
        app.config["SECRET_KEY_FALLBACKS"] = ["old"]
        kept = interface._cookie(app)
        assert isinstance(kept, SessionCookie)
        assert interface._cookie(app) is kept
    assert LongWay()._cookie(app) is None


def test_applications_that_share_an_interface_have_a_cookie_each() -> None:
    one, other = make(OURS), make(OURS)
    one.session_interface = other.session_interface
    other.config["SESSION_COOKIE_PATH"] = "/other"
    first = visit(one), visit(other)
    kept = one.session_interface._cookie(one), other.session_interface._cookie(other)
    assert (visit(one), visit(other)) == first
    assert first[0] != first[1]
    assert (one.session_interface._cookie(one), other.session_interface._cookie(other)) == kept


def test_settings_that_change_for_ever_do_not_pile_up() -> None:
    app = make(OURS)
    for number in range(100):
        app.config["SESSION_COOKIE_NAME"] = f"name{number}"
        assert f"name{number}=" in header(visit(app))
    assert len(app.session_interface._kept) < 50


def test_a_usual_response_is_given_the_cookie_at_once() -> None:
    app, response = make(OURS), asyncflask.Response("x")
    with app.app_context():
        kept = app.session_interface._cookie(app)
        assert kept.write({"a": 1}, response, None)
    assert [name for name, _ in response.headers] == [
        "Content-Type",
        "Content-Length",
        "Set-Cookie",
    ]


def test_a_copied_config_is_not_taken_for_the_one_it_was_copied_from() -> None:
    app = make(OURS)
    first = visit(app)
    app.config = pickle.loads(pickle.dumps(app.config))
    assert visit(app) == first
    app.config["SESSION_COOKIE_PATH"] = "/other"
    assert visit(app) != first


# -- the session itself ----------------------------------------------------------------------


def test_another_callback_is_told_of_an_item() -> None:
    told: list[t.Any] = []
    session = SecureCookieSession({"a": 1})
    session.on_update = told.append
    session["b"] = 2
    assert (told, session.modified, dict(session)) == ([session], False, {"a": 1, "b": 2})
    session.on_update = None
    session["c"] = 3
    assert (len(told), session.modified, session["c"]) == (1, False, 3)


def test_a_session_class_with_bases_of_its_own_has_their_methods() -> None:
    class Upper(dict[str, t.Any]):
        def __setitem__(self, key: str, value: t.Any) -> None:
            super().__setitem__(key.upper(), value)

    class Own(SecureCookieSession, Upper):
        pass

    session = Own()
    session["a"] = 1
    assert (dict(session), session.modified) == ({"A": 1}, True)


@pytest.mark.parametrize(
    "look",
    [
        lambda session: session.get("a"),
        lambda session: session["a"],
        lambda session: "a" in session,
        lambda session: session.__setitem__("a", 1),
        lambda session: hasattr(session, "get"),
    ],
)
def test_outside_of_a_request_there_is_no_session(look: t.Callable[[t.Any], object]) -> None:
    for session in (asyncflask.session, flask.session):
        with pytest.raises(RuntimeError, match="outside of request context"):
            look(session)


def test_a_request_context_of_ones_own_has_its_own_session() -> None:
    class Own(asyncflask.ctx.RequestContext):
        session = {"a": 1}  # type: ignore[assignment]

    app = make(OURS)
    with Own(app, {}, app.test_request_context("/").request):
        session = asyncflask.session
        session["b"] = session.get("a")
        assert ("b" in session, session["b"]) == (True, 1)


@pytest.mark.parametrize("given", ["Accept", "Cookie", "Accept, Cookie", "cookie"])
def test_what_a_response_varies_by_is_kept(given: str) -> None:
    results = []
    for side in (OURS, FLASKS):
        app = make(side)

        @app.after_request
        def vary(response: t.Any) -> t.Any:
            response.headers["Vary"] = given
            return response

        results.append(visit(app))
    assert results[0] == results[1]


def test_any_class_may_be_that_of_null_sessions() -> None:
    for side in (OURS, FLASKS):
        app = make(side)
        app.session_interface.null_session_class = app.session_interface.session_class
        # What is null is not saved.
        assert visit(app)[2] == []
