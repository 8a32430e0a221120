"""The description of the framework: its chapter on configuration, every key and every source."""

from __future__ import annotations

import json
import logging
import sys
import tomllib
import typing as t
from datetime import timedelta
from pathlib import Path

import pytest

from asyncflask import abort
from asyncflask import Flask
from asyncflask import jsonify
from asyncflask import render_template
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import url_for


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    app = Flask(__name__, root_path=str(tmp_path))
    app.secret_key = "key"
    app.get("/", endpoint="index")(lambda: "index")
    app.get("/set", endpoint="set")(lambda: str(session.put("user", "jane")))
    app.get("/read", endpoint="read")(lambda: str(session.get("user")))
    app.get("/fail", endpoint="fail")(lambda: {}["missing"])
    app.get("/key", endpoint="key")(lambda: request.args["missing"])
    app.get("/abort", endpoint="abort")(lambda: abort(404))
    return app


@pytest.fixture(params=["wsgi", "asgi"])
def client(app: Flask, request: pytest.FixtureRequest) -> t.Any:
    return app.test_client(transport=request.param)


def session_cookie(client: t.Any, path: str = "/set") -> str:
    for cookie in client.get(path).headers.getlist("Set-Cookie"):
        if cookie.startswith("session="):
            return t.cast(str, cookie)
    return ""


# -- the dictionary -------------------------------------------------------------------------------


def test_the_configuration_is_a_dictionary(app: Flask) -> None:
    app.config["TESTING"] = True
    assert app.testing is True
    app.config.update(TESTING=False, SECRET="SuperSecretKey")
    assert (app.testing, app.config["SECRET"]) == (False, "SuperSecretKey")
    assert isinstance(app.config, dict)


DEFAULTS = {
    "ENV": "production",
    "DEBUG": False,
    "TESTING": False,
    "PROPAGATE_EXCEPTIONS": None,
    "TRAP_HTTP_EXCEPTIONS": False,
    "TRAP_BAD_REQUEST_ERRORS": None,
    "SECRET_KEY": None,
    "SESSION_COOKIE_NAME": "session",
    "SESSION_COOKIE_DOMAIN": None,
    "SESSION_COOKIE_PATH": None,
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SECURE": False,
    "SESSION_COOKIE_SAMESITE": None,
    "PERMANENT_SESSION_LIFETIME": timedelta(days=31),
    "SESSION_REFRESH_EACH_REQUEST": True,
    "USE_X_SENDFILE": False,
    "SEND_FILE_MAX_AGE_DEFAULT": None,
    "SERVER_NAME": None,
    "APPLICATION_ROOT": "/",
    "PREFERRED_URL_SCHEME": "http",
    "MAX_CONTENT_LENGTH": None,
    "JSON_AS_ASCII": True,
    "JSON_SORT_KEYS": True,
    "JSONIFY_PRETTYPRINT_REGULAR": False,
    "JSONIFY_MIMETYPE": "application/json",
    "TEMPLATES_AUTO_RELOAD": None,
    "EXPLAIN_TEMPLATE_LOADING": False,
    "MAX_COOKIE_SIZE": 4093,
}


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_key_has_its_default(key: str) -> None:
    assert Flask(__name__).config[key] == DEFAULTS[key]


# -- what each key does ----------------------------------------------------------------------------


def test_env_names_the_environment(app: Flask) -> None:
    assert app.env == "production"
    with pytest.warns(DeprecationWarning, match="ENV"):
        app.config["ENV"] = "development"
    assert (app.env, app.debug) == ("development", False)


def test_debug_comes_from_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    app = Flask(__name__)
    assert app.config["DEBUG"] is True
    app.config["DEBUG"] = False
    assert app.debug is False


@pytest.mark.parametrize("key", ["TESTING", "DEBUG", "PROPAGATE_EXCEPTIONS"])
def test_exceptions_are_propagated(app: Flask, client: t.Any, key: str) -> None:
    assert client.get("/fail").status_code == 500
    app.config[key] = True
    with pytest.raises(KeyError, match="missing"):
        client.get("/fail")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert client.get("/fail").status_code == 500


