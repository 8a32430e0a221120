"""Matching gives what Flask gives, whatever was asked before; redirects stay where they are."""

from __future__ import annotations

import typing as t
import warnings
from urllib.parse import urljoin
from urllib.parse import urlsplit

import flask
import pytest
import werkzeug.routing
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import RequestRedirect
from werkzeug.routing import Rule
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from asyncflask import Flask
from asyncflask import g
from asyncflask import Request
from asyncflask import request
from asyncflask import url_for
from asyncflask.ctx import RequestContext
from tests.twins import TRANSPORTS

# -- the same answers as Flask's ---------------------------------------------------------------


class RuleSpec(t.NamedTuple):
    """A rule and its options, to be made once for each of the two maps."""

    text: str
    options: dict[str, t.Any]


class Sent(t.NamedTuple):
    """A request."""

    path: str
    method: str = "GET"
    host: bytes | None = b"example.com"
    query: bytes = b""
    root: str = ""
    upgrade: bool = False


class Setting(t.NamedTuple):
    """What an application says about hosts, and its map about slashes."""

    server_name: str | None = None
    subdomain_matching: bool = False
    trusted: list[str] | None = None
    map_options: dict[str, t.Any] = {}


def scope_of(sent: Sent) -> dict[str, t.Any]:
    headers = [] if sent.host is None else [(b"host", sent.host)]
    if sent.upgrade:
        headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    return {
        "type": "http",
        "method": sent.method,
        "scheme": "http",
        "path": sent.root + sent.path,
        "root_path": sent.root,
        "query_string": sent.query,
        "headers": headers,
        "server": ("server.test", 8000),
    }


def environ_of(sent: Sent) -> dict[str, t.Any]:
    environ = {
        "REQUEST_METHOD": sent.method,
        "SCRIPT_NAME": sent.root,
        "PATH_INFO": sent.path.encode().decode("latin-1"),
        "QUERY_STRING": sent.query.decode("latin-1"),
        "SERVER_NAME": "server.test",
        "SERVER_PORT": "8000",
        "wsgi.url_scheme": "http",
    }
    if sent.host is not None:
        environ["HTTP_HOST"] = sent.host.decode("latin-1")
    if sent.upgrade:
        environ.update(HTTP_CONNECTION="Upgrade", HTTP_UPGRADE="websocket")
    return environ


def make_app(kind: t.Any, setting: Setting) -> t.Any:
    app = kind("app", static_folder=None, subdomain_matching=setting.subdomain_matching)
    app.url_map = app.url_map_class(**setting.map_options)
    app.config.update(SERVER_NAME=setting.server_name, TRUSTED_HOSTS=setting.trusted)
    return app


def answer_to(app: t.Any, source: dict[str, t.Any]) -> object:
    """Give the number of the rule that matches and its values, or what is raised instead."""
    try:
        ctx = app.request_context(source)
        # Flask's binds beforehand, and may have failed.
        if isinstance(ctx, RequestContext) or ctx.url_adapter is not None:
            ctx.match_request()
    except Exception as error:
        # An alias without a rule to go to, for one.
        return type(error), str(error)
    error = ctx.request.routing_exception
    if error is None:
        rule = ctx.request.url_rule
        return None if rule is None else (rule.endpoint, rule.number, ctx.request.view_args)
    if isinstance(error, RequestRedirect):
        return RequestRedirect, error.new_url
    if isinstance(error, MethodNotAllowed):
        return MethodNotAllowed, set(error.valid_methods)
    return type(error), error.code


def add_rule(app: t.Any, spec: RuleSpec, number: int) -> bool:
    options = dict(spec.options)
    if options.pop("redirects_by_function", False):
        options["redirect_to"] = lambda adapter, **values: "/elsewhere"
    try:
        rule = Rule(spec.text, **options)
        rule.number = number
        app.url_map.add(rule)
    except (ValueError, LookupError):
        return False
    return True


TEXTS = ["/", "/a", "/a/", "/a/b", "/a/b/", "/a//b", "//a", "/é", "/a b", "/A", "/<x>", "/<x>/"]
TEXTS += ["/<int:x>", "/<int:x>/", "/<path:x>", "/<path:x>/", "/a/<x>", "/a/<path:x>", "/<x>/b"]
PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/", "/a//b", "//a", "//a/", "/é", "/é/", "/a b", "/A"]
PATHS += ["/1", "/1/", "", "/elsewhere", "/x/b", "/a/1/2/", "/<x>", "//evil.test", "/a\\b", "/a|b"]
METHODS = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "get", "ODD"]
RULE_METHODS = [None, ["GET"], ["GET"], ["POST"], ["GET", "POST"], ["OPTIONS"]]
HOSTS = [b"example.com", b"EXAMPLE.com", b"example.com:80", b"example.com:8000", b"other.test"]
HOSTS += [b"www.example.com", b"a.b.example.com", b"a..b", b"", b"-", b"h\xf6st", b"x" * 70]
HOSTS += [b"a b", b"[::1]:5"]

