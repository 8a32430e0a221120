"""``install_as_flask`` in fresh interpreters: what is imported, and when, is the point."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from asyncflask.flask_alias import MODULES

ROOT = Path(__file__).resolve().parents[1]


def run(code: str, folder: Path | None = None) -> str:
    """Run code in an interpreter of its own, warnings being errors; return what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": f"{ROOT}:{folder or ROOT}", "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_flask_is_this_package() -> None:
    run(
        """
        import asyncflask
        asyncflask.install_as_flask()
        import flask
        from flask import Flask, request
        assert flask is asyncflask
        assert Flask is asyncflask.Flask and request is asyncflask.request
        """
    )


@pytest.mark.parametrize("alias", [name for name in MODULES if name != "flask.__main__"])
def test_module_of_flask_is_the_module_itself(alias: str) -> None:
    run(
        f"""
        import importlib, asyncflask
        asyncflask.install_as_flask()
        module = importlib.import_module({alias!r})
        assert module is importlib.import_module({MODULES[alias]!r})
        assert module.__name__ == module.__spec__.name == {MODULES[alias]!r}
        """
    )


def test_module_is_the_same_whichever_name_comes_first() -> None:
    run(
        """
        import asyncflask
        asyncflask.install_as_flask()
        import flask.cli
        import asyncflask.cli
        from flask import testing
        assert flask.cli is asyncflask.cli
        assert testing is asyncflask.testing
        """
    )


def test_modules_can_be_reached_through_the_package() -> None:
    names = [name.partition(".")[2] for name in MODULES if name not in ("flask", "flask.__main__")]
    run(
        f"""
        import asyncflask
        asyncflask.install_as_flask()
        import operator, flask
        for name in {[name for name in names if name != "scaffold"]!r}:
            operator.attrgetter(name)(flask)
        """
    )


def test_installing_loads_no_commands_and_no_clients() -> None:
    loaded = run(
        """
        import sys, asyncflask
        asyncflask.install_as_flask()
        import flask
        print([name for name in ("click", "httpx", "uvicorn") if name in sys.modules])
        """
    )
    assert loaded == "[]"


def test_sansio_modules_hold_their_classes() -> None:
    run(
        """
        import asyncflask
        asyncflask.install_as_flask()
        import flask.sansio.app
        from flask.sansio.blueprints import Blueprint
        from flask.sansio.scaffold import Scaffold, _endpoint_from_view_func
        assert issubclass(asyncflask.Flask, flask.sansio.app.App)
        assert issubclass(flask.sansio.app.App, Scaffold)
        assert issubclass(asyncflask.Blueprint, Blueprint)
        """
    )


def test_second_call_changes_nothing() -> None:
    run(
        """
        import sys, asyncflask
        asyncflask.install_as_flask()
        finders, flask = list(sys.meta_path), sys.modules["flask"]
        asyncflask.install_as_flask()
        assert sys.meta_path == finders and sys.modules["flask"] is flask
        """
    )


def test_module_flask_does_not_have_is_not_found() -> None:
    message = run(
        """
        import asyncflask
        asyncflask.install_as_flask()
        for name in ("flask.nothing", "flask.lanes"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                print(error.name)
        """
    )
    assert message.split() == ["flask.nothing", "flask.lanes"]


def test_version_is_the_one_of_the_api() -> None:
    version = run(
        """
        import warnings, asyncflask
        asyncflask.install_as_flask()
        import flask
        warnings.simplefilter("ignore")
        print(flask.__version__)
        """
    )
    assert version == "3.1.3"


HIDE_FLASK = """
import importlib.metadata as metadata
plain = metadata.MetadataPathFinder.find_distributions.__func__

def hiding(cls, context=metadata.DistributionFinder.Context()):
    found = plain(cls, context)
    return [one for one in found if one.metadata["Name"].lower() != "flask"]

metadata.MetadataPathFinder.find_distributions = classmethod(hiding)
"""


def test_agents_find_the_version_where_flask_is_not_installed() -> None:
    found = run(
        HIDE_FLASK
        + textwrap.dedent(
            """
            import asyncflask
            asyncflask.install_as_flask()
            print(metadata.version("flask"), metadata.version("Flask"))
            names = [one.metadata["Name"] for one in metadata.distributions()]
            print(names.count("Flask"), metadata.version("werkzeug") > "3")
            scripts = metadata.entry_points(group="console_scripts").names
            print("pytest" in scripts, "flask" in scripts, metadata.requires("flask"))
            print(len(list(metadata.distributions(path=["nowhere"]))))
            """
        )
    )
    assert found.splitlines() == ["3.1.3 3.1.3", "1 True", "True False None", "0"]


def test_flask_that_is_installed_tells_its_own_version() -> None:
    found = run(
        """
        import importlib.metadata as metadata, asyncflask
        asyncflask.install_as_flask()
        print([len(one.files) > 9 for one in metadata.distributions(name="flask")])
        """
    )
    assert found == "[True]"


def test_agents_run_where_flask_is_not_installed() -> None:
    run(
        HIDE_FLASK
        + textwrap.dedent(
            """
            import asyncflask
            asyncflask.install_as_flask()
            import opentelemetry.instrumentation.flask
            import sentry_sdk
            from sentry_sdk.integrations.flask import FlaskIntegration
            sentry_sdk.init(integrations=[FlaskIntegration()])
            assert sentry_sdk.get_client().get_integration(FlaskIntegration)
            """
        )
    )


@pytest.mark.parametrize(
    "line",
    [
        "import flask",
        "import flask.cli as commands",
        "from flask import Flask",
        "from flask import request",
        "from flask import request_started",
        "from flask import url_for",
        "import flask; app = flask.Flask(__name__); del flask",
    ],
)
def test_module_that_imported_flask_too_early_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "early_bird.py").write_text(line)
    (tmp_path / "innocent.py").write_text("import werkzeug, blinker, click")
    message = run(
        """
        import early_bird, innocent, asyncflask
        try:
            asyncflask.install_as_flask()
        except RuntimeError as error:
            print(error)
        """,
        tmp_path,
    )
    assert "already: 'early_bird'." in message
    assert "Call install_as_flask() first" in message


def test_flask_that_nobody_holds_is_reported_too() -> None:
    message = run(
        """
        import flask
        del flask
        import asyncflask
        try:
            asyncflask.install_as_flask()
        except RuntimeError as error:
            print(error)
        """
    )
    assert "No loaded module refers to it" in message
