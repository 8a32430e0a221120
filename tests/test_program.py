"""The installed program, and ``asyncflask.serve``, each as a process of its own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import typing as t
from pathlib import Path

import pytest

from tests.kit.server import NotServing
from tests.kit.server import ROOT
from tests.kit.server import running
from tests.kit.server import Server

PROGRAM = str(Path(sys.executable).with_name("asyncflask"))
MODULE = ("-m", "asyncflask")

HELLO = """
    import os
    from asyncflask import Flask

    def create_app(name="made"):
        app = Flask(__name__, static_folder=None)
        app.add_url_rule("/of/" + name, endpoint=name)
        return app

    app = create_app("plain")
    other = create_app("other")
"""
ZERO_CHANGES = """
    import flask
    from flask import Flask, jsonify, request
    from flask.views import MethodView

    app = Flask(__name__, static_folder=None)

    @app.get("/")
    async def index():
        return jsonify(module=flask.__name__, debug=app.debug, agent=request.args.get("a"))

    if __name__ != "never":
        app.run()
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLASK_")}
    path = os.pathsep.join([str(folder), str(ROOT)])
    return {**kept, "PYTHONPATH": path, "PYTHON_BASIC_REPL": "1", **more}


def run(
    folder: Path,
    *args: str,
    program: t.Sequence[str] = (PROGRAM,),
    input: str | None = None,
    **env: str,
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [sys.executable, *program, *args],
        cwd=folder,
        env=environment(folder, **env),
        input=input,
        capture_output=True,
        text=True,
        timeout=60,
    )


def started(folder: Path, *args: str, **env: str) -> t.ContextManager[Server]:
    """Start the program as a server."""
    return running([PROGRAM, *args], str(folder), env)


# -- finding the application ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("hello", "plain"),
        ("hello.py", "plain"),
        ("hello:other", "other"),
        ("./hello.py:other", "other"),
        ("hello:create_app", "made"),
        ("hello:create_app('own')", "own"),
        ('package.module:create_app(name="own")', "own"),
    ],
)
def test_forms_of_flask_app(tmp_path: Path, path: str, endpoint: str) -> None:
    write(tmp_path, hello=HELLO)
    (tmp_path / "package").mkdir()
    write(tmp_path / "package", __init__="", module=HELLO)
    result = run(tmp_path, "routes", FLASK_APP=path)
    assert result.returncode == 0, result.stderr
    assert f"/of/{endpoint}" in result.stdout
    assert result.stdout == run(tmp_path, "--app", path, "routes").stdout


@pytest.mark.parametrize("name", ["app", "wsgi"])
def test_usual_files_need_no_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, **{name: HELLO})
    assert "/of/plain" in run(tmp_path, "routes", program=MODULE).stdout


def test_application_is_named_in_files_of_variables(tmp_path: Path) -> None:
    write(tmp_path, hello=HELLO)
    (tmp_path / ".flaskenv").write_text("FLASK_APP=hello:other\n")
    (tmp_path / "own").write_text("FLASK_APP=hello:create_app('from_own')\n")
    assert "/of/other" in run(tmp_path, "routes").stdout
    assert "/of/from_own" in run(tmp_path, "--env-file", "own", "routes").stdout
    assert run(tmp_path, "routes", FLASK_SKIP_DOTENV="1").returncode == 2


def test_application_of_the_real_flask_is_told_how_to_be_served(tmp_path: Path) -> None:
    write(tmp_path, hello="from flask import Flask\napp = Flask(__name__)\n")
    result = run(tmp_path, "--app", "hello", "routes")
    assert result.returncode == 2
    assert "'hello:app' is an application of Flask itself" in result.stderr
    assert "--as-flask" in result.stderr


# -- commands ------------------------------------------------------------------------------------

COMMANDS = """
    import asyncio, click
    from asyncflask import Blueprint, Flask, current_app
    from asyncflask.cli import AppGroup, with_appcontext

    app = Flask(__name__)
    users = AppGroup("user")
    sheets = Blueprint("sheets", __name__, cli_group="paper")

    @app.cli.command("wait")
    @click.argument("text")
    async def wait(text):
        "Waits, then speaks."
        await asyncio.sleep(0)
        click.echo(f"{text} from {current_app.name}")

    @users.command("add")
    def add():
        click.echo(f"added to {current_app.name}")

    @sheets.cli.command("fold")
    async def fold():
        click.echo(f"folded in {current_app.name}")

    @click.command("bare")
    @with_appcontext
    async def bare():
        click.echo(f"bare in {current_app.name}")

    app.cli.add_command(users)
    app.cli.add_command(bare)
    app.register_blueprint(sheets)
"""