basic_options = st.fixed_dictionaries(
    {
        "endpoint": st.sampled_from(["one", "two", "three"]),
        "methods": st.sampled_from(RULE_METHODS),
    }
)
more_options = st.fixed_dictionaries(
    {},
    optional={
        "defaults": st.sampled_from([{}, {"x": 1}, {"x": "a"}, {"y": 1}]),
        "subdomain": st.sampled_from(["", "www", "<sub>", "a.b"]),
        "host": st.sampled_from(["example.com", "www.example.com", "<host>", "example.com:8000"]),
        "strict_slashes": st.booleans(),
        "merge_slashes": st.booleans(),
        "redirect_to": st.sampled_from(["/elsewhere", "relative", "http://other.test/"]),
        "redirects_by_function": st.just(True),
        "alias": st.just(True),
        "build_only": st.just(True),
        "websocket": st.just(True),
    },
)
options = basic_options | st.builds(lambda basic, more: basic | more, basic_options, more_options)
rule_specs = st.builds(RuleSpec, st.sampled_from(TEXTS), options)
# Only a mounted application can be asked for an empty path.
requests = st.builds(
    Sent,
    path=st.sampled_from(PATHS),
    method=st.sampled_from(METHODS),
    host=st.sampled_from([*HOSTS[:1] * 10, *HOSTS, None]),
    query=st.sampled_from([b"", b"q=1&r=%20"]),
    root=st.sampled_from(["", "", "/mounted"]),
    upgrade=st.sampled_from([False, False, False, True]),
).filter(lambda sent: sent.path or sent.root)
map_settings = st.builds(
    Setting,
    server_name=st.sampled_from([None, None, "example.com", "example.com:8000"]),
    subdomain_matching=st.sampled_from([False, False, True]),
    trusted=st.sampled_from([None, None, ["example.com", ".example.com"]]),
    map_options=st.fixed_dictionaries(
        {},
        optional={
            "host_matching": st.sampled_from([False, True]),
            "strict_slashes": st.booleans(),
            "merge_slashes": st.booleans(),
            "redirect_defaults": st.booleans(),
            "default_subdomain": st.sampled_from(["", "www"]),
        },
    ),
)

ROOT_RULE = RuleSpec("/", {"endpoint": "one", "methods": ["GET"]})


def first_and_second(text: str, **options: t.Any) -> list[t.Any]:
    """A rule with options, then a plain one, and requests to where both might answer."""
    first = RuleSpec(text, {"endpoint": "one", "methods": ["GET"], **options})
    second = RuleSpec("/a", {"endpoint": "two", "methods": ["GET"]})
    return [first, second, Sent("/a"), Sent("/a"), Sent("/a", "POST")]


def on_two(option: str) -> list[RuleSpec]:
    """Two rules for one path, each on a host of its own."""
    values = ("a.test", "www.a.test") if option == "host" else ("", "www")
    return [
        RuleSpec("/", {"endpoint": value, "methods": ["GET"], option: value}) for value in values
    ]


TWO_HOSTS = [Sent("/", host=host) for host in (b"a.test", b"www.a.test", b"c.test", b"a.test")]


