"""The compiled tree gives what Werkzeug's map gives, and gives it itself where it is certain."""

from __future__ import annotations

import re
import sys
import typing as t
from unittest import mock

import pytest
import werkzeug.routing
from hypothesis import event
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter
from werkzeug.routing import IntegerConverter
from werkzeug.routing import RequestRedirect
from werkzeug.routing import Rule
from werkzeug.routing import RuleFactory
from werkzeug.routing import ValidationError
from werkzeug.routing import WebsocketMismatch
from werkzeug.routing.matcher import StateMachineMatcher

from asyncflask import Flask
from asyncflask.ctx import RequestContext
from asyncflask.routing import match
from asyncflask.routing import NOT_MADE
from tests.test_routing import environ_of
from tests.test_routing import RuleSpec
from tests.test_routing import scope_of
from tests.test_routing import Sent

# -- converters as users write them ------------------------------------------------------------

asked: list[tuple[str, str]] = []
"""What the converters below were asked to convert, in order."""


class Noting(BaseConverter):
    """Notes what it is asked to convert, and refuses what begins with an "x"."""

    def to_python(self, value: str) -> t.Any:
        asked.append((type(self).__name__, value))
        if value.startswith("x"):
            raise ValidationError
        return [value]


class Failing(BaseConverter):
    def to_python(self, value: str) -> t.Any:
        asked.append(("Failing", value))
        raise ValueError(value) if value.startswith("a") else KeyError(value)


class Grouped(Noting):
    regex = "(a)?(?P<own>b|1)+"
    weight = 10


class Deep(Noting):
    regex = r"[a-z]+(?:/[a-z0-9]+)*"


class Joined(BaseConverter):
    regex = "a|ab|b"
    part_isolating = False


class Empty(BaseConverter):
    regex = "[^/]*"
    weight = 300


class Hexadecimal(IntegerConverter):
    regex = "[0-9a-f]+"


class Sixteen(IntegerConverter):
    regex = "[0-9a-f]+"
    num_convert = staticmethod(lambda text: int(str(text), 16))


CUSTOM = [Noting, Failing, Grouped, Deep, Joined, Empty, Hexadecimal, Sixteen]
CONVERTERS = {kind.__name__.lower(): kind for kind in CUSTOM}
UUID = "1fa0bd70-5f16-4a8f-9d9a-0B1c2D3e4F5a"

# -- maps and requests --------------------------------------------------------------------------

KINDS = ["", "", "", "string", "string(length=2)", "string(minlength=2)", "string(maxlength=2)"]
KINDS += ["string(minlength=0)", "int", "int", "int", "int(min=2)", "int(max=50)", "float"]
KINDS += ["int(fixed_digits=2)", "int(signed=True)", "int(signed=True, min=-3)", "float(max=2.5)"]
KINDS += ["float(signed=True)", "path", "path", "uuid", "any(a, b, 'a.b', c)", *CONVERTERS]
STATICS = ["a", "b", "1", "é", "a.b", "x-", "[", "A"]
VALUES = ["a", "b", "ab", "1", "2", "42", "042", "٤٢", "²", "-1", "-4", "1.5", "١.٥", "-3.5", "x"]
VALUES += ["x1", "é", "A", "a.b", "c", "ff", "", "a\n", "1\n", "\n", UUID, "a/b", "a//b", "ab/1"]

names = st.sampled_from(KINDS)
variables = names.map(lambda kind: f"<{kind}:@>" if kind else "<@>")
mixed = st.builds(
    lambda *pieces: "".join(pieces),
    st.sampled_from(["", "x-", "a.b", "-"]),
    variables,
    st.sampled_from(["-", ".", "", "a"]),
    variables | st.just(""),
    st.sampled_from(["", ".json", "-b"]),
)
segments = st.sampled_from(STATICS) | variables | variables | variables | mixed


def join(parts: list[str], end: str) -> str:
    """Make a rule of its segments, each variable with a name of its own."""
    first, *others = ("/" + "/".join(parts) + end).replace("//", "/", 1).split("@")
    return first + "".join(f"x{number}{other}" for number, other in enumerate(others))