def test_http_exceptions_are_trapped(app: Flask, client: t.Any) -> None:
    assert client.get("/abort").status_code == 404
    app.config.update(TRAP_HTTP_EXCEPTIONS=True, PROPAGATE_EXCEPTIONS=True)
    with pytest.raises(Exception, match="404 Not Found"):
        client.get("/abort")


def test_errors_of_bad_requests_are_trapped(app: Flask, client: t.Any) -> None:
    assert client.get("/key").status_code == 400
    app.config["TRAP_BAD_REQUEST_ERRORS"] = True
    assert client.get("/key").status_code == 500
    app.config["TRAP_BAD_REQUEST_ERRORS"] = None
    app.config["DEBUG"] = True
    with pytest.raises(KeyError, match="missing"):
        client.get("/key")
    app.config["TRAP_BAD_REQUEST_ERRORS"] = False
    response = client.get("/key")
    assert response.status_code == 400
    assert "missing" in response.text


def test_the_secret_key_signs_sessions(app: Flask, client: t.Any) -> None:
    client.get("/set")
    assert client.get("/read").text == "jane"
    app.config["SECRET_KEY"] = "another"
    assert client.get("/read").text == "None"
    app.config["SECRET_KEY_FALLBACKS"] = ["key"]
    assert client.get("/read").text == "jane"


@pytest.mark.parametrize(
    ("config", "present", "absent"),
    [
        ({}, "; HttpOnly; Path=/", "Domain"),
        ({"SESSION_COOKIE_DOMAIN": "example.test"}, "Domain=example.test", ""),
        ({"SESSION_COOKIE_DOMAIN": False, "SERVER_NAME": "localhost"}, "", "Domain"),
        ({"SERVER_NAME": "localhost"}, "", "Domain"),
        ({"SESSION_COOKIE_PATH": "/sub"}, "Path=/sub", ""),
        ({"SESSION_COOKIE_HTTPONLY": False}, "", "HttpOnly"),
        ({"SESSION_COOKIE_SECURE": True}, "Secure;", ""),
        ({"SESSION_COOKIE_SAMESITE": "Lax"}, "SameSite=Lax", ""),
        ({"SESSION_COOKIE_SAMESITE": "Strict"}, "SameSite=Strict", ""),
        ({"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SECURE": True}, "Partitioned", ""),
    ],
    ids=str,
)
def test_the_session_cookie(
    app: Flask, client: t.Any, config: dict[str, t.Any], present: str, absent: str
) -> None:
    app.config.update(config)
    cookie = session_cookie(client)
    assert present in cookie
    assert not absent or absent not in cookie


def test_the_path_of_the_session_cookie_is_the_applications_root(app: Flask) -> None:
    app.config["APPLICATION_ROOT"] = "/root"
    for transport in ("wsgi", "asgi"):
        assert "Path=/root" in session_cookie(app.test_client(transport=transport))


def test_the_name_of_the_session_cookie(app: Flask, client: t.Any) -> None:
    app.config["SESSION_COOKIE_NAME"] = "other"
    client.get("/set")
    assert client.get_cookie("other") is not None
    assert client.get_cookie("session") is None


@pytest.mark.parametrize("lifetime", [timedelta(seconds=60), 60])
def test_permanent_sessions_last_as_long_as_configured(
    app: Flask, client: t.Any, lifetime: timedelta | int
) -> None:
    app.config["PERMANENT_SESSION_LIFETIME"] = lifetime

    @app.get("/permanent")
    def permanent() -> str:
        session.permanent = True
        return "ok"

    assert app.permanent_session_lifetime == timedelta(seconds=60)
    assert "Expires=" in session_cookie(client, "/permanent")
    assert "Expires=" in session_cookie(client, "/")
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    assert session_cookie(client, "/") == ""