@given(
    map_settings,
    st.lists(rule_specs, max_size=6),
    st.lists(requests | requests | rule_specs, min_size=1, max_size=12),
)
@example(Setting(), [], first_and_second("/a", methods=None))
@example(Setting(), [], first_and_second("/a", redirect_to="/elsewhere"))
@example(Setting(), [], first_and_second("/a", defaults={"x": 1}))
@example(Setting(), [], first_and_second("/a", alias=True))
@example(Setting(), [], first_and_second("//a"))
@example(Setting(), [ROOT_RULE], [Sent("/", root="/m"), Sent("", root="/m"), Sent("/")])
@example(Setting(map_options={"host_matching": True}), on_two("host"), TWO_HOSTS)
@example(Setting(server_name="a.test", subdomain_matching=True), on_two("subdomain"), TWO_HOSTS)
@example(Setting(), [ROOT_RULE], [Sent("/"), Sent("/", upgrade=True), Sent("/")])
@example(
    Setting(subdomain_matching=True, map_options={"default_subdomain": "www"}),
    [ROOT_RULE],
    [Sent("/")],
)
@settings(max_examples=300, deadline=None)
def test_every_answer_is_that_of_flask(
    setting: Setting, rules: list[RuleSpec], steps: list[t.Any]
) -> None:
    apps = make_app(Flask, setting), make_app(flask.Flask, setting)
    ours, theirs = apps
    for number, step in enumerate([*rules, *steps]):
        if isinstance(step, RuleSpec):
            assert len({add_rule(app, step, number) for app in apps}) == 1
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Current server name")
            expected = answer_to(theirs, environ_of(step))
            # The second time it may be an answer that was kept.
            for _ in range(2):
                assert answer_to(ours, scope_of(step)) == expected
            assert answer_to(ours, environ_of(step)) == expected


# -- what changes after the first request -----------------------------------------------------


def make_small_app() -> Flask:
    """An application whose views say which one they are."""
    app = Flask("app", static_folder=None)
    app.testing = True
    for name in ("one", "two"):
        app.view_functions[name] = lambda name=name: name
    app.url_map.add(Rule("/", endpoint="one", methods=["GET"]))
    return app


def ask(app: Flask, path: str = "/", method: str = "GET", **kwargs: t.Any) -> list[t.Any]:
    """Ask over both transports, twice each, and give what is not the same."""
    answers = []
    for transport in TRANSPORTS * 2:
        response = app.test_client(transport=transport).open(path, method=method, **kwargs)
        answer = response.status_code, response.text if response.status_code == 200 else ""
        if answer not in answers:
            answers.append(answer)
    return answers


def test_a_rule_that_is_added_later_counts_from_the_next_request() -> None:
    app = make_small_app()
    assert ask(app, "/late") == [(404, "")]
    app.url_map.add(Rule("/late", endpoint="two", methods=["GET"]))
    assert ask(app, "/late") == [(200, "two")]
    assert ask(app, "/late", "POST") == [(405, "")]
    app.url_map.add(Rule("/late", endpoint="one", methods=["POST"]))
    assert ask(app, "/late", "POST") == [(200, "one")]
    assert ask(app, "/late") == [(200, "two")]


@pytest.mark.parametrize("kind", [Flask.url_map_class, werkzeug.routing.Map])
def test_another_map_counts_from_the_next_request(kind: type[werkzeug.routing.Map]) -> None:
    app = make_small_app()
    assert ask(app) == [(200, "one")]
    app.url_map = kind([Rule("/", endpoint="two", methods=["GET"])])
    assert ask(app) == [(200, "two")]
    app.url_map.add(Rule("/late", endpoint="one", methods=["GET"]))
    assert ask(app, "/late") == [(200, "one")]


def test_a_map_of_another_class_matches_as_it_likes() -> None:
    class Upside(Flask.url_map_class):
        def bind(self, *args: t.Any, **kwargs: t.Any) -> werkzeug.routing.MapAdapter:
            kwargs["path_info"] = "/two" if request.args.get("up") else "/"
            return super().bind(*args, **kwargs)

        def bind_to_environ(self, *args: t.Any, **kwargs: t.Any) -> werkzeug.routing.MapAdapter:
            return self.bind("localhost", default_method="GET")

    app = make_small_app()
    app.url_map = Upside([Rule("/", endpoint="one", methods=["GET"])])
    app.url_map.add(Rule("/two", endpoint="two", methods=["GET"]))
    assert ask(app, "/?up=") == [(200, "one")]
    assert ask(app, "/?up=1") == [(200, "two")]


def test_an_overridden_url_adapter_is_asked_every_time() -> None:
    app = make_small_app()
    assert ask(app) == [(200, "one")]
    adapter = app.create_url_adapter

    def create_url_adapter(request: Request | None) -> t.Any:
        bound = adapter(request)
        bound.path_info = "/elsewhere"
        return bound

    app.create_url_adapter = create_url_adapter
    assert ask(app) == [(404, "")]
    del app.create_url_adapter
    assert ask(app) == [(200, "one")]


# -- hosts ---------------------------------------------------------------------------------------


@pytest.mark.case("A26")
def test_hosts_that_are_none_are_refused_each_time_and_no_others() -> None:
    app = make_small_app()
    for _ in range(2):
        assert ask(app, headers={"Host": "a..b"}) == [(400, "")]
        assert ask(app, headers={"Host": "a.b"}) == [(200, "one")]
        assert ask(app, headers={"Host": "x" * 64}) == [(400, "")]