texts = st.builds(
    join, st.lists(segments, max_size=3), st.sampled_from([""] * 6 + ["/"] * 4 + ["//a", "//"])
)
plain_options = st.fixed_dictionaries(
    {
        "endpoint": st.sampled_from(["one", "two", "three"]),
        "methods": st.sampled_from([None] + [["GET"]] * 4 + [["POST"], ["GET", "POST"], []]),
    },
    optional={
        "strict_slashes": st.booleans(),
        "merge_slashes": st.booleans(),
        "build_only": st.sampled_from([False, False, False, True]),
        "websocket": st.sampled_from([False, False, False, True]),
    },
)
DOUBTFUL = {
    "defaults": st.sampled_from([{}, {"x0": 1}, {"x0": "a", "y": 2}, {"y": 1}]),
    "redirect_to": st.sampled_from(["/elsewhere", "http://other.test/", "function"]),
    "alias": st.just(True),
    "subdomain": st.sampled_from(["", "www", "<sub>"]),
    "host": st.sampled_from(["example.com", "www.example.com", "<host>"]),
}
doubtful_options = st.builds(
    lambda plain, doubtful: plain | doubtful,
    plain_options,
    st.fixed_dictionaries({}, optional=DOUBTFUL),
)
MAP_OPTIONS: dict[str, t.Any] = {
    "strict_slashes": st.booleans(),
    "merge_slashes": st.booleans(),
    "redirect_defaults": st.booleans(),
    "default_subdomain": st.sampled_from(["", "www"]),
    "host_matching": st.sampled_from([False, False, True]),
}


class World(t.NamedTuple):
    """Two applications' worth of rules and settings."""

    rules: list[RuleSpec]
    options: dict[str, t.Any] = {}
    subdomains: bool = False


plain_worlds = st.builds(
    World,
    st.lists(st.builds(RuleSpec, texts, plain_options), min_size=1, max_size=6),
    st.fixed_dictionaries({}, optional={key: MAP_OPTIONS[key] for key in list(MAP_OPTIONS)[:3]}),
)
worlds = plain_worlds | st.builds(
    World,
    st.lists(st.builds(RuleSpec, texts, doubtful_options), min_size=1, max_size=6),
    st.fixed_dictionaries({}, optional=MAP_OPTIONS),
    st.booleans(),
)


VARIABLE = re.compile(r"<(?:(\w+)(?:\(.*?\))?:)?\w+>")
FITTING = {
    "int": ["1", "2", "42", "٤٢", "-4"],
    "float": ["1.5", "-3.5", "١.٥"],
    "path": ["a/b", "ab/1", "a"],
    "uuid": [UUID],
    "any": ["a", "b", "a.b", "c"],
    "grouped": ["b", "ab", "abb1"],
    "deep": ["a", "a/b", "ab/1"],
    "joined": ["a", "ab", "b"],
    "empty": ["", "a"],
    "hexadecimal": ["ff", "42"],
    "sixteen": ["ff", "42"],
}


MUTATIONS: list[t.Callable[[str], str]] = [lambda path: path] * 10
MUTATIONS += [
    lambda path: path + "/",
    lambda path: path.rstrip("/"),
    lambda path: path.replace("/", "//", 2),
    lambda path: path.rpartition("/")[0],
    lambda path: path + "/a",
    lambda path: path.replace("a", "b", 1),
    lambda path: "/" + path,
]


@st.composite
def requests(draw: t.Callable[[t.Any], t.Any], rules: list[RuleSpec]) -> Sent:
    def value(variable: re.Match[str]) -> str:
        fitting = FITTING.get(variable[1], ["a", "ab", "é"])
        # Mostly one of these, as one that does not fit is enough for no match.
        return draw(st.sampled_from(fitting * 20 + VALUES))

    path = VARIABLE.sub(value, draw(st.sampled_from(rules)).text)
    path = draw(st.sampled_from(MUTATIONS))(path)
    return Sent(
        path or "/",
        method=draw(st.sampled_from(["GET"] * 6 + ["POST", "HEAD", "OPTIONS", "PUT"])),
        host=draw(st.sampled_from([b"example.com", b"example.com", b"www.example.com"])),
        upgrade=draw(st.sampled_from([False] * 5 + [True])),
    )


cases = worlds.flatmap(
    lambda world: st.tuples(st.just(world), st.lists(requests(world.rules), min_size=3, max_size=8))
)

# -- both sides ---------------------------------------------------------------------------------


