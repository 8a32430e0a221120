"""What applications and blueprints share: decorators, registries, folders."""

from __future__ import annotations

import os
import sys
import typing as t
from datetime import timedelta
from pathlib import Path

import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import NotFound

from asyncflask import Blueprint
from asyncflask import Flask
from asyncflask.scaffold import _endpoint_from_view_func
from asyncflask.scaffold import find_package
from asyncflask.scaffold import Scaffold

Make = t.Callable[..., t.Any]


def make_app(**options: t.Any) -> Flask:
    return Flask("some_app", root_path="/srv/some", **{"static_folder": None, **options})


def make_blueprint(**options: t.Any) -> Blueprint:
    return Blueprint("bp", "some_bp", root_path="/srv/some", **options)


both = pytest.mark.parametrize("make", [make_app, make_blueprint])

HOOKS = {
    "before_request": "before_request_funcs",
    "after_request": "after_request_funcs",
    "teardown_request": "teardown_request_funcs",
    "context_processor": "template_context_processors",
    "url_value_preprocessor": "url_value_preprocessors",
    "url_defaults": "url_default_functions",
}


@both
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_kept_itself_and_given_back(make: Make, hook: str) -> None:
    scaffold = make()

    async def func(*args: t.Any) -> None: ...

    assert getattr(scaffold, hook)(func) is func
    assert getattr(scaffold, HOOKS[hook])[None][-1] is func


@both
@pytest.mark.parametrize("hook", HOOKS)
def test_registries_answer_for_any_scope(make: Make, hook: str) -> None:
    registry = getattr(make(), HOOKS[hook])
    registry["other"].append(print)
    assert registry["other"] == [print]


@both
def test_method_decorators_go_through_route_and_add_url_rule(make: Make) -> None:
    calls: list[t.Any] = []

    class Recording(make().__class__):  # type: ignore[misc]
        def _method_route(self, method: str, rule: str, options: t.Any) -> t.Any:
            calls.append((method, rule))
            return super()._method_route(method, rule, options)

        def route(self, rule: str, **options: t.Any) -> t.Any:
            calls.append(options)
            return super().route(rule, **options)

        def add_url_rule(self, rule: str, *args: t.Any, **options: t.Any) -> None:
            calls.append((rule, args, options))
            super().add_url_rule(rule, *args, **options)

    scaffold = Recording("bp", __name__) if make is make_blueprint else Recording(__name__)
    calls.clear()
    for method in ("get", "post", "put", "delete", "patch"):
        view = getattr(scaffold, method)("/x", endpoint=method)(lambda: "")
        options = {"methods": [method.upper()]}
        assert calls == [
            (method.upper(), "/x"),
            {**options, "endpoint": method},
            ("/x", (method, view), options),
        ]
        calls.clear()


@both
def test_method_decorators_refuse_methods(make: Make) -> None:
    with pytest.raises(TypeError, match="Use the 'route' decorator"):
        make().get("/", methods=["POST"])


@both
def test_endpoint_registers_a_view_alone(make: Make) -> None:
    scaffold = make()

    @scaffold.endpoint("name")
    def view() -> str:
        return ""

    assert scaffold.view_functions == {"name": view}


@both
def test_error_handlers_are_kept_by_code_and_class(make: Make) -> None:
    scaffold = make()

    class Teapot(HTTPException):
        code = 418

    handlers = {key: scaffold.errorhandler(key)(lambda e: "") for key in (404, Teapot, KeyError)}
    assert scaffold.error_handler_spec[None] == {
        404: {NotFound: handlers[404]},
        418: {Teapot: handlers[Teapot]},
        None: {KeyError: handlers[KeyError]},
    }
    assert scaffold.error_handler_spec["other"][500] == {}


