"""``App``: what is set up on an application before its first request."""

from __future__ import annotations

import gc
import os
import sys
import typing as t
import weakref
from datetime import timedelta
from pathlib import Path

import pytest
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import BadRequestKeyError
from werkzeug.exceptions import Forbidden
from werkzeug.exceptions import NotFound
from werkzeug.routing import BuildError
from werkzeug.routing import Map
from werkzeug.routing import Rule

from asyncflask import Blueprint
from asyncflask import Config
from asyncflask import Flask


@pytest.fixture
def app() -> Flask:
    return Flask(__name__, static_folder=None)


def view() -> str:
    return "view"


# Identity and folders


def test_the_name_is_the_import_name_or_the_main_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Flask("some_app", root_path="/srv").name == "some_app"
    main = type(sys)("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert Flask("__main__", root_path="/srv").name == "__main__"
    main.__file__ = "/srv/run_it.py"
    assert Flask("__main__", root_path="/srv").name == "run_it"
    assert repr(Flask("__main__", root_path="/srv")) == "<Flask 'run_it'>"


def test_the_instance_path_is_absolute(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be absolute, and 'instance' is relative"):
        Flask(__name__, instance_path="instance")
    app = Flask(__name__, instance_path=str(tmp_path), instance_relative_config=True)
    assert app.instance_path == app.config.root_path == str(tmp_path)


def test_the_instance_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "lib" / "python3" / "site-packages"
    site.mkdir(parents=True)
    (site / "installed_app_x.py").write_text("")
    (tmp_path / "plain_app_x.py").write_text("")
    monkeypatch.syspath_prepend(site)
    monkeypatch.syspath_prepend(tmp_path)
    installed, plain = Flask("installed_app_x"), Flask("plain_app_x")
    assert installed.instance_path == str(tmp_path / "var" / "installed_app_x-instance")
    assert plain.instance_path == str(tmp_path / "instance")
    assert plain.config.root_path == plain.root_path == str(tmp_path)


def test_an_application_is_freed_at_once() -> None:
    gc.disable()
    try:
        ref = weakref.ref(Flask(__name__))
        assert ref() is None
    finally:
        gc.enable()


# Configuration


def test_defaults_are_flasks_and_our_own(app: Flask) -> None:
    import flask

    theirs = dict(flask.Flask(__name__).config)
    ours = {key: value for key, value in app.config.items() if key not in theirs}
    assert {key: app.config[key] for key in theirs} == theirs
    assert ours == {
        "BLOCKED_LOOP_THRESHOLD": 0.1,
        "BODY_TIMEOUT": 60,
        "CANCEL_ON_DISCONNECT": False,
        "MAX_BUFFERED_BODY": 67_108_864,
        "MAX_FORM_FIELDS": 10_000,
        "MAX_FORM_FILES": 100,
        "MAX_HEADER_SIZE": 65_536,
        "SYNC_QUEUE_LIMIT": None,
        "SYNC_QUEUE_TIMEOUT": 30,
        "SYNC_THREADS": 40,
    }


def test_attributes_forward_to_the_configuration(app: Flask) -> None:
    app.secret_key = "secret"
    app.testing = True
    assert (app.config["SECRET_KEY"], app.config["TESTING"]) == ("secret", True)
    assert app.permanent_session_lifetime == timedelta(days=31)
    app.config["PERMANENT_SESSION_LIFETIME"] = 1.5
    assert app.permanent_session_lifetime == timedelta(seconds=1.5)
    assert app.env == "production"
    with pytest.warns(DeprecationWarning, match="ENV"):
        app.env = "development"
    assert app.config["ENV"] == app.env == "development"


@pytest.mark.parametrize(("value", "debug"), [(None, False), ("1", True), ("no", False)])
def test_debug_comes_from_the_environment(
    value: str | None, debug: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("FLASK_DEBUG", value)
    assert Flask(__name__).debug is debug


def test_subclasses_put_their_own_classes_in_place() -> None:
    class MyConfig(Config):
        pass

    class MyMap(Map):
        pass

    class MyRule(Rule):
        pass

    class MyFlask(Flask):
        config_class = MyConfig
        url_map_class = MyMap
        url_rule_class = MyRule
        default_config = {**Flask.default_config, "MINE": 1}

    app = MyFlask(__name__, host_matching=True, static_folder=None)
    app.add_url_rule("/", view_func=view)
    assert type(app.config) is MyConfig
    assert app.config["MINE"] == 1
    assert type(app.url_map) is MyMap
    assert app.url_map.host_matching
    assert [type(rule) for rule in app.url_map.iter_rules()] == [MyRule]


@pytest.mark.parametrize(
    ("key", "value", "attribute", "expected"),
    [
        ("JSON_AS_ASCII", False, "ensure_ascii", False),
        ("JSON_SORT_KEYS", False, "sort_keys", False),
        ("JSONIFY_MIMETYPE", "application/x", "mimetype", "application/x"),
        ("JSONIFY_PRETTYPRINT_REGULAR", True, "compact", False),
        ("JSONIFY_PRETTYPRINT_REGULAR", False, "compact", None),
    ],
)
def test_deprecated_json_keys_act_on_the_provider(
    app: Flask, key: str, value: t.Any, attribute: str, expected: t.Any
) -> None:
    with pytest.warns(DeprecationWarning, match=key):
        app.config.update({key: value})
    assert getattr(app.json, attribute) == expected
    assert app.config[key] == value


def test_deprecated_json_keys_among_the_defaults_act_quietly() -> None:
    class Sorted(Flask):
        default_config = {**Flask.default_config, "JSON_SORT_KEYS": False}

    assert Sorted(__name__).json.sort_keys is False  # type: ignore[attr-defined]
    assert Flask(__name__).json.sort_keys is True  # type: ignore[attr-defined]


# Templates


def test_template_helpers_are_added(app: Flask) -> None:
    assert app.template_filter()(view) is view
    app.template_test("named")(view)
    app.template_global("shown")(view)
    app.add_template_filter(view, "other")
    app.add_template_test(view)
    app.add_template_global(view)
    env = app.jinja_env
    assert env.filters["view"] is env.filters["other"] is view
    assert env.tests["named"] is env.tests["view"] is view
    assert env.globals["shown"] is env.globals["view"] is view


def test_the_environments_are_made_once_and_share_what_is_added(app: Flask) -> None:
    assert app.jinja_env is app.jinja_env
    assert app.jinja_env_async is app.jinja_env_async
    assert app.jinja_env_async.is_async and not app.jinja_env.is_async
    app.add_template_filter(view)
    assert app.jinja_env_async.filters["view"] is view


@pytest.mark.parametrize("made_before", [True, False])
def test_debug_mode_reloads_templates(app: Flask, made_before: bool) -> None:
    if made_before:
        assert app.jinja_env.auto_reload is False
    app.debug = True
    assert app.jinja_env.auto_reload is True
    app.debug = False
    assert app.jinja_env.auto_reload is False
    app.config["TEMPLATES_AUTO_RELOAD"] = False
    app.debug = True
    assert app.jinja_env.auto_reload is False


@pytest.mark.parametrize(
    ("name", "escaped"), [(None, True), ("a.html", True), ("a.svg", True), ("a.txt", False)]
)
def test_autoescape_goes_by_the_name(app: Flask, name: str | None, escaped: bool) -> None:
    assert app.select_jinja_autoescape(name) is escaped


# Routes


def test_a_rule_has_its_endpoint_and_methods(app: Flask) -> None:
    app.add_url_rule("/a", view_func=view)
    app.add_url_rule("/b", "b", view, methods=["post", "PUT"])
    app.add_url_rule("/c", "c", provide_automatic_options=False, methods=("OPTIONS",))
    a, b, c = app.url_map.iter_rules()
    assert (a.endpoint, a.methods) == ("view", {"GET", "HEAD", "OPTIONS"})
    assert (b.endpoint, b.methods) == ("b", {"POST", "PUT", "OPTIONS"})
    assert (c.endpoint, c.methods) == ("c", {"OPTIONS"})
    assert [rule.provide_automatic_options for rule in (a, b, c)] == [  # type: ignore[attr-defined]
        True,
        True,
        False,
    ]
    assert app.view_functions == {"view": view, "b": view}


def test_attributes_of_the_view_complete_the_arguments(app: Flask) -> None:
    class View:
        __name__ = "view"
        methods = ["DELETE"]
        required_methods = {"PATCH"}
        provide_automatic_options = False

        def __call__(self) -> str:
            return ""

    app.add_url_rule("/a", view_func=View())
    app.add_url_rule("/b", "b", View(), provide_automatic_options=True, methods=["GET"])
    a, b = app.url_map.iter_rules()
    assert a.methods == {"DELETE", "PATCH"}
    assert b.methods == {"GET", "HEAD", "PATCH"}


def test_automatic_options_can_be_turned_off(app: Flask) -> None:
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.get("/a")(view)
    app.add_url_rule("/b", "b", view, provide_automatic_options=True)
    a, b = app.url_map.iter_rules()
    assert a.methods == b.methods == {"GET", "HEAD"}
    assert a.provide_automatic_options is False  # type: ignore[attr-defined]
    assert b.provide_automatic_options is True  # type: ignore[attr-defined]


def test_methods_are_no_string(app: Flask) -> None:
    with pytest.raises(TypeError, match="must be a list of strings"):
        app.route("/", methods="POST")(view)


def test_an_endpoint_has_one_view(app: Flask) -> None:
    app.add_url_rule("/a", view_func=view)
    app.add_url_rule("/b", view_func=view)
    with pytest.raises(AssertionError, match="overwriting an existing endpoint function: 'view'"):
        app.add_url_rule("/c", "view", lambda: "")
    assert [rule.rule for rule in app.url_map.iter_rules()] == ["/a", "/b"]


def test_a_rule_without_view_gets_it_later(app: Flask) -> None:
    app.add_url_rule("/", "index")
    assert app.view_functions == {}
    app.endpoint("index")(view)
    assert app.view_functions == {"index": view}


def test_our_route_options_are_kept_by_endpoint(app: Flask) -> None:
    app.post("/a", stream_body=True)(view)
    app.get("/b", endpoint="view", cancel_on_disconnect=False)(view)
    app.get("/c", endpoint="plain")(view)
    assert app.endpoint_options == {"view": {"stream_body": True, "cancel_on_disconnect": False}}


def test_url_defaults_run_from_the_application_inwards(app: Flask) -> None:
    for name in (None, "a", "a.b", "other"):
        app.url_default_functions[name].append(
            lambda endpoint, values, name=name: values.setdefault("order", []).append(name)
        )
    values: dict[str, t.Any] = {}
    app.inject_url_defaults("a.b.index", values)
    assert values == {"order": [None, "a", "a.b"]}
    values.clear()
    app.inject_url_defaults("index", values)
    assert values == {"order": [None]}


def test_url_defaults_may_be_async(app: Flask) -> None:
    @app.url_defaults
    async def add(endpoint: str, values: dict[str, t.Any]) -> None:
        values["lang"] = endpoint

    values: dict[str, t.Any] = {}
    app.inject_url_defaults("index", values)
    assert values == {"lang": "index"}


def test_build_errors_are_given_to_each_handler(app: Flask) -> None:
    error, other = BuildError("e", {}, "GET"), BuildError("other", {}, "GET")

    def failing(error: Exception, endpoint: str, values: dict[str, t.Any]) -> str:
        raise other

    app.url_build_error_handlers.append(lambda *args: None)
    with pytest.raises(BuildError) as caught:
        app.handle_url_build_error(error, "e", {})
    assert caught.value is error
    app.url_build_error_handlers.append(failing)
    with pytest.raises(BuildError) as caught:
        app.handle_url_build_error(error, "e", {})
    assert caught.value is other
    app.url_build_error_handlers.append(lambda error, endpoint, values: f"{error}/{endpoint}")
    assert app.handle_url_build_error(error, "e", {}) == f"{other}/e"


def test_redirect_makes_a_response_of_the_application(app: Flask) -> None:
    response = app.redirect("/there", 307)
    assert isinstance(response, app.response_class)
    assert (response.status_code, response.location) == (307, "/there")
    assert app.redirect("/x").status_code == 302


# Errors


def test_abort_raises_the_error_for_a_code(app: Flask) -> None:
    with pytest.raises(Forbidden) as caught:
        app.abort(403, "no entry")
    assert caught.value.description == "no entry"


def test_the_aborter_can_be_replaced() -> None:
    class MyFlask(Flask):
        def make_aborter(self) -> t.Any:
            aborter = super().make_aborter()
            aborter.mapping[599] = NotFound
            return aborter

    with pytest.raises(NotFound):
        MyFlask(__name__).abort(599)


def test_error_handlers_of_the_blueprint_come_first(app: Flask) -> None:
    bp = Blueprint("bp", __name__)
    of_bp, of_app = bp.errorhandler(404)(lambda e: ""), app.errorhandler(404)(lambda e: "")
    app.register_blueprint(bp)
    assert app._find_error_handler(NotFound(), ["bp"]) is of_bp
    assert app._find_error_handler(NotFound(), []) is of_app
    assert app._find_error_handler(ValueError(), ["bp"]) is None


@pytest.mark.parametrize(
    ("config", "trapped"),
    [
        ({}, set()),
        ({"TRAP_HTTP_EXCEPTIONS": True}, {NotFound, BadRequest, BadRequestKeyError}),
        ({"TRAP_BAD_REQUEST_ERRORS": True}, {BadRequest, BadRequestKeyError}),
        ({"DEBUG": True}, {BadRequestKeyError}),
        ({"DEBUG": True, "TRAP_BAD_REQUEST_ERRORS": False}, set()),
    ],
)
def test_http_errors_are_trapped_when_asked(
    app: Flask, config: dict[str, t.Any], trapped: set[t.Any]
) -> None:
    app.config.update(config)
    errors = (NotFound, BadRequest, BadRequestKeyError)
    assert {error for error in errors if app.trap_http_exception(error())} == trapped


def test_no_error_is_ignored(app: Flask) -> None:
    assert app.should_ignore_error(ValueError()) is False


# Around requests and serving


@pytest.mark.parametrize(
    ("decorator", "registry"),
    [
        ("teardown_appcontext", "teardown_appcontext_funcs"),
        ("shell_context_processor", "shell_context_processors"),
        ("before_serving", "before_serving_funcs"),
        ("after_serving", "after_serving_funcs"),
        ("while_serving", "while_serving_gens"),
    ],
)
def test_functions_are_kept_themselves(app: Flask, decorator: str, registry: str) -> None:
    assert getattr(app, decorator)(view) is view
    assert getattr(app, registry) == [view]


def test_after_the_first_request_set_up_is_over(app: Flask) -> None:
    assert app.got_first_request is False
    app.add_url_rule("/", view_func=view)
    assert app.test_client().get("/").text == "view"
    assert app.got_first_request is True
    for add in (app.before_request, app.teardown_appcontext, app.while_serving):
        with pytest.raises(AssertionError, match=f"The setup method '{add.__name__}'"):
            add(view)  # type: ignore[operator]
    with pytest.raises(AssertionError, match="setup method 'register_blueprint'"):
        app.register_blueprint(Blueprint("bp", __name__))


def test_blueprints_are_listed_in_order(app: Flask) -> None:
    blueprints = [Blueprint(name, __name__) for name in ("b", "a", "c")]
    for bp in blueprints:
        app.register_blueprint(bp)
    assert list(app.iter_blueprints()) == blueprints
    assert list(app.blueprints) == ["b", "a", "c"]


def test_the_logger_is_named_after_the_application(app: Flask) -> None:
    assert app.logger.name == app.name
    assert app.logger is app.logger


def test_paths_are_strings(tmp_path: Path) -> None:
    app = Flask(__name__, static_folder=tmp_path / "files", root_path=os.fspath(tmp_path))
    assert app.static_folder == str(tmp_path / "files")
    assert app.static_url_path == "/files"
