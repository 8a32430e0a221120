from __future__ import annotations

import copy
import json
import tomllib
import typing as t
import warnings
from pathlib import Path

import pytest
from flask.config import Config as FlaskConfig

from asyncflask.config import Config
from asyncflask.config import ConfigAttribute

DEPRECATED_DEFAULTS = {
    "ENV": "production",
    "JSON_AS_ASCII": True,
    "JSON_SORT_KEYS": True,
    "JSONIFY_PRETTYPRINT_REGULAR": False,
    "JSONIFY_MIMETYPE": "application/json",
}


class Settings:
    ANSWER = 42
    Mixed = "left out"
    lower = "left out"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path, {"DEBUG": False})


def test_it_is_a_dict_with_defaults_and_a_root_path(config: Config, tmp_path: Path) -> None:
    assert isinstance(config, dict)
    assert config == {"DEBUG": False}
    assert config.root_path == tmp_path
    assert Config("here") == {}
    assert repr(config) == "<Config {'DEBUG': False}>"


def test_an_unknown_key_is_a_key_error(config: Config) -> None:
    with pytest.raises(KeyError) as caught:
        config["UNKNOWN"]
    assert caught.value.args == ("UNKNOWN",)
    assert config.get("UNKNOWN") is None


@pytest.mark.parametrize("source", [Settings, Settings()])
def test_from_object_takes_upper_case_names_only(config: Config, source: object) -> None:
    config.from_object(source)
    assert config == {"DEBUG": False, "ANSWER": 42}


def test_from_object_imports_a_name() -> None:
    config = Config(".")
    config.from_object("errno")
    assert config["ENOENT"] == 2


def test_from_object_reads_properties_of_an_instance(config: Config) -> None:
    class Computed:
        @property
        def URL(self) -> str:
            return "sqlite://"

    config.from_object(Computed())
    assert config["URL"] == "sqlite://"


def test_from_pyfile_runs_the_file_relative_to_the_root(config: Config, tmp_path: Path) -> None:
    tmp_path.joinpath("app.cfg").write_text("helper = 2\nANSWER = 21 * helper\nFILE = __file__\n")
    assert config.from_pyfile("app.cfg") is True
    assert config == {"DEBUG": False, "ANSWER": 42, "FILE": str(tmp_path / "app.cfg")}


@pytest.mark.parametrize("name", ["absent.cfg", "folder", "file/absent.cfg"])
def test_a_missing_python_file_is_an_error_unless_silent(
    config: Config, tmp_path: Path, name: str
) -> None:
    tmp_path.joinpath("folder").mkdir()
    tmp_path.joinpath("file").touch()
    assert config.from_pyfile(name, silent=True) is False
    with pytest.raises(OSError, match=r"Unable to load configuration file \(") as caught:
        config.from_pyfile(name)
    assert caught.value.filename == str(tmp_path / name)


def test_an_unreadable_file_is_an_error_even_if_silent(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> t.NoReturn:
        raise PermissionError(13, "Permission denied", "app.cfg")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError, match="Unable to load"):
        config.from_pyfile("app.cfg", silent=True)
    with pytest.raises(PermissionError, match="Unable to load"):
        config.from_file("app.json", json.load, silent=True)


def test_from_file_reads_text_and_bytes(config: Config, tmp_path: Path) -> None:
    tmp_path.joinpath("a.json").write_text('{"ANSWER": 42, "lower": 1}')
    tmp_path.joinpath("b.toml").write_text('[DB]\nurl = "x"')
    assert config.from_file("a.json", json.load) is True
    assert config.from_file(tmp_path / "b.toml", tomllib.load, text=False) is True
    assert config == {"DEBUG": False, "ANSWER": 42, "DB": {"url": "x"}}


def test_a_missing_data_file_is_an_error_unless_silent(config: Config) -> None:
    assert config.from_file("absent.json", json.load, silent=True) is False
    with pytest.raises(FileNotFoundError, match="Unable to load configuration file"):
        config.from_file("absent.json", json.load)