@both
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (999, ValueError, "999.*Use a subclass of HTTPException"),
        (KeyError("x"), TypeError, r"KeyError\('x'\) is an instance, not a class"),
        (list, ValueError, "'list' is not a subclass of Exception"),
        (KeyboardInterrupt, ValueError, "is not a subclass of Exception"),
        ("404", ValueError, "'404' is not a subclass of Exception"),
    ],
)
def test_what_is_no_error_gets_no_handler(
    make: Make, wrong: t.Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make().register_error_handler(wrong, lambda e: "")


@both
@pytest.mark.parametrize(
    ("folder", "absolute", "url"),
    [
        (None, None, None),
        ("static", "/srv/some/static", "/static"),
        ("assets/web/", "/srv/some/assets/web", "/web"),
        (Path("/var/files"), "/var/files", "/files"),
        ("", "/srv/some/", ""),
    ],
)
def test_the_static_folder_is_below_the_root_path(
    make: Make, folder: t.Any, absolute: str | None, url: str | None
) -> None:
    scaffold = make(static_folder=folder)
    assert scaffold.static_folder == absolute
    assert scaffold.static_url_path == url
    assert scaffold.has_static_folder is (folder is not None)


@both
def test_the_static_url_path_can_be_given(make: Make) -> None:
    scaffold = make(static_folder="static", static_url_path="/files/")
    assert scaffold.static_url_path == "/files"


@both
def test_templates_are_loaded_from_the_folder(make: Make) -> None:
    loader = make(template_folder="views").jinja_loader
    assert loader.searchpath == ["/srv/some/views"]
    assert make(template_folder=None).jinja_loader is None


@both
def test_a_resource_is_opened_below_the_root_path(make: Make, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_bytes("grüße".encode())
    scaffold = make()
    scaffold.root_path = str(tmp_path)
    with scaffold.open_resource("note.txt") as file:
        assert file.read() == "grüße".encode()
    with scaffold.open_resource("note.txt", "r", encoding="utf-8") as file:
        assert file.read() == "grüße"
    with pytest.raises(ValueError, match="only be opened for reading.*'w'"):
        scaffold.open_resource("note.txt", "w")


@both
@pytest.mark.parametrize(("value", "expected"), [(None, None), (7, 7), (timedelta(minutes=1), 60)])
def test_max_age_comes_from_the_current_application(
    make: Make, value: t.Any, expected: int | None
) -> None:
    app = make_app()
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = value
    with app.app_context():
        assert make().get_send_file_max_age("x.css") == expected


@both
def test_static_files_need_a_folder(make: Make) -> None:
    with pytest.raises(RuntimeError, match="'static_folder' must be set"):
        make(static_folder=None).send_static_file("x.css")


def test_a_scaffold_alone_registers_nothing() -> None:
    with pytest.raises(TypeError, match="Derive from 'Flask' or 'Blueprint'"):
        Scaffold(__name__).before_request(print)


def test_the_endpoint_of_a_view_is_its_name() -> None:
    assert _endpoint_from_view_func(make_app) == "make_app"  # type: ignore[arg-type]


def test_an_uninstalled_package_has_no_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain_module_x.py").write_text("")
    (tmp_path / "package_x").mkdir()
    (tmp_path / "package_x" / "__init__.py").write_text("")
    (tmp_path / "namespace_x" / "inner").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("plain_module_x", "package_x", "namespace_x", "namespace_x.inner"):
        assert find_package(name) == (None, str(tmp_path))


def test_a_namespace_is_searched_for_the_folder_that_holds_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for side in ("left", "right"):
        (tmp_path / side / "spread_x" / side).mkdir(parents=True)
        monkeypatch.syspath_prepend(tmp_path / side)
    assert find_package("spread_x.left") == (None, str(tmp_path / "left"))
    assert find_package("spread_x.right") == (None, str(tmp_path / "right"))


@pytest.mark.parametrize("name", ["", "__main__", "no_such_module_x", "no_such_module_x.inner"])
def test_what_cannot_be_found_is_in_the_current_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", type(sys)("__main__"))
    assert find_package(name) == (None, str(tmp_path))


@pytest.mark.parametrize(
    ("folder", "prefix"),
    [
        ("lib/python3.11/site-packages", ""),
        ("Lib/site-packages", ""),
        ("site-packages", ""),
        ("other/site-packages", "other"),
    ],
)
def test_an_installed_package_has_the_prefix_of_its_environment(
    folder: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / folder
    site.mkdir(parents=True)
    (site / "installed_module_x.py").write_text("")
    monkeypatch.syspath_prepend(site)
    assert find_package("installed_module_x") == (os.path.normpath(tmp_path / prefix), str(site))


def test_the_standard_library_is_installed_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.path.dirname(os.__file__)
    monkeypatch.setattr(sys, "prefix", os.path.dirname(folder))
    assert find_package("json") == (os.path.dirname(folder), folder)