def test_any_number_of_hosts_may_be_asked_for() -> None:
    app = make_small_app()
    client = app.test_client(transport="asgi")
    for number in range(600):
        assert client.get("/", headers={"Host": f"host{number}.test"}).text == "one"
    assert len(app._hosts) < 300
    assert client.get("/", headers={"Host": "a..b"}).status_code == 400


@pytest.mark.case("A26")
def test_trusted_hosts_count_from_the_next_request() -> None:
    app = make_small_app()
    assert ask(app, headers={"Host": "evil.test"}) == [(200, "one")]
    app.config["TRUSTED_HOSTS"] = ["good.test"]
    assert ask(app, headers={"Host": "evil.test"}) == [(400, "")]
    assert ask(app, headers={"Host": "good.test"}) == [(200, "one")]
    app.config["TRUSTED_HOSTS"] = None
    assert ask(app, headers={"Host": "evil.test"}) == [(200, "one")]


def test_a_view_sees_the_trusted_hosts_each_time() -> None:
    app = make_small_app()
    app.config["TRUSTED_HOSTS"] = ["localhost"]
    seen: list[object] = []
    app.before_request(lambda: seen.append(request.trusted_hosts))
    for _ in range(3):
        assert ask(app) == [(200, "one")]
    assert seen == [["localhost"]] * len(seen)


@pytest.mark.case("A26")
def test_a_host_that_one_adapter_has_let_pass_is_refused_by_the_others() -> None:
    app = make_small_app()
    scope: dict[str, t.Any] = {
        "type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"a..b")]
    }
    ctx = app.request_context(scope)  # type: ignore[arg-type]
    ctx.url_adapter = app.url_map.bind("localhost")
    with ctx:
        assert ctx.request.endpoint == "one"
    assert ask(app, headers={"Host": "a..b"}) == [(400, "")]


@pytest.mark.case("A26")
def test_trusted_hosts_of_a_request_class_count() -> None:
    class Strict(Request):
        trusted_hosts = ["good.test"]

    app = make_small_app()
    assert ask(app, headers={"Host": "evil.test"}) == [(200, "one")]
    app.request_class = Strict
    assert ask(app, headers={"Host": "evil.test"}) == [(400, "")]
    assert ask(app, headers={"Host": "good.test"}) == [(200, "one")]


def test_urls_are_built_after_a_remembered_match() -> None:
    app = make_small_app()
    app.view_functions["one"] = lambda: url_for("two", _external=True)
    app.url_map.add(Rule("/two", endpoint="two", methods=["GET"]))
    assert ask(app) == [(200, "http://localhost/two")]
    assert ask(app, headers={"Host": "EXAMPLE.test:80"}) == [(200, "http://example.test/two")]


def test_view_args_are_a_new_dict_for_every_request() -> None:
    app = make_small_app()

    @app.url_value_preprocessor
    def spoil(endpoint: str | None, values: dict[str, t.Any] | None) -> None:
        g.before = dict(values or {})
        if values is not None:
            values["x"] = 1

    app.view_functions["one"] = lambda x: str(g.before)
    assert ask(app) == [(200, "{}")]


# -- redirects ------------------------------------------------------------------------------------

RULES = ["/x/", "/p/<path:p>/", "/s/<s>/", "/<s>/", "/merged/<path:p>"]
ATTACKS = ["/x", "//x", "/x?next=//evil.test", "/x?a#//evil.test", "//evil.test", "//evil.test/"]
ATTACKS += ["/\\evil.test", "/\\/evil.test", "/%5Cevil.test", "/%2F%2Fevil.test", "///evil.test//x"]
ATTACKS += ["/p/a//evil.test", "/p//evil.test/", "/p/%2F/evil.test", "/p/%09//evil.test", "/s/evil"]
ATTACKS += ["/merged//evil.test", "/merged/\\\\evil.test", "/%09/evil.test", "/ /evil.test", "/d/1"]
ATTACKS += ["/old/evil.test", "/old/%5C%5Cevil.test", "/alias/evil.test", "/http:%2F%2Fevil.test"]


def make_redirecting_app() -> Flask:
    app = Flask("app", static_folder=None)
    for text in RULES:
        app.add_url_rule(text, text, lambda **kwargs: "here", strict_slashes=True)
    app.add_url_rule("/d/", "d", lambda page: "here", defaults={"page": 1})
    app.add_url_rule("/d/<int:page>", "d")
    app.url_map.add(Rule("/old/<path:p>", endpoint="old", redirect_to="/p/<p>"))
    app.url_map.add(Rule("/alias/<path:p>", endpoint="/p/<path:p>/", alias=True))
    return app


