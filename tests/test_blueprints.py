"""Blueprints: what a registration puts on the application."""

from __future__ import annotations

import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from asyncflask import Blueprint
from asyncflask import Flask
from asyncflask.blueprints import BlueprintSetupState


@pytest.fixture
def app() -> Flask:
    return Flask(__name__, static_folder=None)


def rules(app: Flask) -> list[tuple[str, str]]:
    return [(rule.rule, rule.endpoint) for rule in app.url_map.iter_rules()]


def view() -> str:
    return "view"


# Names and registration


@pytest.mark.parametrize(
    ("name", "message"), [("", "may not be empty"), ("a.b", "may not contain a dot")]
)
def test_a_name_is_needed_and_has_no_dot(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Blueprint(name, __name__)


def test_endpoints_and_view_names_have_no_dot() -> None:
    bp = Blueprint("bp", __name__)

    def dotted() -> str:
        return ""

    dotted.__name__ = "a.b"
    with pytest.raises(ValueError, match="'endpoint' may not contain a dot"):
        bp.add_url_rule("/", endpoint="a.b")
    with pytest.raises(ValueError, match="'view_func' name may not contain a dot"):
        bp.add_url_rule("/", view_func=dotted)


def test_repr_names_the_blueprint() -> None:
    assert repr(Blueprint("bp", __name__)) == "<Blueprint 'bp'>"


def test_after_registration_set_up_is_over(app: Flask) -> None:
    bp = Blueprint("bp", __name__)
    app.register_blueprint(bp)
    for add in (bp.before_request, bp.before_app_request, bp.record, bp.while_app_serving):
        with pytest.raises(AssertionError, match=f"The setup method '{add.__name__}'.*'bp'"):
            add(view)  # type: ignore[operator]


def test_a_name_is_registered_once(app: Flask) -> None:
    bp = Blueprint("bp", __name__)
    app.register_blueprint(bp)
    with pytest.raises(ValueError, match="'bp' is already registered for this blueprint"):
        app.register_blueprint(bp)
    with pytest.raises(ValueError, match="already registered for a different blueprint"):
        app.register_blueprint(Blueprint("bp", __name__))
    with pytest.raises(ValueError, match="Use 'name='"):
        app.register_blueprint(Blueprint("other", __name__), name="bp")


def test_a_blueprint_can_be_registered_again_under_another_name(app: Flask) -> None:
    bp = Blueprint("bp", __name__)
    bp.add_url_rule("/", "index", view)
    app.register_blueprint(bp, url_prefix="/a")
    app.register_blueprint(bp, url_prefix="/b", name="again")
    assert rules(app) == [("/a/", "bp.index"), ("/b/", "again.index")]
    assert list(app.iter_blueprints()) == [bp, bp]
    assert list(app.blueprints) == ["bp", "again"]


def test_recorded_functions_get_the_state(app: Flask) -> None:
    states: list[BlueprintSetupState] = []
    once: list[BlueprintSetupState] = []
    bp = Blueprint("bp", __name__, url_prefix="/p", subdomain="s", url_defaults={"x": 1})
    bp.record(states.append)
    bp.record_once(once.append)
    app.register_blueprint(bp, custom="yes", url_defaults={"y": 2})
    app.register_blueprint(bp, name="again", url_prefix="/q", subdomain="u")
    first, second = states
    assert once == [first]
    assert (first.app, first.blueprint, first.options["custom"]) == (app, bp, "yes")
    assert (first.first_registration, second.first_registration) == (True, False)
    assert (first.name, first.name_prefix, second.name) == ("bp", "", "again")
    assert (first.url_prefix, second.url_prefix) == ("/p", "/q")
    assert (first.subdomain, second.subdomain) == ("s", "u")
    assert (first.url_defaults, second.url_defaults) == ({"x": 1, "y": 2}, {"x": 1})


# Rules


@pytest.mark.parametrize(
    ("prefix", "rule", "expected"),
    [
        (None, "/x", "/x"),
        ("/p", "/x", "/p/x"),
        ("/p/", "/x", "/p/x"),
        ("/p//", "//x", "/p/x"),
        ("/p", "x", "/p/x"),
        ("/p", "/", "/p/"),
        ("/p", "", "/p"),
        ("/", "/x", "/x"),
        ("", "/x", "/x"),
    ],
)
def test_the_prefix_is_joined_with_one_slash(
    app: Flask, prefix: str | None, rule: str, expected: str
) -> None:
    bp = Blueprint("bp", __name__, url_prefix=prefix)
    bp.add_url_rule(rule, "index", view)
    app.register_blueprint(bp)
    assert rules(app) == [(expected, "bp.index")]


def test_options_of_the_registration_win(app: Flask) -> None:
    bp = Blueprint("bp", __name__, url_prefix="/own", subdomain="own", url_defaults={"a": 1})
    bp.add_url_rule("/", "index", view, defaults={"b": 2}, subdomain="rule")
    bp.add_url_rule("/x", "x", view, defaults={"a": 3})
    app.register_blueprint(bp, url_prefix="/given", subdomain="given", url_defaults={"b": 0})
    index, x = app.url_map.iter_rules()
    assert (index.rule, index.subdomain, index.defaults) == ("/given/", "rule", {"a": 1, "b": 2})
    assert (x.rule, x.subdomain, x.defaults) == ("/given/x", "given", {"a": 3, "b": 0})


def test_route_options_reach_the_application(app: Flask) -> None:
    bp = Blueprint("bp", __name__, url_prefix="/p")

    @bp.post("/up", stream_body=True, provide_automatic_options=False, strict_slashes=False)
    async def upload() -> str:
        return ""

    app.register_blueprint(bp)
    (rule,) = app.url_map.iter_rules()
    assert rule.methods == {"POST"}
    assert rule.strict_slashes is False
    assert app.view_functions == {"bp.upload": upload}
    assert app.endpoint_options == {"bp.upload": {"stream_body": True}}


def test_endpoint_of_a_blueprint_is_taken_as_it_is(app: Flask) -> None:
    bp = Blueprint("bp", __name__)
    bp.add_url_rule("/x", "x")
    bp.endpoint("bp.x")(view)
    app.register_blueprint(bp)
    assert app.view_functions == {"bp.x": view}


def test_static_files_have_a_route(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.txt").write_text("content")
    bp = Blueprint("bp", __name__, static_folder="static", url_prefix="/p", root_path=str(tmp_path))
    app.register_blueprint(bp)
    assert rules(app) == [("/p/static/<path:filename>", "bp.static")]
    client = app.test_client()
    with client.get("/p/static/a.txt") as response:
        assert response.text == "content"
    assert client.get("/p/static/missing.txt").status_code == 404


# Points that extensions override


def test_the_setup_state_can_be_a_subclass(app: Flask) -> None:
    class State(BlueprintSetupState):
        def __init__(self, *args: t.Any) -> None:
            super().__init__(*args)
            self.host = self.options.get("host")

        def add_url_rule(self, rule: str, *args: t.Any, **options: t.Any) -> None:
            options.setdefault("host", self.host)
            super().add_url_rule(rule, *args, **options)

    class Hosted(Blueprint):
        def make_setup_state(
            self, app: t.Any, options: dict[str, t.Any], first_registration: bool = False
        ) -> BlueprintSetupState:
            return State(self, app, options, first_registration)

    bp = Hosted("bp", __name__)
    bp.add_url_rule("/", "index", view)
    app.register_blueprint(bp, host="example.com")
    assert [rule.host for rule in app.url_map.iter_rules()] == ["example.com"]


def test_add_url_rule_can_be_replaced_on_the_state(app: Flask) -> None:
    bp = Blueprint("bp", __name__)
    seen: list[t.Any] = []

    def replace(state: BlueprintSetupState) -> None:
        state.add_url_rule = lambda *a, **k: seen.append((a, k))  # type: ignore[method-assign]

    bp.record(replace)
    bp.add_url_rule("/x", "x", view, methods=["PUT"])
    app.register_blueprint(bp)
    assert seen == [(("/x", "x", view), {"provide_automatic_options": None, "methods": ["PUT"]})]
    assert rules(app) == []


# Nesting


def test_nested_blueprints_join_names_prefixes_and_subdomains(app: Flask) -> None:
    parent = Blueprint("parent", __name__, url_prefix="/parent/", subdomain="api")
    child = Blueprint("child", __name__, url_prefix="/child", subdomain="v1")
    grandchild = Blueprint("grandchild", __name__)
    for bp in (parent, child, grandchild):
        bp.add_url_rule("/x", "x", view)
    child.register_blueprint(grandchild, url_prefix="/deep")
    parent.register_blueprint(child)
    app.register_blueprint(parent)
    assert [(rule.subdomain, rule.rule, rule.endpoint) for rule in app.url_map.iter_rules()] == [
        ("api", "/parent/x", "parent.x"),
        ("v1.api", "/parent/child/x", "parent.child.x"),
        ("v1.api", "/parent/child/deep/x", "parent.child.grandchild.x"),
    ]
    assert list(app.blueprints) == ["parent", "parent.child", "parent.child.grandchild"]


@pytest.mark.parametrize(
    ("outer", "own", "given", "expected"),
    [
        (None, None, None, "/x"),
        ("/o", None, None, "/o/x"),
        (None, "/c", None, "/c/x"),
        ("/o", "/c", None, "/o/c/x"),
        ("/o", "/c", "/g", "/o/g/x"),
        ("/o/", "c", None, "/o/c/x"),
        ("/o", "", None, "/o/x"),
    ],
)
def test_prefixes_of_nested_blueprints(
    app: Flask, outer: str | None, own: str | None, given: str | None, expected: str
) -> None:
    parent = Blueprint("parent", __name__, url_prefix=outer)
    child = Blueprint("child", __name__, url_prefix=own)
    child.add_url_rule("/x", "x", view)
    parent.register_blueprint(child, **({} if given is None else {"url_prefix": given}))
    app.register_blueprint(parent)
    assert rules(app) == [(expected, "parent.child.x")]


def test_nested_names_collide_only_below_the_same_parent(app: Flask) -> None:
    parent, other = Blueprint("parent", __name__), Blueprint("other", __name__)
    child = Blueprint("child", __name__)
    child.add_url_rule("/x", "x", view)
    parent.register_blueprint(child, url_prefix="/1")
    parent.register_blueprint(child, url_prefix="/2", name="second")
    other.register_blueprint(Blueprint("child", __name__))
    app.register_blueprint(parent)
    app.register_blueprint(other)
    assert rules(app) == [("/1/x", "parent.child.x"), ("/2/x", "parent.second.x")]


def test_a_blueprint_is_not_registered_on_itself() -> None:
    bp = Blueprint("bp", __name__)
    with pytest.raises(ValueError, match="on itself"):
        bp.register_blueprint(bp)


# Hooks and handlers

OWN_HOOKS = {
    "before_request": "before_request_funcs",
    "after_request": "after_request_funcs",
    "teardown_request": "teardown_request_funcs",
    "context_processor": "template_context_processors",
    "url_value_preprocessor": "url_value_preprocessors",
    "url_defaults": "url_default_functions",
}
APP_HOOKS = {
    "before_app_request": "before_request_funcs",
    "after_app_request": "after_request_funcs",
    "teardown_app_request": "teardown_request_funcs",
    "app_context_processor": "template_context_processors",
    "app_url_value_preprocessor": "url_value_preprocessors",
    "app_url_defaults": "url_default_functions",
}


@pytest.mark.parametrize("hook", OWN_HOOKS)
def test_own_hooks_are_merged_below_each_name(app: Flask, hook: str) -> None:
    bp, child = Blueprint("bp", __name__), Blueprint("child", __name__)
    functions = [lambda *args: None, lambda *args: None]
    for function in functions:
        assert getattr(bp, hook)(function) is function
    getattr(child, hook)(view)
    bp.register_blueprint(child)
    app.register_blueprint(bp)
    app.register_blueprint(bp, name="again")
    registry = getattr(app, OWN_HOOKS[hook])
    for name in ("bp", "again"):
        assert registry[name][-2:] == functions
        assert registry[f"{name}.child"][-1] is view


@pytest.mark.parametrize("hook", APP_HOOKS)
def test_hooks_for_the_application_are_added_once(app: Flask, hook: str) -> None:
    bp = Blueprint("bp", __name__)
    assert getattr(bp, hook)(view) is view
    app.register_blueprint(bp)
    app.register_blueprint(bp, name="again")
    assert getattr(app, APP_HOOKS[hook])[None].count(view) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_hooks_for_serving_are_added_once(app: Flask, when: str) -> None:
    bp = Blueprint("bp", __name__)
    assert getattr(bp, f"{when}_app_serving")(view) is view
    app.register_blueprint(bp)
    app.register_blueprint(bp, name="again")
    assert getattr(app, f"{when}_serving_funcs") == [view]


def test_generators_for_serving_are_added_once(app: Flask) -> None:
    bp = Blueprint("bp", __name__)

    @bp.while_app_serving
    async def connection() -> t.AsyncIterator[None]:
        yield

    app.register_blueprint(bp)
    app.register_blueprint(bp, name="again")
    assert app.while_serving_gens == [connection]


def test_error_handlers_are_copied_below_each_name(app: Flask) -> None:
    bp = Blueprint("bp", __name__)
    own = bp.errorhandler(404)(lambda e: "own")
    for_app = bp.app_errorhandler(KeyError)(lambda e: "app")
    app.register_blueprint(bp)
    app.register_blueprint(bp, name="again")
    handlers = app.error_handler_spec["bp"][404]
    assert list(handlers.values()) == [own]
    assert app.error_handler_spec["again"][404] == handlers
    assert app.error_handler_spec[None][None] == {KeyError: for_app}
    handlers.clear()
    assert bp.error_handler_spec[None][404] and app.error_handler_spec["again"][404]
    app.error_handler_spec["bp"][500][Exception] = own


def test_template_helpers_are_added_to_the_application(app: Flask) -> None:
    bp = Blueprint("bp", __name__)
    bp.app_template_filter()(view)
    bp.app_template_test("named")(view)
    bp.app_template_global("shown")(view)
    bp.add_app_template_filter(view, "other")
    app.register_blueprint(bp)
    assert app.jinja_env.filters["view"] is app.jinja_env.filters["other"] is view
    assert app.jinja_env.tests["named"] is view
    assert app.jinja_env.globals["shown"] is view


def test_a_decorated_view_answers_with_its_hooks(app: Flask) -> None:
    bp = Blueprint("bp", __name__, url_prefix="/bp")
    ran: list[str] = []
    bp.before_request(lambda: ran.append("own"))
    bp.before_app_request(lambda: ran.append("app"))

    @bp.get("/")
    async def index() -> str:
        return "index"

    app.register_blueprint(bp)
    app.add_url_rule("/", view_func=view)
    client = app.test_client()
    assert client.get("/bp/").text == "index"
    assert ran == ["app", "own"]
    assert client.get("/").text == "view"
    assert ran == ["app", "own", "app"]


# Commands


@pytest.mark.parametrize(
    ("own", "given", "path"),
    [
        ({}, {}, ["bp", "work"]),
        ({"cli_group": None}, {}, ["work"]),
        ({"cli_group": "own"}, {}, ["own", "work"]),
        ({"cli_group": "own"}, {"cli_group": "given"}, ["given", "work"]),
        ({"cli_group": "own"}, {"cli_group": None}, ["work"]),
        ({}, {"name": "renamed"}, ["renamed", "work"]),
    ],
)
def test_commands_are_merged_into_the_application(
    app: Flask, own: dict[str, t.Any], given: dict[str, t.Any], path: list[str]
) -> None:
    bp = Blueprint("bp", __name__, **own)
    ran: list[str] = []
    bp.cli.command("work")(lambda: ran.append("work"))
    app.register_blueprint(bp, **given)
    assert app.test_cli_runner().invoke(args=path).exit_code == 0
    assert ran == ["work"]


def test_the_group_is_named_after_the_blueprint_and_can_be_replaced() -> None:
    from asyncflask.cli import AppGroup

    bp = Blueprint("bp", __name__)
    assert isinstance(bp.cli, AppGroup)
    assert bp.cli is bp.cli
    assert bp.cli.name == "bp"
    bp.cli = other = AppGroup("other")  # type: ignore[misc]
    assert bp.cli is other


def test_blueprints_without_commands_leave_click_unloaded() -> None:
    program = (
        "import sys, asyncflask;"
        "app = asyncflask.Flask('x', root_path='.');"
        "app.register_blueprint(asyncflask.Blueprint('bp', 'x', root_path='.'));"
        "sys.exit('click' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, timeout=60).returncode == 0