def test_files_are_sent_by_the_server_or_with_an_age(
    app: Flask, client: t.Any, tmp_path: Path
) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static/a.txt").write_text("text")

    def get() -> t.Any:
        with client.get("/static/a.txt") as response:
            return response.headers.get("X-Sendfile"), response.headers["Cache-Control"]

    assert get() == (None, "no-cache")
    for age in (3600, timedelta(hours=1)):
        app.config["SEND_FILE_MAX_AGE_DEFAULT"] = age
        assert get() == (None, "public, max-age=3600")
    app.config["USE_X_SENDFILE"] = True
    assert get()[0] == str(tmp_path / "static/a.txt")


def test_urls_outside_of_a_request(app: Flask) -> None:
    with app.app_context(), pytest.raises(RuntimeError, match="SERVER_NAME"):
        url_for("index")
    app.config.update(
        SERVER_NAME="example.test:5000", APPLICATION_ROOT="/base", PREFERRED_URL_SCHEME="https"
    )
    with app.app_context():
        assert url_for("index") == "https://example.test:5000/base/"
        assert url_for("index", _external=False) == "/base/"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_body_that_is_too_large_is_refused(app: Flask, client: t.Any, asynchronous: bool) -> None:
    async def size_async() -> str:
        return size()

    def size() -> str:
        return str(len(request.data))

    app.add_url_rule("/size", "size", size_async if asynchronous else size, methods=["POST"])
    assert client.post("/size", data=b"x" * 100).text == "100"
    app.config["MAX_CONTENT_LENGTH"] = 99
    assert client.post("/size", data=b"x" * 100).status_code == 413
    assert client.post("/size", data=b"x" * 99).text == "99"


@pytest.mark.parametrize(
    ("key", "value", "expected", "mimetype"),
    [
        (None, None, '{"a":"\\u00fc","b":1}\n', "application/json"),
        ("JSON_AS_ASCII", False, '{"a":"\u00fc","b":1}\n', "application/json"),
        ("JSON_SORT_KEYS", False, '{"b":1,"a":"\\u00fc"}\n', "application/json"),
        (
            "JSONIFY_PRETTYPRINT_REGULAR",
            True,
            '{\n  "a": "\\u00fc",\n  "b": 1\n}\n',
            "application/json",
        ),
        ("JSONIFY_MIMETYPE", "application/x-own", '{"a":"\\u00fc","b":1}\n', "application/x-own"),
    ],
)
@pytest.mark.parametrize("way", ["item", "update", "from_mapping"])
def test_deprecated_keys_of_json_act(
    app: Flask,
    client: t.Any,
    way: str,
    key: str | None,
    value: t.Any,
    expected: str,
    mimetype: str,
) -> None:
    app.get("/json", endpoint="json")(lambda: jsonify(b=1, a="\u00fc"))
    if key is not None:
        with pytest.warns(DeprecationWarning, match=rf"{key}.*app\.json\."):
            if way == "item":
                app.config[key] = value
            else:
                getattr(app.config, way)({key: value})
    response = client.get("/json")
    assert response.get_data(as_text=True) == expected
    assert response.mimetype == mimetype


def test_templates_are_reloaded(app: Flask, client: t.Any, tmp_path: Path) -> None:
    template = tmp_path / "templates/page.html"
    template.parent.mkdir()
    template.write_text("before")
    app.config["TEMPLATES_AUTO_RELOAD"] = True
    app.get("/page", endpoint="page")(lambda: render_template("page.html"))
    assert client.get("/page").text == "before"
    template.write_text("after, and longer")
    import os

    os.utime(template, (1, 1))
    assert client.get("/page").text == "after, and longer"