def as_browser(base: str, location: str) -> str:
    """Give the URL a browser goes to: it drops tabs, and takes a backslash for a slash."""
    cleaned = "".join(location.split("\t")).strip(" ")
    return urljoin(base, cleaned.replace("\\", "/"))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("host", ["localhost", "bad.test", "BAD.test", "bad.test:80", "b.t:81"])
@pytest.mark.case("A33")
def test_redirects_of_the_router_name_no_host(transport: str, host: str) -> None:
    client = make_redirecting_app().test_client(transport=transport)
    redirected = 0
    for path in ATTACKS:
        response = client.get(path, headers={"Host": host})
        assert response.status_code in (200, 308, 404), path
        if response.status_code == 308:
            redirected += 1
            location = response.headers["Location"]
            assert location.startswith("/"), path
            assert urlsplit(as_browser("http://first.test/", location)).netloc == "first.test"
            assert host.lower() not in response.text.lower(), path
    assert redirected > 10


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_redirect_leads_where_flasks_leads(transport: str) -> None:
    app = make_redirecting_app()
    app.add_url_rule("/é b/", "é", lambda: "here")
    client = app.test_client(transport=transport)
    for asked, reached in {
        "/x?a=1&b=%20": "/x/?a=1&b=%20",
        "/p/a b/c": "/p/a%20b/c/",
        "/merged//a///b": "/merged/a/b",
        "/é b": "/%C3%A9%20b/",
        "/d/1?q=1": "/d/?q=1",
        "/old/a": "/p/a",
        "/alias/a/b": "/p/a/b/",
    }.items():
        assert client.get(asked).headers["Location"] == reached
        assert client.get(asked, follow_redirects=True).text == "here"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.case("A33")
def test_a_redirect_below_a_mount_keeps_the_prefix(transport: str) -> None:
    client = make_redirecting_app().test_client(transport=transport)
    response = client.get("/x", base_url="http://localhost/mounted")
    assert response.headers["Location"] == "/mounted/x/"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_redirect_to_another_host_is_absolute(transport: str) -> None:
    app = Flask("app", static_folder=None, subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.test"
    app.url_map.add(Rule("/out", endpoint="out", redirect_to="http://other.test/y"))
    app.add_url_rule("/list/", "list", lambda page: "", defaults={"page": 1}, subdomain="www")
    app.add_url_rule("/list/<int:page>", "list")
    app.add_url_rule("/x/", "x", lambda: "", subdomain="www")
    client = app.test_client(transport=transport)
    assert client.get("/out").headers["Location"] == "http://other.test/y"
    assert client.get("/list/1").headers["Location"] == "http://www.example.test/list/"
    assert client.get("/x", subdomain="www").headers["Location"] == "/x/"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("raised", "sent"),
    [
        ("http://localhost/\\evil.test", "/evil.test"),
        ("http://localhost//evil.test/a?b=c", "/evil.test/a?b=c"),
        ("http://localhost", "/"),
        ("https://localhost/a", "https://localhost/a"),
        ("/a", "/a"),
        ("a", "a"),
    ],
)
@pytest.mark.case("A33")
def test_a_redirect_that_a_view_raises_goes_the_same_way(
    transport: str, raised: str, sent: str
) -> None:
    app = Flask("app", static_folder=None)

    @app.route("/")
    def view() -> t.NoReturn:
        raise RequestRedirect(raised)

    assert app.test_client(transport=transport).get("/").headers["Location"] == sent


@pytest.mark.parametrize(("root", "path"), [("", ""), ("/app", ""), ("/app", "/")])
def test_the_root_without_a_slash_is_redirected_under_wsgi_though_it_is_known(
    root: str, path: str
) -> None:
    app = Flask("app")
    app.add_url_rule("/", "index", lambda: "index")
    reference = flask.Flask("app")
    reference.add_url_rule("/", "index", lambda: "index")
    for _ in range(2):
        answers = []
        for wsgi_app in (app.wsgi_app, reference.wsgi_app):
            environ = create_environ("/", "http://localhost" + root)
            run_wsgi_app(wsgi_app, dict(environ))
            environ["PATH_INFO"] = path
            answers.append(run_wsgi_app(wsgi_app, environ)[1])
        assert answers[0] == answers[1]