def add_rule(url_map: t.Any, spec: RuleSpec, number: int) -> bool:
    options = dict(spec.options)
    if options.get("redirect_to") == "function":
        options["redirect_to"] = lambda adapter, **values: "/elsewhere"
    try:
        rule = Rule(spec.text, **options)
        rule.number = number
        url_map.add(rule)
    except (ValueError, LookupError, SyntaxError):
        return False
    return True


def make_app(world: World) -> Flask:
    app = Flask("app", static_folder=None, subdomain_matching=world.subdomains)
    app.url_map = app.url_map_class(converters=CONVERTERS, **world.options)
    if world.subdomains:
        app.config["SERVER_NAME"] = "example.com"
    return app


def observe(match: t.Callable[[], t.Any]) -> tuple[object, ...]:
    """Give the rule and its values, or all there is to the exception; and who was asked."""
    asked.clear()
    try:
        rule, values = match()
    except MethodNotAllowed as error:
        return MethodNotAllowed, sorted(error.valid_methods or ()), list(asked)
    except RequestRedirect as error:
        return RequestRedirect, error.new_url, list(asked)
    except Exception as error:
        return type(error), str(error), list(asked)
    kinds = {name: type(value) for name, value in values.items()}
    return rule.number, rule.rule, type(values), values, kinds, list(asked)


def bind(url_map: werkzeug.routing.Map, world: World, sent: Sent) -> t.Any:
    assert sent.host is not None
    host, subdomain = sent.host.decode(), None
    if not url_map.host_matching:
        subdomain = url_map.default_subdomain
        if world.subdomains:
            subdomain = host.removesuffix("example.com").rstrip(".")
            host = "example.com"
    return url_map.bind(
        host,
        script_name="/",
        subdomain=subdomain,
        url_scheme="ws" if sent.upgrade else "http",
        default_method=sent.method,
        path_info=sent.path,
    )


def match_by(app: Flask, source: dict[str, t.Any]) -> tuple[tuple[object, ...], bool]:
    """Match as a request does; and whether without Werkzeug."""
    ctx = RequestContext(app, source)  # type: ignore[arg-type]
    observed = observe(lambda: match(ctx))
    return observed, ctx._url_adapter is NOT_MADE


def is_certain(world: World, sent: Sent, number: int) -> bool:
    """Whether the rule that matches is the tree's to find."""
    plain = not (sent.upgrade or world.subdomains or world.options.get("host_matching"))
    options = world.rules[number].options
    # It may redirect to another rule of its endpoint, which has the values as defaults.
    alone = not any(
        "defaults" in other.options and other.options.get("endpoint") == options.get("endpoint")
        for other in world.rules
    )
    return plain and alone and not options.keys() & DOUBTFUL.keys()


BOTH = [RuleSpec("/<int:x0>", {"methods": ["GET"]}), RuleSpec("/<x0>", {"methods": ["POST"]})]
LONG = "9" * 5000


@given(cases)
@example((World(BOTH), [Sent("/1"), Sent("/1", "POST"), Sent("/a"), Sent(f"/{LONG}")]))
@example((World(BOTH), [Sent("/²"), Sent("/²", "POST"), Sent("/٤٢"), Sent("/٤²"), Sent("/1\n")]))
@example((World([RuleSpec("/<noting:x0>", {}), *BOTH]), [Sent("/x1"), Sent("/x1", "PUT")]))
@example((World([*BOTH, RuleSpec("/<noting:x0>", {})]), [Sent("/x1"), Sent("/x1", "PUT")]))
@settings(max_examples=300, deadline=None)
def test_every_match_is_that_of_werkzeug(case: tuple[World, list[Sent]]) -> None:
    world, sents = case
    app = make_app(world)
    theirs = werkzeug.routing.Map(converters=CONVERTERS, **world.options)
    for number, spec in enumerate(world.rules):
        assert add_rule(app.url_map, spec, number) == add_rule(theirs, spec, number)
    # The first request of a host has Werkzeug check it.
    for host in (b"example.com", b"www.example.com"):
        for source in (scope_of, environ_of):
            match_by(app, source(Sent("/", host=host)))
    for sent in sents:
        expected = observe(lambda sent=sent: bind(theirs, world, sent).match(return_rule=True))
        for source in (scope_of, environ_of):
            observed, alone = match_by(app, source(sent))
            assert observed == expected
            if isinstance(expected[0], int) and is_certain(world, sent, expected[0]):
                event("answered by the tree")
                assert alone