@pytest.mark.parametrize(
    ("args", "output"),
    [
        (["wait", "hello"], "hello from commands\n"),
        (["user", "add"], "added to commands\n"),
        (["paper", "fold"], "folded in commands\n"),
        (["bare"], "bare in commands\n"),
    ],
)
def test_commands_of_an_application(tmp_path: Path, args: list[str], output: str) -> None:
    write(tmp_path, commands=COMMANDS)
    result = run(tmp_path, "--app", "commands", *args)
    assert (result.stdout, result.stderr, result.returncode) == (output, "", 0)


def test_command_of_an_extension(tmp_path: Path) -> None:
    write(
        tmp_path,
        commands=COMMANDS,
        extra="""
        import click
        from flask import current_app
        from flask.cli import with_appcontext
        @click.command()
        @with_appcontext
        async def tell(): click.echo(f"extra of {current_app.name}")
        """,
    )
    info = tmp_path / "extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flask.commands]\nextra = extra:tell\n")
    result = run(tmp_path, "--as-flask", "--app", "commands", "extra")
    assert result.stdout == "extra of commands\n", result.stderr


def test_shell_awaits(tmp_path: Path) -> None:
    write(tmp_path, commands=COMMANDS)
    lines = "import asyncio\nx = await asyncio.sleep(0, 'slept')\nx.upper(), app.name\n"
    result = run(tmp_path, "--app", "commands", "shell", input=lines)
    assert "('SLEPT', 'commands')" in result.stdout, result.stderr


# -- import flask --------------------------------------------------------------------------------


def test_unchanged_application_runs_as_flask(tmp_path: Path) -> None:
    write(tmp_path, unchanged=ZERO_CHANGES)
    with started(tmp_path, "--as-flask", "--app", "unchanged", "run", "--port", "0") as server:
        answer = json.loads(server.get("/?a=b"))
        assert answer == {"agent": "b", "debug": False, "module": "asyncflask"}


def test_as_flask_may_come_from_the_environment(tmp_path: Path) -> None:
    write(tmp_path, unchanged=ZERO_CHANGES)
    (tmp_path / ".flaskenv").write_text("FLASK_APP=unchanged\nASYNCFLASK_AS_FLASK=1\n")
    result = run(tmp_path, "routes")
    assert "index" in result.stdout, result.stderr


def test_as_flask_after_the_real_one_is_refused(tmp_path: Path) -> None:
    write(tmp_path, sitecustomize="import flask\n", unchanged=ZERO_CHANGES)
    result = run(tmp_path, "--as-flask", "--app", "unchanged", "routes")
    assert result.returncode == 1
    assert "sitecustomize" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "uvicorn", "--port=0", "asyncflask.serve:app"],
        ["-m", "gunicorn", "--bind=127.0.0.1:0", "asyncflask.serve:app"],
    ],
    ids=["uvicorn", "gunicorn"],
)
def test_any_server_serves_an_unchanged_application(tmp_path: Path, command: list[str]) -> None:
    write(tmp_path, unchanged=ZERO_CHANGES)
    env = {"FLASK_APP": "unchanged", "FLASK_DEBUG": "1"}
    with running(command, str(tmp_path), env) as server:
        answer = json.loads(server.get("/"))
        assert answer == {"agent": None, "debug": True, "module": "asyncflask"}
    assert "Ignoring app.run()" in server.output


def serve_module(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    code = "from asyncflask.serve import app; print(app.url_map, app.debug)"
    return run(folder, "-c", code, program=(), **env)


def test_served_application_is_found_as_by_the_command(tmp_path: Path) -> None:
    write(tmp_path, hello=HELLO)
    (tmp_path / ".env").write_text("FLASK_APP=hello:create_app('own')\nFLASK_DEBUG=1\n")
    (tmp_path / "more").write_text("FLASK_APP=hello:other\n")
    result = serve_module(tmp_path)
    assert "/of/own" in result.stdout and "True" in result.stdout, result.stderr
    assert "/of/other" in serve_module(tmp_path, FLASK_ENV_FILE="more").stdout
    assert "/of/plain" in serve_module(tmp_path, FLASK_APP="hello").stdout
    assert serve_module(tmp_path, FLASK_SKIP_DOTENV="1").returncode == 1


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({}, "environment variable 'FLASK_APP'"),
        ({"FLASK_APP": "hello:nothing"}, "The module 'hello' has no 'nothing'."),
        ({"FLASK_APP": "nowhere"}, "There is no module 'nowhere' to import."),
        ({"FLASK_APP": "hello", "FLASK_ENV_FILE": "gone"}, "FLASK_ENV_FILE names 'gone'"),
    ],
)
def test_served_application_that_is_not_found(
    tmp_path: Path, env: dict[str, str], complaint: str
) -> None:
    write(tmp_path, hello=HELLO)
    result = serve_module(tmp_path, **env)
    assert result.returncode == 1
    assert complaint in result.stderr.splitlines()[-1]