def test_from_envvar_loads_the_file_it_names(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("app.cfg").write_text("ANSWER = 42")
    monkeypatch.setenv("APP_SETTINGS", "app.cfg")
    assert config.from_envvar("APP_SETTINGS") is True
    assert config["ANSWER"] == 42
    monkeypatch.setenv("APP_SETTINGS", "absent.cfg")
    assert config.from_envvar("APP_SETTINGS", silent=True) is False


@pytest.mark.parametrize("value", [None, ""])
def test_from_envvar_needs_the_variable_unless_silent(
    config: Config, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APP_SETTINGS", raising=False)
    if value is not None:
        monkeypatch.setenv("APP_SETTINGS", value)
    assert config.from_envvar("APP_SETTINGS", silent=True) is False
    with pytest.raises(RuntimeError, match="'APP_SETTINGS' is not set"):
        config.from_envvar("APP_SETTINGS")


def test_from_mapping_takes_mappings_pairs_and_keywords(config: Config) -> None:
    assert config.from_mapping({"A": 1, "b": 2}, C=3, d=4, A=5) is True
    config.from_mapping([("E", 6)])  # type: ignore[arg-type]
    config.from_mapping()
    assert config == {"DEBUG": False, "A": 5, "C": 3, "E": 6}


def test_from_prefixed_env_loads_json_and_keeps_other_text(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"INT": "1", "LIST": "[true]", "TEXT": "a b", "lower": "null"}.items():
        monkeypatch.setenv(f"FLASK_{name}", value)
    monkeypatch.setenv("FLASKY_OTHER", "1")
    assert config.from_prefixed_env() is True
    assert config == {"DEBUG": False, "INT": 1, "LIST": [True], "TEXT": "a b", "lower": None}


def test_from_prefixed_env_fills_nested_dicts(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["DB"] = {"url": "x", "pool": {"size": 1}}
    monkeypatch.setenv("APP_DB__pool__size", "5")
    monkeypatch.setenv("APP_DB__new__key", "v")
    monkeypatch.setenv("APP_NEW__K", "v")
    config.from_prefixed_env("APP")
    assert config["DB"] == {"url": "x", "pool": {"size": 5}, "new": {"key": "v"}}
    assert config["NEW"] == {"K": "v"}


def test_from_prefixed_env_takes_another_loader(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_A", "x")
    config.from_prefixed_env("APP", loads=str.upper)
    assert config["A"] == "X"


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("trim", [True, False])
def test_get_namespace_equals_flasks(lowercase: bool, trim: bool) -> None:
    values = {"DB_URL": 1, "DB_Pool": 2, "DB_": 3, "OTHER": 4}
    ours = Config(".", values).get_namespace("DB_", lowercase, trim)
    assert ours == FlaskConfig(".", values).get_namespace("DB_", lowercase, trim)


def test_an_attribute_stands_for_a_key(config: Config) -> None:
    class Owner:
        debug = ConfigAttribute[bool]("DEBUG")
        name = ConfigAttribute("NAME", str.upper)

    owner: t.Any = Owner()
    owner.config = config
    owner.name = "demo"
    assert (owner.debug, owner.name, config["NAME"]) == (False, "DEMO", "demo")
    assert isinstance(Owner.__dict__["debug"], ConfigAttribute)
    assert t.cast(t.Any, Owner).debug is Owner.__dict__["debug"]


@pytest.mark.parametrize(("key", "default"), DEPRECATED_DEFAULTS.items())
def test_a_deprecated_key_that_is_not_set_reads_as_its_old_default(
    config: Config, key: str, default: object
) -> None:
    assert config[key] == default
    assert key not in config
    assert config == {"DEBUG": False}


def set_item(config: Config, key: str, value: object) -> None:
    config[key] = value


def set_by_ior(config: Config, key: str, value: object) -> None:
    config |= {key: value}


SETTERS: dict[str, t.Callable[[Config, str, object], object]] = {
    "item": set_item,
    "update": lambda config, key, value: config.update({key: value}),
    "update by keyword": lambda config, key, value: config.update(**{key: value}),
    "update by pairs": lambda config, key, value: config.update([(key, value)]),
    "setdefault": lambda config, key, value: config.setdefault(key, value),
    "|=": set_by_ior,
    "from_mapping": lambda config, key, value: config.from_mapping({key: value}),
    "from_object": lambda config, key, value: config.from_object(type("C", (), {key: value})),
}


@pytest.mark.parametrize("setter", SETTERS.values(), ids=SETTERS)
def test_setting_a_deprecated_key_warns_stores_and_tells(
    config: Config, setter: t.Callable[[Config, str, object], object]
) -> None:
    told: list[tuple[str, object, object]] = []
    config.on_deprecated = lambda key, value: told.append((key, value, config.get(key)))
    with pytest.warns(DeprecationWarning, match=r"'JSON_SORT_KEYS'.*app\.json\.sort_keys") as seen:
        setter(config, "JSON_SORT_KEYS", False)
    assert told == [("JSON_SORT_KEYS", False, False)]
    assert [warning.filename for warning in seen] == [__file__]


def test_files_and_the_environment_warn_of_deprecated_keys(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("app.cfg").write_text("ENV = 'testing'")
    tmp_path.joinpath("app.json").write_text('{"JSONIFY_MIMETYPE": "text/json"}')
    monkeypatch.setenv("FLASK_JSON_AS_ASCII", "false")
    with pytest.warns(DeprecationWarning) as seen:
        config.from_pyfile("app.cfg")
        config.from_file("app.json", json.load)
        config.from_prefixed_env()
    assert [warning.filename for warning in seen] == [__file__] * 3
    assert (config["ENV"], config["JSONIFY_MIMETYPE"]) == ("testing", "text/json")
    assert config["JSON_AS_ASCII"] is False


def test_each_deprecated_key_names_its_successor(config: Config) -> None:
    for key in DEPRECATED_DEFAULTS:
        with pytest.warns(DeprecationWarning, match=rf"'{key}' is deprecated; use app\.\w+"):
            config[key] = None


def test_defaults_and_other_keys_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = Config(".", {"ENV": "testing"})
        config["DEBUG"] = True
        assert config.setdefault("ENV", "other") == "testing"


def test_updating_equals_flasks_dict() -> None:
    ours, flasks = Config("."), FlaskConfig(".")
    config: t.Any
    for config in (ours, flasks):
        config.update({"A": 1}, B=2)
        config.update()
        assert config.setdefault("A", 9) == 1
        assert config.setdefault("C") is None
        config |= [("D", 4)]
        assert type(config | {"E": 5}) is dict
    assert ours == flasks == {"A": 1, "B": 2, "C": None, "D": 4}


@pytest.mark.parametrize("kind", [Config, FlaskConfig])
def test_setting_several_keys_goes_around_a_subclass_as_in_flask(kind: t.Any) -> None:
    """As one of dynaconf has it, whose values are elsewhere."""

    class Elsewhere(kind):  # type: ignore[misc]
        def __setitem__(self, key: str, value: t.Any) -> None:
            raise AssertionError(f"set one by one: {key}")

    config = Elsewhere("/", {"A": 1})
    config.update(B=2)
    config.setdefault("C", 3)
    config |= {"D": 4}
    assert config == {"A": 1, "B": 2, "C": 3, "D": 4}
    with pytest.raises(AssertionError, match="one by one: E"):
        config.from_mapping(E=5)


CHANGES: list[t.Callable[[Config], object]] = [
    lambda config: config.__setitem__("KEY", 2),
    lambda config: config.update(KEY=2),
    lambda config: config.setdefault("OTHER", 2),
    lambda config: config.__ior__({"KEY": 2}),
    lambda config: config.from_mapping(KEY=2),
    lambda config: config.__delitem__("KEY"),
    lambda config: config.pop("KEY"),
    lambda config: config.pop("KEY", None),
    lambda config: config.popitem(),
    lambda config: config.clear(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_it_changes_its_state(change: t.Callable[[Config], object]) -> None:
    config, reference = Config("/", {"KEY": 1}), {"KEY": 1}
    before = config._state
    assert config["KEY"] == config.get("KEY") == 1 and config._state is before
    change(config)
    assert config != reference
    assert config._state is not before


def test_taking_a_key_out_equals_flasks_dict() -> None:
    values = {"A": 1, "B": 2, "C": 3}
    for config in (Config("/", values), FlaskConfig("/", values)):
        assert config.pop("A") == 1
        assert config.pop("A", "gone") == "gone"
        with pytest.raises(KeyError):
            config.pop("A")
        assert config.popitem() == ("C", 3)
        del config["B"]
        with pytest.raises(KeyError):
            config.popitem()
        assert config == {}


def test_a_copy_does_not_take_the_callback_along(config: Config) -> None:
    config.on_deprecated = print
    twin = copy.deepcopy(config)
    assert isinstance(twin, Config)
    assert (twin, twin.root_path) == (config, config.root_path)
    assert twin.on_deprecated is None