CERTAIN = [
    ("/", "/", {}),
    ("/a/b/", "/a/b/", {}),
    ("/<x>", "/é", {"x": "é"}),
    ("/<string(length=2):x>", "/ab", {"x": "ab"}),
    ("/a/<int:x>", "/a/٤٢", {"x": 42}),
    ("/a/<int(min=2):x>/", "/a/2/", {"x": 2}),
    ("/a/<int(signed=True):x>/b", "/a/-2/b", {"x": -2}),
    ("/<float:x>/<path:y>", "/1.5/b//c", {"x": 1.5, "y": "b//c"}),
    ("/<path:x>/end/", "/a/b/end/", {"x": "a/b"}),
    ("/x-<x>-<int:y>.json", "/x-a-b-3.json", {"x": "a-b", "y": 3}),
    ("/<any(a, 'b.c'):x>", "/b.c", {"x": "b.c"}),
    ("/<grouped:x>/<y>", "/abb/b", {"x": ["abb"], "y": "b"}),
    ("/<deep:x>", "/a/b/1", {"x": ["a/b/1"]}),
    ("/<sixteen:x>", "/ff", {"x": 255}),
]


@pytest.mark.parametrize(("rule", "path", "values"), CERTAIN)
@pytest.mark.parametrize("source", [scope_of, environ_of])
def test_what_is_certain_is_matched_without_werkzeug(
    rule: str, path: str, values: dict[str, t.Any], source: t.Callable[[Sent], dict[str, t.Any]]
) -> None:
    app = make_app(World([]))
    add_rule(app.url_map, RuleSpec(rule, {"endpoint": "one"}), 0)
    match_by(app, source(Sent("/")))
    with mock.patch.object(StateMachineMatcher, "match", side_effect=AssertionError):
        for scheme in ("http", "https"):
            asking = source(Sent(path))
            asking["scheme" if "scheme" in asking else "wsgi.url_scheme"] = scheme
            ctx = RequestContext(app, asking)  # type: ignore[arg-type]
            assert match(ctx) == (app.url_map._rules[0], values)


def test_a_slash_too_many_or_missing_is_matched_without_werkzeug() -> None:
    app = make_app(World([], {"strict_slashes": False}))
    for number, text in enumerate(("/a", "/b/", "/<x>/a", "/<x>/b/")):
        assert add_rule(app.url_map, RuleSpec(text, {"methods": ["GET"]}), number)
    match_by(app, scope_of(Sent("/")))
    for number, path in enumerate(("/a/", "/b", "/c/a/", "/c/b")):
        (found, *_), alone = match_by(app, scope_of(Sent(path)))
        assert (found, alone) == (number, True)


def test_a_name_that_a_rule_has_twice_has_its_first_text() -> None:
    spec = RuleSpec("/<x>/<x>/<y>", {"defaults": {"x": "default"}, "methods": ["GET"]})
    app, theirs = make_app(World([])), werkzeug.routing.Map()
    assert add_rule(app.url_map, spec, 0) and add_rule(theirs, spec, 0)
    match_by(app, scope_of(Sent("/")))
    adapter = theirs.bind("example.com", path_info="/1/2/3")
    expected = observe(lambda: adapter.match(return_rule=True))
    assert match_by(app, scope_of(Sent("/1/2/3"))) == (expected, True)


# -- what changes after the first request -------------------------------------------------------


def small_app(*rules: str, **options: t.Any) -> Flask:
    app = make_app(World([], options))
    for rule in rules:
        app.url_map.add(Rule(rule, endpoint=rule, methods=["GET"]))
    return app


def endpoint_of(app: Flask, sent: Sent) -> object:
    """Give the endpoint, where one is all there is, or what is raised; twice the same."""
    answers = []
    for source in (scope_of, environ_of) * 2:
        ctx = RequestContext(app, source(sent))  # type: ignore[arg-type]
        try:
            rule, _ = match(ctx)
            answers.append(rule.endpoint if rule is not None else None)
        except HTTPException as error:
            answers.append(type(error))
    assert len(set(answers)) == 1
    return answers[0]