# -- run -----------------------------------------------------------------------------------------

SERVED = """
    import os
    from asyncflask import Flask
    app = Flask(__name__, static_folder=None)

    @app.get("/")
    @app.get("/any/thing")
    def index():
        return "first"

    @app.get("/process")
    def process():
        return str(os.getpid())
"""


def test_run_tells_what_it_is_and_what_to_use_instead(tmp_path: Path) -> None:
    write(tmp_path, served=SERVED)
    with started(tmp_path, "--app", "served", "run", "-p", "0") as server:
        assert server.get("/") == "first"
    [line] = [line for line in server.output.splitlines() if "evelopment server" in line]
    assert "127.0.0.1" in line
    assert "uvicorn served:app" in line


@pytest.mark.parametrize("options", [[], ["--debug"], ["--workers", "2"]])
def test_port_that_is_taken(tmp_path: Path, options: list[str]) -> None:
    write(tmp_path, served=SERVED)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run(tmp_path, "--app", "served", "run", "-p", port, *options)
    assert result.returncode == 1
    assert f"Port {port} of 127.0.0.1 is in use" in result.stderr
    assert "startup" not in result.stderr


def test_port_that_is_none(tmp_path: Path) -> None:
    write(tmp_path, served=SERVED)
    result = run(tmp_path, "--app", "served", "run", "-p", "99999")
    assert result.returncode == 1
    assert result.stderr == "99999 is not a port: they go from 0 to 65535.\n"


def test_run_takes_its_options_from_the_environment(tmp_path: Path) -> None:
    write(tmp_path, served=SERVED)
    (tmp_path / ".env").write_text("FLASK_APP=served\nFLASK_RUN_PORT=0\nFLASK_DEBUG=1\n")
    with started(tmp_path, "run", "--no-reload") as server:
        assert server.get("/") == "first"
    assert "Debug mode: on" in server.output
    assert "reloader" not in server.output


def test_run_with_workers(tmp_path: Path) -> None:
    write(tmp_path, served=SERVED)
    args = ["--app", "served", "run", "-p", "0", "--workers", "2"]
    with started(tmp_path, *args) as server:
        server.wait_for_output("Started server process", 2)
        pids = {str(child.pid) for child in server.children}
        assert server.get("/process") in pids
    assert "Reload" not in server.output


def test_workers_and_reloading_exclude_each_other(tmp_path: Path) -> None:
    write(tmp_path, served=SERVED)
    result = run(tmp_path, "--app", "served", "run", "--reload", "--workers", "2")
    assert result.returncode == 2
    assert "--reload" in result.stderr and "--workers" in result.stderr


def test_workers_serve_an_unchanged_application(tmp_path: Path) -> None:
    write(tmp_path, unchanged=ZERO_CHANGES)
    args = ["--as-flask", "--app", "unchanged", "run", "-p", "0", "--workers", "2"]
    with started(tmp_path, *args) as server:
        assert json.loads(server.get("/"))["module"] == "asyncflask"
    assert server.output.count("Ignoring app.run()") == 1


def test_broken_application_does_not_start(tmp_path: Path) -> None:
    write(tmp_path, served="1 / 0")
    with pytest.raises(NotServing, match="ZeroDivisionError"):
        with started(tmp_path, "--app", "served", "run", "--debug", "-p", "0"):
            pass


# -- what an import costs ------------------------------------------------------------------------

#: What only a command, a client, a template or a response of that kind needs.
UNNEEDED = re.compile(
    r"(uvicorn|httpx|httpcore|h11|click|rich|watchfiles|dotenv|starlette|jinja2|readline|code"
    r"|asyncflask\.(cli|templating|testing|devserver|loop_watch))(\.|$)"
)


def test_import_loads_nothing_that_is_not_needed_yet(tmp_path: Path) -> None:
    code = "import sys, asyncflask; asyncflask.Flask('x'); print(*sys.modules)"
    loaded = run(tmp_path, "-c", code, program=()).stdout.split()
    assert "asyncflask.app" in loaded
    assert sorted(filter(UNNEEDED.match, loaded)) == []


@pytest.mark.parametrize("name", ["render_template", "stream_template_string_async", "templating"])
def test_names_loaded_late_are_names_of_the_package(tmp_path: Path, name: str) -> None:
    code = f"import asyncflask; print({name!r} in dir(asyncflask)); asyncflask.{name}"
    assert run(tmp_path, "-c", code, program=()).stdout == "True\n"


def test_star_import_brings_names_that_are_loaded_late(tmp_path: Path) -> None:
    code = "from asyncflask import *; print(render_template.__name__, json.dumps(1), 't' in dir())"
    assert run(tmp_path, "-c", code, program=()).stdout == "render_template 1 False\n"
