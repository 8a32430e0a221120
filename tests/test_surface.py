"""Everything that is public in Flask 3.1.3 is here too, under the same name and signature."""

from __future__ import annotations

import pkgutil
import typing as t
import warnings
from importlib import import_module
from types import ModuleType

import click
import flask
import pytest
from werkzeug.test import EnvironBuilder

import asyncflask
from asyncflask.flask_alias import MODULES
from tests.surface import compare_callables
from tests.surface import compare_instances
from tests.surface import compare_names
from tests.surface import defined_names
from tests.surface import Difference
from tests.surface import is_public
from tests.surface import same_default

#: What is different on purpose, and why; a path without the module's name.
ACCEPTED = {
    "Flask.__call__": "takes ASGI's three arguments besides WSGI's two",
    **{
        f"_AppCtxGlobals.__setattr__({name})": "object's own takes no names, and is faster"
        for name in ("self", "name", "value")
    },
    "Flask.jinja_environment": "is a descriptor, which loads Jinja when it is asked for",
}

FLASK_MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(flask.__path__, "flask.")
    if info.name not in ("flask.__main__", "flask.sansio")
)

#: Names extensions import from where they are not defined, and private ones they use.
LOAD_BEARING = {
    "flask.app": ["Rule"],
    "flask.blueprints": ["Blueprint", "BlueprintSetupState"],
    "flask.cli": ["click"],
    "flask.ctx": ["_AppCtxGlobals"],
    "flask.globals": ["_cv_app", "_cv_request"],
    "flask.helpers": ["werkzeug"],
    "flask.json": ["provider", "tag"],
    "flask.sansio.scaffold": ["_endpoint_from_view_func"],
    "flask.signals": ["Namespace"],
}
LOAD_BEARING_METHODS = ["Flask._method_route", "Blueprint._method_route"]


def accepted(path: str) -> list[str]:
    return [entry for entry in ACCEPTED if f".{path}".endswith(f".{entry}")]


def check(differences: t.Iterable[Difference]) -> None:
    wrong = [f"{path} {text}" for path, text in differences if not accepted(path)]
    assert not wrong, "\n".join(["", *wrong])


def counterpart(name: str) -> ModuleType:
    return import_module(MODULES[name])


def differences_of(name: str) -> t.Iterator[Difference]:
    theirs, ours = import_module(name), counterpart(name)
    names = [*defined_names(theirs), *LOAD_BEARING.get(name, [])]
    yield from compare_names(dict.fromkeys(names), theirs, ours, name)


def differences_of_package() -> t.Iterator[Difference]:
    # Its modules are tested one by one.
    names = [
        name
        for name, value in vars(flask).items()
        if is_public(name) and name != "annotations" and not isinstance(value, ModuleType)
    ]
    yield from compare_names(names, flask, asyncflask, "flask")


def test_every_module_has_a_counterpart() -> None:
    assert set(FLASK_MODULES) <= MODULES.keys()


def test_package_has_every_name() -> None:
    check(differences_of_package())


@pytest.mark.parametrize("name", FLASK_MODULES)
def test_module_has_every_name(name: str) -> None:
    check(differences_of(name))


@pytest.mark.parametrize("path", LOAD_BEARING_METHODS)
def test_method_that_extensions_override_is_there(path: str) -> None:
    cls, _, name = path.partition(".")
    theirs, ours = (getattr(getattr(package, cls), name) for package in (flask, asyncflask))
    check(compare_callables(theirs, ours, f"flask.{path}"))