def test_a_rule_that_is_added_later_comes_where_it_belongs() -> None:
    app = small_app("/<x>/<y>")
    assert endpoint_of(app, Sent("/a/1")) == "/<x>/<y>"
    app.url_map.add(Rule("/<x>/<int:y>", endpoint="two"))
    assert endpoint_of(app, Sent("/a/1")) == "two"
    app.url_map.add(Rule("/a/1", endpoint="three"))
    assert endpoint_of(app, Sent("/a/1")) == "three"


def test_the_rules_before_one_that_fails_count() -> None:
    class Two(RuleFactory):
        def get_rules(self, map: werkzeug.routing.Map) -> t.Iterator[Rule]:
            yield Rule("/a", endpoint="two")
            yield Rule("/<unheard_of:x>", endpoint="three")

    app = small_app("/<x>")
    assert endpoint_of(app, Sent("/a")) == "/<x>"
    with pytest.raises(LookupError):
        app.url_map.add(Two())
    assert endpoint_of(app, Sent("/a")) == "two"


def test_rules_that_were_taken_away_count_no_more() -> None:
    app = small_app("/a", "/<x>")
    assert endpoint_of(app, Sent("/a")) == "/a"
    url_map = app.url_map
    matcher = StateMachineMatcher(url_map.merge_slashes)
    matcher.add(url_map._rules_by_endpoint["/<x>"][0])
    url_map._matcher = matcher
    assert endpoint_of(app, Sent("/a")) == "/<x>"
    matcher._root.static[""].static[""].dynamic.clear()
    url_map._remap = True
    assert endpoint_of(app, Sent("/a")) is NotFound


def test_settings_of_the_map_count_from_the_next_request() -> None:
    app = small_app("/a", "/<x>")
    app.url_map.add(Rule("/<x>", endpoint="www", subdomain="www"))
    assert endpoint_of(app, Sent("/b")) == "/<x>"
    app.url_map.default_subdomain = "www"
    assert endpoint_of(app, Sent("/b")) == "www"
    app.url_map.host_matching = True
    assert endpoint_of(app, Sent("/b")) is NotFound


def test_settings_of_the_application_count_from_the_next_request() -> None:
    app = small_app("/<x>")
    app.url_map.add(Rule("/<x>", endpoint="www", subdomain="www"))
    asking = Sent("/b", host=b"www.example.com")
    assert endpoint_of(app, asking) == "/<x>"
    app.config["SERVER_NAME"] = "example.com"
    assert endpoint_of(app, asking) == "/<x>"
    app.subdomain_matching = True
    assert endpoint_of(app, asking) == "www"
    app.config["TRUSTED_HOSTS"] = ["other.test"]
    assert endpoint_of(app, asking).__name__ == "SecurityError"  # type: ignore[attr-defined]


@pytest.mark.case("A26")
def test_a_host_is_checked_again_under_another_server_name() -> None:
    app = small_app("/a")
    asking = Sent("/a", host=b"a..b")
    assert endpoint_of(app, asking).__name__ == "BadHost"  # type: ignore[attr-defined]
    app.config["SERVER_NAME"] = "example.com"
    assert endpoint_of(app, asking) == "/a"
    app.config["SERVER_NAME"] = None
    assert endpoint_of(app, asking).__name__ == "BadHost"  # type: ignore[attr-defined]


# -- what is left to Werkzeug, or to users ------------------------------------------------------


def test_an_adapter_that_was_set_is_the_one_that_matches() -> None:
    app = small_app("/a", "/b")
    assert endpoint_of(app, Sent("/a")) == "/a"
    ctx = RequestContext(app, scope_of(Sent("/a")))  # type: ignore[arg-type]
    ctx.url_adapter = app.url_map.bind("example.com", path_info="/b")
    assert match(ctx)[0].endpoint == "/b"  # type: ignore[union-attr]


@pytest.mark.parametrize("rule", ["/a", "/<x>"])
def test_the_scheme_of_websockets_matches_their_rules_only(rule: str) -> None:
    app = small_app(rule)
    assert endpoint_of(app, Sent("/a")) == rule
    ctx = RequestContext(app, scope_of(Sent("/a")) | {"scheme": "wss"})  # type: ignore[arg-type]
    with pytest.raises(WebsocketMismatch):
        match(ctx)