def test_template_loading_is_explained(
    app: Flask, client: t.Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/page.html").write_text("page")
    app.config["EXPLAIN_TEMPLATE_LOADING"] = True
    app.get("/page", endpoint="page")(lambda: render_template("page.html"))
    with caplog.at_level(logging.INFO):
        assert client.get("/page").text == "page"
    assert "'page.html'" in caplog.text
    assert str(tmp_path / "templates") in caplog.text


def test_large_cookies_are_warned_of(app: Flask, client: t.Any) -> None:
    @app.get("/cookie")
    def cookie() -> Response:
        response = Response("ok")
        response.set_cookie("large", "x" * 5000)
        return response

    with pytest.warns(UserWarning, match="cookie is too large"):
        client.get("/cookie")
    app.config["MAX_COOKIE_SIZE"] = 0
    assert client.get("/cookie").text == "ok"


# -- where it comes from -------------------------------------------------------------------------


def test_a_module_and_then_a_file_that_a_variable_points_to(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "yourapplication"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "default_settings.py").write_text("A = 1\nB = 1\nlower = 1\n")
    (tmp_path / "settings.cfg").write_text("B = 2\nSECRET_KEY = '...'\nDB_HOST = '127.0.0.1'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("YOURAPPLICATION_SETTINGS", str(tmp_path / "settings.cfg"))
    app.config.from_object("yourapplication.default_settings")
    assert (app.config["A"], app.config["B"]) == (1, 1)
    assert app.config.from_envvar("YOURAPPLICATION_SETTINGS") is True
    assert (app.config["A"], app.config["B"]) == (1, 2)
    assert (app.secret_key, app.config["DB_HOST"]) == ("...", "127.0.0.1")
    assert "lower" not in app.config
    for name in ("yourapplication", "yourapplication.default_settings"):
        monkeypatch.delitem(sys.modules, name)


def test_a_variable_that_is_missing_is_an_error_unless_silent(app: Flask) -> None:
    with pytest.raises(RuntimeError, match="YOURAPPLICATION_SETTINGS"):
        app.config.from_envvar("YOURAPPLICATION_SETTINGS")
    assert app.config.from_envvar("YOURAPPLICATION_SETTINGS", silent=True) is False


def test_a_class_and_its_bases(app: Flask) -> None:
    class Config:
        A = 1
        B = 1
        lower = 1

    class Production(Config):
        B = 2

    app.config.from_object(Production)
    assert (app.config["A"], app.config["B"], "lower" in app.config) == (1, 2, False)


def test_python_files(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("A = 1 + 1\n_B = 2\nc = 3\n")
    assert app.config.from_pyfile("config.py") is True
    assert app.config["A"] == 2
    assert "c" not in app.config
    with pytest.raises(FileNotFoundError, match="missing.py"):
        app.config.from_pyfile("missing.py")
    assert app.config.from_pyfile("missing.py", silent=True) is False


def test_data_files(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"A": {"b": [1]}, "c": 1}')
    (tmp_path / "config.toml").write_text('D = "d"\n[E]\nf = 1\n')
    assert app.config.from_file("config.json", load=json.load) is True
    assert app.config.from_file("config.toml", load=tomllib.load, text=False) is True
    assert (app.config["A"], app.config["D"], app.config["E"]) == ({"b": [1]}, "d", {"f": 1})
    assert "c" not in app.config


def test_variables_with_a_prefix(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_A", "1")
    monkeypatch.setenv("FLASK_B", "text")
    monkeypatch.setenv("FLASK_C__D__E", "true")
    monkeypatch.setenv("OTHER_F", "[1, 2]")
    monkeypatch.setenv("G", "1")
    assert app.config.from_prefixed_env() is True
    assert (app.config["A"], app.config["B"]) == (1, "text")
    assert app.config["C"] == {"D": {"E": True}}
    assert "F" not in app.config and "G" not in app.config
    app.config.from_prefixed_env("OTHER")
    assert app.config["F"] == [1, 2]


def test_a_mapping_and_a_namespace_of_it(app: Flask) -> None:
    app.config.from_mapping({"IMAGE_STORE_TYPE": "fs", "lower": 1}, IMAGE_STORE_PATH="/x")
    assert app.config.get_namespace("IMAGE_STORE_") == {"type": "fs", "path": "/x"}
    assert "lower" not in app.config


def test_the_instance_folder_may_hold_configuration(tmp_path: Path) -> None:
    (tmp_path / "application.cfg").write_text("A = 1\n")
    app = Flask(__name__, instance_path=str(tmp_path), instance_relative_config=True)
    app.config.from_pyfile("application.cfg")
    assert app.config["A"] == 1