def instances(package: ModuleType, module: t.Callable[[str], ModuleType]) -> dict[str, object]:
    """Make one object of each class that sets attributes when it is made."""
    app = package.Flask(__name__)
    blueprint = package.Blueprint("pages", __name__)
    environ = EnvironBuilder().get_environ()
    return {
        "Flask": app,
        "Blueprint": blueprint,
        "Request": package.Request(environ),
        "Response": package.Response(),
        "Config": package.Config("/"),
        "AppContext": module("ctx").AppContext(app),
        "RequestContext": module("ctx").RequestContext(app, environ),
        "BlueprintSetupState": module("blueprints").BlueprintSetupState(blueprint, app, {}, True),
        "ScriptInfo": module("cli").ScriptInfo(),
        "AppGroup": module("cli").AppGroup(),
        "FlaskGroup": module("cli").FlaskGroup(),
        "SecureCookieSession": module("sessions").SecureCookieSession(),
        "SecureCookieSessionInterface": module("sessions").SecureCookieSessionInterface(),
        "TaggedJSONSerializer": module("json.tag").TaggedJSONSerializer(),
        "DefaultJSONProvider": module("json.provider").DefaultJSONProvider(app),
        "DispatchingJinjaLoader": module("templating").DispatchingJinjaLoader(app),
        "Environment": module("templating").Environment(app),
        "EnvironBuilder": module("testing").EnvironBuilder(app),
        "FlaskClient": app.test_client(),
        "FlaskCliRunner": app.test_cli_runner(),
    }


def test_instances_have_every_attribute() -> None:
    theirs = instances(flask, lambda name: import_module(f"flask.{name}"))
    ours = instances(asyncflask, lambda name: counterpart(f"flask.{name}"))
    check(d for name in theirs for d in compare_instances(theirs[name], ours[name], name))


def test_configuration_has_the_same_defaults() -> None:
    theirs, ours = flask.Flask.default_config, asyncflask.Flask.default_config
    assert {key: ours.get(key, "missing") for key in theirs} == dict(theirs)


def test_application_starts_with_the_same_converters_and_methods() -> None:
    theirs, ours = flask.Flask(__name__), asyncflask.Flask(__name__)
    assert ours.url_map.converters.keys() >= theirs.url_map.converters.keys()
    assert [str(rule) for rule in ours.url_map.iter_rules()] == [
        str(rule) for rule in theirs.url_map.iter_rules()
    ]


@pytest.mark.parametrize("part", ["globals", "filters", "tests"])
def test_templates_have_the_same_names(part: str) -> None:
    theirs, ours = flask.Flask(__name__).jinja_env, asyncflask.Flask(__name__).jinja_env
    assert getattr(ours, part).keys() >= getattr(theirs, part).keys()


def test_version_is_the_one_of_the_api() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert asyncflask.Flask.__module__.startswith("asyncflask")
        assert counterpart("flask").__version__ == "3.1.3"


def commands_of(name: str) -> dict[str, click.Command]:
    module = import_module(name)
    return {"": module.cli, **module.cli.commands}


@pytest.mark.parametrize("name", commands_of("flask.cli"))
def test_command_has_every_option(name: str) -> None:
    ours = commands_of("asyncflask.cli")
    assert name in ours
    options = {parameter.name: parameter for parameter in ours[name].params}
    check(
        difference
        for parameter in commands_of("flask.cli")[name].params
        for difference in compare_options(parameter, options.get(parameter.name), f"cli {name}")
    )


def compare_options(
    theirs: click.Parameter, ours: click.Parameter | None, path: str
) -> t.Iterator[Difference]:
    path = f"{path} {theirs.name}"
    if ours is None:
        yield path, "is missing"
        return
    if not set(theirs.opts + theirs.secondary_opts) <= set(ours.opts + ours.secondary_opts):
        yield path, f"is spelled {theirs.opts} in Flask, here {ours.opts}"
    for attribute in ("default", "required", "multiple", "is_flag", "is_eager", "envvar"):
        pair = [getattr(parameter, attribute, None) for parameter in (theirs, ours)]
        if not same_default(*pair):
            yield path, f"has {attribute} {pair[0]!r} in Flask, here {pair[1]!r}"


def test_accepted_differences_exist() -> None:
    found = [path for path, _ in differences_of_package()]
    found += [path for name in FLASK_MODULES for path, _ in differences_of(name)]
    assert {entry for path in found for entry in accepted(path)} == ACCEPTED.keys()