def test_what_a_map_or_matcher_was_given_is_called() -> None:
    for name in ("_matcher", "bind", "method"):
        app = small_app("/<x>", "/b")
        if name == "_matcher":
            app.url_map._matcher = type("Own", (StateMachineMatcher,), {})(True)
        elif name == "bind":
            app.url_map.bind = lambda *args, **kwargs: werkzeug.routing.Map().bind("")  # type: ignore[method-assign]
        else:
            app.url_map._matcher.match = mock.Mock(side_effect=NotFound)  # type: ignore[method-assign]
        ctx = RequestContext(app, scope_of(Sent("/a")))  # type: ignore[arg-type]
        app._hosts[b"example.com"] = None
        with pytest.raises(NotFound):
            match(ctx)


def test_a_rule_of_another_class_says_itself_what_it_redirects() -> None:
    class Own(Rule):
        def provides_defaults_for(self, rule: Rule) -> bool:
            return rule is not self and rule.rule == "/<int:x>"

    app = small_app()
    app.url_map.add(Own("/first", endpoint="one", defaults={"x": 1}))
    app.url_map.add(Rule("/<int:x>", endpoint="one"))
    assert endpoint_of(app, Sent("/1")) is RequestRedirect
    assert endpoint_of(app, Sent("/2")) == "one"


def test_a_converter_that_is_replaced_later_is_asked() -> None:
    app = small_app("/<noting:x>")
    assert endpoint_of(app, Sent("/a")) == "/<noting:x>"
    ctx = RequestContext(app, scope_of(Sent("/a")))  # type: ignore[arg-type]
    with mock.patch.object(Noting, "to_python", lambda self, value: value * 2):
        assert match(ctx)[1] == {"x": "aa"}


def test_an_expression_that_is_none_concerns_its_own_requests_only() -> None:
    app = make_app(World([]))
    app.url_map.converters["bad"] = type("Bad", (BaseConverter,), {"regex": "("})
    app.url_map.add(Rule("/bad/<bad:x>", endpoint="bad"))
    app.url_map.add(Rule("/<x>", endpoint="one"))
    assert endpoint_of(app, Sent("/a")) == "one"
    for source in (scope_of, environ_of) * 2:
        ctx = RequestContext(app, source(Sent("/bad/a")))  # type: ignore[arg-type]
        with pytest.raises(Exception, match=r"missing \)|unterminated"):
            match(ctx)


def test_a_refusal_asks_the_converter_once() -> None:
    app = small_app("/<noting:x>")
    assert endpoint_of(app, Sent("/a")) == "/<noting:x>"
    asked.clear()
    ctx = RequestContext(app, scope_of(Sent("/x")))  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        match(ctx)
    assert asked == [("Noting", "x")]


def test_values_belong_to_one_request() -> None:
    app = small_app("/a/<x>", "/<x>/b/<y>")
    app.url_map.add(Rule("/d", endpoint="d", defaults={"x": 1}))
    for path in ("/a/1", "/1/b/2", "/d"):
        kept = []
        for _ in range(3):
            ctx = RequestContext(app, scope_of(Sent(path)))  # type: ignore[arg-type]
            _, values = match(ctx)
            assert values is not None and "spoiled" not in values
            values["spoiled"] = True
            kept.append(values)


# -- cost -----------------------------------------------------------------------------------------


def calls_of(app: Flask, path: str) -> int:
    """Count the Python functions that one match calls, itself included."""
    ctx = RequestContext(app, scope_of(Sent(path)))  # type: ignore[arg-type]
    calls = 0

    def count(frame: t.Any, kind: str, argument: t.Any) -> None:
        nonlocal calls
        calls += kind == "call"

    sys.setprofile(count)
    try:
        match(ctx)
    finally:
        sys.setprofile(None)
    return calls


def test_the_number_of_routes_costs_no_calls() -> None:
    counts = []
    for size in (200, 2000):
        app = small_app("/static")
        for number in range(size):
            app.add_url_rule(f"/r{number}/<int:x>", "one")
            app.add_url_rule(f"/s{number}/<x>/t/<int:y>", "two")
        paths = ["/static", f"/r{size - 10}/42", f"/s{size - 10}/a/t/42", "/r190/42"]
        for path in paths:
            assert endpoint_of(app, Sent(path)) is not NotFound
        counts.append([calls_of(app, path) for path in paths])
    assert counts == [[1, 2, 4, 2]] * 2
